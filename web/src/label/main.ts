// The page of `sondino label`: one candidate after another is shown and played, and answered by a key or a button.

import { byId, make } from "../dom";
import { PageError } from "../errors";
import { PlayButton } from "../player";
import { Api, ServerError, UNREACHABLE, type Candidate, type How, type State, type Verdict } from "./api";
import { actionOf, KEYS, type Action, type Press } from "./keys";
import { Following, Labels, Ways } from "./panels";
import { Queue } from "./queue";
import { Slices } from "./slices";
import { Spectrogram } from "./spectrogram";
import { announcement, archiveText, factsText, verdictText } from "./words";

const POLL_EVERY = 4000; // milliseconds from one look at other pages' answers to the next
const NO_TOKEN = "This address has no token: open the whole address that “sondino label” printed.";

const api = new Api(location.hash.slice(1));
const slices = new Slices(api);
const play = new PlayButton(byId<HTMLButtonElement>("play"), (seconds) => spectrogram.move(origin + seconds));
const spectrogram = new Spectrogram((seconds) => play.seek(seconds - origin));
const labels = new Labels((name) => inTurn("Loading", () => chooseLabel(name)));
const ways = new Ways((way) => inTurn("Loading", () => chooseWay(way)));
const following = new Following(slices, (candidate) => ifIdle("Loading", () => chooseCandidate(candidate)));
const help = byId<HTMLDialogElement>("help");

let state: State;
let label = "";
let how: How = "mixed";
let queue = new Queue();
let shown: Candidate | null = null;
let origin = 0; // seconds of the recording at which the sound begins
let cannotPlay = ""; // why the candidate has no sound
let pending = 0; // actions that are not done yet
let actions = 0; // so far
let last = Promise.resolve(); // the end of all of them
let isActive = false; // a key or a button was pressed: browsers play nothing before that

// ---- messages ---------------------------------------------------------------------------------------------------

