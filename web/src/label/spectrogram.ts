// The candidate's spectrogram: its axes, its window, and the playhead, all in seconds of the recording.

import { clock, frequencyTicks, timeTicks } from "../axes";
import { addSvg, byId } from "../dom";
import { drawMels } from "../draw";
import type { Mels } from "../logmel";
import { drawFrequencies, drawTimes } from "../rulers";
import type { Candidate } from "./api";
import { frontEndFor, pictureOf } from "./picture";
import type { Slice } from "./slices";

const COLUMNS = 900;

export class Spectrogram {
  private readonly canvas = byId<HTMLCanvasElement>("mels");
  private readonly seek = byId<HTMLInputElement>("seek");
  private shown: { candidate: Candidate; slice: Slice; mels: Mels } | null = null;

  /** @param seekTo the playhead was moved, to so many seconds of the recording. */
  constructor(seekTo: (seconds: number) => void) {
    this.seek.addEventListener("input", () => seekTo(Number(this.seek.value)));
    this.seek.addEventListener("pointerup", () => this.seek.blur()); // arrow keys skip again
  }

  show(candidate: Candidate, slice: Slice): void {
    const { from, to, samples, rate } = slice;
    this.shown = { candidate, slice, mels: pictureOf(samples, rate, COLUMNS) };
    Object.assign(this.seek, { min: String(from), max: String(to), hidden: false });
    const whole = `${clock(from, 1)} to ${clock(to, 1)}, up to ${rate / 2000} kHz`;
    this.canvas.setAttribute("aria-label", `Spectrogram of ${candidate.path}, ${whole}; the window is ${clock(candidate.start, 1)} to ${clock(candidate.end, 1)}`);
    this.draw();
  }

  clear(): void {
    this.shown = null;
    this.seek.hidden = true;
    this.canvas.setAttribute("aria-label", "Spectrogram: no sound yet");
    this.draw();
  }

  /** Put the playhead there. */
  move(seconds: number): void {
    this.seek.value = String(seconds);
    this.seek.setAttribute("aria-valuetext", clock(seconds, 1));
  }

  draw(): void {
    const times = byId<SVGSVGElement & HTMLElement>("times");
    const khz = byId<SVGSVGElement & HTMLElement>("khz");
    const outside = byId<SVGSVGElement & HTMLElement>("outside");
    for (const svg of [times, khz, outside]) svg.replaceChildren();
    if (!this.shown) {
      this.canvas.width = 1; // which clears it
      return;
    }
    const { candidate, slice, mels } = this.shown;
    const { from, to, rate, samples } = slice;
    drawMels(this.canvas, mels);
    const { width } = times.getBoundingClientRect();
    const { width: side, height } = khz.getBoundingClientRect();
    drawTimes(times, width, timeTicks(from, to, width));
    drawFrequencies(khz, side, height, frequencyTicks(frontEndFor(rate, samples.length, COLUMNS), height));
    const across = (seconds: number) => Math.min(100, Math.max(0, (100 * (seconds - from)) / (to - from)));
    const [left, right] = [across(candidate.start), across(candidate.end)];
    addSvg(outside, "rect", { x: 0, y: 0, width: left, height: 100 });
    addSvg(outside, "rect", { x: right, y: 0, width: 100 - right, height: 100 });
    for (const x of [left, right]) addSvg(outside, "line", { x1: x, x2: x, y1: 0, y2: 100 });
  }
}
