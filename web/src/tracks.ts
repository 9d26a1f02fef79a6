// Labels along time: the probabilities of the most probable labels in each window.

export const TRACKS = 6; // labels that are shown, at most

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

/**
 * The labels with the highest probability in any stretch, the highest first.
 *
 * @param found the probabilities of all labels, one array a stretch.
 */
export function tracksOf(labels: string[], found: Float32Array[], count: number): Track[] {
  if (!found.length) return [];
  const best = new Int32Array(labels.length);
  found.forEach((row, stretch) => {
    for (let i = 0; i < best.length; i++) if (row[i] > found[best[i]][i]) best[i] = stretch;
  });
  const height = (i: number) => found[best[i]][i];
  return [...best.keys()]
    .sort((a, b) => height(b) - height(a) || a - b)
    .slice(0, count)
    .map((i) => ({ label: labels[i], values: Float32Array.from(found, (row) => row[i]), highest: best[i] }));
}
