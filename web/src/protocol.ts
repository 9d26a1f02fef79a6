// The messages between the page and its worker. An id belongs to a clip or to one recording: the newest has the
// largest, and work for older ones is abandoned.

import type { Facts, Likely, Near } from "./model";
import type { Mels } from "./logmel";
import type { Scored, Stretch, Track } from "./tracks";

export type ToWorker =
  | { kind: "start"; base: string }
  | { kind: "embed"; id: number; wav: ArrayBuffer }
  | { kind: "embed"; id: number; channels: Float32Array[]; rate: number; notes: string[] }
  | { kind: "live"; id: number; samples: Float32Array; rate: number }
  | { kind: "picture"; id: number; samples: Float32Array; rate: number }
  | { kind: "measure" };

export type FromWorker =
  | { kind: "ready"; facts: Facts; threads: number }
  | { kind: "failed"; message: string }
  | { kind: "progress"; id: number; share: number }
  | { kind: "embedded"; id: number; result: ClipResult }
  | { kind: "rejected"; id: number; message: string | null }
  | { kind: "live"; id: number; live: LiveAnswer }
  | { kind: "picture"; id: number; mels: Mels }
  | { kind: "measured"; measurement: Measurement };

/** The embedding of a fixed noise signal, and the milliseconds that it took. */
export interface Measurement {
  vector: Float32Array;
  milliseconds: number;
}

/** Mean milliseconds per window. */
export interface Milliseconds {
  mel: number;
  net: number;
}

/** An embedding, and what follows from it. */
export interface Answer {
  vector: Float32Array;
  near: Near[];
  labels: Likely[];
  /** How unlike the head's training clips it is, 0 to 1; null: not known. */
  unlike: number | null;
  milliseconds: Milliseconds;
}

/** Of a window of the microphone. */
export interface LiveAnswer extends Answer {
  /** The probabilities of all labels, where the model has some. */
  found: Float32Array | null;
}

/** The result for a clip. */
export interface ClipResult extends Answer {
  seconds: number;
  /** One embedding per window, in one array, and the start of each window in seconds. */
  windows: Float32Array;
  starts: number[];
  /** The windows without their padding, and the most probable labels in them. */
  stretches: Stretch[];
  tracks: Track[];
  /** How unlike the training clips each window is, with all its probabilities; null: not known. */
  scored: Scored | null;
  /** Lowest and highest sample of each column, in turn. */
  outline: Float32Array;
  picture: Mels;
  /** What to say of the file, after its name and a colon. */
  notes: string[];
}
