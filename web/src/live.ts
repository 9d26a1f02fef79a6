// Listening: the last seconds of the microphone, and when to embed them.

const KEPT = 60; // seconds
const WINDOW = 2; // maximum seconds of audio of a live embedding
const STEPS = [0.5, 1, 2]; // seconds from one live embedding to the next
const WORK = 50; // maximum milliseconds of computation per second of audio

export class Listening {
  private readonly ring: Float32Array;
  private readonly window: number;
  received = 0; // samples, in all
  private asked = 0; // of them, when the model was last asked
  private step = STEPS[0];
  private busy = false;

  /**
   * @param rate of the microphone's samples.
   * @param seconds of the model's window; null: any length.
   * @param fixed whether the input must have exactly that length.
   */
  constructor(readonly rate: number, seconds: number | null, fixed: boolean) {
    this.ring = new Float32Array(KEPT * rate);
    this.window = Math.round((fixed && seconds ? seconds : Math.min(seconds ?? WINDOW, WINDOW)) * rate);
  }

  get seconds(): number {
    return this.received / this.rate;
  }

  get every(): number {
    return this.step;
  }

  add(block: Float32Array): void {
    const at = this.received % this.ring.length;
    const first = Math.min(block.length, this.ring.length - at);
    this.ring.set(block.subarray(0, first), at);
    this.ring.set(block.subarray(first), 0);
    this.received += block.length;
  }

  /** The newest window, where it is time for one and the model is free; else null. */
  next(): Float32Array | null {
    if (this.busy || this.received - this.asked < this.step * this.rate) return null;
    this.busy = true;
    this.asked = this.received;
    return this.last(this.window);
  }

  /** The model has answered, in so many milliseconds. */
  answered(milliseconds: number): void {
    this.busy = false;
    this.step = STEPS.find((step) => milliseconds / step <= WORK) ?? STEPS[STEPS.length - 1];
  }

  /** Up to so many samples, the newest last, or those before the newest `later`. */
  last(count: number, later = 0): Float32Array {
    const length = Math.max(0, Math.min(count, this.received - later, this.ring.length - later));
    const out = new Float32Array(length);
    const at = (this.received - later - length) % this.ring.length;
    const first = this.ring.subarray(at, at + length);
    out.set(first);
    out.set(this.ring.subarray(0, length - first.length), first.length);
    return out;
  }

  /** All that is kept. */
  recording(): Float32Array {
    return this.last(this.ring.length);
  }
}
