// The right side: the most similar clips, labels and embedding. Rows stay in place and change their text, so that a
// key press or a pointer finds its button while the microphone is on.

import { byId, cosineText, make, percent } from "./dom";
import { drawVector } from "./draw";
import type { Clip, Facts } from "./model";
import { PlayButton, type Sound } from "./player";
import type { Answer } from "./protocol";

const SHOWN = 5;
const SVG = "http://www.w3.org/2000/svg";

interface NearRow {
  item: HTMLLIElement;
  play: PlayButton;
  name: HTMLElement;
  group: HTMLElement;
  bar: Bar;
  value: HTMLElement;
  clip: number;
}

/** A bar whose length is a share, drawn without inline styles, which the page's rules forbid. */
class Bar {
  readonly element = make("div", { class: "track", "aria-hidden": "true" });
  private readonly rect: SVGRectElement;

  constructor() {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 100 8");
    svg.setAttribute("preserveAspectRatio", "none");
    this.rect = document.createElementNS(SVG, "rect");
    this.rect.setAttribute("height", "8");
    svg.append(this.rect);
    this.element.append(svg);
  }

  set(share: number): void {
    this.rect.setAttribute("width", String(100 * Math.min(1, Math.max(0, share))));
  }
}

export class Results {
  private readonly near: NearRow[] = [];
  private readonly labels: { item: HTMLLIElement; name: HTMLElement; bar: Bar; value: HTMLElement }[] = [];
  private vector: Float32Array | null = null;
  /** Labels of what is more unlike the training clips than this are hidden. */
  most = 1;

  constructor(
    private readonly facts: Facts,
    private readonly soundOf: (clip: number) => Sound,
    chooseClip: (clip: number) => void,
  ) {
    const list = byId("near");
    for (let i = 0; i < Math.min(SHOWN, facts.gallery.length); i++) {
      const row: NearRow = {
        item: make("li", { hidden: "" }),
        play: new PlayButton(),
        name: make("b"),
        group: make("small"),
        bar: new Bar(),
        value: make("span", { class: "value" }),
        clip: -1,
      };
      const words = make("button", { type: "button", class: "name" });
      words.append(make("span", { class: "hide" }, "Show "), row.name, row.group);
      words.addEventListener("click", () => chooseClip(row.clip));
      row.item.append(row.play.element, words, row.bar.element, row.value);
      list.append(row.item);
      this.near.push(row);
    }
    byId("near-part").hidden = !facts.gallery.length;
    byId("labels-part").hidden = !facts.head;
    for (let i = 0; i < Math.min(SHOWN, facts.head?.labels.length ?? 0); i++) {
      const row = { item: make("li"), name: make("span", { class: "label" }), bar: new Bar(), value: make("span", { class: "value" }) };
      row.item.append(row.name, row.bar.element, row.value);
      byId("labels").append(row.item);
      this.labels.push(row);
    }
  }

  /**
   * @param own the clip of the gallery that was embedded itself, which is left out.
   * @param live another answer follows: a list that somebody is using stays as it is.
   */
  show(answer: Answer, own: number | null, live = false): void {
    const near = answer.near.filter((one) => one.clip !== own);
    const inUse = live && (byId("near").matches(":hover, :focus-within") || this.near.some((row) => row.play.isPlaying));
    this.near.forEach((row, i) => {
      if (inUse) return;
      row.item.hidden = !near[i];
      if (!near[i]) return;
      const { clip, cosine } = near[i];
      const one: Clip = this.facts.gallery[clip];
      if (clip !== row.clip) {
        row.play.set(one.name, () => this.soundOf(clip));
        row.name.textContent = one.name;
        row.group.textContent = one.group;
        row.clip = clip;
      }
      row.bar.set(cosine);
      row.value.textContent = cosineText(cosine);
    });
    const hidden = this.hides(answer);
    const of = live ? "Of the newest window." : "Of the whole clip: of the mean of its windows.";
    const score = answer.unlike === null ? "" : ` Unlike the training clips: ${percent(answer.unlike)}${hidden ? ", labels hidden" : ""}.`;
    byId("labels-note").textContent = of + score;
    this.labels.forEach((row, i) => {
      const { label, probability } = answer.labels[i];
      row.item.hidden = hidden;
      row.name.textContent = label;
      row.bar.set(probability);
      row.value.textContent = percent(probability);
    });
    this.vector = answer.vector;
    this.draw();
    const canvas = byId("vector");
    const largest = answer.vector.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    canvas.setAttribute("aria-label", `Embedding of dimension ${answer.vector.length}, largest value ${largest.toPrecision(3)}`);
    byId("vector-note").textContent =
      `dimension ${answer.vector.length}: ${[...answer.vector.subarray(0, 4)].map((value) => value.toFixed(3)).join(", ")}, …`;
  }

  private hides({ unlike }: Answer): boolean {
    return unlike !== null && unlike > this.most;
  }

  draw(): void {
    if (this.vector) drawVector(byId<HTMLCanvasElement>("vector"), this.vector);
  }

  /** As text, for screen readers. */
  words(answer: Answer, own: number | null): string {
    const near = answer.near.find((one) => one.clip !== own);
    const like = near ? `most similar to ${this.facts.gallery[near.clip].name}, ${cosineText(near.cosine)}` : "";
    const label = answer.labels[0];
    if (label && this.hides(answer)) return ["labels hidden, unlike the training clips", like].filter(Boolean).join("; ");
    const labelled = label ? `${label.label}, ${Math.round(100 * label.probability)} percent` : "";
    return [labelled, like].filter(Boolean).join("; ");
  }
}
