// One loudspeaker: a round button plays a sound, and stops what another one plays.

import { make } from "./dom";

const PLAY = "M4 2l12 7-12 7z";
const STOP = "M3 3h12v12H3z";
const PAUSE = "M4 3h4v12H4zM10 3h4v12h-4z";
const player = new Audio();
let owner: PlayButton | null = null;
let lent = ""; // the address of the file that is played

/** An address, or a file. */
export type Sound = string | Blob;

player.addEventListener("play", () => {
  owner?.show(true);
  follow();
});
for (const event of ["pause", "ended", "error"]) player.addEventListener(event, () => owner?.show(false));
player.addEventListener("ended", () => owner?.move(owner.from));

function follow(): void {
  if (!owner?.isPlaying) return;
  owner.move(player.currentTime);
  requestAnimationFrame(follow);
}

export class PlayButton {
  readonly element: HTMLButtonElement;
  private name = "";
  private source: () => Sound = () => "";
  private readonly path: SVGPathElement;
  private place = 0; // seconds
  /** Seconds at which it begins. */
  from = 0;

  /** @param onMove of a button that resumes where it was paused: called with the seconds while it plays. */
  constructor(element = make("button", { type: "button", class: "go small" }), private readonly onMove?: (seconds: number) => void) {
    this.element = element;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 18 18");
    svg.setAttribute("aria-hidden", "true");
    this.path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.append(this.path);
    element.replaceChildren(svg);
    element.addEventListener("click", () => this.toggle());
  }

  /** What it plays, and from which second; the same button may be given another sound. */
  set(name: string, source: () => Sound, from = 0): void {
    if (name === this.name && this.isPlaying && !this.onMove) return; // lists are filled again while the microphone is on
    if (this.isPlaying) player.pause();
    if (owner === this) owner = null;
    this.name = name;
    this.source = source;
    this.from = from;
    this.show(false);
    this.move(from);
  }

  /** Go to a place of the clip, whether or not it plays. */
  seek(seconds: number): void {
    this.move(seconds);
    if (owner === this) player.currentTime = seconds;
  }

  /** The clip is at so many seconds. */
  move(seconds: number): void {
    if (!this.onMove) return;
    this.place = seconds;
    this.onMove(seconds);
  }

  get isPlaying(): boolean {
    return owner === this && !player.paused && !player.ended;
  }

  show(on: boolean): void {
    this.element.classList.toggle("on", on);
    const [word, path] = !on ? ["Play", PLAY] : this.onMove ? ["Pause", PAUSE] : ["Stop", STOP];
    this.element.setAttribute("aria-label", `${word} ${this.name}`);
    this.path.setAttribute("d", path);
  }

  toggle(): void {
    if (this.isPlaying) {
      player.pause();
      return;
    }
    if (owner !== this) {
      owner?.show(false);
      owner = this;
      const sound = this.source();
      URL.revokeObjectURL(lent);
      lent = typeof sound === "string" ? "" : URL.createObjectURL(sound);
      player.src = lent || (sound as string);
    }
    player.currentTime = this.place;
    // A second click before the first sound has started stops it: nothing is wrong then.
    player.play().catch((error: unknown) => {
      if (!(error instanceof DOMException && error.name === "AbortError")) this.show(false);
    });
  }
}
