import { describe, expect, test } from "vitest";
import { PowerSpectrum } from "../src/fft";
import { links } from "../src/links";
import { LogMel, type FrontEnd } from "../src/logmel";
import { rateOf } from "../src/rate";
import { resample } from "../src/resample";
import { writeWav } from "../src/wav";
import { merge, splitWindows, toMono, type Windowing } from "../src/windows";
import { bytes, data, difference, floats } from "./data";

describe("power spectrum", () => {
  test.each([2, 4, 6, 8, 14, 30, 64, 400, 800, 882, 1024])("of %i samples is that of the sum it stands for", (size) => {
    const signal = Float32Array.from({ length: size }, (_, i) => Math.sin(i * i * 0.7) + 0.3);
    const window = Float64Array.from({ length: size }, (_, i) => 1 + 0.5 * Math.cos(i));
    const power = new Float64Array(size / 2 + 1);
    new PowerSpectrum(size).compute(signal, 0, window, power);
    const expected = Array.from(power, (_, k) => {
      let [x, y] = [0, 0];
      signal.forEach((value, i) => {
        x += value * window[i] * Math.cos((2 * Math.PI * i * k) / size);
        y += value * window[i] * Math.sin((2 * Math.PI * i * k) / size);
      });
      return x * x + y * y;
    });
    expect(difference(power, expected)).toBeLessThan(1e-9 * size * size);
  });
});

describe("log-mel", () => {
  const cases = ["logmel", "logmel_rates"].flatMap((name) => data<{ spec: FrontEnd; waveform: string; bands: number; mels: string }[]>(name));
  test.each(cases)("$spec.mel_scale, $spec.n_fft samples a frame at $spec.sample_rate Hz, is Python's", ({ spec, waveform, bands, mels }) => {
    const got = new LogMel(spec).compute(floats(waveform));
    expect([got.bands, got.values.length]).toEqual([bands, got.bands * got.frames]);
    expect(difference(got.values, floats(mels))).toBeLessThan(1e-4);
  });

  test("needs a frame", () => {
    const logMel = new LogMel(cases[0].spec);
    expect(logMel.framesOf(1023)).toBe(0);
    expect(() => logMel.compute(new Float32Array(1023))).toThrow("too short");
  });
});

describe("resampling", () => {
  const cases = ["resample", "resample_rates"].flatMap((name) => data<{ from: number; to: number; waveform: string; resampled: string }[]>(name));
  test.each(cases)("from $from to $to Hz is soxr's", ({ from, to, waveform, resampled }) => {
    const [got, expected] = [resample(floats(waveform), from, to), floats(resampled)];
    expect(difference(got.subarray(40, -40), expected.subarray(40, -40))).toBeLessThan(6e-4);
    expect(difference(got, expected)).toBeLessThan(0.03); // at the very ends soxr is not linear
  });

  test("keeps a tone and takes away what the lower rate cannot hold", () => {
    const tone = (hz: number) => Float32Array.from({ length: 9600 }, (_, i) => Math.sin((2 * Math.PI * hz * i) / 48000));
    const inner = (x: Float32Array) => x.subarray(500, -500).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(inner(resample(tone(14000), 48000, 32000))).toBeCloseTo(1, 3);
    expect(inner(resample(tone(16100), 48000, 32000))).toBeLessThan(1e-5);
  });

  test("leaves a single sample and audio at its own rate unchanged", () => {
    const one = Float32Array.of(0.5);
    expect(resample(one, 96000, 8000)).toEqual(one);
    expect(resample(one, 32000, 32000)).toBe(one);
  });
});

interface Cut {
  how: Windowing;
  samples: number;
  starts: number[];
  real: number[];
  sums: number[];
  vectors: string;
  merged: string;
}

describe("windows", () => {
  test.each(data<Cut[]>("windows"))("$how.short, $samples samples, hop $how.hop", ({ how, samples, ...expected }) => {
    const pieces = splitWindows(Float32Array.from({ length: samples }, (_, i) => i + 1), how);
    expect(pieces.map((piece) => piece.start)).toEqual(expected.starts);
    expect(pieces.map((piece) => piece.real)).toEqual(expected.real);
    expect(pieces.map((piece) => piece.samples.reduce((sum, value) => sum + value, 0))).toEqual(expected.sums);
    const merged = merge(floats(expected.vectors), 2, expected.real);
    expect(difference(merged, floats(expected.merged))).toBeLessThan(1e-6 * floats(expected.merged)[1]);
  });

  test("a model without a window processes a clip as a whole", () => {
    const how: Windowing = { window: null, hop: null, short: "pad", minimum: 10 };
    expect(splitWindows(new Float32Array(1000), how).map((piece) => piece.samples.length)).toEqual([1000]);
    expect(splitWindows(new Float32Array(3), how).map((piece) => [piece.samples.length, piece.real])).toEqual([[10, 3]]);
  });
});

