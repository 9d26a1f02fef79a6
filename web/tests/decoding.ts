// What the page decodes of a file, for scripts/format_matrix.py.

import { decode } from "../src/decode";
import { findParts } from "../src/riff";
import { readWav } from "../src/wav";
import { toMono } from "../src/windows";

/** The rate and the mono samples, float32 as base64, of a file in base64. */
export async function decoded(file: string): Promise<[number, string]> {
  const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0)).buffer;
  const sound = findParts(bytes) ? readWav(bytes) : await decode(bytes);
  if (!sound) throw new Error("nothing was decoded");
  const samples = new Uint8Array(toMono(sound.channels).mono.buffer);
  let text = "";
  for (let at = 0; at < samples.length; at += 8192) text += String.fromCharCode(...samples.subarray(at, at + 8192));
  return [sound.rate, btoa(text)];
}
