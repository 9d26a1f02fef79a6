import { describe, expect, test } from "vitest";
import { clock, timeTicks } from "../src/axes";
import { Api, asMessage, ServerError, UNREACHABLE, type Candidate, type State } from "../src/label/api";
import { actionOf, KEYS, WAYS, type Press } from "../src/label/keys";
import { frontEndFor, pictureOf } from "../src/label/picture";
import { FOLLOWING, Queue } from "../src/label/queue";
import { samplesOf, Slices } from "../src/label/slices";
import { announcement, archiveText, countsText, factsText, precisionText } from "../src/label/words";
import { heightOf } from "../src/logmel";
import { writeWav } from "../src/wav";

const candidate = (window: number, more: Partial<Candidate> = {}): Candidate => ({
  window, path: "a/dawn.wav", start: 12.5, end: 15.5, label: "dog", score: 0.834, how: "uncertain", why: "most uncertain", given: null, ...more,
});
const candidates = (...windows: number[]) => windows.map((window) => candidate(window));
const windows = (queue: Queue) => [queue.current, ...queue.following].map((one) => one?.window);

describe("keys", () => {
  const press = (key: string, more: Partial<Press> = {}) =>
    actionOf({ key, ctrlKey: false, metaKey: false, altKey: false, repeat: false, on: "page", ...more });

  test("each does what the page lists, in capitals too", () => {
    expect([" ", "y", "n", "u", "?", "z", "ArrowRight", "ArrowUp", "ArrowDown", "l", "w", "h"].map((key) => press(key))).toEqual(
      ["play", "yes", "no", "unsure", "unsure", "undo", "skip", "before", "after", "new", "write", "help"],
    );
    expect(press("Y")).toBe("yes");
    expect([1, 2, 3, 4, 5].map((key) => press(String(key)))).toEqual(
      ["uncertain", "similar", "different", "top", "random"].map((how) => ({ how })),
    );
    expect([press("6"), press("0")]).toEqual([{ how: "disagree" }, { how: "mixed" }]);
    for (const key of ["a", "7", "Enter", "Tab", "Escape", "ArrowLeft", "constructor", "toString"]) expect(press(key)).toBeNull();
  });

  test("every key is listed once", () => {
    expect(KEYS.map(({ key }) => key)).toEqual(["space", "y", "n", "u", "z", "→", "↑ ↓", "l", "0–6", "w", "h"]);
    expect(new Set(WAYS.map(({ key }) => key)).size).toBe(7);
  });

  test("a shortcut of the browser, a held key and typing are not answers", () => {
    for (const more of [{ ctrlKey: true }, { metaKey: true }, { altKey: true }, { repeat: true }, { on: "text" as const }]) {
      for (const key of ["y", " ", "z", "1", "ArrowRight"]) expect(press(key, more)).toBeNull();
    }
  });

  test("a focused button keeps its space bar, the playhead its arrows", () => {
    expect([press(" ", { on: "button" }), press("y", { on: "button" }), press("ArrowRight", { on: "button" })]).toEqual([null, "yes", "skip"]);
    expect([press("ArrowRight", { on: "slider" }), press("ArrowUp", { on: "slider" }), press(" ", { on: "slider" })]).toEqual([null, null, "play"]);
  });
});

