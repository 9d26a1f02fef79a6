// From one rate to another with a Kaiser-windowed sinc: flat to 0.91 of the band of the lower rate, nothing above it.
// Where both rates allow it, blocks are transformed, filtered and transformed back at the other rate, in a fifth of the
// time that the sum over the filter takes.

import { factorsOf, Transform, turns } from "./fft";

/** Where it cuts, of half the lower rate; the shape of its window; its samples of the lower rate to either side. */
interface Filter {
  cutoff: number;
  beta: number;
  reach: number;
}

// Fitted to impulse responses of soxr's "high quality", which sondino resamples with in Python. For ratios of small
// numbers, as from 48 to 32 kHz, soxr goes another way than for the rest, as from 44.1 kHz.
const SIMPLE: Filter = { cutoff: 0.956872, beta: 13.04, reach: 97.13 };
const OTHER: Filter = { cutoff: 0.95684, beta: 16, reach: 110 };

const LARGEST = 2 ** 26; // numbers of all phases together that are kept: rates in megahertz have 16 GB of them

const BLOCK = 6000; // samples of the lower rate in a block of transforms, about
const LARGEST_FACTOR = 7; // of the lengths of transforms; with larger ones they are slow

export function resample(x: Float32Array, fromRate: number, toRate: number): Float32Array {
  if (fromRate === toRate || x.length === 0) return x;
  const common = divisor(fromRate, toRate);
  const up = toRate / common;
  const down = fromRate / common;
  const filter = Math.max(up, down) <= 4 ? SIMPLE : OTHER;
  const out = new Float32Array(Math.floor((x.length * up) / down + 0.5));
  const repeats = 2 ** Math.ceil(Math.log2(BLOCK / Math.min(up, down))); // a power of two: both lengths are even
  const isSmooth = [...factorsOf(up), ...factorsOf(down)].every((factor) => factor <= LARGEST_FACTOR);
  if (isSmooth && repeats > 1) byTransforms(x, out, down * repeats, up * repeats, filter);
  else bySums(x, out, up, down, filter);
  return out.length ? out : x.slice(0, 1); // a sound that was there stays there
}

/**
 * Blocks of `from` samples to blocks of `to` samples, whose outer parts, which hold what goes round from the other end, are
 * left out.
 */
function byTransforms(x: Float32Array, out: Float32Array, from: number, to: number, filter: Filter): void {
  const lower = Math.min(1, to / from);
  const forward = new Transform(from / 2);
  const back = new Transform(to / 2);
  const [fromCos, fromSin] = turns(from, from / 2 + 1);
  const [toCos, toSin] = turns(to, to / 2 + 1);
  const response = responseOf(filter, from, lower);
  const block = new Float32Array(from);
  const bins = Math.min(from, to) / 2;
  const re = new Float64Array(Math.max(from, to) / 2 + 1);
  const im = new Float64Array(re.length);
  // Steps of whole samples at both rates.
  const repeats = divisor(from, to);
  const edges = Math.ceil((filter.reach * repeats) / lower / from);
  const [edge, edgeOut] = [edges * (from / repeats), edges * (to / repeats)];
  const [step, stepOut] = [from - 2 * edge, to - 2 * edgeOut];
  for (let start = 0, at = 0; at < out.length; start += step, at += stepOut) {
    const first = start - edge;
    block.fill(0);
    block.set(x.subarray(Math.max(0, first), first + from), Math.max(0, -first));
    for (let i = 0; i < from / 2; i++) {
      forward.re[i] = block[2 * i];
      forward.im[i] = block[2 * i + 1];
    }
    forward.run();
    const half = from / 2;
    for (let k = 0; k < bins; k++) {
      const a = k;
      const b = k ? half - k : 0;
      const evenRe = (forward.re[a] + forward.re[b]) / 2;
      const evenIm = (forward.im[a] - forward.im[b]) / 2;
      const oddRe = (forward.im[a] + forward.im[b]) / 2;
      const oddIm = (forward.re[b] - forward.re[a]) / 2;
      re[k] = (evenRe + fromCos[k] * oddRe - fromSin[k] * oddIm) * response[k];
      im[k] = (evenIm + fromCos[k] * oddIm + fromSin[k] * oddRe) * response[k];
    }
    const halfOut = to / 2;
    re.fill(0, bins);
    im.fill(0, bins);
    // A real transform back by a complex one of half the length: even samples are its real parts, odd ones its imaginary.
    for (let k = 0; k < halfOut; k++) {
      const evenRe = re[k] + re[halfOut - k];
      const evenIm = im[k] - im[halfOut - k];
      const differenceRe = re[k] - re[halfOut - k];
      const differenceIm = im[k] + im[halfOut - k];
      const oddRe = differenceRe * toCos[k] + differenceIm * toSin[k];
      const oddIm = differenceIm * toCos[k] - differenceRe * toSin[k];
      // Conjugate before and after: a transform forward becomes one back.
      back.re[k] = evenRe - oddIm;
      back.im[k] = -(evenIm + oddRe);
    }
    back.run();
    const scale = 1 / from;
    const count = Math.min(stepOut, out.length - at);
    for (let i = 0; i < count; i++) {
      const place = edgeOut + i;
      out[at + i] = scale * (place & 1 ? -back.im[place >> 1] : back.re[place >> 1]);
    }
  }
}

