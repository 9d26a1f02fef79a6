// Decoded sounds, and several of them as one.

import { resample } from "./resample";
import { toMono } from "./windows";

export interface Sound {
  channels: Float32Array[];
  rate: number;
}

/** Sounds one after the other, at the rate of the first; of other rates or channels, mono. */
export function joined(sounds: Sound[]): Sound {
  const [{ rate, channels }] = sounds;
  const isSame = sounds.every((sound) => sound.rate === rate && sound.channels.length === channels.length);
  const parts = isSame ? sounds.map((sound) => sound.channels) : sounds.map((sound) => [resample(toMono(sound.channels).mono, sound.rate, rate)]);
  return { rate, channels: parts[0].map((_, channel) => concatenated(parts.map((part) => part[channel]))) };
}

/** What to say of a file that holds several. */
export function severalNote(count: number): string {
  return `${count} sounds follow one another in this file; all are read`;
}

function concatenated(pieces: Float32Array[]): Float32Array {
  if (pieces.length === 1) return pieces[0];
  const whole = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