describe("candidates", () => {
  test("an answer brings a new order, without those that were skipped", () => {
    const queue = new Queue();
    queue.replace(candidates(1, 2, 3, 4, 5, 6));
    expect(windows(queue)).toEqual([1, 2, 3, 4, 5]);
    expect(queue.wanted).toBe(1 + FOLLOWING);
    queue.skip();
    expect(windows(queue)).toEqual([2, 3, 4, 5, 6]);
    expect(queue.wanted).toBe(2 + FOLLOWING);
    queue.drop();
    queue.replace(candidates(1, 9, 8, 3));
    expect(windows(queue)).toEqual([9, 8, 3]);
    expect(queue.wanted).toBe(2 + FOLLOWING); // of the one that was skipped, not of the one with an answer
  });

  test("skipping keeps what follows, and adds behind it", () => {
    const queue = new Queue();
    queue.replace(candidates(1, 2, 3));
    queue.skip();
    queue.extend(candidates(1, 7, 3, 2));
    expect(windows(queue)).toEqual([2, 3, 7]);
  });

  test("when all were skipped they come again", () => {
    const queue = new Queue();
    queue.replace(candidates(1, 2));
    queue.skip();
    queue.skip();
    expect(queue.current).toBeNull();
    queue.extend(candidates(1, 2));
    expect(windows(queue)).toEqual([1, 2]);
    queue.replace([]);
    expect(queue.current).toBeNull();
    queue.skip();
    queue.drop();
    expect(queue.wanted).toBe(1 + FOLLOWING);
  });

  test("answers from elsewhere leave the one that is shown", () => {
    const queue = new Queue();
    queue.replace(candidates(1, 2, 3));
    queue.refresh(candidates(8, 1, 9));
    expect(windows(queue)).toEqual([1, 8, 9]);
  });

  test("one that was skipped may be shown again", () => {
    const queue = new Queue();
    queue.replace(candidates(1, 2, 3));
    queue.skip();
    queue.show(candidate(1));
    expect(windows(queue)).toEqual([1, 2, 3]);
    queue.show(candidate(3));
    queue.replace(candidates(1, 2));
    expect(windows(queue)).toEqual([1, 2]);
  });

  test("the server is never asked for more than it gives", () => {
    const queue = new Queue();
    queue.replace(candidates(...Array(300).keys()));
    for (let i = 0; i < 200; i++) queue.skip();
    expect(queue.wanted).toBe(100);
  });
});

describe("text", () => {
  const counts = { yes: 5, no: 3, unsure: 1 };

  test("of a candidate", () => {
    expect(factsText(candidate(1))).toBe("0:12.5 to 0:15.5 · probability 83 % · most uncertain");
    expect(factsText(candidate(1, { score: null, given: "cat", start: 3599.96, end: 3661 }))).toBe(
      "1:00:00.0 to 1:01:01.0 · no score yet · most uncertain · given: cat",
    );
    expect(factsText(candidate(1, { score: 0.0001 }))).toContain("probability <1 %");
  });

  test("of the estimate", () => {
    expect(precisionText("dog", [0.75, 0.5, 0.9, 12])).toBe(
      "Of the windows that the classifier finds for “dog”, 75 % have it (95 % interval: 50 % to 90 %; from 12 answers at random).",
    );
    expect(precisionText("dog", [1, 0.2, 1, 1])).toContain("from 1 answer at random");
    expect(precisionText("dog", null)).toContain("key 5");
  });

  test("of the archive", () => {
    const state: State = { labels: [], answers: {}, windows: 7, files: 1, estimate: {}, advice: {}, who: "", model: "m" };
    expect(archiveText(state)).toBe("1 recording, 7 windows, embedded by m. Sound and answers stay on this machine.");
    expect(archiveText({ ...state, files: 2, who: "Ada" })).toContain("2 recordings, 7 windows, embedded by m. Answers are those of Ada.");
  });

  test("for screen readers: what was done, the counts, the candidate", () => {
    expect(countsText(counts)).toBe("5 yes, 3 no, 1 not sure");
    expect(announcement("Answered yes", "dog", counts, candidate(1))).toBe(
      "Answered yes. dog: 5 yes, 3 no, 1 not sure. Is this dog? a/dawn.wav, 0:12.5 to 0:15.5 · probability 83 % · most uncertain.",
    );
    expect(announcement("", "dog", undefined, null)).toBe("No window is left for dog.");
  });

  test("of an error: a capital where a word begins it, never where a file does", () => {
    expect(asMessage("the disk is full")).toBe("The disk is full.");
    expect(asMessage("dawn.wav is gone: put it back.")).toBe("dawn.wav is gone: put it back.");
  });
});

