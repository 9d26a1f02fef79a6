// One loudspeaker: a round button plays a sound, and stops what another one plays.

import { make } from "./dom";

const PLAY = "M4 2l12 7-12 7z";
const STOP = "M3 3h12v12H3z";
const player = new Audio();
let owner: PlayButton | null = null;
let lent = ""; // the address of the file that is played

/** An address, or a file. */
export type Sound = string | Blob;

player.addEventListener("play", () => owner?.show(true));
for (const event of ["pause", "ended", "error"]) player.addEventListener(event, () => owner?.show(false));

export class PlayButton {
  readonly element: HTMLButtonElement;
  private name = "";
  private source: () => Sound = () => "";
  private readonly path: SVGPathElement;

  constructor(element = make("button", { type: "button", class: "go small" })) {
    this.element = element;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 18 18");
    svg.setAttribute("aria-hidden", "true");
    this.path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.append(this.path);
    element.replaceChildren(svg);
    element.addEventListener("click", () => this.toggle());
  }

  /** What it plays; the same button may be given another sound. */
  set(name: string, source: () => Sound): void {
    if (name === this.name && this.isPlaying) return;
    if (this.isPlaying) player.pause();
    this.name = name;
    this.source = source;
    this.show(false);
  }

  get isPlaying(): boolean {
    return owner === this && !player.paused && !player.ended;
  }

  show(on: boolean): void {
    this.element.classList.toggle("on", on);
    this.element.setAttribute("aria-label", `${on ? "Stop" : "Play"} ${this.name}`);
    this.path.setAttribute("d", on ? STOP : PLAY);
  }

  private toggle(): void {
    if (this.isPlaying) {
      player.pause();
      return;
    }
    owner?.show(false);
    owner = this;
    const sound = this.source();
    URL.revokeObjectURL(lent);
    lent = typeof sound === "string" ? "" : URL.createObjectURL(sound);
    player.src = lent || (sound as string);
    // A second click before the first sound has started stops it: nothing is wrong then.
    player.play().catch((error: unknown) => {
      if (!(error instanceof DOMException && error.name === "AbortError")) this.show(false);
    });
  }
}
