import { describe, expect, test } from "vitest";
import { frequencyTicks, timeTicks } from "../src/axes";
import { percent } from "../src/dom";
import { heightOf, LogMel, type FrontEnd } from "../src/logmel";
import { scoredTracks, tracksOf, UNLIKE } from "../src/tracks";

const spec: FrontEnd = {
  sample_rate: 32000, n_fft: 1024, window_length: 1024, hop: 512, n_mels: 64, f_min: 50, f_max: 16000, center: false,
  log_offset: 1e-5, mean: 0, std: 1, periodic: true, mel_scale: "slaney", preemphasis: 0,
};

describe("time", () => {
  const texts = (from: number, to: number, width: number) => timeTicks(from, to, width).map(({ text }) => text);

  test("ticks are round, distinct and apart", () => {
    for (const to of [0.004, 0.07, 0.5, 1.1, 5, 59.9, 60, 100, 3599, 3601, 20000]) {
      for (const width of [220, 600]) {
        const ticks = timeTicks(0, to, width);
        expect(new Set(ticks.map(({ text }) => text)).size).toBe(ticks.length);
        expect(ticks.length).toBeGreaterThan(1);
        expect((ticks[1].at - ticks[0].at) * width).toBeGreaterThanOrEqual(69.9);
      }
    }
  });

  test("seconds, minutes and hours", () => {
    expect(texts(0, 5, 600)).toEqual(["0 s", "1 s", "2 s", "3 s", "4 s", "5 s"]);
    expect(texts(0, 1.1, 300)).toEqual(["0.0 s", "0.5 s", "1.0 s"]);
    expect(texts(0, 125, 220)).toEqual(["0:00", "1:00", "2:00"]);
    expect(texts(0, 7200, 300)).toEqual(["0:00", "30:00", "1:00:00", "1:30:00", "2:00:00"]);
    expect(texts(-6, 0, 300)).toEqual(["−6 s", "−4 s", "−2 s", "now"]);
    expect(timeTicks(0, 0, 300)).toEqual([]);
  });

  test("they lie where their time is", () => {
    for (const { at, text } of timeTicks(0, 7.3, 600)) expect(at).toBeCloseTo(Number(text.split(" ")[0]) / 7.3, 9);
  });
});

describe("frequencies", () => {
  test.each(["slaney", "kaldi"] as const)("a tone is brightest where its tick is, %s", (mel_scale) => {
    const front = { ...spec, mel_scale };
    for (const { at, text } of frequencyTicks(front, 1000).filter(({ text }) => Number(text) < 16)) {
      const hz = 1000 * Number(text);
      const { values, bands, frames } = new LogMel(front).compute(Float32Array.from({ length: 4096 }, (_, i) => Math.sin((2 * Math.PI * hz * i) / 32000)));
      const column = Array.from({ length: bands }, (_, band) => values[band * frames + 2]);
      const brightest = column.indexOf(Math.max(...column));
      expect(Math.abs(at * bands - (brightest + 0.5))).toBeLessThan(1);
    }
  });

  test("ticks stay inside and apart", () => {
    expect(frequencyTicks(spec, 300).map(({ text }) => text)).toEqual(["0.125", "0.5", "1", "2", "4", "8", "16"]);
    expect(frequencyTicks(spec, 60).length).toBeLessThan(5);
    expect(heightOf(spec, 16000)).toBeGreaterThan(1); // half a band above its last peak
    for (const { at } of frequencyTicks(spec, 300)) expect(at).toBeLessThanOrEqual(1);
  });
});

test("the tracks are those of the labels that are highest anywhere", () => {
  const found = [Float32Array.of(0.5, 0, 0.25), Float32Array.of(0.25, 0.75, 0.25)];
  expect(tracksOf(["a", "b", "c"], found, 2)).toEqual([
    { label: "b", values: Float32Array.of(0, 0.75), highest: 1 },
    { label: "a", values: Float32Array.of(0.5, 0.25), highest: 0 },
  ]);
  expect(tracksOf(["a"], [], 2)).toEqual([]);
});

test("labels of what is unlike the training clips are hidden, and its score has a track of its own", () => {
  const found = [Float32Array.of(0.9, 0), Float32Array.of(0.25, 0.75), Float32Array.of(0.5, 0.5)];
  const scored = { unlike: Float32Array.of(1, 0.5, 0.75), found };
  const last = { label: UNLIKE, values: scored.unlike, highest: 0 };
  expect(scoredTracks(["a", "b"], scored, 2, 0.75)).toEqual([
    { label: "b", values: Float32Array.of(NaN, 0.75, 0.5), highest: 1 },
    { label: "a", values: Float32Array.of(NaN, 0.25, 0.5), highest: 2 },
    last,
  ]);
  expect(scoredTracks(["a", "b"], scored, 1, 1)).toEqual([{ label: "a", values: Float32Array.of(0.9, 0.25, 0.5), highest: 0 }, last]);
  expect(scoredTracks(["a", "b"], scored, 2, 0.25)).toEqual([last]);

});

test("a probability is not rounded to nothing", () => {
  expect([0, 0.001, 0.126, 1].map(percent)).toEqual(["0 %", "<1 %", "13 %", "100 %"]);
});
