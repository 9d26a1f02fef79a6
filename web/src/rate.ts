// The rate that a compressed file was made at. Decoded at it, a sound is not resampled by the browser, whose resampler
// is not ours.

const FALLBACK = 48000; // video and voice files

export function rateOf(file: ArrayBuffer): number {
  const bytes = new Uint8Array(file, 0, Math.min(file.byteLength, 1 << 16));
  return flac(bytes) ?? ogg(bytes) ?? mpeg(bytes) ?? mp4(new Uint8Array(file)) ?? FALLBACK;
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

function mpeg(bytes: Uint8Array): number | null {
  let at = 0;
  if (matches(bytes, 0, "ID3")) {
    at = 10 + ((bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9]);
  }
  if (at + 4 > bytes.length || bytes[at] !== 0xff || (bytes[at + 1] & 0xe0) !== 0xe0) return null;
  const version = (bytes[at + 1] >> 3) & 3;
  const rate = MPEG_RATES[(bytes[at + 2] >> 2) & 3];
  if (rate === undefined || version === 1) return null;
  return rate / (version === 3 ? 1 : version === 2 ? 2 : 4);
}

/** The time scale of the first media track of an MP4, which for sound is its rate. */
function mp4(bytes: Uint8Array): number | null {
  if (!matches(bytes, 4, "ftyp")) return null;
  for (let at = 0; at + 28 < bytes.length; at++) {
    if (bytes[at] === 0x6d && matches(bytes, at, "mdhd")) {
      const rate = big(bytes, at + (bytes[at + 4] === 1 ? 24 : 16));
      if (usable(rate)) return rate;
    }
  }
  return null;
}

/** Browsers make contexts from 8 kHz on at least. */
function usable(rate: number): number | null {
  return rate >= 8000 && rate <= 96000 ? rate : null;
}

function matches(bytes: Uint8Array, at: number, text: string): boolean {
  return [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0));
}

function little(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}

function big(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}
