// What Python computed: see make_data.py.

import { readFileSync } from "node:fs";

export function data<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`./data/${name}.json`, import.meta.url), "utf8")) as T;
}

export function bytes(text: string): ArrayBuffer {
  const from = Buffer.from(text, "base64");
  return from.buffer.slice(from.byteOffset, from.byteOffset + from.length) as ArrayBuffer;
}

export function floats(text: string): Float32Array {
  return new Float32Array(bytes(text));
}

/** The largest difference; infinite where lengths differ or a value is no number. */
export function difference(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (got.length !== expected.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < got.length; i++) {
    const one = Math.abs(got[i] - expected[i]);
    if (!(one <= worst)) worst = Number.isFinite(one) ? one : Infinity;
  }
  return worst;
}