describe("mono", () => {
  test.each(data<{ channels: string[]; mono: string }[]>("mono"))("case %#", ({ channels, mono }) => {
    expect(difference(toMono(channels.map(floats)).mono, floats(mono))).toBeLessThan(1e-7);
  });

  test("NaN and infinite samples become 0 and are counted", () => {
    expect(toMono([Float32Array.of(NaN, 1), Float32Array.of(1, -Infinity)])).toEqual({ mono: Float32Array.of(0.5, 0.5), bad: 2 });
  });
});

describe("sounds put together", () => {
  test.each(data<{ kind: string; file: string }[]>("rate").filter(({ kind }) => !kind.startsWith("OGG")))("$kind", ({ kind, file }) => {
    const one = new Uint8Array(bytes(file));
    const three = Uint8Array.from([...one, ...one, ...one]);
    const found = links(three.buffer).map((link) => new Uint8Array(link));
    expect(found).toEqual(kind.startsWith("FLAC") ? [one, one, one] : [three]);
  });

  test("streams side by side are one sound, and bytes between pages belong to what is before them", () => {
    const page = (first: boolean, serial: number) => {
      const content = new Uint8Array(27 + 1 + 5);
      content.set([0x4f, 0x67, 0x67, 0x53, 0, first ? 2 : 0]);
      content.set([serial], 14);
      content.set([1, 5], 26);
      return [...content];
    };
    const link = [...page(true, 1), ...page(true, 2), ...page(false, 1), ...page(false, 2)];
    const found = links(Uint8Array.from([...link, 7, 7, 7, ...link]).buffer);
    expect(found.map((one) => one.byteLength)).toEqual([link.length + 3, link.length]);
  });
});

describe("rate of a compressed file", () => {
  test.each(data<{ kind: string; rate: number; file: string }[]>("rate"))("$kind at $rate Hz", ({ rate, file }) => {
    expect(rateOf(bytes(file))).toBe(rate);
  });

  test("of what says none", () => {
    expect(rateOf(new ArrayBuffer(0))).toBe(48000);
    expect(rateOf(new ArrayBuffer(5000))).toBe(48000);
  });

  test("of an MP4, that of the sound, wherever the picture is", () => {
    const box = (kind: string, ...content: (number | number[])[]): number[] => {
      const body = content.flat();
      const size = body.length + 8;
      return [size >> 24, size >> 16, size >> 8, size, ...letters(kind), ...body].map((value) => value & 255);
    };
    const letters = (text: string) => [...text].map((letter) => letter.charCodeAt(0));
    const four = (value: number) => [value >> 24, value >> 16, value >> 8, value];
    const zeros = (count: number) => new Array<number>(count).fill(0);
    const track = (kind: string, scale: number, rate: number, long = false) => {
      const entry = box("mp4a", zeros(24), four(rate * 65536));
      const table = box("stbl", box("stsd", four(0), four(1), entry));
      const header = box("mdhd", long ? [1, ...zeros(19)] : zeros(12), four(scale), zeros(8));
      return box("trak", box("tkhd", zeros(84)), box("mdia", header, box("hdlr", zeros(8), letters(kind), zeros(13)), box("minf", table)));
    };
    const rate = (...tracks: number[][]) =>
      rateOf(Uint8Array.from([...box("ftyp", letters("isom")), ...box("mdat", letters("mdhd"), four(8000), zeros(99)), ...box("moov", ...tracks)]).buffer);
    const picture = track("vide", 12800, 0);
    expect(rate(picture, track("soun", 44100, 44100))).toBe(44100);
    expect(rate(track("soun", 90000, 32000), picture)).toBe(32000);
    expect(rate(track("soun", 22050, 22050))).toBe(44100); // it may be HE-AAC
    expect(rate(picture, track("soun", 96000, 0))).toBe(96000); // the description has no room for it
    expect(rate(picture, track("soun", 96000, 0, true))).toBe(96000);
    expect(rate(picture)).toBe(48000);
  });

  test("of a WAV with a codec that is left to the browser", () => {
    const strange = new DataView(writeWav(Float32Array.of(1), 11025));
    strange.setUint16(20, 6, true); // A-law
    expect(rateOf(strange.buffer as ArrayBuffer)).toBe(11025);
  });

  test("of AAC without a container, and of an MP3 with a long tag", () => {
    expect(rateOf(Uint8Array.of(0xff, 0xf1, 0x50, 0x40, 0, 0).buffer)).toBe(44100);
    expect(rateOf(Uint8Array.of(0xff, 0xf9, 0x60, 0x40, 0, 0).buffer)).toBe(32000); // it may be HE-AAC
    const tagged = new Uint8Array(200_000);
    tagged.set([0x49, 0x44, 0x33, 3, 0, 0, 0, 6, 13, 54]); // 100,022 bytes
    tagged.set([0xff, 0xfb, 0x90, 0x44], 10 + (6 << 14) + (13 << 7) + 54);
    expect(rateOf(tagged.buffer)).toBe(44100);
  });
});
