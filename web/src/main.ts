// The page: what was dropped, chosen or said goes to the worker, and what it answers is shown.

import { decode } from "./decode";
import { byId, duration, make } from "./dom";
import { drawMels, drawWave } from "./draw";
import { Gallery } from "./gallery";
import { graphicsWorker } from "./graphics";
import { Listening } from "./live";
import { listen, NoMicrophone, type Microphone } from "./microphone";
import type { Facts } from "./model";
import { PlayButton, type Sound } from "./player";
import type { Answer, FromWorker, Heard, Milliseconds, ToWorker } from "./protocol";
import { Results } from "./results";
import { Running, SHOWN } from "./running";
import { save, toCsv, toJson, vectorText, type Row } from "./saving";
import { wavHeader, writeWav } from "./wav";

const LARGEST = 400 * 1024 * 1024; // bytes of a file: more than two hours of CD
const PATIENCE = 4000; // milliseconds for the first sound of the microphone
const SAY = 5000; // milliseconds from one spoken sentence to the next

interface Samples {
  samples: Float32Array;
  rate: number;
}

/** A sound that was heard, and what is shown of it. */
interface Entry extends Row {
  heard: Heard;
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

/** A sentence where it cannot be heard; null where it was given up for another sound. */
type Outcome = Entry | string | null;

const base = new URL("./model/", document.baseURI).href;
const wave = byId<HTMLCanvasElement>("wave");
const melCanvas = byId<HTMLCanvasElement>("mels");
const sounds = byId<HTMLSelectElement>("sounds");
const play = new PlayButton(byId<HTMLButtonElement>("play"));
const entries: Entry[] = [];
const asked = new Map<number, Asked>();
let newest = 0; // the id of the sound that was asked for last, or of listening
let worker: Worker;
let plainWorker: Worker; // the one on the processor
let facts: Facts;
let results: Results;
let gallery: Gallery;
let shown: Entry | null = null;
let microphone: Microphone | null = null;
let listening: Listening | null = null;
let running: Running | null = null;
let pending: Samples | null = null; // what the model is hearing live
let isStarting = false;
let lastSaid = 0;

/** For scripts, and for the browser's console: what was heard, and the newest live vector with the samples it is of. */
const open = { heard: entries as Row[], live: null as (Samples & { vector: Float32Array }) | null };
Object.assign(window, { sondino: open });

function state(text: string): void {
  byId("state").textContent = text;
}

function say(text: string): void {
  byId("said").textContent = text;
  lastSaid = performance.now();
}

function trouble(text: string): void {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

// ---- the worker -------------------------------------------------------------------------------------------------

function startWorker(): Worker {
  const made = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  made.onmessage = ({ data }: MessageEvent<FromWorker>) => onAnswer(made, data);
  plainWorker = made;
  made.onerror = () => trouble("The page's worker could not be started: a file of the page is missing; copy the whole folder again.");
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
      trouble(`The model does not run: ${message.sentence}.`);
      state("");
      break;
    case "progress":
      if (message.id === newest) state(`Hearing, ${Math.round(100 * message.share)} %`);
      break;
    case "heard":
      onHeard(message.id, message.heard);
      break;
    case "unheard": {
      const of = asked.get(message.id);
      asked.delete(message.id);
      of?.done(message.id === newest && message.sentence ? `${of.name} ${message.sentence}.` : null);
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

function onReady(told: Facts, threads: number): void {
  byId("engine").textContent = "the processor";
  byId("threads").textContent = threads === 1 ? "1 thread" : `${threads} threads`;
  if (facts) return; // a second time, after the graphics card was lost
  facts = told;
  byId("name").textContent = facts.name;
  document.title = `${facts.name} · sondino`;
  const size = `${(facts.model_bytes / 1e6).toFixed(1)} MB`;
  byId("lead").textContent =
    `Sound in, a vector of ${facts.dim} numbers out, by a model of ${size} in this browser: what you drop here or say stays on this device.`;
  byId("foot").textContent += facts.licence ? ` Licence of the model: ${facts.licence}.` : "";
  gallery = new Gallery(facts.gallery, base, (clip) => void hearClip(clip));
  results = new Results(facts, (clip) => gallery.sound(clip), (clip) => void hearClip(clip));
  for (const id of ["choose", "listen"]) byId<HTMLButtonElement>(id).disabled = false;
  state("Ready");
  if (facts.gallery.length) {
    // Something to see at once; what is dropped in the meantime goes first.
    void hearClip(facts.first, true)
      .then(() => gallery.keepAll())
      .then(() => tryGraphics(plainWorker));
  } else {
    void tryGraphics(plainWorker);
  }
}

// ---- sounds -----------------------------------------------------------------------------------------------------

async function hearFiles(files: File[]): Promise<void> {
  stopListening(false);
  trouble("");
  const sentences: string[] = [];
  for (const file of files) {
    if (file.size > LARGEST) {
      sentences.push(`${file.name} is over ${LARGEST / 2 ** 20} MB: cut it, or embed it with “sondino embed”.`);
      continue;
    }
    const id = ++newest;
    const bytes = await file.arrayBuffer().catch(() => null); // a folder, or a file that has gone
    if (id !== newest) return;
    const what = { name: file.name, sound: file, clip: null, recording: null };
    const outcome = bytes ? await hear(id, bytes, what) : `${file.name} cannot be read: choose a file.`;
    if (outcome === null) return;
    if (typeof outcome === "string") sentences.push(outcome);
  }
  if (!sentences.length) return;
  trouble(sentences.join(" "));
  state("");
}

async function hearClip(clip: number, quietly = false): Promise<void> {
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
    const outcome = await hear(id, bytes, { name, sound: gallery.sound(clip), clip, recording: null });
    if (typeof outcome === "string") throw new Error(outcome);
  } catch (error) {
    if (!quietly && id === newest) trouble(`${name} cannot be heard: ${error instanceof Error ? error.message : error}.`);
  }
}

async function hear(id: number, bytes: ArrayBuffer, what: Omit<Asked, "done">): Promise<Outcome> {
  state(`Hearing ${what.name}`);
  if (wavHeader(bytes)) return send({ kind: "hear", id, wav: bytes }, [bytes], what);
  const sound = await decode(bytes).catch(() => null);
  if (id !== newest) return null;
  if (!sound) return `${what.name} is no sound that this browser can read: try a WAV, FLAC, MP3 or Ogg file.`;
  return send({ kind: "hear", id, ...sound }, sound.channels.map((channel) => channel.buffer as ArrayBuffer), what);
}

function send(message: Extract<ToWorker, { kind: "hear" }>, transfer: Transferable[], what: Omit<Asked, "done">): Promise<Outcome> {
  return new Promise((done) => {
    asked.set(message.id, { ...what, done });
    ask(message, transfer);
  });
}

function onHeard(id: number, heard: Heard): void {
  const of = asked.get(id);
  asked.delete(id);
  if (!of) return;
  const { name, sound, clip, recording, done } = of;
  if (id !== newest) {
    done(null);
    return;
  }
  const { vector, windows, starts, seconds } = heard;
  const entry: Entry = { name, seconds, vector, windows, starts, heard, sound, clip, recording };
  entries.push(entry);
  sounds.append(make("option", {}, name));
  show(entry);
  state(`${heard.starts.length} window${heard.starts.length > 1 ? "s" : ""}`);
  if (heard.bad) trouble(`${name}: ${heard.bad} samples were no numbers and were taken as silence.`);
  say(`${name}, ${duration(seconds)}: ${results.words(heard, clip)}`);
  done(entry);
}

function show(entry: Entry): void {
  shown = entry;
  const { heard, name, clip } = entry;
  byId("now").hidden = false;
  byId("before").hidden = entries.length < 2;
  byId("what").textContent = name;
  byId("length").textContent = duration(heard.seconds);
  byId("to").textContent = duration(heard.seconds);
  byId("from").textContent = "0 s";
  play.element.hidden = false;
  play.set(name, () => entry.sound);
  sounds.selectedIndex = entries.indexOf(entry);
  for (const button of ["copy", "json", "csv"]) byId<HTMLButtonElement>(button).disabled = false;
  byId("wav").hidden = !entry.recording;
  wave.setAttribute("aria-label", `Waveform of ${name}, ${duration(heard.seconds)}`);
  melCanvas.setAttribute("aria-label", `Log-mel of ${name}: ${heard.picture.bands} bands`);
  costs(heard.milliseconds, heard.starts.length / heard.seconds);
  draw();
  results.show(heard, clip);
}

function draw(): void {
  if (running) {
    running.draw(wave, melCanvas);
    return;
  }
  if (!shown) return;
  drawWave(wave, shown.heard.outline);
  drawMels(melCanvas, shown.heard.picture);
}

/** @param windows a second of sound. */
function costs({ mel, net }: Milliseconds, windows: number): void {
  const short = (milliseconds: number) => (milliseconds < 10 ? milliseconds.toFixed(1) : String(Math.round(milliseconds)));
  byId("window-cost").textContent = `${short(mel + net)} ms`;
  byId("parts").textContent = `log-mel ${short(mel)}, net ${short(net)}`;
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
    microphone = await listen(facts.sample_rate, (block) => from && onBlock(from, block), () => stopListening(true));
    const window = facts.fixed ?? facts.window;
    newest++; // a file that is still being heard is given up
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
    byId("from").textContent = `${SHOWN} s ago`;
    byId("to").textContent = "now";
    wave.setAttribute("aria-label", "Waveform of what the microphone hears");
    melCanvas.setAttribute("aria-label", "Log-mel of what the microphone hears");
    state("Listening");
    say("Listening");
    setTimeout(() => {
      if (listening === from && !from.seconds) trouble("No sound comes from the microphone: see whether the browser or the system holds it back.");
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
  pending = { samples, rate: from.rate };
  ask({ kind: "live", id: newest, ...pending });
}

function onLive(live: Answer): void {
  if (!listening || !running) return; // stopped meanwhile
  const { mel, net } = live.milliseconds;
  listening.answered(mel + net);
  if (pending) open.live = { ...pending, vector: live.vector };
  results.show(live, null, true);
  costs(live.milliseconds, 1 / listening.every);
  byId<HTMLButtonElement>("copy").disabled = false;
  if (performance.now() - lastSaid > SAY) say(results.words(live, null));
}

/** @param keep what was heard becomes a sound like a file that was dropped. */
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
  void send({ kind: "hear", id: ++newest, channels: [samples.slice()], rate }, [], what);
}

// ---- the graphics card ------------------------------------------------------------------------------------------

async function tryGraphics(plain: Worker): Promise<void> {
  const found = await graphicsWorker(plain, base);
  if (!found) return;
  while (asked.size || listening) await new Promise((done) => setTimeout(done, 200)); // not in the middle of a sound
  found.onmessage = ({ data }: MessageEvent<FromWorker>) => onAnswer(found, data);
  worker = found;
  plain.terminate();
  byId("engine").textContent = "the graphics card";
  byId("threads").textContent = "WebGPU";
}

/** The graphics card was lost, as may happen when a laptop wakes: the processor goes on. */
function loseGraphics(): void {
  worker.terminate();
  stopListening(false);
  for (const [id, of] of asked) {
    asked.delete(id);
    of.done(`${of.name} was lost with the graphics card: try it again.`);
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
    say("Vector copied");
    byId("copy").textContent = "Copied";
    setTimeout(() => (byId("copy").textContent = "Copy"), 2000);
  } catch {
    trouble("The browser did not allow copying: save the vector as JSON or CSV.");
  }
}

function wire(): void {
  byId("choose").addEventListener("click", () => byId("files").click());
  const input = byId<HTMLInputElement>("files");
  input.addEventListener("change", () => {
    const files = [...(input.files ?? [])];
    input.value = ""; // the same file may be chosen again
    if (files.length) void hearFiles(files);
  });
  byId("listen").addEventListener("click", () => (listening ? stopListening(true) : void startListening()));
  sounds.addEventListener("change", () => {
    stopListening(false);
    show(entries[sounds.selectedIndex]);
  });
  byId("copy").addEventListener("click", () => void copy());
  byId("json").addEventListener("click", () => save("vectors.json", toJson(facts.name, facts.sample_rate, entries), "application/json"));
  byId("csv").addEventListener("click", () => save("vectors.csv", toCsv(entries), "text/csv"));
  byId("wav").addEventListener("click", () => {
    if (shown?.recording) save(shown.name, shown.sound, "audio/wav");
  });
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
    if (files.length && facts) void hearFiles(files);
  });
  let waiting = 0;
  const redraw = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      draw();
      results?.draw();
    });
  };
  window.addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

if (!("cannotWork" in window)) {
  wire();
  worker = startWorker();
}
