// The power spectrum of real frames of any even length: a complex transform of half the length, in steps of 4, 2, 3, 5
// or whatever prime is left (Stockham's way, which needs no reordering).

export class PowerSpectrum {
  readonly bins: number;
  private readonly half: number;
  private readonly factors: number[];
  private readonly cos: Float64Array;
  private readonly sin: Float64Array;
  private re: Float64Array;
  private im: Float64Array;
  private toRe: Float64Array;
  private toIm: Float64Array;

  constructor(readonly size: number) {
    if (size < 2 || size % 2) throw new RangeError(`a transform of ${size} samples: the length must be even`);
    this.half = size / 2;
    this.bins = this.half + 1;
    this.factors = factorsOf(this.half);
    this.cos = new Float64Array(size);
    this.sin = new Float64Array(size);
    for (let i = 0; i < size; i++) {
      this.cos[i] = Math.cos((2 * Math.PI * i) / size);
      this.sin[i] = -Math.sin((2 * Math.PI * i) / size);
    }
    [this.re, this.im, this.toRe, this.toIm] = [0, 0, 0, 0].map(() => new Float64Array(this.half));
  }

  /** |X|^2 of signal[at : at + size] * window, into `power` (bins). */
  compute(signal: Float32Array, at: number, window: Float64Array, power: Float64Array): void {
    const { half, cos, sin } = this;
    for (let i = 0; i < half; i++) {
      this.re[i] = signal[at + 2 * i] * window[2 * i];
      this.im[i] = signal[at + 2 * i + 1] * window[2 * i + 1];
    }
    this.transform();
    const { re, im } = this;
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

  private transform(): void {
    let left = this.half;
    let stride = 1;
    for (const radix of this.factors) {
      if (radix === 4) this.byFour(left, stride);
      else this.byAny(left, stride, radix);
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

  private byAny(left: number, stride: number, radix: number): void {
    const { re, im, toRe, toIm, cos, sin, size } = this;
    const part = left / radix;
    for (let p = 0; p < part; p++) {
      for (let q = 0; q < stride; q++) {
        for (let k = 0; k < radix; k++) {
          let sumRe = 0;
          let sumIm = 0;
          for (let j = 0; j < radix; j++) {
            const from = q + stride * (p + part * j);
            const turn = (((j * k) % radix) * size) / radix;
            sumRe += re[from] * cos[turn] - im[from] * sin[turn];
            sumIm += re[from] * sin[turn] + im[from] * cos[turn];
          }
          const turn = (k * p * (size / left)) % size;
          const to = q + stride * (radix * p + k);
          toRe[to] = sumRe * cos[turn] - sumIm * sin[turn];
          toIm[to] = sumRe * sin[turn] + sumIm * cos[turn];
        }
      }
    }
  }
}

function factorsOf(count: number): number[] {
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
