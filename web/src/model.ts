// The content of model/model.json, and what follows from an embedding: labels, and the nearest clips of the gallery.

import type { FrontEnd } from "./logmel";
import type { UnlikeSizes } from "./unlike";
import type { Windowing } from "./windows";

export const FORMAT = "sondino-page-1";

export interface Clip {
  name: string;
  group: string;
  file: string;
  seconds: number;
  licence: string;
  author: string;
}

export interface Head {
  labels: string[];
  multi_label: boolean;
  activation: "relu" | "hardswish";
  /** Sizes of the layers, the embedding's first: their weights (out, in) and biases follow one another in head.bin. */
  sizes: number[];
  /** Of the score of what is unlike its training clips, in unlike.bin; null: it has none. */
  unlike: UnlikeSizes | null;
}

export interface Facts extends Windowing {
  format: string;
  name: string;
  sample_rate: number;
  dim: number;
  /** The number of samples that the network requires; null: any. */
  fixed: number | null;
  front_end: FrontEnd;
  model_bytes: number;
  sha256: string;
  licence: string;
  head: Head | null;
  gallery: Clip[];
  /** The clip that the page starts with. */
  first: number;
}

export interface Near {
  clip: number;
  cosine: number;
}

export interface Likely {
  label: string;
  probability: number;
}

/** Probabilities of the labels of one embedding. */
export function probabilities(head: Head, weights: Float32Array, vector: Float32Array): Float32Array {
  let x = Float64Array.from(vector);
  let at = 0;
  for (let layer = 1; layer < head.sizes.length; layer++) {
    const [inputs, outputs] = [head.sizes[layer - 1], head.sizes[layer]];
    if (layer > 1) x = x.map(head.activation === "relu" ? relu : hardswish);
    const next = new Float64Array(outputs);
    const biases = at + inputs * outputs;
    for (let o = 0; o < outputs; o++) {
      let sum = weights[biases + o];
      const row = at + o * inputs;
      for (let i = 0; i < inputs; i++) sum += weights[row + i] * x[i];
      next[o] = sum;
    }
    at = biases + outputs;
    x = next;
  }
  if (head.multi_label) return Float32Array.from(x, (logit) => 1 / (1 + Math.exp(-logit)));
  const largest = x.reduce((most, logit) => Math.max(most, logit), -Infinity);
  const powers = x.map((logit) => Math.exp(logit - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return Float32Array.from(powers, (power) => power / total);
}

export function likeliest(head: Head, found: Float32Array, count: number): Likely[] {
  return [...found.keys()]
    .sort((a, b) => found[b] - found[a] || a - b)
    .slice(0, count)
    .map((i) => ({ label: head.labels[i], probability: found[i] }));
}

/** Clips by the cosine of their embeddings, all in one array, to one embedding; nearest first. */
export function nearest(vectors: Float32Array, vector: Float32Array, count: number): Near[] {
  const dim = vector.length;
  const clips = vectors.length / dim;
  const length = Math.sqrt(dot(vector, 0, vector));
  const found: Near[] = [];
  for (let clip = 0; clip < clips; clip++) {
    const own = vectors.subarray(clip * dim, (clip + 1) * dim);
    const both = length * Math.sqrt(dot(own, 0, own));
    found.push({ clip, cosine: both ? dot(vectors, clip * dim, vector) / both : 0 });
  }
  return found.sort((a, b) => b.cosine - a.cosine || a.clip - b.clip).slice(0, count);
}

function dot(many: Float32Array, at: number, one: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += many[at + i] * one[i];
  return sum;
}

function relu(x: number): number {
  return Math.max(0, x);
}

function hardswish(x: number): number {
  return (x * Math.min(6, Math.max(0, x + 3))) / 6;
}
