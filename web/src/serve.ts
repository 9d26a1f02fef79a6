// The worker: from audio to embeddings. All heavy computation happens here, so that the page stays responsive.

import type * as Ort from "onnxruntime-common";
import { PageError } from "./errors";
import { LogMel, type Mels } from "./logmel";
import { FORMAT, likeliest, nearest, probabilities, type Facts } from "./model";
import type { Answer, FromWorker, ClipResult, Milliseconds, ToWorker } from "./protocol";
import { outline } from "./outline";
import { resample } from "./resample";
import { TRACKS, tracksOf } from "./tracks";
import { Unlike, unlikeLength } from "./unlike";
import { readWav } from "./wav";
import { merge, splitWindows, toMono } from "./windows";

const NEAR = 6;
const LABELS = 5;
const COLUMNS = 1000; // of a picture; more than most screens have room for
const AGAIN = "export the page again with sondino export --to web, and copy the whole folder";

interface Model {
  facts: Facts;
  logMel: LogMel;
  session: Ort.InferenceSession;
  gallery: Float32Array;
  head: Float32Array;
  unlike: Unlike | null;
}

/**
 * Answer the page's messages.
 *
 * @param ort ONNX Runtime, with its wasm named in `ort.env.wasm.wasmPaths`.
 * @param provider what it computes on.
 */
