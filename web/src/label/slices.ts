// The sound of windows, with a few seconds before and after: fetched once, and kept while they may be shown again.

import { readWav } from "../wav";
import { ServerError, type Api } from "./api";

const AROUND = 3; // seconds before and after a window
const KEPT = 24;

/** Mono sound, and where it begins and ends in its recording, in seconds. */
export interface Slice {
  sound: Blob;
  samples: Float32Array;
  rate: number;
  from: number;
  to: number;
}

export class Slices {
  private readonly kept = new Map<number, Promise<Slice>>();

  constructor(private readonly api: Api) {}

  of(window: number): Promise<Slice> {
    const found = this.kept.get(window) ?? this.fetched(window);
    this.kept.delete(window);
    this.kept.set(window, found); // the newest last
    for (const old of this.kept.keys()) {
      if (this.kept.size <= KEPT) break;
      this.kept.delete(old);
    }
    found.catch(() => this.kept.delete(window)); // the recording may come back
    return found;
  }

  private async fetched(window: number): Promise<Slice> {
    const { wav, from, to } = await this.api.sound(window, AROUND);
    const read = readWav(wav);
    if (!read) throw new ServerError("The sound from the server is not a WAV.");
    return { sound: new Blob([wav], { type: "audio/wav" }), samples: read.channels[0], rate: read.rate, from, to };
  }
}

/** The samples of a stretch of the recording. */
export function samplesOf({ samples, rate, from }: Slice, start: number, end: number): Float32Array {
  return samples.subarray(Math.max(0, Math.round((start - from) * rate)), Math.round((end - from) * rate));
}
