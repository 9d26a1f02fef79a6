// The rate that a compressed file was made at. Decoded at it, a sound is not resampled by the browser, whose resampler
// is not ours.

const FALLBACK = 48000; // video and voice files

export function rateOf(file: ArrayBuffer): number {
  const bytes = new Uint8Array(file);
  return wav(new DataView(file)) ?? flac(bytes) ?? ogg(bytes) ?? mpeg(bytes) ?? mp4(new DataView(file)) ?? FALLBACK;
}

/** Of a WAV whose codec is none of ours. */
function wav(file: DataView): number | null {
  if (kindAt(file, 0) !== "RIFF" || kindAt(file, 8) !== "WAVE") return null;
  let at = 12;
  while (at + 16 <= file.byteLength && kindAt(file, at) !== "fmt ") {
    const size = file.getUint32(at + 4, true);
    at += 8 + size + (size % 2);
  }
  return at + 16 <= file.byteLength ? usable(file.getUint32(at + 12, true)) : null;
}

function flac(bytes: Uint8Array): number | null {
  if (!matches(bytes, 0, "fLaC") || bytes.length < 21) return null;
  return usable((bytes[18] << 12) | (bytes[19] << 4) | (bytes[20] >> 4));
}

function ogg(bytes: Uint8Array): number | null {
  if (!matches(bytes, 0, "OggS")) return null;
  const page = 27 + bytes[26];
  if (matches(bytes, page + 1, "vorbis")) return usable(little(bytes, page + 12));
  if (matches(bytes, page + 1, "FLAC")) {
    return usable((bytes[page + 27] << 12) | (bytes[page + 28] << 4) | (bytes[page + 29] >> 4));
  }
  return null; // Opus is always decoded at 48 kHz
}

const MPEG_RATES = [44100, 48000, 32000];
const AAC_RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000];

/** HE-AAC gives twice the rate that its header may say, and up to 24 kHz no header marks it as other than AAC. */
function aac(rate: number): number | null {
  return usable(rate <= 24000 ? 2 * rate : rate);
}

/** MP3 and its kin, and AAC without a container. */
function mpeg(bytes: Uint8Array): number | null {
  let at = 0;
  if (matches(bytes, 0, "ID3")) {
    at = 10 + ((bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9]);
  }
  if (at + 4 > bytes.length || bytes[at] !== 0xff || (bytes[at + 1] & 0xe0) !== 0xe0) return null;
  if ((bytes[at + 1] & 0xf6) === 0xf0) return aac(AAC_RATES[(bytes[at + 2] >> 2) & 15] ?? 0);
  const version = (bytes[at + 1] >> 3) & 3;
  const rate = MPEG_RATES[(bytes[at + 2] >> 2) & 3];
  if (rate === undefined || version === 1) return null;
  return rate / (version === 3 ? 1 : version === 2 ? 2 : 4);
}

/** The rate of the first track of sound of an MP4: by its sample description, or else its time scale. */
function mp4(file: DataView): number | null {
  const whole = { kind: "", start: 0, end: file.byteLength };
  if (boxes(file, whole)[0]?.kind !== "ftyp") return null;
  for (const track of inside(file, [whole], "moov", "trak")) {
    const [media] = inside(file, [track], "mdia");
    const [handler] = media ? inside(file, [media], "hdlr") : [];
    if (!handler || kindAt(file, handler.start + 8) !== "soun") continue;
    const [table] = inside(file, [media], "minf", "stbl", "stsd");
    const [scale] = inside(file, [media], "mdhd");
    const described = table && table.start + 42 <= table.end ? usable(file.getUint16(table.start + 40)) : null;
    if (described) return kindAt(file, table.start + 12) === "mp4a" ? aac(described) : described;
    const at = scale && scale.start + (file.getUint8(scale.start) === 1 ? 20 : 12);
    return at && at + 4 <= scale.end ? usable(file.getUint32(at)) : null;
  }
  return null;
}

/** A box of an MP4: where its content starts and ends. */
interface Box {
  kind: string;
  start: number;
  end: number;
}

function boxes(file: DataView, { start, end }: Box): Box[] {
  const found: Box[] = [];
  for (let at = start; at + 8 <= end; at = found[found.length - 1].end) {
    const isLong = file.getUint32(at) === 1 && at + 16 <= end;
    const size = isLong ? file.getUint32(at + 8) * 2 ** 32 + file.getUint32(at + 12) : file.getUint32(at) || end - at;
    if (size < (isLong ? 16 : 8)) break; // damaged
    found.push({ kind: kindAt(file, at + 4), start: at + (isLong ? 16 : 8), end: Math.min(end, at + size) });
  }
  return found;
}

/** The boxes at a path below others. */
function inside(file: DataView, from: Box[], ...path: string[]): Box[] {
  return path.reduce((level, kind) => level.flatMap((box) => boxes(file, box)).filter((box) => box.kind === kind), from);
}

function kindAt(file: DataView, at: number): string {
  return at + 4 <= file.byteLength ? String.fromCharCode(...new Uint8Array(file.buffer, at, 4)) : "";
}

/** No browser decodes at rates outside of this; decode.ts asks for less where one cannot. */
function usable(rate: number): number | null {
  return rate >= 8000 && rate <= 768000 ? rate : null;
}

function matches(bytes: Uint8Array, at: number, text: string): boolean {
  return [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0));
}

function little(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}
