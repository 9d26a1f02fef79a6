// The lists of the page: labels with their counts, ways to choose, candidates that follow, and the precision.

import { clock } from "../axes";
import { addSvg, byId, make } from "../dom";
import { drawMels } from "../draw";
import type { Mels } from "../logmel";
import type { Candidate, Estimate, How, State } from "./api";
import { WAYS } from "./keys";
import { pictureOf } from "./picture";
import { FOLLOWING } from "./queue";
import { samplesOf, type Slices } from "./slices";
import { countsText, precisionText } from "./words";

const COLUMNS = 200; // frames of a small spectrogram

/** Buttons of which one is pressed; they stay in place when their text changes, so that none loses the focus. */
class Choices {
  private readonly rows: { button: HTMLButtonElement; name: HTMLElement; more: HTMLElement }[] = [];

  /** @param more the tag of what stands at the right. */
  constructor(private readonly list: HTMLElement, private readonly more: "small" | "kbd", private readonly choose: (row: number) => void) {}

  show(texts: { name: string; more: string }[], pressed: number): void {
    while (this.rows.length > texts.length) this.rows.pop()?.button.parentElement?.remove();
    texts.forEach(({ name, more }, i) => {
      const row = this.rows[i] ?? this.added();
      row.name.textContent = name;
      row.more.textContent = more;
      row.button.setAttribute("aria-pressed", String(i === pressed));
    });
  }

  private added(): (typeof this.rows)[number] {
    const row = { button: make("button", { type: "button" }), name: make("span", { dir: "auto" }), more: make(this.more) };
    const place = this.rows.length;
    row.button.addEventListener("click", () => this.choose(place));
    if (this.more === "kbd") row.more.setAttribute("aria-hidden", "true");
    row.button.append(row.name, row.more);
    const item = make("li");
    item.append(row.button);
    this.list.append(item);
    this.rows.push(row);
    return row;
  }
}

export class Labels {
  private readonly choices: Choices;
  private names: string[] = [];

  constructor(choose: (label: string) => void) {
    this.choices = new Choices(byId("labels"), "small", (row) => choose(this.names[row]));
  }

  show(state: State, label: string): void {
    this.names = state.labels;
    const texts = state.labels.map((name) => ({ name, more: countsText(state.answers[name]) }));
    this.choices.show(texts, state.labels.indexOf(label));
    byId("precision").textContent = label && precisionText(label, state.estimate[label] ?? null);
    byId("advice").textContent = (label && state.advice[label]) ?? "";
    drawInterval(byId<SVGSVGElement & HTMLElement>("interval"), state.estimate[label] ?? null);
  }
}

/** The interval as a bar from 0 to 100 %, and the estimate as a line in it. */
function drawInterval(svg: SVGSVGElement, estimate: Estimate | null): void {
  svg.replaceChildren();
  if (!estimate) return;
  const [precision, low, high] = estimate.map((share) => 100 * share);
  addSvg(svg, "rect", { class: "range", x: low, width: high - low, y: 0, height: 8 });
  addSvg(svg, "rect", { class: "value", x: Math.min(99, Math.max(0, precision - 0.5)), width: 1, y: 0, height: 8 });
}

export class Ways {
  private readonly choices = new Choices(byId("ways"), "kbd", (row) => this.choose(WAYS[row].how));

  constructor(private readonly choose: (how: How) => void) {}

  show(how: How): void {
    this.choices.show(WAYS.map(({ text, key }) => ({ name: text, more: key })), WAYS.findIndex((way) => way.how === how));
  }
}

/** The candidates that follow, as small spectrograms of their windows. */
export class Following {
  private readonly rows: { item: HTMLLIElement; canvas: HTMLCanvasElement; name: HTMLElement; candidate: Candidate | null; mels: Mels | null }[];

  constructor(private readonly slices: Slices, choose: (candidate: Candidate) => void) {
    this.rows = Array.from({ length: FOLLOWING }, () => {
      const row = { item: make("li", { hidden: "" }), canvas: make("canvas", { "aria-hidden": "true" }), name: make("span"), candidate: null, mels: null };
      const button = make("button", { type: "button" });
      button.append(row.canvas, row.name);
      row.item.append(button);
      byId("following").append(row.item);
      return row;
    });
    for (const row of this.rows) row.item.addEventListener("click", () => row.candidate && choose(row.candidate));
  }

  show(candidates: Candidate[]): void {
    byId("following-part").hidden = !candidates.length;
    this.rows.forEach((row, i) => {
      const candidate = candidates[i] ?? null;
      const isSame = candidate?.window === row.candidate?.window;
      row.candidate = candidate;
      row.item.hidden = !candidate;
      if (!candidate) return;
      row.name.textContent = `${clock(candidate.start, 1)} ${candidate.path.split("/").pop()}`;
      if (isSame && row.mels) return;
      row.mels = null;
      drawMels(row.canvas, { values: new Float32Array(1), bands: 1, frames: 1 });
      this.slices.of(candidate.window).then(
        (slice) => {
          if (row.candidate !== candidate) return; // another came meanwhile
          row.mels = pictureOf(samplesOf(slice, candidate.start, candidate.end), slice.rate, COLUMNS);
          drawMels(row.canvas, row.mels);
        },
        () => {}, // the reason is shown when its turn comes
      );
    });
  }

  draw(): void {
    for (const { canvas, mels } of this.rows) if (mels) drawMels(canvas, mels);
  }
}
