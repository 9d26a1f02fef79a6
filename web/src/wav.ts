// WAV files, read and written by us: a browser would resample what it decodes in its own way.

export interface Sound {
  channels: Float32Array[];
  rate: number;
}

/** What a WAV's header says; null: no WAV, or one of a kind that is left to the browser. */
interface Header {
  rate: number;
  channels: number;
  bits: number;
  float: boolean;
  at: number;
  bytes: number;
}

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;

export function wavHeader(file: ArrayBuffer): Header | null {
  const view = new DataView(file);
  if (file.byteLength < 12 || !["RIFF", "RF64"].includes(word(view, 0)) || word(view, 8) !== "WAVE") return null;
  const isOpen = view.getUint32(4, true) === 8; // it was never closed; one that was closed may well hold no sound
  let long = 0; // bytes of audio, which RF64 states elsewhere
  let found: Omit<Header, "at" | "bytes"> | null = null;
  let at = 12;
  while (at + 8 <= file.byteLength) {
    const size = view.getUint32(at + 4, true);
    const body = at + 8;
    if (word(view, at) === "fmt " && body + 16 <= file.byteLength) {
      let kind = view.getUint16(body, true);
      if (kind === EXTENSIBLE && body + 26 <= file.byteLength) kind = view.getUint16(body + 24, true);
      const channels = view.getUint16(body + 2, true);
      const rate = view.getUint32(body + 4, true);
      const bits = view.getUint16(body + 14, true);
      const known = kind === PCM ? [8, 16, 24, 32] : kind === FLOAT ? [32, 64] : [];
      if (!known.includes(bits) || !channels || !rate) return null;
      found = { rate, channels, bits, float: kind === FLOAT };
    } else if (word(view, at) === "ds64" && body + 16 <= file.byteLength) {
      long = view.getUint32(body + 8, true) + view.getUint32(body + 12, true) * 2 ** 32;
    } else if (word(view, at) === "data" && found) {
      // A truncated file, or one whose length was never written, holds what follows.
      const told = size === 0xffffffff && long ? long : size || (isOpen ? Infinity : 0);
      return { ...found, at: body, bytes: Math.min(told, file.byteLength - body) };
    }
    at = body + size + (size % 2);
  }
  return null;
}

export function readWav(file: ArrayBuffer): Sound | null {
  const header = wavHeader(file);
  if (!header) return null;
  const view = new DataView(file, header.at, header.bytes);
  const width = header.bits / 8;
  const frames = Math.floor(header.bytes / (width * header.channels));
  const sample = sampleReader(view, header);
  const channels = Array.from({ length: header.channels }, (_, channel) => {
    const out = new Float32Array(frames);
    for (let i = 0; i < frames; i++) out[i] = sample((i * header.channels + channel) * width);
    return out;
  });
  return { channels, rate: header.rate };
}

function sampleReader(view: DataView, header: Header): (at: number) => number {
  if (header.float) return header.bits === 32 ? (at) => view.getFloat32(at, true) : (at) => view.getFloat64(at, true);
  switch (header.bits) {
    case 8:
      return (at) => (view.getUint8(at) - 128) / 128;
    case 16:
      return (at) => view.getInt16(at, true) / 32768;
    case 24:
      return (at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65536) / 8388608;
    default:
      return (at) => view.getInt32(at, true) / 2147483648;
  }
}

/** Mono samples as a WAV of 32-bit floats: bit-identical samples. */
export function writeWav(samples: Float32Array, rate: number): ArrayBuffer {
  const file = new ArrayBuffer(44 + 4 * samples.length);
  const view = new DataView(file);
  const write = (at: number, text: string) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, 36 + 4 * samples.length, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, FLOAT, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * 4, true);
  view.setUint16(32, 4, true);
  view.setUint16(34, 32, true);
  write(36, "data");
  view.setUint32(40, 4 * samples.length, true);
  new Float32Array(file, 44).set(samples);
  return file;
}

function word(view: DataView, at: number): string {
  return String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)));
}
