// The axes of the log-mel: seconds across, kHz upwards.

import { heightOf, type FrontEnd } from "./logmel";

export interface Tick {
  /** From 0, left or bottom, to 1. */
  at: number;
  text: string;
}

const APART = 70; // pixels from one time to the next, at least
const ABOVE = 17; // pixels from one frequency to the next, at least
const FRACTIONS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]; // seconds
const STEPS = [...FRACTIONS, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800];
const OCTAVES = [0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64]; // kHz

/** @param from seconds at the left; below 0 they are before now. */
export function timeTicks(from: number, to: number, width: number): Tick[] {
  const span = to - from;
  if (!(span > 0)) return [];
  const most = Math.max(1, Math.floor(width / APART));
  const step = STEPS.find((one) => span / one <= most) ?? STEPS[STEPS.length - 1];
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks: Tick[] = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + 1e-9 * span; i++) {
    const text = from < 0 ? beforeNow(i * step, digits) : to >= 60 ? clock(i * step, digits) : `${(i * step).toFixed(digits)} s`;
    ticks.push({ at: (i * step - from) / span, text });
  }
  return ticks;
}

function beforeNow(seconds: number, digits: number): string {
  return Math.abs(seconds) < 1e-9 ? "now" : `−${Math.abs(seconds).toFixed(digits)} s`;
}

/** "1:05", "1:00:05"; with a digit "1:05.0". */
export function clock(seconds: number, digits = 0): string {
  const units = Math.round(seconds * 10 ** digits); // rounded once: never "0:60"
  const whole = Math.floor(units / 10 ** digits);
  const two = (value: number) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const rest = digits ? `.${String(units % 10 ** digits).padStart(digits, "0")}` : "";
  return (hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`) + rest;
}

/** Octaves in kHz, as far as the bands reach. */
export function frequencyTicks(spec: FrontEnd, height: number): Tick[] {
  const ticks: Tick[] = [];
  for (const khz of OCTAVES) {
    if (1000 * khz < spec.f_min || 1000 * khz > spec.f_max) continue;
    const at = Math.min(1, Math.max(0, heightOf(spec, 1000 * khz)));
    const last = ticks[ticks.length - 1];
    if (!last || (at - last.at) * height >= ABOVE) ticks.push({ at, text: String(khz) });
  }
  return ticks;
}