export function serve(ort: typeof Ort, provider: "wasm" | "webgpu"): void {
  let model: Model | null = null;
  let current = 0; // the newest id
  let queue: Promise<void> = Promise.resolve(); // the network processes one clip at a time

  const post = (message: FromWorker, transfer: Transferable[] = []) => postMessage(message, { transfer });

  const failed = (error: unknown) => post({ kind: "failed", message: messageOf(error) });

  async function start(base: string): Promise<void> {
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
    ort.env.logLevel = "error";
    model = await open(ort, provider, base);
    const { facts, logMel } = model;
    // The first run is slower: warm up with a short input.
    await run(model, logMel.compute(noise(facts.fixed ?? facts.minimum)));
    post({ kind: "ready", facts, threads: ort.env.wasm.numThreads });
  }

  async function run(open: Model, mels: Mels): Promise<Float32Array> {
    const input = new ort.Tensor("float32", mels.values, [1, mels.bands, mels.frames]);
    const results = await open.session.run({ [open.session.inputNames[0]]: input });
    return Float32Array.from((await results[open.session.outputNames[0]].getData()) as Float32Array);
  }

  async function embed(id: number, channels: Float32Array[], rate: number, notes: string[]): Promise<void> {
    if (!model) throw new PageError("came before the model was loaded: choose it again");
    const { facts, logMel } = model;
    const { mono, bad } = toMono(channels);
    if (!mono.length) throw new PageError("holds no sound");
    if (bad === mono.length * channels.length) throw new PageError("holds no sound, every sample is NaN or infinite");
    const waveform = resample(mono, rate, facts.sample_rate);
    const pieces = splitWindows(waveform, facts);
    const picture = new Picture(logMel, waveform.length);
    const windows = new Float32Array(pieces.length * facts.dim);
    const spent: Milliseconds = { mel: 0, net: 0 };
    const found: Float32Array[] = [];
    const unlike: number[] = [];
    for (const [row, piece] of pieces.entries()) {
      const began = performance.now();
      const mels = logMel.compute(piece.samples);
      const between = performance.now();
      const own = await run(model, mels);
      windows.set(own, row * facts.dim);
      spent.mel += (between - began) / pieces.length;
      spent.net += (performance.now() - between) / pieces.length;
      if (facts.head) found.push(probabilities(facts.head, model.head, own));
      if (model.unlike) unlike.push(model.unlike.score(own));
      picture.add(mels, piece.start, piece.real);
      if (pieces.length > 1) post({ kind: "progress", id, share: (row + 1) / pieces.length });
      await yieldToMessages();
      if (id !== current) {
        post({ kind: "rejected", id, message: null });
        return;
      }
    }
    const vector = merge(windows, facts.dim, pieces.map((piece) => piece.real));
    const result: ClipResult = {
      ...answer(model, vector, spent),
      seconds: mono.length / rate,
      windows,
      starts: pieces.map((piece) => piece.start / facts.sample_rate),
      stretches: pieces.map(({ start, real }) => ({ start: start / facts.sample_rate, end: (start + real) / facts.sample_rate })),
      tracks: tracksOf(facts.head?.labels ?? [], found, TRACKS),
      scored: model.unlike && { unlike: Float32Array.from(unlike), found },
      outline: outline(waveform, Math.min(COLUMNS, waveform.length)),
      picture: picture.whole(),
      notes: bad ? [...notes, `${bad} samples were NaN or infinite and were set to 0`] : notes,
    };
    post({ kind: "embedded", id, result }, [windows.buffer]);
  }

  async function live(id: number, samples: Float32Array, rate: number): Promise<void> {
    if (!model || id !== current) return;
    const { facts, logMel } = model;
    const began = performance.now();
    let waveform = resample(samples, rate, facts.sample_rate);
    const size = facts.fixed ?? facts.minimum;
    if (waveform.length < size) {
      const padded = new Float32Array(size);
      padded.set(waveform);
      waveform = padded;
    }
    const mels = logMel.compute(waveform);
    const between = performance.now();
    const vector = await run(model, mels);
    const milliseconds = { mel: between - began, net: performance.now() - between };
    const found = facts.head && probabilities(facts.head, model.head, vector);
    post({ kind: "live", id, live: { ...answer(model, vector, milliseconds), found } });
  }

  function picture(id: number, samples: Float32Array, rate: number): void {
    if (!model) return;
    const mels = model.logMel.compute(resample(samples, rate, model.facts.sample_rate));
    post({ kind: "picture", id, mels }, [mels.values.buffer]);
  }

  async function measure(): Promise<void> {
    if (!model) return;
    const { facts, logMel } = model;
    const mels = logMel.compute(noise(facts.fixed ?? Math.max(facts.minimum, facts.window ?? facts.sample_rate)));
    let vector = await run(model, mels);
    let milliseconds = Infinity;
    for (let i = 0; i < 5; i++) {
      const began = performance.now();
      vector = await run(model, mels);
      milliseconds = Math.min(milliseconds, performance.now() - began);
    }
    post({ kind: "measured", measurement: { vector, milliseconds } });
  }

  onmessage = ({ data }: MessageEvent<ToWorker>) => {
    if (data.kind === "start") {
      start(data.base).catch(failed);
      return;
    }
    if (data.kind === "measure") {
      queue = queue.then(measure).catch(failed);
      return;
    }
    const { id } = data;
    current = id;
    if (data.kind === "picture") {
      picture(id, data.samples, data.rate);
      return;
    }
    if (data.kind === "live") {
      queue = queue.then(() => live(id, data.samples, data.rate)).catch(failed);
      return;
    }
    queue = queue
      .then(() => {
        const sound = "wav" in data ? readWav(data.wav) : data;
        if (!sound) throw new PageError("is not a WAV that can be read");
        return embed(id, sound.channels, sound.rate, sound.notes);
      })
      .catch((error: unknown) => post({ kind: "rejected", id, message: messageOf(error) }));
  };
}

