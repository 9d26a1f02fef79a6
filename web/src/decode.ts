// Files other than WAV are decoded by the browser, at the file's own sample rate.

import { links } from "./links";
import { rateOf } from "./rate";
import { joined, severalNote, type Sound } from "./sound";

export async function decode(file: ArrayBuffer): Promise<Sound & { notes: string[] }> {
  const sounds: Sound[] = [];
  const notes: string[] = [];
  for (const link of links(file)) {
    try {
      const { sound, wanted } = await decodeLink(link);
      sounds.push(sound);
      if (sound.rate < wanted) {
        notes.push(`this browser decodes such a file at ${sound.rate} Hz, not at its ${wanted} Hz: give a WAV to keep all of it`);
      }
    } catch (error) {
      if (!sounds.length) throw error;
      notes.push("another sound follows, which cannot be read and is left out");
    }
  }
  if (sounds.length > 1) notes.push(severalNote(sounds.length));
  return { ...joined(sounds), notes };
}

/** A sound, and the rate that its file has, in hertz. */
async function decodeLink(file: ArrayBuffer): Promise<{ sound: Sound; wanted: number }> {
  const wanted = rateOf(file);
  const context = contextAt(wanted);
  const buffer = await context.decodeAudioData(file);
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, i) => buffer.getChannelData(i).slice());
  return { sound: { rate: buffer.sampleRate, channels }, wanted };
}

/** A context at a rate in hertz, or at 96 kHz, which every browser has, where this one goes no higher. */
function contextAt(rate: number): OfflineAudioContext {
  try {
    return new OfflineAudioContext(1, 1, rate);
  } catch {
    return new OfflineAudioContext(1, 1, Math.min(rate, 96000));
  }
}
