// The candidates of one label: the one that is shown, and those that follow.

import type { Candidate } from "./api";

export const FOLLOWING = 4; // candidates that are shown small
const MOST = 100; // that the server gives at once

export class Queue {
  private list: Candidate[] = [];
  private readonly skipped = new Set<number>();

  get current(): Candidate | null {
    return this.list[0] ?? null;
  }

  get following(): Candidate[] {
    return this.list.slice(1, 1 + FOLLOWING);
  }

  /** How many to ask the server for: it gives those that were skipped again. */
  get wanted(): number {
    return Math.min(MOST, 1 + FOLLOWING + this.skipped.size);
  }

  /** Replace all: the classifier has changed. Where everything was skipped it comes again. */
  replace(found: Candidate[]): void {
    const fresh = found.filter(({ window }) => !this.skipped.has(window));
    if (!fresh.length) this.skipped.clear();
    this.list = fresh.length ? fresh : found;
  }

  /** Keep those that are shown, and add others behind them. */
  extend(found: Candidate[]): void {
    if (!this.list.length) {
      this.replace(found);
      return;
    }
    const known = new Set([...this.skipped, ...this.list.map(({ window }) => window)]);
    this.list.push(...found.filter(({ window }) => !known.has(window)));
  }

  /** Keep the one that is shown alone, and replace those that follow: answers came from elsewhere. */
  refresh(found: Candidate[]): void {
    this.list.splice(1);
    this.extend(found);
  }

  /** Go to the next one; this one comes again when there is no other. */
  skip(): void {
    const first = this.list.shift();
    if (first) this.skipped.add(first.window);
  }

  /** Go to the next one: this one has its answer. */
  drop(): void {
    this.list.shift();
  }

  /** Show a candidate now: one of those that follow, or one whose answer was taken back. */
  show(candidate: Candidate): void {
    this.skipped.delete(candidate.window);
    this.list = [candidate, ...this.list.filter(({ window }) => window !== candidate.window)];
  }
}