/** What the filter leaves of each frequency: its transform, at the bins of a block of so many samples. */
function responseOf(filter: Filter, size: number, lower: number): Float64Array {
  const reach = Math.ceil(filter.reach / lower);
  const taps = kernel(filter, 0, reach, lower); // from -reach + 1 to reach
  const transform = new Transform(size);
  for (let k = 0; k < taps.length; k++) transform.re[(k - reach + 1 + size) % size] = taps[k];
  transform.run();
  return transform.re.slice(0, size / 2 + 1); // symmetric about zero, so that it is real
}

function bySums(x: Float32Array, out: Float32Array, up: number, down: number, filter: Filter): void {
  const lower = Math.min(1, up / down);
  const reach = 2 * Math.ceil(filter.reach / lower / 2); // even: the taps come in fours
  const phases: (Float64Array | undefined)[] = new Array(up);
  const isKept = up * 2 * reach <= LARGEST;
  // Zeros to either side, so that the loop below needs no ends.
  const padded = new Float64Array(x.length + 4 * reach);
  padded.set(x, 2 * reach);
  let at = 0; // the sample of x at or before the place of out[i], and how far behind it that place is, times `up`
  let phase = 0;
  for (let i = 0; i < out.length; i++) {
    const taps = phases[phase] ?? kernel(filter, phase / up, reach, lower);
    if (isKept) phases[phase] = taps;
    out[i] = product(taps, padded, at + reach + 1);
    phase += down;
    at += Math.floor(phase / up);
    phase %= up;
  }
}

/** Four sums side by side, which a processor can do at once. */
function product(taps: Float64Array, x: Float64Array, start: number): number {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let k = 0; k < taps.length; k += 4) {
    a += taps[k] * x[start + k];
    b += taps[k + 1] * x[start + k + 1];
    c += taps[k + 2] * x[start + k + 2];
    d += taps[k + 3] * x[start + k + 3];
  }
  return a + b + c + d;
}

/** Taps for the samples from `at - reach + 1` to `at + reach`, at a place a fraction of a sample after `at`. */
function kernel({ cutoff, beta, reach: side }: Filter, fraction: number, reach: number, lower: number): Float64Array {
  const taps = new Float64Array(2 * reach);
  for (let k = 0; k < taps.length; k++) {
    const distance = (k - reach + 1 - fraction) * lower;
    const inside = 1 - (distance / side) ** 2;
    if (inside <= 0) continue;
    const turn = Math.PI * cutoff * distance;
    taps[k] = (lower * cutoff * (turn ? Math.sin(turn) / turn : 1) * bessel(beta * Math.sqrt(inside))) / bessel(beta);
  }
  return taps;
}

/** The modified Bessel function of the first kind, of order zero. */
function bessel(x: number): number {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function divisor(a: number, b: number): number {
  return b ? divisor(b, a % b) : a;
}
