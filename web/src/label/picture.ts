// Spectrograms of slices of any rate: log-mels from 0 Hz to half the rate, about as many frames as are drawn.

import { LogMel, type FrontEnd, type Mels } from "../logmel";

const SECONDS = 0.032; // of a frame, about
const BANDS = 96;
const OFFSET = 1e-5; // 80 dB below a loud tone

/** @param columns frames, about; more where they would leave gaps. */
export function frontEndFor(rate: number, samples: number, columns: number): FrontEnd {
  const size = 2 ** Math.max(5, Math.round(Math.log2(rate * SECONDS)));
  return {
    sample_rate: rate, n_fft: size, window_length: size, hop: Math.max(1, Math.min(size, Math.round(samples / columns))),
    n_mels: BANDS, f_min: 0, f_max: rate / 2, center: true, log_offset: OFFSET, mean: 0, std: 1, periodic: true,
    mel_scale: "slaney", preemphasis: 0,
  };
}

export function pictureOf(samples: Float32Array, rate: number, columns: number): Mels {
  const spec = frontEndFor(rate, samples.length, columns);
  if (samples.length > spec.n_fft) return new LogMel(spec).compute(samples);
  const padded = new Float32Array(spec.n_fft + 1); // too short for a frame
  padded.set(samples);
  return new LogMel(spec).compute(padded);
}
