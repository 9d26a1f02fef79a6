// Discrete Fourier transforms of any length: in steps of 4, 2, 3, 5 or whatever prime is left (Stockham's way, which
// needs no reordering).

/** A complex transform: of what is in `re` and `im`, into `re` and `im`. */
export class Transform {
  re: Float64Array;
  im: Float64Array;
  private toRe: Float64Array;
  private toIm: Float64Array;
  private readonly factors: number[];
  private readonly cos: Float64Array;
  private readonly sin: Float64Array;
  /** Of each factor, its parts of a turn, and room for sums and differences. */
  private readonly roots = new Map<number, Record<"rootRe" | "rootIm" | "sumRe" | "sumIm" | "lessRe" | "lessIm", Float64Array>>();

  constructor(readonly size: number) {
    this.factors = factorsOf(size);
    for (const factor of this.factors) {
      const [rootRe, rootIm] = turns(factor, factor);
      const [sumRe, sumIm, lessRe, lessIm] = [0, 0, 0, 0].map(() => new Float64Array(factor));
      this.roots.set(factor, { rootRe, rootIm, sumRe, sumIm, lessRe, lessIm });
    }
    [this.cos, this.sin] = turns(size, size);
    [this.re, this.im, this.toRe, this.toIm] = [0, 0, 0, 0].map(() => new Float64Array(size));
  }

  run(): void {
    let left = this.size;
    let stride = 1;
    for (const radix of this.factors) {
      if (radix === 4) this.byFour(left, stride);
      else if (radix === 2) this.byTwo(left, stride);
      else this.byOdd(left, stride, radix);
      left /= radix;
      stride *= radix;
      [this.re, this.toRe] = [this.toRe, this.re];
      [this.im, this.toIm] = [this.toIm, this.im];
    }
  }

  private byFour(left: number, stride: number): void {
    const { re, im, toRe, toIm, cos, sin } = this;
    const quarter = left / 4;
    const step = this.size / left;
    for (let p = 0; p < quarter; p++) {
      const c1 = cos[p * step], s1 = sin[p * step];
      const c2 = cos[2 * p * step], s2 = sin[2 * p * step];
      const c3 = cos[3 * p * step], s3 = sin[3 * p * step];
      for (let q = 0; q < stride; q++) {
        const i0 = q + stride * p;
        const i1 = i0 + stride * quarter;
        const i2 = i1 + stride * quarter;
        const i3 = i2 + stride * quarter;
        const aRe = re[i0] + re[i2], aIm = im[i0] + im[i2];
        const bRe = re[i0] - re[i2], bIm = im[i0] - im[i2];
        const cRe = re[i1] + re[i3], cIm = im[i1] + im[i3];
        const dRe = im[i1] - im[i3], dIm = re[i3] - re[i1]; // -i times the difference
        const o = q + stride * 4 * p;
        toRe[o] = aRe + cRe;
        toIm[o] = aIm + cIm;
        const xRe = bRe + dRe, xIm = bIm + dIm;
        toRe[o + stride] = xRe * c1 - xIm * s1;
        toIm[o + stride] = xRe * s1 + xIm * c1;
        const yRe = aRe - cRe, yIm = aIm - cIm;
        toRe[o + 2 * stride] = yRe * c2 - yIm * s2;
        toIm[o + 2 * stride] = yRe * s2 + yIm * c2;
        const zRe = bRe - dRe, zIm = bIm - dIm;
        toRe[o + 3 * stride] = zRe * c3 - zIm * s3;
        toIm[o + 3 * stride] = zRe * s3 + zIm * c3;
      }
    }
  }

