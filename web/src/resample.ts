// From one rate to another with a Kaiser-windowed sinc: flat to 0.91 of the band of the lower rate, nothing above it.

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

export function resample(x: Float32Array, fromRate: number, toRate: number): Float32Array {
  if (fromRate === toRate || x.length === 0) return x;
  const common = divisor(fromRate, toRate);
  const up = toRate / common;
  const down = fromRate / common;
  const lower = Math.min(1, toRate / fromRate);
  const filter = Math.max(up, down) <= 4 ? SIMPLE : OTHER;
  const reach = 2 * Math.ceil(filter.reach / lower / 2); // even: the taps come in fours
  const phases: (Float64Array | undefined)[] = new Array(up);
  const isKept = up * 2 * reach <= LARGEST;
  // Zeros to either side, so that the loop below needs no ends.
  const padded = new Float64Array(x.length + 4 * reach);
  padded.set(x, 2 * reach);
  const out = new Float32Array(Math.floor((x.length * up) / down + 0.5));
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
  return out.length ? out : x.slice(0, 1); // a sound that was there stays there
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
