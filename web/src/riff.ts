// Where the sounds of a WAV lie. What is there is read, and where a header says otherwise a note says so: the rules are
// those of sondino in Python, for files and for pipes, and all three are tested with tests/data/wav_headers.json.

import { severalNote } from "./sound";

/** One sound: interleaved samples of `width` bytes. */
export interface Segment {
  rate: number;
  channels: number;
  width: number;
  float: boolean;
  at: number;
  frames: number;
}

export interface Layout {
  parts: Segment[];
  /** What to say of the file, after its name and a colon. */
  notes: string[];
}

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;
const IN_DS64 = 0xffffffff; // the size of data in RF64 and BW64, whose real one is in the chunk ds64
const PADDING = 4096; // bytes: as many zeros as this at the end are samples
const END_CHUNKS = 1 << 16; // bytes at the end of a file in which chunks behind samples of no length are looked for
const AT_END = ["LIST", "JUNK", "PEAK", "_PMX", "iXML", "bext", "cue ", "smpl", "inst", "fact", "acid", "afsp", "id3 ", "ID3 "];
const TAGS = ["ID3", "TAG", "APETAGEX"];

/** Null: no WAV, or one with a codec that is left to the browser. */
export function findParts(file: ArrayBuffer): Layout | null {
  const view = new DataView(file);
  const parts: Segment[] = [];
  const notes: string[] = [];
  let end = 0; // of the sounds so far, in seconds
  let at = 0;
  let format: Data["format"] | null = null;
  while (isSound(view, at) || isMore(view, at, format)) {
    const data = findData(view, at, format);
    if (!data) {
      if (parts.length) notes.push("another sound follows, which cannot be read and is left out");
      break;
    }
    format = data.format;
    const { bytes, next, fault } = extent(view, data);
    const frame = data.format.channels * data.format.width;
    const frames = Math.floor(bytes / frame);
    const seconds = (count: number) => (Math.floor(count / frame) / data.format.rate).toFixed(2);
    end += frames / data.format.rate;
    if (frames && fault === "unfinished") notes.push(`its header was never finished; all ${seconds(bytes)} s after it are read`);
    if (frames && fault === "truncated") notes.push(`truncated or damaged (it is cut short); read up to ${end.toFixed(2)} s`);
    if (fault === "too small") notes.push(`its header says ${seconds(data.size)} s, ${seconds(bytes)} s are there and are read`);
    parts.push({ ...data.format, at: data.at, frames });
    at = next;
  }
  if (parts.length > 1) notes.push(severalNote(parts.length));
  return parts.length ? { parts, notes } : null;
}

interface Data {
  format: Omit<Segment, "at" | "frames">;
  at: number;
  /** Bytes of samples by the header, which may not know: `isOpen`. */
  size: number;
  isOpen: boolean;
}

/** @param last the format of the sound before, of which a further data chunk is. */
function findData(view: DataView, start: number, last: Data["format"] | null): Data | null {
  if (last && isMore(view, start, last)) return { format: last, at: start + 8, size: view.getUint32(start + 4, true), isOpen: false };
  let long: number | null = null;
  let format: Data["format"] | null = null;
  let at = start + 12;
  while (at + 8 <= view.byteLength) {
    const kind = text(view, at, 4);
    const size = view.getUint32(at + 4, true);
    const body = at + 8;
    if (kind === "fmt " && body + 16 <= view.byteLength) {
      format = readFormat(view, body);
      if (!format) return null;
    } else if (kind === "ds64" && body + 16 <= view.byteLength && text(view, start, 4) !== "RIFF") {
      long = view.getUint32(body + 8, true) + view.getUint32(body + 12, true) * 2 ** 32;
    } else if (kind === "data" && format) {
      if (size === IN_DS64 && long !== null) return { format, at: body, size: long, isOpen: !long || long >= 2 ** 63 };
      return { format, at: body, size, isOpen: !size || (size >= 0x7ffff000 && size <= 0x80001000) || size >= 0xfffff000 };
    }
    at = body + size + (size % 2);
  }
  return null;
}

