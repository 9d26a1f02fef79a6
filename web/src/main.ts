// The page: audio that was dropped, chosen or recorded goes to the worker, and its results are shown.

import { decode } from "./decode";
import { byId, duration, make, percent } from "./dom";
import { drawMels, drawScale, drawWave } from "./draw";
import { Gallery } from "./gallery";
import { graphicsWorker } from "./graphics";
import { Listening } from "./live";
import { listen, NoMicrophone, type Microphone } from "./microphone";
import type { Facts } from "./model";
import { PlayButton, type Sound } from "./player";
import type { ClipResult, FromWorker, LiveAnswer, Milliseconds, ToWorker } from "./protocol";
import { Results } from "./results";
import { findParts } from "./riff";
import { Running, SHOWN } from "./running";
import { save, toCsv, toJson, vectorText, type Row } from "./saving";
import { Timeline } from "./timeline";
import { scoredTracks, TRACKS, type Stretch, type Track } from "./tracks";
import { writeWav } from "./wav";

const LARGEST = 400 * 1024 * 1024; // bytes of a file: more than two hours of CD
const PATIENCE = 4000; // milliseconds for the first sound of the microphone
const ANNOUNCE_EVERY = 5000; // milliseconds from one announcement to the next

interface Samples {
  samples: Float32Array;
  rate: number;
}

/** A clip with its result and what is shown of it. */
interface Entry extends Row {
  result: ClipResult;
  sound: Sound;
  clip: number | null;
  recording: Samples | null;
}

interface Asked {
  name: string;
  sound: Sound;
  clip: number | null;
  recording: Samples | null;
  done: (outcome: Outcome) => void;
}

/** An error message if the clip could not be embedded; null if it was abandoned for another one. */
type Outcome = Entry | string | null;

const base = new URL("./model/", document.baseURI).href;
const wave = byId<HTMLCanvasElement>("wave");
const melCanvas = byId<HTMLCanvasElement>("mels");
const sounds = byId<HTMLSelectElement>("sounds");
const play = new PlayButton(byId<HTMLButtonElement>("play"), (seconds) => timeline.move(seconds));
const entries: Entry[] = [];
const asked = new Map<number, Asked>();
let newest = 0; // the id of the sound that was asked for last, or of listening
let worker: Worker;
let plainWorker: Worker; // the one on the CPU
let facts: Facts;
let results: Results;
let gallery: Gallery;
let timeline: Timeline;
let shown: Entry | null = null;
let microphone: Microphone | null = null;
let listening: Listening | null = null;
let running: Running | null = null;
let pending: (Samples & Stretch) | null = null; // what the model is processing live
let isStarting = false;
let lastAnnounced = 0;

/** For scripts and the browser's console: all clips so far, and the newest live embedding with its samples. */
const open = { entries: entries as Row[], live: null as (Samples & { vector: Float32Array }) | null };
Object.assign(window, { sondino: open });

function state(text: string): void {
  byId("state").textContent = text;
}

function announce(text: string): void {
  byId("announcement").textContent = text;
  lastAnnounced = performance.now();
}

