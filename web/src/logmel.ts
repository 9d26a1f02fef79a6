// The model's front-end, number for number that of sondino/frontend/logmel_numpy.py.

import { PowerSpectrum } from "./fft";

/** config.json's "front_end". */
export interface FrontEnd {
  sample_rate: number;
  n_fft: number;
  window_length: number;
  hop: number;
  n_mels: number;
  f_min: number;
  f_max: number;
  center: boolean;
  log_offset: number;
  mean: number;
  std: number;
  periodic: boolean;
  mel_scale: "slaney" | "kaldi";
  preemphasis: number;
  /** Of bundles that were written before it was known, it is absent. */
  log_floor?: number;
}

/** values[band * frames + frame] */
export interface Mels {
  values: Float32Array;
  bands: number;
  frames: number;
}

interface Band {
  first: number;
  weights: Float64Array;
}

export class LogMel {
  private readonly spectrum: PowerSpectrum;
  private readonly window: Float64Array;
  private readonly bands: Band[];
  private readonly power: Float64Array;

  constructor(readonly spec: FrontEnd) {
    this.spectrum = new PowerSpectrum(spec.n_fft);
    this.power = new Float64Array(this.spectrum.bins);
    this.window = hann(spec);
    this.bands = melBands(spec);
  }

  /** Frames of a waveform of so many samples; 0 where it is too short. */
  framesOf(samples: number): number {
    const { n_fft, hop, center, preemphasis } = this.spec;
    const heard = samples - (preemphasis ? 1 : 0);
    if (heard < (center ? Math.floor(n_fft / 2) + 1 : n_fft)) return 0;
    return Math.floor(((center ? heard + 2 * Math.floor(n_fft / 2) : heard) - n_fft) / hop) + 1;
  }

  compute(waveform: Float32Array): Mels {
    const { spec, power, window, bands } = this;
    const frames = this.framesOf(waveform.length);
    if (!frames) throw new RangeError(`${waveform.length} samples are too short for a log-mel`);
    const signal = this.prepared(waveform);
    const sounding = Math.min(frames, Math.floor(lastSample(signal) / spec.hop) + 1);
    const floor = spec.log_floor ?? 0;
    const scaled = (mel: number) => (Math.log(Math.max(mel, floor) + spec.log_offset) - spec.mean) / spec.std;
    const values = new Float32Array(spec.n_mels * frames).fill(scaled(0));
    for (let frame = 0; frame < sounding; frame++) {
      this.spectrum.compute(signal, frame * spec.hop, window, power);
      for (let band = 0; band < bands.length; band++) {
        const { first, weights } = bands[band];
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * power[first + i];
        values[band * frames + frame] = scaled(sum);
      }
    }
    return { values, bands: spec.n_mels, frames };
  }

  private prepared(waveform: Float32Array): Float32Array {
    const { preemphasis, center, n_fft } = this.spec;
    let signal = waveform;
    if (preemphasis) {
      signal = new Float32Array(waveform.length - 1);
      for (let i = 0; i < signal.length; i++) signal[i] = waveform[i + 1] - preemphasis * waveform[i];
    }
    if (!center) return signal;
    const side = Math.floor(n_fft / 2);
    const padded = new Float32Array(signal.length + 2 * side);
    padded.set(signal, side);
    for (let i = 0; i < side; i++) {
      padded[side - 1 - i] = signal[i + 1];
      padded[side + signal.length + i] = signal[signal.length - 2 - i];
    }
    return padded;
  }
}

function lastSample(signal: Float32Array): number {
  let at = signal.length - 1;
  while (at >= 0 && signal[at] === 0) at--;
  return at;
}

function hann(spec: FrontEnd): Float64Array {
  const length = spec.window_length;
  const window = new Float64Array(spec.n_fft);
  const left = Math.floor((spec.n_fft - length) / 2);
  for (let i = 0; i < length; i++) {
    window[left + i] = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / (spec.periodic ? length : length - 1));
  }
  return window;
}

/** Where a frequency lies in a picture of the bands: 0 at its bottom, 1 at its top. */
export function heightOf(spec: FrontEnd, hz: number): number {
  const toMel = spec.mel_scale === "kaldi" ? kaldiMel : slaneyMel;
  const low = toMel(spec.f_min);
  const share = (toMel(hz) - low) / (toMel(spec.f_max) - low);
  return (share * (spec.n_mels + 1) - 0.5) / spec.n_mels; // a band is drawn around its peak
}

function melBands(spec: FrontEnd): Band[] {
  const kaldi = spec.mel_scale === "kaldi";
  const toMel = kaldi ? kaldiMel : slaneyMel;
  const low = toMel(spec.f_min);
  const high = toMel(spec.f_max);
  const edges = Array.from({ length: spec.n_mels + 2 }, (_, i) => {
    const mel = low + ((high - low) * i) / (spec.n_mels + 1);
    return kaldi ? mel : slaneyHz(mel);
  });
  const bins = Array.from({ length: Math.floor(spec.n_fft / 2) + 1 }, (_, i) => {
    const hz = (i * spec.sample_rate) / spec.n_fft;
    return kaldi ? kaldiMel(hz) : hz;
  });
  if (kaldi) bins.pop(); // Kaldi leaves out the bin at half the sample rate
  return Array.from({ length: spec.n_mels }, (_, band) => {
    const [from, peak, to] = edges.slice(band, band + 3);
    const height = kaldi ? 1 : 2 / (to - from);
    const weights = bins.map((at) => Math.max(0, Math.min((at - from) / (peak - from), (to - at) / (to - peak))) * height);
    let first = weights.findIndex((weight) => weight > 0);
    if (first < 0) first = 0;
    let last = weights.length;
    while (last > first && weights[last - 1] === 0) last--;
    return { first, weights: Float64Array.from(weights.slice(first, last)) };
  });
}

function slaneyMel(hz: number): number {
  return hz < 1000 ? (hz * 3) / 200 : 15 + (27 * Math.log(hz / 1000)) / Math.log(6.4);
}

function slaneyHz(mel: number): number {
  return mel < 15 ? (mel * 200) / 3 : 1000 * 6.4 ** ((mel - 15) / 27);
}

function kaldiMel(hz: number): number {
  return 1127 * Math.log1p(hz / 700);
}