function readFormat(view: DataView, at: number): Data["format"] | null {
  let codec = view.getUint16(at, true);
  if (codec === EXTENSIBLE && at + 26 <= view.byteLength) codec = view.getUint16(at + 24, true);
  const channels = view.getUint16(at + 2, true);
  const rate = view.getUint32(at + 4, true);
  const frame = view.getUint16(at + 12, true);
  // The width of a sample is that of the frame; where that is wrong, that of its bits.
  const width = frame && frame % channels === 0 ? frame / channels : Math.ceil(view.getUint16(at + 14, true) / 8);
  const known = codec === PCM ? [1, 2, 3, 4] : codec === FLOAT ? [4, 8] : [];
  return channels && known.includes(width) ? { rate, channels, width, float: codec === FLOAT } : null;
}

interface Extent {
  bytes: number;
  /** Where another sound may begin. */
  next: number;
  fault: "unfinished" | "truncated" | "too small" | null;
}

/** How far the samples reach. (That a size has wrapped at 4 GiB and chunks follow needs no look: the page reads no such file.) */
function extent(view: DataView, { at, size, isOpen }: Data): Extent {
  const rest = view.byteLength - at;
  const all = (fault: Extent["fault"], bytes = rest): Extent => ({ bytes, next: view.byteLength, fault });
  const beforeChunks = (from: number) => chunksAtEnd(view, Math.max(from, view.byteLength - END_CHUNKS)) - at;
  if (!size && (isSound(view, at) || isChunk(view, at))) return { bytes: 0, next: afterChunks(view, at), fault: null };
  if (!size) return all("unfinished", beforeChunks(at));
  if (size > rest) return isOpen ? all(null, beforeChunks(at)) : all("truncated");
  // Some write an odd size without the pad that belongs to it.
  const ends = [at + size + (size % 2), at + size];
  const next = ends.find((end) => isSound(view, end) || isChunk(view, end));
  if (next !== undefined) return { bytes: size, next: afterChunks(view, next), fault: null };
  const isRight = size === rest || (!isOpen && ends.some((end) => isEnd(view, end)));
  return isRight ? { bytes: size, next: view.byteLength, fault: null } : all("too small", beforeChunks(at + size));
}

/** Where chunks begin that end just where the file ends; its length where there are none. */
function chunksAtEnd(view: DataView, from: number): number {
  for (let at = from; at + 8 <= view.byteLength; at++) {
    if (AT_END.includes(text(view, at, 4)) && areChunks(view, at)) return at;
  }
  return view.byteLength;
}

/** Whether chunks without samples reach from here to the end of the file. */
function areChunks(view: DataView, at: number): boolean {
  while (at < view.byteLength) {
    if (!isChunk(view, at) || text(view, at, 4) === "data") return false;
    const size = view.getUint32(at + 4, true);
    at += 8 + size + (size % 2);
  }
  return true;
}

/** Whether what is left is the end of a sound: padding or a tag. */
function isEnd(view: DataView, at: number): boolean {
  const left = view.byteLength - at;
  if (left < 8 || TAGS.some((tag) => text(view, at, tag.length) === tag)) return true;
  return left < PADDING && new Uint8Array(view.buffer, at).every((byte) => byte === 0);
}

function afterChunks(view: DataView, at: number): number {
  while (!isSound(view, at) && isChunk(view, at) && !isData(view, at)) {
    const end = at + 8 + view.getUint32(at + 4, true);
    at = end % 2 !== at % 2 && (isSound(view, end + 1) || isChunk(view, end + 1)) ? end + 1 : end;
  }
  return at;
}

/** Whether a data chunk with samples begins here. */
function isData(view: DataView, at: number): boolean {
  return text(view, at, 8).slice(0, 4) === "data" && view.getUint32(at + 4, true) > 0;
}

/** Whether a further data chunk of a WAV begins here. */
function isMore(view: DataView, at: number, format: Data["format"] | null): boolean {
  return format !== null && isData(view, at) && isChunk(view, at);
}

function isSound(view: DataView, at: number): boolean {
  return ["RIFF", "RF64", "BW64"].includes(text(view, at, 4)) && text(view, at + 8, 4) === "WAVE";
}

function isChunk(view: DataView, at: number): boolean {
  const kind = text(view, at, 8).slice(0, 4);
  return /^[A-Za-z0-9_ ]{4}$/.test(kind) && kind !== "    " && view.getUint32(at + 4, true) <= view.byteLength - at - 8;
}

/** Bytes as letters; none where the file ends before them. */
function text(view: DataView, at: number, length: number): string {
  if (at + length > view.byteLength) return "";
  return String.fromCharCode(...new Uint8Array(view.buffer, at, length));
}
