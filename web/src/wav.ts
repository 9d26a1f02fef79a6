// WAV files, read and written by us: a browser would resample what it decodes in its own way.

import { PageError } from "./errors";
import { findParts, type Segment } from "./riff";
import { joined, type Sound } from "./sound";

const FLOAT = 3;

/**
 * All sounds of a WAV, one after the other; null: see `findParts`.
 *
 * @throws PageError a rate that no sound has, or no samples.
 */
export function readWav(file: ArrayBuffer): (Sound & { notes: string[] }) | null {
  const layout = findParts(file);
  if (!layout) return null;
  const { parts, notes } = layout;
  for (const { rate } of parts) {
    if (rate < 100 || rate > 10e6) throw new PageError(`a rate of ${rate} Hz is outside 100 Hz to 10 MHz`);
  }
  if (parts.every((part) => part.frames === 0)) throw new PageError("holds no sound");
  return { ...joined(parts.map((part) => ({ rate: part.rate, channels: readPart(file, part) }))), notes };
}

function readPart(file: ArrayBuffer, { at, frames, channels, width, float }: Segment): Float32Array[] {
  const view = new DataView(file, at);
  const sample = sampleReader(view, width, float);
  return Array.from({ length: channels }, (_, channel) => {
    const out = new Float32Array(frames);
    for (let i = 0; i < frames; i++) out[i] = sample((i * channels + channel) * width);
    return out;
  });
}

function sampleReader(view: DataView, width: number, float: boolean): (at: number) => number {
  if (float) return width === 4 ? (at) => view.getFloat32(at, true) : (at) => view.getFloat64(at, true);
  switch (width) {
    case 1:
      return (at) => (view.getUint8(at) - 128) / 128;
    case 2:
      return (at) => view.getInt16(at, true) / 32768;
    case 3:
      return (at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65536) / 8388608;
    default:
      return (at) => view.getInt32(at, true) / 2147483648;
  }
}

/** Mono samples as a WAV of 32-bit floats: bit-identical samples. */
export function writeWav(samples: Float32Array, rate: number): ArrayBuffer {
  const file = new ArrayBuffer(44 + 4 * samples.length);
  const view = new DataView(file);
  const write = (at: number, text: string) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, 36 + 4 * samples.length, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, FLOAT, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * 4, true);
  view.setUint16(32, 4, true);
  view.setUint16(34, 32, true);
  write(36, "data");
  view.setUint32(40, 4 * samples.length, true);
  new Float32Array(file, 44).set(samples);
  return file;
}
