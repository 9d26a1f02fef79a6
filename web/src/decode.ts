// Files other than WAV are decoded by the browser, at the file's own sample rate.

import { rateOf } from "./rate";
import type { Sound } from "./wav";

export async function decode(file: ArrayBuffer): Promise<Sound> {
  const rate = rateOf(file);
  const context = new OfflineAudioContext(1, 1, rate);
  const buffer = await context.decodeAudioData(file);
  return { rate, channels: Array.from({ length: buffer.numberOfChannels }, (_, i) => buffer.getChannelData(i).slice()) };
}
