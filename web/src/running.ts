// The running display while the microphone is on: waveform, log-mel and labels of the last seconds.

import { drawMels, drawWave } from "./draw";
import type { Listening } from "./live";
import type { FrontEnd, Mels } from "./logmel";
import { outline } from "./outline";
import { scoredTracks, TRACKS, tracksOf, type Stretch, type Track } from "./tracks";

export const SHOWN = 6; // seconds
const EVERY = 0.128; // seconds from one picture to the next
const COLUMNS = 300; // of the waveform

export class Running {
  private readonly mels: Mels;
  private readonly hop: number; // seconds
  private readonly frame: number; // seconds
  private pictures = 0;
  private end = 0; // samples up to where the newest picture shows
  private windows: (Stretch & { found: Float32Array; unlike: number | null })[] = []; // of the model, in seconds since the start
  private names: string[] = [];

  constructor(private readonly from: Listening, { hop, n_fft, n_mels, sample_rate }: FrontEnd) {
    this.hop = hop / sample_rate;
    this.frame = n_fft / sample_rate;
    const frames = Math.round(SHOWN / this.hop);
    this.mels = { values: new Float32Array(n_mels * frames).fill(-Infinity), bands: n_mels, frames };
  }

  /** The samples of the frames that are new, where it is time for a picture; else null. */
  next(): Float32Array | null {
    const { from } = this;
    const end = Math.round(((this.pictures + 1) * EVERY + this.frame) * from.rate);
    if (from.received < end) return null;
    this.pictures++;
    this.end = end;
    return from.last(Math.ceil((EVERY + this.frame) * from.rate), from.received - end);
  }

  add(fresh: Mels): void {
    const { values, bands, frames } = this.mels;
    const count = Math.min(fresh.frames, Math.round(EVERY / this.hop));
    for (let band = 0; band < bands; band++) {
      const row = values.subarray(band * frames, (band + 1) * frames);
      row.copyWithin(0, count);
      const end = (band + 1) * fresh.frames;
      row.set(fresh.values.subarray(end - count, end), frames - count);
    }
  }

  /** The probabilities of all labels in a window, in seconds since the start, and how unlike the training clips it is. */
  answered(window: Stretch, labels: string[], found: Float32Array, unlike: number | null): void {
    const shown = this.windows.filter((one) => one.end > window.end - SHOWN);
    this.windows = [...shown, { ...window, found, unlike }];
    this.names = labels;
  }

  /** The labels along time, in seconds before the right edge, without those of windows more unlike than `most`. */
  labels(most: number): [Stretch[], Track[]] {
    const now = this.end / this.from.rate;
    const found = this.windows.map((one) => one.found);
    const scores = this.windows.flatMap(({ unlike }) => (unlike === null ? [] : [unlike]));
    const tracks = scores.length
      ? scoredTracks(this.names, { unlike: Float32Array.from(scores), found }, TRACKS, most)
      : tracksOf(this.names, found, TRACKS);
    return [this.windows.map(({ start, end }) => ({ start: start - now, end: end - now })), tracks];
  }

  draw(wave: HTMLCanvasElement, mels: HTMLCanvasElement): void {
    drawMels(mels, this.mels);
    const all = SHOWN * this.from.rate;
    const samples = this.from.last(all, this.from.received - this.end); // as far as the log-mel
    const share = samples.length / all;
    drawWave(wave, outline(samples, Math.max(1, Math.round(COLUMNS * share))), share);
  }
}