function trouble(text: string): void {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

/** To what is shown already: of several files each has its own. */
function addTrouble(text: string): void {
  trouble(`${byId("trouble").textContent} ${text}`.trim());
}

// ---- the worker -------------------------------------------------------------------------------------------------

function startWorker(): Worker {
  const made = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  made.onmessage = ({ data }: MessageEvent<FromWorker>) => onAnswer(made, data);
  plainWorker = made;
  made.onerror = () => trouble("The page's worker could not be started: a file of the page is missing. Copy the whole folder again.");
  ask({ kind: "start", base }, [], made);
  return made;
}

function ask(message: ToWorker, transfer: Transferable[] = [], to = worker): void {
  to.postMessage(message, transfer);
}

function onAnswer(from: Worker, message: FromWorker): void {
  switch (message.kind) {
    case "ready":
      onReady(message.facts, message.threads);
      break;
    case "failed":
      if (from !== plainWorker) {
        loseGraphics();
        break;
      }
      trouble(`The model does not run: ${message.message}.`);
      state("");
      break;
    case "progress":
      if (message.id === newest) state(`Computing, ${Math.round(100 * message.share)} %`);
      break;
    case "embedded":
      onEmbedded(message.id, message.result);
      break;
    case "rejected": {
      const of = asked.get(message.id);
      asked.delete(message.id);
      of?.done(message.id === newest && message.message ? `${of.name}: ${message.message}.` : null);
      break;
    }
    case "live":
      if (message.id === newest) onLive(message.live);
      break;
    case "picture":
      if (message.id !== newest) break;
      running?.add(message.mels);
      draw();
  }
}

function onReady(loaded: Facts, threads: number): void {
  byId("engine").textContent = "the CPU";
  byId("threads").textContent = threads === 1 ? "1 thread" : `${threads} threads`;
  if (facts) return; // a second time, after the GPU was lost
  facts = loaded;
  byId("name").textContent = facts.name;
  document.title = `${facts.name} · sondino`;
  const size = `${(facts.model_bytes / 1e6).toFixed(1)} MB`;
  byId("lead").textContent =
    `Computes embeddings of dimension ${facts.dim} with a model of ${size} in this browser: what you drop here or record stays on this device.`;
  byId("foot").textContent += facts.licence ? ` Licence of the model: ${facts.licence}.` : "";
  gallery = new Gallery(facts.gallery, base, (clip) => void embedClip(clip));
  drawScale(byId<HTMLCanvasElement>("scale"));
  results = new Results(facts, (clip) => gallery.sound(clip), (clip) => void embedClip(clip));
  timeline = new Timeline(facts.front_end, trackRows(), (seconds) => play.seek(seconds), () => play.toggle());
  byId("unlike-part").hidden = !facts.head?.unlike;
  for (const id of ["choose", "listen"]) byId<HTMLButtonElement>(id).disabled = false;
  state("Ready");
  if (facts.gallery.length) {
    // A first result at once; files that are dropped in the meantime go first.
    void embedClip(facts.first, true)
      .then(() => gallery.keepAll())
      .then(() => tryGraphics(plainWorker));
  } else {
    void tryGraphics(plainWorker);
  }
}

/** The most tracks that a clip can have: of labels, and of how unlike the training clips it is. */
function trackRows(): number {
  return facts.head ? Math.min(TRACKS, facts.head.labels.length) + (facts.head.unlike ? 1 : 0) : 0;
}

// ---- sounds -----------------------------------------------------------------------------------------------------

async function embedFiles(files: File[]): Promise<void> {
  stopListening(false);
  trouble("");
  const messages: string[] = [];
  for (const file of files) {
    if (file.size > LARGEST) {
      messages.push(`${file.name} is over ${LARGEST / 2 ** 20} MB: cut it, or embed it with “sondino embed”.`);
      continue;
    }
    const id = ++newest;
    const bytes = await file.arrayBuffer().catch(() => null); // a folder, or a file that has gone
    if (id !== newest) return;
    const what = { name: file.name, sound: file, clip: null, recording: null };
    const outcome = bytes ? await embedSound(id, bytes, what) : `${file.name} cannot be read: choose a file.`;
    if (outcome === null) return;
    if (typeof outcome === "string") messages.push(outcome);
  }
  if (!messages.length) return;
  addTrouble(messages.join(" "));
  state("");
}

async function embedClip(clip: number, quietly = false): Promise<void> {
  if (quietly && newest) return;
  if (!quietly) {
    stopListening(false);
    trouble("");
  }
  const id = ++newest;
  const { name } = facts.gallery[clip];
  try {
    const bytes = await gallery.bytes(clip);
    if (id !== newest) return;
    const outcome = await embedSound(id, bytes, { name, sound: gallery.sound(clip), clip, recording: null });
    if (typeof outcome === "string") throw new Error(outcome);
  } catch (error) {
    if (!quietly && id === newest) trouble(`${name} cannot be played: ${error instanceof Error ? error.message : error}.`);
  }
}

async function embedSound(id: number, bytes: ArrayBuffer, what: Omit<Asked, "done">): Promise<Outcome> {
  state(`Computing ${what.name}`);
  if (findParts(bytes)) return send({ kind: "embed", id, wav: bytes }, [bytes], what);
  const sound = await decode(bytes).catch(() => null);
  if (id !== newest) return null;
  if (!sound) return `${what.name} is not audio that this browser can decode: try a WAV, FLAC, MP3 or Ogg file.`;
  return send({ kind: "embed", id, ...sound }, sound.channels.map((channel) => channel.buffer as ArrayBuffer), what);
}

function send(message: Extract<ToWorker, { kind: "embed" }>, transfer: Transferable[], what: Omit<Asked, "done">): Promise<Outcome> {
  return new Promise((done) => {
    asked.set(message.id, { ...what, done });
    ask(message, transfer);
  });
}

function onEmbedded(id: number, result: ClipResult): void {
  const of = asked.get(id);
  asked.delete(id);
  if (!of) return;
  const { name, sound, clip, recording, done } = of;
  if (id !== newest) {
    done(null);
    return;
  }
  const { vector, windows, starts, seconds } = result;
  const entry: Entry = { name, seconds, vector, windows, starts, result, sound, clip, recording };
  entries.push(entry);
  sounds.append(make("option", {}, name));
  show(entry);
  state(`${result.starts.length} window${result.starts.length > 1 ? "s" : ""}`);
  for (const note of result.notes) addTrouble(`${name}: ${note}.`);
  announce(`${name}, ${duration(seconds)}: ${results.words(result, clip)}`);
  done(entry);
}

function show(entry: Entry): void {
  shown = entry;
  const { result, name, clip } = entry;
  byId("now").hidden = false;
  byId("before").hidden = entries.length < 2;
  byId("what").textContent = name;
  byId("length").textContent = duration(result.seconds);
  play.element.hidden = false;
  showTracks(entry);
  play.set(name, () => entry.sound);
  sounds.selectedIndex = entries.indexOf(entry);
  for (const button of ["copy", "json", "csv"]) byId<HTMLButtonElement>(button).disabled = false;
  byId("wav").hidden = !entry.recording;
  wave.setAttribute("aria-label", `Waveform of ${name}, ${duration(result.seconds)}`);
  melCanvas.setAttribute("aria-label", `Log-mel of ${name}: ${duration(result.seconds)}, ${bands(result.picture.bands)}`);
  costs(result.milliseconds, result.starts.length / result.seconds);
  draw();
  results.show(result, clip);
}

function showTracks({ result }: Entry): void {
  timeline.show(0, result.seconds, result.stretches, tracksOfClip(result));
}

function tracksOfClip({ tracks, scored }: ClipResult): Track[] {
  return facts.head && scored ? scoredTracks(facts.head.labels, scored, TRACKS, results.most) : tracks;
}

/** Hide the labels of what is more unlike the training clips than the slider says. */
function onMost(): void {
  const share = Number(byId<HTMLInputElement>("most").value) / 100;
  byId("most-text").textContent = percent(share);
  if (!results) return; // not loaded yet
  results.most = share;
  if (listening || !shown) return; // the next window shows it
  showTracks(shown);
  results.show(shown.result, shown.clip);
}

function bands(count: number): string {
  return `${count} bands from ${facts.front_end.f_min / 1000} to ${facts.front_end.f_max / 1000} kHz`;
}

function draw(): void {
  if (running) {
    running.draw(wave, melCanvas);
    timeline.show(-SHOWN, 0, ...running.labels(results.most));
    return;
  }
  if (!shown) return;
  timeline.draw();
  drawWave(wave, shown.result.outline);
  drawMels(melCanvas, shown.result.picture);
}

/** @param windows per second of audio. */
function costs({ mel, net }: Milliseconds, windows: number): void {
  const short = (milliseconds: number) => (milliseconds < 10 ? milliseconds.toFixed(1) : String(Math.round(milliseconds)));
  byId("window-cost").textContent = `${short(mel + net)} ms`;
  byId("parts").textContent = `log-mel ${short(mel)}, network ${short(net)}`;
  byId("second-cost").textContent = `${short((mel + net) * windows)} ms`;
}

// ---- the microphone ---------------------------------------------------------------------------------------------

async function startListening(): Promise<void> {
  const button = byId("listen");
  if (isStarting) return; // not disabled meanwhile: the keyboard would lose its place
  isStarting = true;
  trouble("");
  state("Asking for the microphone");
  try {
    let from: Listening | null = null;
    microphone = await listen((block) => from && onBlock(from, block), () => stopListening(true));
    const window = facts.fixed ?? facts.window;
    newest++; // a file that is still being processed is abandoned
    from = new Listening(microphone.rate, window && window / facts.sample_rate, facts.fixed !== null);
    listening = from;
    open.live = null;
    running = new Running(from, facts.front_end);
    button.textContent = "Stop listening";
    button.classList.add("on");
    byId("now").hidden = false;
    byId("what").textContent = "Microphone";
    byId("before").hidden = true;
    play.element.hidden = true;
    wave.setAttribute("aria-label", "Waveform of the microphone");
    melCanvas.setAttribute("aria-label", `Log-mel of the microphone: the last ${SHOWN} s, ${bands(facts.front_end.n_mels)}`);
    state("Listening");
    announce("Listening");
    setTimeout(() => {
      if (listening === from && !from.seconds) trouble("The microphone gives no audio: check the settings of the browser and the system.");
    }, PATIENCE);
  } catch (error) {
    trouble(error instanceof NoMicrophone ? error.message : `The microphone could not be opened (${error}).`);
    state("");
  } finally {
    isStarting = false;
  }
}

function onBlock(from: Listening, block: Float32Array): void {
  from.add(block);
  const seen = running?.next();
  if (seen) {
    byId("length").textContent = duration(from.seconds);
    ask({ kind: "picture", id: newest, samples: seen, rate: from.rate }, [seen.buffer as ArrayBuffer]);
  }
  const samples = from.next();
  if (!samples) return;
  const { rate, seconds: end } = from;
  pending = { samples, rate, start: end - samples.length / rate, end };
  ask({ kind: "live", id: newest, samples, rate });
}

function onLive(live: LiveAnswer): void {
  if (!listening || !running) return; // stopped meanwhile
  const { mel, net } = live.milliseconds;
  listening.answered(mel + net);
  if (pending) {
    const { samples, rate, start, end } = pending;
    open.live = { samples, rate, vector: live.vector };
    if (facts.head && live.found) running.answered({ start, end }, facts.head.labels, live.found, live.unlike);
  }
  results.show(live, null, true);
  costs(live.milliseconds, 1 / listening.every);
  byId<HTMLButtonElement>("copy").disabled = false;
  if (performance.now() - lastAnnounced > ANNOUNCE_EVERY) announce(results.words(live, null));
}

/** @param keep the recording becomes a clip like a dropped file. */
function stopListening(keep: boolean): void {
  if (!microphone || !listening) return;
  const recording = { samples: listening.recording(), rate: listening.rate };
  microphone.stop();
  microphone = listening = running = null;
  const button = byId("listen");
  button.textContent = "Use the microphone";
  button.classList.remove("on");
  state("");
  const { samples, rate } = recording;
  if (!keep || !samples.length) return;
  const sound = new Blob([writeWav(samples, rate)], { type: "audio/wav" });
  const name = `microphone-${entries.filter((entry) => entry.recording).length + 1}.wav`;
  const what = { name, sound, clip: null, recording };
  void send({ kind: "embed", id: ++newest, channels: [samples.slice()], rate, notes: [] }, [], what);
}

// ---- the GPU ----------------------------------------------------------------------------------------------------

async function tryGraphics(plain: Worker): Promise<void> {
  const found = await graphicsWorker(plain, base);
  if (!found) return;
  while (asked.size || listening) await new Promise((done) => setTimeout(done, 200)); // not in the middle of a clip
  found.onmessage = ({ data }: MessageEvent<FromWorker>) => onAnswer(found, data);
  worker = found;
  plain.terminate();
  byId("engine").textContent = "the GPU";
  byId("threads").textContent = "WebGPU";
}

/** The GPU was lost, as may happen when a laptop wakes: continue on the CPU. */
function loseGraphics(): void {
  worker.terminate();
  stopListening(false);
  for (const [id, of] of asked) {
    asked.delete(id);
    of.done(`${of.name} was lost with the GPU: try it again.`);
  }
  worker = startWorker();
}

// ---- buttons ----------------------------------------------------------------------------------------------------

function vectorShown(): Float32Array | null {
  return (listening && open.live?.vector) || (shown?.vector ?? null);
}

async function copy(): Promise<void> {
  const vector = vectorShown();
  if (!vector) return;
  try {
    await navigator.clipboard.writeText(vectorText(vector));
    announce("Embedding copied");
    byId("copy").textContent = "Copied";
    setTimeout(() => (byId("copy").textContent = "Copy"), 2000);
  } catch {
    trouble("The browser did not allow copying: save the embedding as JSON or CSV.");
  }
}

function wire(): void {
  byId("choose").addEventListener("click", () => byId("files").click());
  const input = byId<HTMLInputElement>("files");
  input.addEventListener("change", () => {
    const files = [...(input.files ?? [])];
    input.value = ""; // the same file may be chosen again
    if (files.length) void embedFiles(files);
  });
  byId("listen").addEventListener("click", () => (listening ? stopListening(true) : void startListening()));
  sounds.addEventListener("change", () => {
    stopListening(false);
    show(entries[sounds.selectedIndex]);
  });
  byId("copy").addEventListener("click", () => void copy());
  byId("json").addEventListener("click", () => save("embeddings.json", toJson(facts.name, facts.sample_rate, entries), "application/json"));
  byId("csv").addEventListener("click", () => save("embeddings.csv", toCsv(entries), "text/csv"));
  byId("wav").addEventListener("click", () => {
    if (shown?.recording) save(shown.name, shown.sound, "audio/wav");
  });
  byId("most").addEventListener("input", onMost);
  onMost();
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over-page");
  });
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("over-page");
  });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over-page");
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length && facts) void embedFiles(files);
  });
  let waiting = 0;
  const redraw = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      draw();
      results?.draw();
      drawScale(byId<HTMLCanvasElement>("scale"));
    });
  };
  window.addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

if (!("cannotWork" in window)) {
  wire();
  worker = startWorker();
}
