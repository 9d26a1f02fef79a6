// The GPU, where the browser has WebGPU: used if it gives the same embeddings in less time.

import type { FromWorker, Measurement, ToWorker } from "./protocol";

const TOLERANCE = 1e-3; // of the embedding's largest value

interface Gpu {
  requestAdapter(): Promise<{ info?: { isFallbackAdapter?: boolean }; isFallbackAdapter?: boolean } | null>;
}

/** A worker that computes on the GPU and is faster than `plain`; null if there is none. */
export async function graphicsWorker(plain: Worker, base: string): Promise<Worker | null> {
  if (!(await hasGraphics())) return null;
  const made = new Worker(new URL("./gpu.ts", import.meta.url), { type: "module" });
  try {
    await answer(made, { kind: "start", base }, "ready");
    const its = await measurement(made);
    if (isBetter(its, await measurement(plain))) return made;
  } catch {
    // The CPU is always available.
  }
  made.terminate();
  return null;
}

export function isBetter(its: Measurement, plain: Measurement): boolean {
  const largest = plain.vector.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const same = plain.vector.every((value, i) => Math.abs(value - its.vector[i]) <= TOLERANCE * largest);
  return same && its.milliseconds < plain.milliseconds;
}

async function hasGraphics(): Promise<boolean> {
  const { gpu, connection } = navigator as { gpu?: Gpu; connection?: { saveData?: boolean } };
  if (!gpu || connection?.saveData || !("Suspending" in WebAssembly)) return false;
  const adapter = await gpu.requestAdapter().catch(() => null);
  return adapter !== null && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

async function measurement(worker: Worker): Promise<Measurement> {
  return (await answer(worker, { kind: "measure" }, "measured")).measurement;
}

function answer<K extends FromWorker["kind"]>(worker: Worker, message: ToWorker, kind: K): Promise<Extract<FromWorker, { kind: K }>> {
  return new Promise((done, fail) => {
    const onMessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.kind !== kind && data.kind !== "failed") return;
      worker.removeEventListener("message", onMessage);
      if (data.kind === kind) done(data as Extract<FromWorker, { kind: K }>);
      else fail(new Error(data.kind));
    };
    worker.addEventListener("message", onMessage);
    worker.addEventListener("error", fail, { once: true });
    worker.postMessage(message);
  });
}
