// Labels along time: the probabilities of the most probable labels in each window.

export const TRACKS = 6; // labels that are shown, at most
export const UNLIKE = "Unlike the training clips";

/** Audio that was classified as one, in seconds. */
export interface Stretch {
  start: number;
  end: number;
}

/** A label, its probability in each stretch, and the stretch where that is highest. */
export interface Track {
  label: string;
  values: Float32Array;
  highest: number;
}

/** How unlike the head's training clips each stretch is, 0 to 1, and the probabilities of all labels in it. */
export interface Scored {
  unlike: Float32Array;
  found: Float32Array[];
}

/**
 * The labels with the highest probability in any stretch, the highest first.
 *
 * @param found the probabilities of all labels, one array a stretch; null: its labels are hidden, their values are NaN.
 */
export function tracksOf(labels: string[], found: (Float32Array | null)[], count: number): Track[] {
  const first = found.findIndex((row) => row);
  if (first < 0) return [];
  const best = new Int32Array(labels.length).fill(first);
  found.forEach((row, stretch) => {
    for (let i = 0; row && i < best.length; i++) if (row[i] > height(i)) best[i] = stretch;
  });
  return [...best.keys()]
    .sort((a, b) => height(b) - height(a) || a - b)
    .slice(0, count)
    .map((i) => ({ label: labels[i], values: Float32Array.from(found, (row) => row?.[i] ?? NaN), highest: best[i] }));

  function height(i: number): number {
    return found[best[i]]?.[i] ?? NaN;
  }
}

/** The tracks without the labels of stretches that are more unlike than `most`, and last the track of the score. */
export function scoredTracks(labels: string[], { unlike, found }: Scored, count: number, most: number): Track[] {
  const shown = found.map((row, stretch) => (unlike[stretch] > most ? null : row));
  const highest = unlike.reduce((best, score, stretch) => (score > unlike[best] ? stretch : best), 0);
  return [...tracksOf(labels, shown, count), { label: UNLIKE, values: unlike, highest }];
}