  private byOdd(left: number, stride: number, radix: number): void {
    const { re, im, toRe, toIm, cos, sin, size } = this;
    const part = left / radix;
    const step = size / left;
    const half = (radix - 1) / 2;
    const { rootRe, rootIm, sumRe, sumIm, lessRe, lessIm } = this.roots.get(radix)!;
    for (let p = 0; p < part; p++) {
      for (let q = 0; q < stride; q++) {
        const first = q + stride * p;
        const firstRe = re[first];
        const firstIm = im[first];
        let allRe = firstRe;
        let allIm = firstIm;
        // The parts of a turn come in pairs, whose cosines are equal and whose sines are opposite.
        for (let j = 1; j <= half; j++) {
          const one = q + stride * (p + part * j);
          const other = q + stride * (p + part * (radix - j));
          sumRe[j] = re[one] + re[other];
          sumIm[j] = im[one] + im[other];
          lessRe[j] = re[one] - re[other];
          lessIm[j] = im[one] - im[other];
          allRe += sumRe[j];
          allIm += sumIm[j];
        }
        const to = q + stride * radix * p;
        toRe[to] = allRe;
        toIm[to] = allIm;
        for (let k = 1; k <= half; k++) {
          let evenRe = firstRe;
          let evenIm = firstIm;
          let oddRe = 0;
          let oddIm = 0;
          for (let j = 1, at = k; j <= half; j++) {
            evenRe += sumRe[j] * rootRe[at];
            evenIm += sumIm[j] * rootRe[at];
            oddRe += lessIm[j] * rootIm[at];
            oddIm += lessRe[j] * rootIm[at];
            at += k;
            if (at >= radix) at -= radix;
          }
          let turn = k * p * step;
          let x = evenRe - oddRe;
          let y = evenIm + oddIm;
          toRe[to + stride * k] = x * cos[turn] - y * sin[turn];
          toIm[to + stride * k] = x * sin[turn] + y * cos[turn];
          turn = (radix - k) * p * step;
          x = evenRe + oddRe;
          y = evenIm - oddIm;
          toRe[to + stride * (radix - k)] = x * cos[turn] - y * sin[turn];
          toIm[to + stride * (radix - k)] = x * sin[turn] + y * cos[turn];
        }
      }
    }
  }

  private byTwo(left: number, stride: number): void {
    const { re, im, toRe, toIm, cos, sin } = this;
    const half = left / 2;
    const step = this.size / left;
    for (let p = 0; p < half; p++) {
      const c = cos[p * step];
      const s = sin[p * step];
      for (let q = 0; q < stride; q++) {
        const a = q + stride * p;
        const b = a + stride * half;
        const to = q + stride * 2 * p;
        toRe[to] = re[a] + re[b];
        toIm[to] = im[a] + im[b];
        const x = re[a] - re[b];
        const y = im[a] - im[b];
        toRe[to + stride] = x * c - y * s;
        toIm[to + stride] = x * s + y * c;
      }
    }
  }
}

/** The power spectrum of real frames of any even length: a complex transform of half the length. */
export class PowerSpectrum {
  readonly bins: number;
  private readonly half: Transform;
  private readonly cos: Float64Array;
  private readonly sin: Float64Array;

  constructor(readonly size: number) {
    if (size < 2 || size % 2) throw new RangeError(`a transform of ${size} samples: the length must be even`);
    this.half = new Transform(size / 2);
    this.bins = size / 2 + 1;
    [this.cos, this.sin] = turns(size, size / 2);
  }

  /** |X|^2 of signal[at : at + size] * window, into `power` (bins). */
  compute(signal: Float32Array, at: number, window: Float64Array, power: Float64Array): void {
    const { half: transform, cos, sin } = this;
    const half = transform.size;
    for (let i = 0; i < half; i++) {
      transform.re[i] = signal[at + 2 * i] * window[2 * i];
      transform.im[i] = signal[at + 2 * i + 1] * window[2 * i + 1];
    }
    transform.run();
    const { re, im } = transform;
    for (let k = 0; k <= half; k++) {
      const a = k === half ? 0 : k;
      const b = k === 0 ? 0 : half - k;
      const evenRe = (re[a] + re[b]) / 2;
      const evenIm = (im[a] - im[b]) / 2;
      const oddRe = (im[a] + im[b]) / 2;
      const oddIm = (re[b] - re[a]) / 2;
      const c = k === half ? -1 : cos[k];
      const s = k === half ? 0 : sin[k];
      const x = evenRe + c * oddRe - s * oddIm;
      const y = evenIm + c * oddIm + s * oddRe;
      power[k] = x * x + y * y;
    }
  }
}

/** cos and -sin of the first `count` of `size` equal parts of a turn. */
export function turns(size: number, count: number): [Float64Array, Float64Array] {
  const cos = new Float64Array(count);
  const sin = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    cos[i] = Math.cos((2 * Math.PI * i) / size);
    sin[i] = -Math.sin((2 * Math.PI * i) / size);
  }
  return [cos, sin];
}

/** The prime factors of a number, of two twos a four. */
export function factorsOf(count: number): number[] {
  const found: number[] = [];
  let rest = count;
  for (const prime of [4, 2, 3, 5]) {
    while (rest % prime === 0) {
      found.push(prime);
      rest /= prime;
    }
  }
  for (let prime = 7; rest > 1; prime += 2) {
    while (rest % prime === 0) {
      found.push(prime);
      rest /= prime;
    }
  }
  return found;
}
