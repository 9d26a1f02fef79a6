// As sondino's audio package: mono, windows, the last one zero-padded and weighted by its real samples.

export type Short = "pad" | "native" | "repeat";

/** Window, hop and short-clip policy, in samples at the model's rate; `window` null: a clip is one window. */
export interface Windowing {
  window: number | null;
  hop: number | null;
  short: Short;
  minimum: number;
}

export interface Piece {
  samples: Float32Array;
  /** Its start, in samples. */
  start: number;
  /** Its number of samples without padding. */
  real: number;
}

export function splitWindows(waveform: Float32Array, how: Windowing): Piece[] {
  const length = waveform.length;
  if (!length) return [];
  const size = how.window;
  if (size === null) return [{ samples: padded(waveform, how.minimum), start: 0, real: length }];
  const step = how.hop ?? size;
  const pieces: Piece[] = [];
  let at = 0;
  for (; at + size <= length; at += step) pieces.push({ samples: waveform.subarray(at, at + size), start: at, real: size });
  const rest = length - at;
  if (at === 0) pieces.push({ samples: shortWindow(waveform, size, how), start: 0, real: length });
  // Samples that the last window already contains do not make another window.
  else if (rest > Math.max(0, size - step)) pieces.push({ samples: padded(waveform.subarray(at), size), start: at, real: rest });
  return pieces;
}

/** The mean of windows' embeddings, (windows, dim) in one array, weighted by their real samples. */
export function merge(vectors: Float32Array, dim: number, weights: number[]): Float32Array {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const mean = new Float64Array(dim);
  weights.forEach((weight, row) => {
    for (let i = 0; i < dim; i++) mean[i] += (weight / total) * vectors[row * dim + i];
  });
  return Float32Array.from(mean);
}

const BLOCK = 1 << 16; // samples of all channels together that Python decodes at once, and compares channels by

/** The mean of channels, or one of them where they cancel; what is not a number becomes 0, and is counted. */
export function toMono(channels: Float32Array[]): { mono: Float32Array; bad: number } {
  let bad = 0;
  const clean = channels.map((channel) => {
    const found = countBad(channel);
    bad += found;
    return found ? channel.map((x) => (Number.isFinite(x) ? x : 0)) : channel;
  });
  if (clean.length === 1) return { mono: clean[0], bad };
  const only = pickChannel(clean);
  if (only !== null) return { mono: clean[only], bad };
  const mono = new Float32Array(clean[0].length);
  for (let i = 0; i < mono.length; i++) {
    let sum = 0;
    for (const channel of clean) sum += channel[i];
    mono[i] = sum / clean.length;
  }
  return { mono, bad };
}

function countBad(channel: Float32Array): number {
  let bad = 0;
  for (let i = 0; i < channel.length; i++) if (!Number.isFinite(channel[i])) bad++;
  return bad;
}

function pickChannel(channels: Float32Array[]): number | null {
  const size = Math.floor(BLOCK / channels.length);
  const length = channels[0].length;
  let at = 0;
  while (at < length && !channels.some((channel) => channel.subarray(at, at + size).some((x) => x !== 0))) at += size;
  const end = Math.min(length, at + size);
  const energy = channels.map(() => 0);
  let mixed = 0;
  for (let i = at; i < end; i++) {
    let sum = 0;
    channels.forEach((channel, c) => {
      energy[c] += channel[i] ** 2;
      sum += channel[i];
    });
    mixed += (sum / channels.length) ** 2;
  }
  // Unrelated channels keep a good part of their level in the mean; a tenth and less means opposite phase.
  const all = energy.reduce((sum, one) => sum + one, 0) / channels.length;
  if (Math.sqrt(mixed) >= 0.1 * Math.sqrt(all)) return null;
  return energy.findIndex((one) => Math.sqrt(one) >= 0.5 * Math.sqrt(Math.max(...energy)));
}

function padded(x: Float32Array, size: number): Float32Array {
  if (x.length >= size) return x;
  const out = new Float32Array(size);
  out.set(x);
  return out;
}

function shortWindow(x: Float32Array, size: number, how: Windowing): Float32Array {
  if (how.short !== "repeat") return padded(x, how.short === "pad" ? size : how.minimum);
  const out = new Float32Array(size);
  for (let at = 0; at < size; at += x.length) out.set(x.subarray(0, Math.min(x.length, size - at)), at);
  return out;
}
