// Requests to the server of `sondino label`, each with the token of the page's address.

import { PageError } from "../errors";

export type Verdict = "yes" | "no" | "unsure";
export type How = "mixed" | "uncertain" | "similar" | "different" | "top" | "random" | "disagree";

/** A window that is asked about. */
export interface Candidate {
  window: number;
  /** Of its recording, relative to the archive. */
  path: string;
  /** Seconds in the recording. */
  start: number;
  end: number;
  label: string;
  /** The classifier's probability; null before there is a classifier. */
  score: number | null;
  how: How;
  why: string;
  given: string | null;
}

export type Counts = Record<Verdict, number>;

/** Precision, the ends of its interval, and the answers at random that it is from. */
export type Estimate = [number, number, number, number];

export interface State {
  labels: string[];
  answers: Record<string, Counts>;
  windows: number;
  files: number;
  estimate: Record<string, Estimate | null>;
  advice: Record<string, string>;
  who: string;
  model: string;
}

/** A WAV, and where it begins and ends in its recording, in seconds. */
export interface WavSlice {
  wav: ArrayBuffer;
  from: number;
  to: number;
}

/** What the server answered in place of a result. */
export class ServerError extends PageError {}

export const UNREACHABLE = "The server does not answer: is “sondino label” still running?";

export class Api {
  constructor(private readonly token: string) {}

  state(): Promise<State> {
    return this.json("state");
  }

  next(label: string, how: How, count: number): Promise<Candidate[]> {
    return this.json(`next?${new URLSearchParams({ label, how, count: String(count) })}`);
  }

  answer({ window, label, how }: Candidate, verdict: Verdict): Promise<State> {
    return this.json("answer", { window, label, verdict, how });
  }

  undo(): Promise<{ undone: Candidate | null; state: State }> {
    return this.json("undo", {});
  }

  /** @param by what its first candidates are like; empty: nothing is known. */
  addLabel(label: string, by: string): Promise<State> {
    return by ? this.json("start", { label, by }) : this.json("label", { label });
  }

  write(): Promise<{ written: string[] }> {
    return this.json("write", {});
  }

  /** @param around seconds before and after the window, as far as the recording has them. */
  async sound(window: number, around: number): Promise<WavSlice> {
    const fields = { window: String(window), before: String(around), after: String(around) };
    const reply = await this.ask(`sound?${new URLSearchParams(fields)}`);
    const wav = await reply.arrayBuffer().catch(() => Promise.reject(new ServerError(UNREACHABLE)));
    return { wav, from: Number(reply.headers.get("X-From")), to: Number(reply.headers.get("X-To")) };
  }

  private async json<T>(path: string, body?: unknown): Promise<T> {
    const reply = await this.ask(path, body);
    return reply.json().catch(() => Promise.reject(new ServerError(UNREACHABLE))) as Promise<T>;
  }

  private async ask(path: string, body?: unknown): Promise<Response> {
    const headers = { "X-Token": this.token };
    const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
    const reply = await fetch(new URL(`./api/${path}`, document.baseURI), options).catch(() => null);
    if (!reply) throw new ServerError(UNREACHABLE);
    if (reply.ok) return reply;
    const found = (await reply.json().catch(() => null)) as { error?: string } | null;
    throw new ServerError(asMessage(found?.error ?? `the server answered with ${reply.status}`));
  }
}

/** A message with a capital letter and a full stop; names of files keep their case. */
export function asMessage(text: string): string {
  const first = /^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
