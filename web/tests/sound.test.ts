import { describe, expect, test } from "vitest";
import { PowerSpectrum } from "../src/fft";
import { LogMel, type FrontEnd } from "../src/logmel";
import { rateOf } from "../src/rate";
import { resample } from "../src/resample";
import { readWav, wavHeader, writeWav } from "../src/wav";
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
  const cases = data<{ spec: FrontEnd; waveform: string; bands: number; mels: string }[]>("logmel");
  test.each(cases)("$spec.mel_scale, $spec.n_fft samples a frame, is Python's", ({ spec, waveform, bands, mels }) => {
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
  const cases = data<{ from: number; to: number; waveform: string; resampled: string }[]>("resample");
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

describe("WAV", () => {
  test.each(data<{ subtype: string; file: string; left: string; right: string }[]>("wav"))("$subtype", ({ file, left, right }) => {
    const sound = readWav(bytes(file));
    expect(sound?.rate).toBe(22050);
    expect(sound?.channels.map((channel, i) => difference(channel, floats([left, right][i])))).toEqual([0, 0]);
  });

  test("written and read again, to the bit", () => {
    const samples = Float32Array.of(0.1, -0.7, 1.5, 0);
    expect(readWav(writeWav(samples, 32000))).toEqual({ rate: 32000, channels: [samples] });
  });

  test("a part of odd length before the sound is stepped over", () => {
    const plain = new Uint8Array(writeWav(Float32Array.of(0.5, -0.5), 8000));
    const odd = [..."LIST"].map((letter) => letter.charCodeAt(0)).concat([3, 0, 0, 0, 9, 9, 9, 0]);
    const file = Uint8Array.from([...plain.subarray(0, 36), ...odd, ...plain.subarray(36)]);
    expect(readWav(file.buffer)?.channels[0]).toEqual(Float32Array.of(0.5, -0.5));
  });

  test("cut short, or with a length that was never written, it holds what is there", () => {
    const whole = writeWav(Float32Array.of(0.25, 0.5, 0.75), 8000);
    expect(readWav(whole.slice(0, 53))?.channels[0]).toEqual(Float32Array.of(0.25, 0.5));
    new DataView(whole).setUint32(40, 0xffffffff, true);
    expect(readWav(whole)?.channels[0].length).toBe(3);
  });

  test("without sound it holds none, whatever follows, unless it was never closed", () => {
    const list = [..."LIST"].map((letter) => letter.charCodeAt(0)).concat([4, 0, 0, 0, 1, 2, 3, 4]);
    const file = (closed: boolean) => {
      const bytes = Uint8Array.from([...new Uint8Array(writeWav(new Float32Array(0), 8000)), ...list]);
      new DataView(bytes.buffer).setUint32(4, closed ? bytes.length - 8 : 8, true);
      return readWav(bytes.buffer)?.channels[0].length;
    };
    expect([file(true), file(false)]).toEqual([0, 3]);
  });

  test("RF64 tells the length of its sound apart, and what follows that is none", () => {
    const plain = new Uint8Array(writeWav(Float32Array.of(0.5, -0.5), 8000));
    const part = new DataView(new ArrayBuffer(36));
    [..."ds64"].forEach((letter, i) => part.setUint8(i, letter.charCodeAt(0)));
    part.setUint32(4, 28, true);
    part.setUint32(16, 8, true); // bytes of sound
    const file = Uint8Array.from([...plain.subarray(0, 12), ...new Uint8Array(part.buffer), ...plain.subarray(12), ...plain]);
    new DataView(file.buffer).setUint32(12 + 36 + 28, 0xffffffff, true);
    [..."RF64"].forEach((letter, i) => (file[i] = letter.charCodeAt(0)));
    expect(readWav(file.buffer)?.channels[0]).toEqual(Float32Array.of(0.5, -0.5));
  });

  test("other files are left to the browser", () => {
    const strange = writeWav(Float32Array.of(1), 8000);
    new DataView(strange).setUint16(20, 6, true); // A-law
    for (const file of [new ArrayBuffer(0), new ArrayBuffer(100), strange, strange.slice(0, 30)]) expect(wavHeader(file)).toBeNull();
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

  test("of an MP4, from its first track", () => {
    const file = new Uint8Array(200);
    file.set([..."ftypM4A "].map((letter) => letter.charCodeAt(0)), 4);
    file.set([..."mdhd"].map((letter) => letter.charCodeAt(0)), 100);
    new DataView(file.buffer).setUint32(116, 44100);
    expect(rateOf(file.buffer)).toBe(44100);
  });
});
