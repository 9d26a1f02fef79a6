// A clip along time: the axes of its log-mel, the playhead, and a track for each of its most probable labels.

import { frequencyTicks, timeTicks } from "./axes";
import { drawFrequencies, drawTimes } from "./rulers";
import { byId, duration, make, percent } from "./dom";
import { drawTrack } from "./draw";
import type { FrontEnd } from "./logmel";
import type { Stretch, Track } from "./tracks";

const STEPS = 50; // of the arrow keys, from one end of a clip to the other

interface Row {
  item: HTMLLIElement;
  name: HTMLElement;
  when: HTMLElement;
  value: HTMLElement;
  strip: HTMLCanvasElement;
}

export class Timeline {
  private readonly rows: Row[] = [];
  private readonly seek = byId<HTMLInputElement>("seek");
  private from = 0;
  private to = 0;
  private stretches: Stretch[] = [];
  private tracks: Track[] = [];
  private axes = ""; // what they were drawn for

  /** @param seekTo the playhead was moved, to so many seconds; `toggle`: play or pause. */
  constructor(private readonly spec: FrontEnd, rows: number, seekTo: (seconds: number) => void, toggle: () => void) {
    const { seek } = this;
    seek.addEventListener("input", () => seekTo(Number(seek.value)));
    seek.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (step) seekTo(Math.min(this.to, Math.max(0, Number(seek.value) + (step * this.to) / STEPS)));
      else if (event.key === " ") toggle();
      else return;
      event.preventDefault();
    });
    byId("tracks-part").hidden = byId("scale-note").hidden = !rows;
    for (let i = 0; i < rows; i++) {
      const row: Row = {
        item: make("li", { hidden: "" }),
        name: make("span", { class: "label" }),
        when: make("span", { class: "hide" }),
        value: make("span", { class: "value" }),
        strip: make("canvas", { class: "strip", "aria-hidden": "true" }),
      };
      row.item.append(row.name, row.value, row.when, row.strip);
      byId("tracks").append(row.item);
      this.rows.push(row);
    }
  }

  /** The seconds at the left and right, below 0 for those before now, and the labels between them. */
  show(from: number, to: number, stretches: Stretch[], tracks: Track[]): void {
    Object.assign(this, { from, to, stretches, tracks });
    const isClip = from === 0;
    this.seek.hidden = !isClip;
    this.seek.max = String(to);
    this.rows.forEach((row, i) => {
      const track = tracks[i];
      row.item.hidden = !track;
      if (!track) return;
      const { start, end } = stretches[track.highest];
      row.name.textContent = track.label;
      row.value.textContent = percent(track.values[track.highest]);
      row.when.textContent = isClip ? `, from ${duration(start)} to ${duration(end)}` : "";
    });
    this.draw();
  }

  /** Put the playhead there. */
  move(seconds: number): void {
    this.seek.value = String(seconds);
    this.seek.setAttribute("aria-valuetext", `${duration(seconds)} of ${duration(this.to)}`);
  }

  draw(): void {
    const times = byId<SVGSVGElement & HTMLElement>("times");
    const khz = byId<SVGSVGElement & HTMLElement>("khz");
    const { width } = times.getBoundingClientRect();
    const { width: side, height } = khz.getBoundingClientRect();
    this.drawStrips();
    const axes = [this.from, this.to, width, side, height].join();
    if (axes === this.axes) return;
    this.axes = axes;
    drawTimes(times, width, timeTicks(this.from, this.to, width));
    drawFrequencies(khz, side, height, frequencyTicks(this.spec, height));
  }

  private drawStrips(): void {
    this.rows.forEach((row, i) => {
      if (this.tracks[i]) drawTrack(row.strip, this.tracks[i].values, this.stretches, this.from, this.to);
    });
  }
}
