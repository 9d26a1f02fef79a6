// What each key does. Every action has a button too.

import type { How, Verdict } from "./api";

export type Action = "play" | Verdict | "undo" | "skip" | "before" | "after" | "new" | "write" | "help" | { how: How };

/** The ways to choose candidates, each with its key. */
export const WAYS: { how: How; key: string; text: string }[] = [
  { how: "mixed", key: "0", text: "Mixed" },
  { how: "uncertain", key: "1", text: "Most uncertain" },
  { how: "similar", key: "2", text: "Similar to yes" },
  { how: "different", key: "3", text: "Most different" },
  { how: "top", key: "4", text: "Highest score" },
  { how: "random", key: "5", text: "At random" },
  { how: "disagree", key: "6", text: "Unlike given label" },
];

/** Keys and what they do, as the page lists them. */
export const KEYS: { key: string; text: string; more: string }[] = [
  { key: "space", text: "play", more: "Play the sound, or pause it" },
  { key: "y", text: "yes", more: "The window has the label" },
  { key: "n", text: "no", more: "It does not have it" },
  { key: "u", text: "not sure", more: "Not sure, also ?" },
  { key: "z", text: "undo", more: "Take back the latest answer; again: the one before" },
  { key: "→", text: "skip", more: "Skip to the next candidate" },
  { key: "↑ ↓", text: "label", more: "Choose another label" },
  { key: "l", text: "new label", more: "Add a label" },
  { key: "0–6", text: "candidates", more: "How candidates are chosen" },
  { key: "w", text: "write", more: "Write labels, tables, the classifier and a report" },
  { key: "h", text: "help", more: "Show or hide this list" },
];

const ACTIONS = new Map<string, Action>([
  [" ", "play"],
  ["y", "yes"],
  ["n", "no"],
  ["u", "unsure"],
  ["?", "unsure"],
  ["z", "undo"],
  ["arrowright", "skip"],
  ["arrowup", "before"],
  ["arrowdown", "after"],
  ["l", "new"],
  ["w", "write"],
  ["h", "help"],
]);

/** What a key press is about: `on` is the kind of element that has the focus. */
export interface Press {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  repeat: boolean;
  on: "text" | "button" | "slider" | "page";
}

/** What a key press asks for; null: nothing of ours, and the browser may do with it what it does. */
export function actionOf({ key, ctrlKey, metaKey, altKey, repeat, on }: Press): Action | null {
  if (ctrlKey || metaKey || altKey || repeat || on === "text") return null; // a key that is held answers once
  if (on === "button" && key === " ") return null; // it presses the button
  if (on === "slider" && key.startsWith("Arrow")) return null; // it moves the playhead
  const way = WAYS.find((one) => one.key === key);
  return way ? { how: way.how } : (ACTIONS.get(key.toLowerCase()) ?? null);
}