function trouble(text: string): void {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

/** For screen readers: what was done, the counts, and what is shown now. */
function announce(done: string): void {
  byId("announcement").textContent = announcement(done, label, state.answers[label], queue.current);
}

function messageOf(error: unknown): string {
  if (error instanceof PageError) return error.message;
  throw error; // a fault of the page: the console has it
}

/** Do this after what is being done. */
function inTurn(text: string, work: () => Promise<void>): void {
  pending++;
  actions++;
  last = last.then(async () => {
    byId("state").textContent = text;
    trouble("");
    try {
      await work();
    } catch (error) {
      trouble(messageOf(error));
    } finally {
      pending--;
      byId("state").textContent = "";
    }
  });
}

/** Do this unless something is being done: the key is about the candidate that is shown, and another one is coming. */
function ifIdle(text: string, work: () => Promise<void>): void {
  if (!pending) inTurn(text, work);
}

// ---- what is shown ----------------------------------------------------------------------------------------------

function showState(next: State): void {
  state = next;
  if (!state.labels.includes(label)) label = state.labels[0] ?? "";
  byId("archive").textContent = archiveText(state);
  labels.show(state, label);
}

/** Show the queue; a candidate that is shown already stays as it is, and goes on playing. */
function showCandidate(): void {
  const candidate = queue.current;
  following.show(queue.following);
  const isSame = candidate?.window === shown?.window && candidate?.label === shown?.label;
  shown = candidate;
  byId("now").hidden = byId("plot").hidden = !candidate;
  byId("facts").textContent = candidate ? factsText(candidate) : "";
  byId("what").textContent = candidate?.path ?? "";
  const question = byId("question");
  if (!label) question.textContent = "Which label? Add one to begin.";
  else if (!candidate) question.replaceChildren("No window is left for ", make("bdi", {}, label), ".");
  else question.replaceChildren("Is this ", make("bdi", {}, label), "?");
  document.title = label ? `${label} · sondino label` : "sondino label";
  if (!candidate) play.set("", () => new Blob());
  if (!candidate || isSame) return;
  cannotPlay = "";
  spectrogram.clear();
  play.set(candidate.path, () => new Blob());
  slices.of(candidate.window).then(
    (slice) => {
      if (shown !== candidate) return; // another came meanwhile
      origin = slice.from;
      spectrogram.show(candidate, slice);
      play.set(candidate.path, () => slice.sound, candidate.start - origin);
      if (isActive) play.toggle();
    },
    (error: unknown) => {
      if (shown !== candidate) return;
      cannotPlay = `${messageOf(error)} Skip it with →, or choose another.`;
      trouble(cannotPlay);
    },
  );
}

async function load(): Promise<void> {
  queue = new Queue();
  if (label) queue.replace(await api.next(label, how, queue.wanted));
  showCandidate();
}

// ---- what can be done -------------------------------------------------------------------------------------------

async function answer(verdict: Verdict): Promise<void> {
  const candidate = queue.current;
  if (!candidate) return;
  if (cannotPlay) throw new ServerError(cannotPlay);
  showState(await api.answer(candidate, verdict));
  queue.drop(); // it has its answer, whether or not the server gives others
  try {
    queue.replace(await api.next(label, how, queue.wanted));
  } finally {
    showCandidate();
  }
  announce(verdictText(verdict));
}

async function skip(): Promise<void> {
  if (!queue.current) return;
  queue.skip();
  if (!queue.current) queue.extend(await api.next(label, how, queue.wanted));
  showCandidate();
  announce("Skipped");
  void renew((found) => queue.extend(found)).catch((error: unknown) => trouble(messageOf(error)));
}

/** Ask for candidates while the one that is shown stays; they come too late where something was done meanwhile. */
async function renew(take: (found: Candidate[]) => void): Promise<void> {
  const before = actions;
  const found = await api.next(label, how, queue.wanted);
  if (actions !== before) return;
  take(found);
  showCandidate();
}

async function undo(): Promise<void> {
  const { undone, state: next } = await api.undo();
  showState(next);
  if (!undone) {
    announce("There is no answer to take back");
    return;
  }
  if (undone.label !== label) {
    label = undone.label;
    labels.show(state, label);
    await load();
  }
  if (undone.window >= 0) queue.show(undone); // else its recording is no longer there
  showCandidate();
  announce("Answer taken back");
}

async function chooseLabel(name: string): Promise<void> {
  if (name === label) return;
  label = name;
  labels.show(state, label);
  await load();
  announce("");
}

async function chooseWay(way: How): Promise<void> {
  const before = how;
  how = way;
  ways.show(how);
  try {
    await load();
    announce("");
  } catch (error) {
    how = before; // such as “disagree” without given labels
    ways.show(how);
    throw error;
  }
}

async function chooseCandidate(candidate: Candidate): Promise<void> {
  queue.show(candidate);
  showCandidate();
  announce("");
}

async function addLabel(name: string, by: string): Promise<void> {
  showState(await api.addLabel(name, by));
  label = name;
  labels.show(state, label);
  showForm(false);
  byId("candidate").focus({ preventScroll: true });
  await load();
  announce(`Label ${name} added`);
}

async function write(): Promise<void> {
  const { written } = await api.write();
  byId("written-part").hidden = false;
  byId("written").replaceChildren(...written.map((file) => make("li", {}, file)));
  announce(`${written.length} files are written`);
}

function showForm(on: boolean): void {
  byId("new-label").hidden = !on;
  document.querySelector('[data-action="new"]')?.setAttribute("aria-expanded", String(on));
  if (on) byId("name").focus();
}

function neighbour(step: number): string {
  const { labels: names } = state;
  return names[(names.indexOf(label) + step + names.length) % names.length] ?? label;
}

function act(action: Action): void {
  if (typeof action === "object") return inTurn("Loading", () => chooseWay(action.how));
  switch (action) {
    case "play":
      if (cannotPlay) trouble(cannotPlay);
      else if (shown) play.toggle();
      return;
    case "skip":
      return ifIdle("Loading", skip);
    case "undo":
      return inTurn("Taking back", undo);
    case "before":
    case "after":
      return inTurn("Loading", () => chooseLabel(neighbour(action === "after" ? 1 : -1)));
    case "new":
      return showForm(Boolean(byId("new-label").hidden));
    case "write":
      return inTurn("Writing", write);
    case "help":
      if (help.open) help.close();
      else help.showModal();
      return;
    default:
      return ifIdle("Saving", () => answer(action));
  }
}

// ---- other pages' answers ---------------------------------------------------------------------------------------

let isLost = false;

async function poll(): Promise<void> {
  if (document.visibilityState !== "visible" || pending) return;
  const since = actions;
  try {
    const next = await api.state();
    if (isLost) trouble("");
    isLost = false;
    // What was done here meanwhile may be missing in it.
    if (actions !== since || JSON.stringify(next) === JSON.stringify(state)) return;
    const before = JSON.stringify(state.answers[label]);
    showState(next);
    if (!label || JSON.stringify(next.answers[label]) === before) return;
    await renew((found) => queue.refresh(found));
    announce("Answers came from another page");
  } catch (error) {
    const text = messageOf(error);
    isLost = text === UNREACHABLE;
    if (byId("trouble").textContent !== text) trouble(text); // else it would be read again and again
  }
}

// ---- keys and buttons -------------------------------------------------------------------------------------------

function focusKind(target: EventTarget | null): Press["on"] {
  if (!(target instanceof Element)) return "page";
  if (target.matches('input[type="range"]')) return "slider";
  if (target.matches("button, summary, input[type=checkbox]")) return "button";
  return target.matches("input, textarea, select") ? "text" : "page";
}

function onKey(event: KeyboardEvent): void {
  isActive = true;
  if (event.key === "Escape" && !byId("new-label").hidden) return showForm(false);
  const { key, ctrlKey, metaKey, altKey, repeat } = event;
  const action = actionOf({ key, ctrlKey, metaKey, altKey, repeat, on: focusKind(event.target) });
  if (!action || !byId<HTMLInputElement>("keys-on").checked || (help.open && action !== "help")) return;
  event.preventDefault();
  act(action);
}

function wire(): void {
  document.addEventListener("keydown", onKey);
  document.addEventListener("pointerdown", () => (isActive = true));
  for (const button of document.querySelectorAll<HTMLElement>("[data-action]")) {
    button.addEventListener("click", () => act(button.dataset.action as Action));
  }
  // A pointer leaves the focus where it is: the space bar would press the same button again, where it should play.
  document.addEventListener("mousedown", (event) => {
    if (event.target instanceof Element && event.target.closest("button") && !help.open) event.preventDefault();
  });
  byId("new-label").addEventListener("submit", (event) => {
    event.preventDefault();
    const [name, by] = ["name", "by"].map((id) => byId<HTMLInputElement>(id).value.trim());
    if (name) inTurn("Adding", () => addLabel(name, by));
  });
  byId("cancel").addEventListener("click", () => showForm(false));
  byId("close-help").addEventListener("click", () => help.close());
  for (const { key, text, more } of KEYS) {
    const short = make("span");
    short.append(make("kbd", {}, key), ` ${text}`);
    byId("shortcuts").append(short);
    const term = make("dt");
    term.append(make("kbd", {}, key));
    byId("keys").append(term, make("dd", {}, more));
  }
  let waiting = 0;
  const redraw = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      spectrogram.draw();
      following.draw();
    });
  };
  window.addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("hashchange", () => location.reload());
}

async function begin(): Promise<void> {
  showState(await api.state());
  byId("work").hidden = byId("shortcuts").hidden = false;
  ways.show(how);
  await load();
  if (label) announce("");
  else showForm(true);
  setInterval(() => void poll(), POLL_EVERY);
}

if (location.hash.length > 1) {
  wire();
  inTurn("Loading", begin);
} else {
  trouble(NO_TOKEN);
}
