// Files put together with `cat` as recorders and radio streams do: Ogg allows it, and decoders of FLAC step over it. A
// browser would decode the second sound with what it knows of the first.

/** The sounds of a file, each a file of its own. */
export function links(file: ArrayBuffer): ArrayBuffer[] {
  const bytes = new Uint8Array(file);
  const starts = isAt(bytes, 0, OGG) ? oggStarts(bytes) : isAt(bytes, 0, FLAC) ? flacStarts(bytes) : [0];
  return starts.length > 1 ? starts.map((start, i) => file.slice(start, starts[i + 1])) : [file];
}

const OGG = [0x4f, 0x67, 0x67, 0x53];
const FLAC = [0x66, 0x4c, 0x61, 0x43];
const STREAM_INFO = [0, 0, 34]; // the length of FLAC's first block

/** A first page of a stream after pages that are none begins another sound. */
function oggStarts(bytes: Uint8Array): number[] {
  const starts = [0];
  let isBegun = false;
  let at = 0;
  while (at + 27 <= bytes.length) {
    if (!isAt(bytes, at, OGG)) {
      at = next(bytes, at, OGG); // what is between pages
      continue;
    }
    const isFirst = (bytes[at + 5] & 2) !== 0;
    if (isFirst && isBegun) starts.push(at);
    isBegun = !isFirst;
    const segments = bytes.subarray(at + 27, at + 27 + bytes[at + 26]);
    at += 27 + segments.length + segments.reduce((sum, size) => sum + size, 0);
  }
  return starts;
}

function flacStarts(bytes: Uint8Array): number[] {
  const starts: number[] = [];
  for (let at = 0; at < bytes.length; at = next(bytes, at + 1, FLAC)) {
    if ((bytes[at + 4] & 0x7f) === 0 && isAt(bytes, at + 5, STREAM_INFO)) starts.push(at);
  }
  return starts;
}

function next(bytes: Uint8Array, from: number, letters: number[]): number {
  let at = bytes.indexOf(letters[0], from);
  while (at >= 0 && !isAt(bytes, at, letters)) at = bytes.indexOf(letters[0], at + 1);
  return at < 0 ? bytes.length : at;
}

function isAt(bytes: Uint8Array, at: number, letters: number[]): boolean {
  return letters.every((letter, i) => bytes[at + i] === letter);
}
