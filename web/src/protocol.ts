// What the page and its worker say to each other. An id is that of a sound, or of listening once: the newest has the
// largest, and what belongs to an older one is given up.

import type { Facts, Likely, Near } from "./model";
import type { Mels } from "./logmel";

export type ToWorker =
  | { kind: "start"; base: string }
  | { kind: "hear"; id: number; wav: ArrayBuffer }
  | { kind: "hear"; id: number; channels: Float32Array[]; rate: number }
  | { kind: "live"; id: number; samples: Float32Array; rate: number }
  | { kind: "picture"; id: number; samples: Float32Array; rate: number }
  | { kind: "rehearse" };

export type FromWorker =
  | { kind: "ready"; facts: Facts; threads: number }
  | { kind: "failed"; sentence: string }
  | { kind: "progress"; id: number; share: number }
  | { kind: "heard"; id: number; heard: Heard }
  | { kind: "unheard"; id: number; sentence: string | null }
  | { kind: "live"; id: number; live: Answer }
  | { kind: "picture"; id: number; mels: Mels }
  | { kind: "rehearsed"; rehearsal: Rehearsal };

/** The vector of a sound that both engines make up alike, and the milliseconds that it took. */
export interface Rehearsal {
  vector: Float32Array;
  milliseconds: number;
}

/** Milliseconds of a window, on average. */
export interface Milliseconds {
  mel: number;
  net: number;
}

/** What is said about a vector. */
export interface Answer {
  vector: Float32Array;
  near: Near[];
  labels: Likely[];
  milliseconds: Milliseconds;
}

export interface Heard extends Answer {
  seconds: number;
  /** A vector a window, in one array, and where each window begins, in seconds. */
  windows: Float32Array;
  starts: number[];
  /** Lowest and highest sample of each column, in turn. */
  outline: Float32Array;
  picture: Mels;
  /** Samples that were no numbers. */
  bad: number;
}
