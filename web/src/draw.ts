// The canvases: waveform, log-mel and embedding, in the page's own colours.

import type { Mels } from "./logmel";
import type { Stretch } from "./tracks";

/** A canvas as large as it is shown, cleared. */
function sheet(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d", { alpha: true });
  if (!context) throw new Error("no canvas here");
  context.clearRect(0, 0, width, height);
  return context;
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** `outline`: lowest and highest sample of each column; `share`: of the width that it fills, from the right. */
export function drawWave(canvas: HTMLCanvasElement, outline: Float32Array, share = 1): void {
  const context = sheet(canvas);
  const { width, height } = canvas;
  const columns = outline.length / 2;
  let peak = 0.05; // what is nearly silent looks so
  for (const value of outline) peak = Math.max(peak, Math.abs(value));
  context.fillStyle = colour("--accent");
  const left = width * (1 - share);
  const thick = Math.max(1, Math.round(window.devicePixelRatio || 1));
  for (let column = 0; column < columns; column++) {
    const high = (0.5 - (outline[2 * column + 1] / peak) * 0.46) * height;
    const low = (0.5 - (outline[2 * column] / peak) * 0.46) * height;
    const x = left + (column * width * share) / columns;
    context.fillRect(x, high, Math.max(thick, (width * share) / columns), Math.max(thick, low - high));
  }
}

const small = document.createElement("canvas"); // a point a band and frame, before it is stretched

/** The log-mel, low bands at the bottom; loud is the ink's colour, quiet the card's, so that it reads in grey too. */
export function drawMels(canvas: HTMLCanvasElement, mels: Mels, share = 1): void {
  const context = sheet(canvas);
  const { values, bands, frames } = mels;
  small.width = frames;
  small.height = bands;
  const paint = small.getContext("2d", { willReadFrequently: true });
  if (!paint) return;
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value === -Infinity) continue; // not computed yet
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const colours = ramp();
  const image = paint.createImageData(frames, bands);
  const points = new Uint32Array(image.data.buffer);
  const scale = 255 / Math.max(high - low, 3); // noise of a silent room is not blown up
  for (let band = 0; band < bands; band++) {
    const row = (bands - 1 - band) * frames;
    for (let frame = 0; frame < frames; frame++) {
      const value = values[band * frames + frame];
      points[row + frame] = colours[value === -Infinity ? 0 : Math.round((value - low) * scale)];
    }
  }
  paint.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = frames < canvas.width;
  context.drawImage(small, canvas.width * (1 - share), 0, canvas.width * share, canvas.height);
}

/**
 * The probabilities of a label along time, the square root of each as a colour, so that small ones show. Where windows
 * overlap the highest of them is drawn; of NaN nothing is.
 */
export function drawTrack(canvas: HTMLCanvasElement, values: Float32Array, stretches: Stretch[], from: number, to: number): void {
  const context = sheet(canvas);
  const { width, height } = canvas;
  const colours = rampColours();
  const across = (seconds: number) => ((seconds - from) / (to - from)) * width;
  const known = [...values.keys()].filter((i) => !Number.isNaN(values[i]));
  for (const i of known.sort((a, b) => values[a] - values[b])) {
    const left = Math.max(0, across(stretches[i].start));
    const right = Math.min(width, across(stretches[i].end));
    context.fillStyle = colours[Math.round(255 * Math.sqrt(Math.min(1, Math.max(0, values[i]))))];
    if (right > left) context.fillRect(left, 0, Math.max(1, right - left), height);
  }
}

/** The colours of probabilities from 0 to 1, for a legend. */
export function drawScale(canvas: HTMLCanvasElement): void {
  const context = sheet(canvas);
  rampColours().forEach((one, i) => {
    context.fillStyle = one;
    context.fillRect((i * canvas.width) / 256, 0, canvas.width / 256 + 1, canvas.height);
  });
}

/** The 256 colours as style names them. */
function rampColours(): string[] {
  const bytes = new Uint8Array(ramp().buffer);
  return Array.from({ length: 256 }, (_, i) => `rgb(${bytes[4 * i]} ${bytes[4 * i + 1]} ${bytes[4 * i + 2]})`);
}

let ramped: { names: string; colours: Uint32Array } | null = null;

/** 256 colours between those that the style names, as points of an image. */
function ramp(): Uint32Array {
  const stops = ["--quiet", "--middle", "--loud", "--loudest"].map(colour);
  const names = stops.join();
  if (ramped?.names === names) return ramped.colours;
  const line = document.createElement("canvas");
  line.width = 256;
  line.height = 1;
  const context = line.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("no canvas here");
  const gradient = context.createLinearGradient(0, 0, 256, 0);
  stops.forEach((stop, i) => gradient.addColorStop(i / 3, stop));
  context.fillStyle = gradient;
  context.fillRect(0, 0, 256, 1);
  const colours = new Uint32Array(context.getImageData(0, 0, 256, 1).data.buffer);
  ramped = { names, colours };
  return colours;
}

/** Each number a line, up where it is above zero and down where it is below. */
export function drawVector(canvas: HTMLCanvasElement, vector: Float32Array): void {
  const context = sheet(canvas);
  const { width, height } = canvas;
  let low = 0;
  let high = 0;
  for (const value of vector) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const unit = (height - 2) / (high - low || 1);
  const zero = 1 + high * unit;
  context.fillStyle = colour("--soft");
  context.fillRect(0, zero, width, 1);
  context.fillStyle = colour("--accent");
  const step = width / vector.length;
  vector.forEach((value, i) => context.fillRect(i * step, value > 0 ? zero - value * unit : zero, Math.max(1, step), Math.abs(value) * unit));
}
