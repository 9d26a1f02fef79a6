// Files other than WAV are decoded by the browser, at the file's own sample rate.

import { links } from "./links";
import { rateOf } from "./rate";
import { joined, severalNote, type Sound } from "./sound";

export async function decode(file: ArrayBuffer): Promise<Sound & { notes: string[] }> {
  const sounds: Sound[] = [];
  const notes: string[] = [];
  for (const link of links(file)) {
    try {
      sounds.push(await decodeLink(link));
    } catch (error) {
      if (!sounds.length) throw error;
      notes.push("another sound follows, which cannot be read and is left out");
    }
  }
  if (sounds.length > 1) notes.push(severalNote(sounds.length));
  return { ...joined(sounds), notes };
}

async function decodeLink(file: ArrayBuffer): Promise<Sound> {
  const rate = rateOf(file);
  const context = new OfflineAudioContext(1, 1, rate);
  const buffer = await context.decodeAudioData(file);
  return { rate, channels: Array.from({ length: buffer.numberOfChannels }, (_, i) => buffer.getChannelData(i).slice()) };
}