async function open(ort: typeof Ort, provider: string, base: string): Promise<Model> {
  const get = async (name: string): Promise<ArrayBuffer> => {
    const response = await fetch(new URL(name, base)).catch(() => null);
    if (!response) throw new PageError(`model/${name} could not be fetched: check the connection, then load the page again`);
    if (!response.ok) throw new PageError(`model/${name} is missing (${response.status}): ${AGAIN}`);
    return response.arrayBuffer();
  };
  const floats = async (name: string, count: number): Promise<Float32Array> => {
    const bytes = count ? await get(name) : new ArrayBuffer(0);
    if (bytes.byteLength !== 4 * count) throw new PageError(`model/${name} is damaged: ${AGAIN}`);
    return new Float32Array(bytes);
  };
  const netBytes = get("body.onnx");
  netBytes.catch(() => undefined); // reported below, unless model.json fails first
  const facts = parse(await get("model.json"));
  const { head } = facts;
  const sizes = head?.unlike;
  const [net, gallery, weights, unlike] = await Promise.all([
    netBytes,
    floats("gallery.bin", facts.gallery.length * facts.dim),
    floats("head.bin", head ? head.sizes.slice(1).reduce((sum, size, i) => sum + size * (head.sizes[i] + 1), 0) : 0),
    floats("unlike.bin", sizes ? unlikeLength(sizes, facts.dim) : 0),
  ]);
  const damaged = new PageError(`model/body.onnx is damaged: ${AGAIN}`);
  if (net.byteLength !== facts.model_bytes || !(await hasHash(net, facts.sha256))) throw damaged;
  let session: Ort.InferenceSession;
  try {
    session = await ort.InferenceSession.create(net, { executionProviders: [provider], graphOptimizationLevel: "all" });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (/backend|WebAssembly|wasm/i.test(why)) throw new PageError(`this browser cannot run the model (${why}): try a newer one`);
    throw damaged;
  }
  const score = sizes ? new Unlike(sizes, facts.dim, unlike) : null;
  return { facts, logMel: new LogMel(facts.front_end), session, gallery, head: weights, unlike: score };
}

/** Whether bytes have the hash that they should; a page without https cannot check. */
async function hasHash(bytes: ArrayBuffer, expected: string): Promise<boolean> {
  if (!("subtle" in crypto)) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") === expected;
}

function parse(bytes: ArrayBuffer): Facts {
  try {
    const facts = JSON.parse(new TextDecoder().decode(bytes)) as Facts;
    if (facts.format === FORMAT) return facts;
  } catch {
    // reported below
  }
  throw new PageError(`model/model.json is not one that this page can read: ${AGAIN}`);
}

function answer({ facts, gallery, head, unlike }: Model, vector: Float32Array, milliseconds: Milliseconds): Answer {
  if (!vector.every(Number.isFinite)) throw new PageError("gave an embedding with NaN or infinite values");
  return {
    vector,
    near: nearest(gallery, vector, NEAR),
    labels: facts.head ? likeliest(facts.head, probabilities(facts.head, head, vector), LABELS) : [],
    unlike: unlike && unlike.score(vector),
    milliseconds,
  };
}

/** The log-mel of a whole clip, its frames pooled to as many columns as a screen shows. */
class Picture {
  private readonly mels: Mels;
  private readonly pooled: number;

  constructor(private readonly logMel: LogMel, samples: number) {
    const frames = Math.max(1, logMel.framesOf(samples));
    this.pooled = Math.ceil(frames / COLUMNS);
    const columns = Math.ceil(frames / this.pooled);
    const bands = logMel.spec.n_mels;
    this.mels = { values: new Float32Array(bands * columns).fill(-Infinity), bands, frames: columns };
  }

  add(window: Mels, start: number, real: number): void {
    const first = Math.round(start / this.logMel.spec.hop);
    const frames = Math.min(window.frames, Math.max(1, this.logMel.framesOf(real)));
    const { values, bands, frames: columns } = this.mels;
    for (let frame = 0; frame < frames; frame++) {
      const column = Math.min(columns - 1, Math.floor((first + frame) / this.pooled));
      for (let band = 0; band < bands; band++) {
        const at = band * columns + column;
        values[at] = Math.max(values[at], window.values[band * window.frames + frame]);
      }
    }
  }

  /** Frames between windows, which belong to none, are those before them. */
  whole(): Mels {
    const { values, frames } = this.mels;
    for (let at = 1; at < values.length; at++) if (values[at] === -Infinity && at % frames) values[at] = values[at - 1];
    return this.mels;
  }
}

/** The same noise every time. */
function noise(samples: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length: samples }, () => {
    state = (state * 48271) % 2147483647;
    return 0.2 * (state / 2147483647 - 0.5);
  });
}

/** Let messages in: another clip may have been requested meanwhile. */
function yieldToMessages(): Promise<void> {
  return new Promise((done) => setTimeout(done));
}

function messageOf(error: unknown): string {
  if (error instanceof PageError) return error.message;
  return `failed (${error instanceof Error ? error.message : String(error)})`;
}