describe("time and frequency", () => {
  test("a tenth of a second never becomes 0:60", () => {
    expect([0, 59.94, 59.96, 61.25, 3599.96].map((seconds) => clock(seconds, 1))).toEqual(["0:00.0", "0:59.9", "1:00.0", "1:01.3", "1:00:00.0"]);
    expect([59.6, 3600].map((seconds) => clock(seconds))).toEqual(["1:00", "1:00:00"]);
  });

  test("a short slice of a long recording has distinct ticks", () => {
    expect(timeTicks(125.2, 126.6, 400).map(({ text }) => text)).toEqual(["2:05.5", "2:06.0", "2:06.5"]);
  });

  test.each([8000, 11025, 22050, 44100, 48000])("a tone is drawn where the axis has its frequency, at %i Hz", (rate) => {
    const hz = 0.3 * rate;
    const samples = Float32Array.from({ length: 2 * rate }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hz * i) / rate));
    const spec = frontEndFor(rate, samples.length, 50);
    const { values, bands, frames } = pictureOf(samples, rate, 50);
    expect(frames).toBeGreaterThanOrEqual(50);
    expect(spec.hop).toBeLessThanOrEqual(spec.n_fft); // no gaps
    const middle = Array.from({ length: bands }, (_, band) => values[band * frames + (frames >> 1)]);
    const loudest = middle.indexOf(Math.max(...middle));
    expect(Math.abs((loudest + 0.5) / bands - heightOf(spec, hz))).toBeLessThan(1.5 / bands);
  });

  test("a sound of one sample has a picture, and one of the lowest rate", () => {
    for (const [samples, rate] of [[1, 16000], [400, 100]]) {
      expect(pictureOf(new Float32Array(samples), rate, 200).values.every(Number.isFinite)).toBe(true);
    }
  });
});

describe("requests", () => {
  /** A server that answers each request with what is given, in turn; requests are kept. */
  function answering(...replies: (Response | Error)[]): Request[] {
    const requests: Request[] = [];
    Object.assign(globalThis, { document: { baseURI: "http://127.0.0.1:1/" } });
    globalThis.fetch = async (input, options) => {
      requests.push(new Request(input as URL, options));
      const reply = replies.shift();
      if (!reply || reply instanceof Error) throw reply ?? new Error("no more");
      return reply;
    };
    return requests;
  }

  test("carry the token, and the label as it is", async () => {
    const requests = answering(Response.json([]), Response.json({}));
    const api = new Api("secret");
    await api.next("a&b <i>", "top", 3);
    await api.answer(candidate(4, { label: "a&b", how: "random" }), "unsure");
    expect(requests.map(({ headers }) => headers.get("X-Token"))).toEqual(["secret", "secret"]);
    expect(Object.fromEntries(new URL(requests[0].url).searchParams)).toEqual({ label: "a&b <i>", how: "top", count: "3" });
    expect(requests[1].method).toBe("POST");
    expect(await requests[1].json()).toEqual({ window: 4, label: "a&b", verdict: "unsure", how: "random" });
  });

  test("a label begins with what is known of it, or with nothing", async () => {
    const requests = answering(Response.json({}), Response.json({}));
    await new Api("t").addLabel("dog", "label:Dog");
    await new Api("t").addLabel("dog", "");
    expect(requests.map(({ url }) => new URL(url).pathname)).toEqual(["/api/start", "/api/label"]);
    expect(await requests[0].json()).toEqual({ label: "dog", by: "label:Dog" });
  });

  test("an error is the server's message, or that there is no server", async () => {
    answering(Response.json({ error: "the disk is full" }, { status: 507 }), new Response("<html>", { status: 503 }), new TypeError("failed"), new Response("{"));
    const api = new Api("t");
    await expect(api.undo()).rejects.toThrow(new ServerError("The disk is full."));
    await expect(api.undo()).rejects.toThrow("The server answered with 503.");
    await expect(api.undo()).rejects.toThrow(UNREACHABLE);
    await expect(api.undo()).rejects.toThrow(UNREACHABLE);
  });

  test("sound is fetched once, again after an error, and the oldest is given up", async () => {
    const wav = writeWav(Float32Array.from({ length: 80 }, (_, i) => i / 100), 100);
    const sound = () => new Response(wav.slice(0), { headers: { "X-From": "9.5", "X-To": "10.3" } });
    const requests = answering(Response.json({ error: "gone" }, { status: 410 }), ...Array.from({ length: 40 }, sound));
    const slices = new Slices(new Api("t"));
    await expect(slices.of(1)).rejects.toThrow("gone");
    const slice = await slices.of(1);
    expect(await slices.of(1)).toBe(slice);
    expect(requests.length).toBe(2);
    expect([slice.from, slice.to, slice.rate, slice.samples.length]).toEqual([9.5, 10.3, 100, 80]);
    expect([...samplesOf(slice, 9.8, 9.85)].map((x) => Math.round(100 * x))).toEqual([30, 31, 32, 33, 34]);
    expect(samplesOf(slice, 0, 99).length).toBe(80);
    for (let window = 2; window < 30; window++) await slices.of(window);
    await slices.of(29);
    expect(requests.length).toBe(30);
    await slices.of(1);
    expect(requests.length).toBe(31);
  });
});
