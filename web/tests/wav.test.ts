import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { PageError } from "../src/errors";
import { rateOf } from "../src/rate";
import { findParts } from "../src/riff";
import { readWav, writeWav } from "../src/wav";
import { bytes, data, difference, floats } from "./data";

/** tests/data/wav_headers.json: what the readers of sondino give, too. Values are the mean of the channels. */
interface Case {
  name: string;
  hex: string;
  frames: number;
  first: number | null;
  last: number | null;
  note: string | null;
  error: string | null;
}

const cases = JSON.parse(readFileSync(new URL("../../tests/data/wav_headers.json", import.meta.url), "utf8")) as Case[];

function file(hex: string): ArrayBuffer {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16)).buffer;
}

describe("what a WAV holds", () => {
  test.each(cases.filter(({ error }) => !error))("$name", ({ hex, frames, first, last, note }) => {
    const sound = readWav(file(hex));
    const mean = (at: number) => sound!.channels.reduce((sum, channel) => sum + channel[at], 0) / sound!.channels.length;
    expect(sound?.channels.map((channel) => channel.length)).toEqual(sound?.channels.map(() => frames));
    expect(difference([mean(0), mean(frames - 1)], [first!, last!])).toBeLessThan(1e-6);
    expect(sound?.notes.map((text) => (note && text.includes(note) ? note : text))).toEqual(note ? [note] : []);
  });

  test.each(cases.filter(({ error }) => error))("$name: $error", ({ hex, error }) => {
    if (error === "decode") expect(findParts(file(hex))).toBeNull(); // left to the browser, which says so
    else expect(() => readWav(file(hex))).toThrow(error!);
  });

  test("in full sentences", () => {
    const notes = (size: number, copies = 1) => {
      const one = writeWav(new Float32Array(80000).fill(0.3), 8000); // 10 s
      const whole = new Uint8Array(copies * one.byteLength);
      for (let i = 0; i < copies; i++) whole.set(new Uint8Array(one), i * one.byteLength);
      new DataView(whole.buffer).setUint32(40, size, true);
      return readWav(whole.buffer)?.notes;
    };
    expect(notes(0)).toEqual(["its header was never finished; all 10.00 s after it are read"]);
    expect(notes(64000)).toEqual(["its header says 2.00 s, 10.00 s are there and are read"]);
    expect(notes(640000)).toEqual(["truncated or damaged (it is cut short); read up to 10.00 s"]);
    expect(notes(320000, 3)).toEqual(["3 sounds follow one another in this file; all are read"]);
  });

  test("a damaged header gives what is there, or a message", () => {
    let state = 1;
    const next = (below: number) => (state = (state * 48271) % 2147483647) % below;
    for (let round = 0; round < 5000; round++) {
      const bytes = new Uint8Array(file(cases[next(cases.length)].hex));
      for (let i = next(4); i >= 0; i--) bytes[next(Math.min(bytes.length, 120))] = [0, 1, 127, 128, 255, next(256)][next(6)];
      const damaged = bytes.slice(0, next(3) ? bytes.length : next(bytes.length)).buffer;
      try {
        rateOf(damaged);
        const parts = findParts(damaged)?.parts ?? [];
        for (const { at, frames, channels, width } of parts) expect(at + frames * channels * width).toBeLessThanOrEqual(damaged.byteLength);
        if (parts.every(({ rate }) => rate === parts[0].rate)) readWav(damaged); // others are resampled, which takes long
      } catch (error) {
        expect(error).toBeInstanceOf(PageError);
      }
    }
  });

  test("4096 zeros are samples, fewer are padding", () => {
    const plain = new Uint8Array(writeWav(Float32Array.of(0.5, -0.5), 8000));
    const frames = (zeros: number) => readWav(Uint8Array.from([...plain, ...new Uint8Array(zeros)]).buffer)?.channels[0].length;
    expect([frames(4095), frames(4096)]).toEqual([2, 2 + 1024]);
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
    expect(readWav(writeWav(samples, 32000))).toEqual({ rate: 32000, channels: [samples], notes: [] });
  });

  test("other files are left to the browser", () => {
    const strange = writeWav(Float32Array.of(1), 8000);
    new DataView(strange).setUint16(20, 6, true); // A-law
    for (const file of [new ArrayBuffer(0), new ArrayBuffer(100), strange, strange.slice(0, 30)]) expect(findParts(file)).toBeNull();
  });
});
