import { describe, expect, test, vi } from "vitest";
import { cosineText, duration } from "../src/dom";
import { isBetter } from "../src/graphics";
import { Listening } from "../src/live";
import { likeliest, nearest, probabilities, type Head } from "../src/model";
import type { FrontEnd } from "../src/logmel";
import { outline } from "../src/outline";
import { Running } from "../src/running";
import { Unlike, unlikeLength, type UnlikeSizes } from "../src/unlike";
import { toCsv, toJson, vectorText } from "../src/saving";
import { data, difference, floats } from "./data";

vi.mock("../src/draw", () => ({})); // needs a browser

describe("labels", () => {
  const cases = data<{ head: Head; vector: string; weights: string; expected: string }[]>("head");
  test.each(cases)("$head.activation, multi-label $head.multi_label", ({ head, vector, weights, expected }) => {
    const found = probabilities(head, floats(weights), floats(vector));
    expect(difference(found, floats(expected))).toBeLessThan(1e-6);
    const [first, second] = likeliest(head, found, 2);
    expect(first.probability).toBe(Math.max(...found));
    expect(first.label).toBe(head.labels[found.indexOf(first.probability)]);
    expect(second.probability).toBeLessThanOrEqual(first.probability);
  });
});

test("how unlike the training clips an embedding is", () => {
  const { sizes, dim, values, vectors, expected } =
    data<{ sizes: UnlikeSizes; dim: number; values: string; vectors: string; expected: string }>("unlike");
  expect(floats(values).length).toBe(unlikeLength(sizes, dim));
  const score = new Unlike(sizes, dim, floats(values));
  const given = floats(vectors);
  const found = Array.from({ length: given.length / dim }, (_, i) => score.score(given.subarray(i * dim, (i + 1) * dim)));
  expect(difference(found, floats(expected))).toBeLessThan(1e-5);
  expect([found[0], Math.max(...found)]).toEqual([0, 1]);
  expect(new Set(found).size).toBeGreaterThan(10);
});

test("the nearest clips are those of the largest cosine, whatever their length", () => {
  const gallery = Float32Array.of(0, 1, /**/ 30, 40, /**/ -1, 0, /**/ 0, 0);
  const near = nearest(gallery, Float32Array.of(6, 8), 3);
  expect(near.map(({ clip }) => clip)).toEqual([1, 0, 3]);
  expect(difference(near.map(({ cosine }) => cosine), [1, 0.8, 0])).toBeLessThan(1e-6);
});

describe("saving", () => {
  const vector = Float32Array.of(0.1, -1e-9, 12345.678);
  const rows = [{ name: 'a "b", c.wav', seconds: 1.5, vector, windows: Float32Array.of(1, 2, 3, 4, 5, 6), starts: [0, 1] }];

  test("CSV gives back the same float32", () => {
    const [head, line, end] = toCsv(rows).split("\n");
    expect(head).toBe("id,v0,v1,v2");
    expect(line.startsWith('"a ""b"", c.wav",')).toBe(true);
    expect(Float32Array.from(line.split(",").slice(-3), Number)).toEqual(vector);
    expect(end).toBe("");
  });

  test("JSON has the embedding and those of the windows", () => {
    const saved = JSON.parse(toJson("m", 32000, rows));
    expect(saved.model).toBe("m");
    expect(Float32Array.from(saved.sounds[0].vector)).toEqual(vector);
    expect(saved.sounds[0].windows).toEqual([{ start: 0, vector: [1, 2, 3] }, { start: 1, vector: [4, 5, 6] }]);
    expect(JSON.parse(vectorText(vector)).length).toBe(3);
  });
});

describe("listening", () => {
  const block = (from: number, count: number) => Float32Array.from({ length: count }, (_, i) => from + i);

  test("asks every half second for the newest window, and not while the model is busy", () => {
    const listening = new Listening(100, 1, false);
    listening.add(block(0, 49));
    expect(listening.next()).toBeNull();
    listening.add(block(49, 1));
    expect(listening.next()).toEqual(block(0, 50));
    listening.add(block(50, 100));
    expect(listening.next()).toBeNull();
    listening.answered(10);
    expect(listening.next()).toEqual(block(50, 100));
  });

  test("asks less often where a window takes long", () => {
    const listening = new Listening(100, 1, false);
    for (const [milliseconds, every] of [[25, 0.5], [26, 1], [51, 2], [500, 2]]) {
      listening.answered(milliseconds);
      expect(listening.every).toBe(every);
    }
  });

  test("gives what came before the newest, too", () => {
    const listening = new Listening(10, 1, false);
    listening.add(block(0, 50));
    expect(listening.last(7, 3)).toEqual(block(40, 7));
    expect(listening.last(100, 45)).toEqual(block(0, 5));
    for (let at = 50; at < 1000; at += 10) listening.add(block(at, 10));
    expect(listening.last(7, 595)).toEqual(block(400, 5)); // of what is kept
  });

  test("the running picture goes on where the one before ended, however blocks come", () => {
    const listening = new Listening(32000, 1, false);
    const running = new Running(listening, { hop: 512, n_fft: 1024, n_mels: 4, sample_rate: 32000 } as FrontEnd);
    const starts: number[] = [];
    for (let at = 0; at < 64; at++) {
      listening.add(block(1024 * at, 1024));
      const samples = running.next();
      if (samples) starts.push(samples[0], samples.length);
    }
    expect(starts.length).toBeGreaterThan(20);
    expect(starts).toEqual(starts.map((_, i) => (i % 2 ? 5120 : 2048 * i)));
  });

  test("keeps the last minute", () => {
    const listening = new Listening(10, 1, false);
    for (let at = 0; at < 1000; at += 7) listening.add(block(at, 7));
    const received = Math.ceil(1000 / 7) * 7;
    expect(listening.seconds).toBe(received / 10);
    expect(listening.recording()).toEqual(block(received - 600, 600));
  });

  test("a model with a long window gets two seconds, one with a fixed input its own length", () => {
    for (const [fixed, samples] of [[false, 20], [true, 100]] as const) {
      const listening = new Listening(10, 10, fixed);
      for (let at = 0; at < 100; at += 10) listening.add(block(at, 10));
      expect(listening.next()?.length).toBe(samples);
    }
  });
});

test("an outline holds the lowest and highest sample of each column", () => {
  expect(outline(Float32Array.of(1, -2, 3, 0, 5), 2)).toEqual(Float32Array.of(-2, 1, 0, 5));
});

test("the GPU is used if it gives the same embedding in less time", () => {
  const plain = { vector: Float32Array.of(2, -1), milliseconds: 10 };
  expect(isBetter({ vector: Float32Array.of(2.001, -1), milliseconds: 9 }, plain)).toBe(true);
  expect(isBetter({ vector: Float32Array.of(2, -1), milliseconds: 11 }, plain)).toBe(false);
  expect(isBetter({ vector: Float32Array.of(2.01, -1), milliseconds: 1 }, plain)).toBe(false);
  expect(isBetter({ vector: Float32Array.of(NaN, -1), milliseconds: 1 }, plain)).toBe(false);
});

test("text for people", () => {
  expect([0.0234, 1.572, 9.99, 59.6, 125].map(duration)).toEqual(["0.023 s", "1.6 s", "10 s", "1 min 0 s", "2 min 5 s"]);
  expect([0.834, -0.001, 1].map(cosineText)).toEqual(["0.83", "0.00", "1.00"]);
});
