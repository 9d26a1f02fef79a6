// How unlike the clips that a head was fitted on an embedding is, as `Unlike` of encoder/unlike.py.

export interface UnlikeSizes {
  classes: number;
  rank: number;
  quantiles: number;
}

/** How many numbers unlike.bin holds. */
export function unlikeLength({ classes, rank, quantiles }: UnlikeSizes, dim: number): number {
  return (classes + rank) * dim + rank + 1 + quantiles;
}

export class Unlike {
  private readonly means: Float32Array[];
  private readonly directions: Float32Array[];
  private readonly variances: Float32Array;
  private readonly quantiles: Float32Array;

  /** @param values means, directions, variances and quantiles, one after another. */
  constructor({ classes, rank, quantiles }: UnlikeSizes, dim: number, values: Float32Array) {
    const rows = Array.from({ length: classes + rank }, (_, i) => values.subarray(i * dim, (i + 1) * dim));
    const end = values.length - quantiles;
    this.means = rows.slice(0, classes);
    this.directions = rows.slice(classes);
    this.variances = values.subarray(end - rank - 1, end);
    this.quantiles = values.subarray(end);
  }

  /** The share of held-out windows that are less unlike, 0 to 1. */
  score(vector: Float32Array): number {
    const distance = Math.min(...this.means.map((mean) => this.distance(vector, mean)));
    const last = this.quantiles.length - 1;
    const above = this.quantiles.findIndex((quantile) => quantile > distance);
    if (above <= 0) return above ? 1 : 0; // above the last quantile, or below the first
    const low = this.quantiles[above - 1];
    return (above - 1 + (distance - low) / (this.quantiles[above] - low)) / last;
  }

  private distance(vector: Float32Array, mean: Float32Array): number {
    let rest = 0;
    for (let i = 0; i < vector.length; i++) rest += (vector[i] - mean[i]) ** 2;
    let sum = 0;
    this.directions.forEach((direction, row) => {
      let along = 0;
      for (let i = 0; i < vector.length; i++) along += (vector[i] - mean[i]) * direction[i];
      sum += along ** 2 / this.variances[row];
      rest -= along ** 2;
    });
    return sum + Math.max(0, rest) / this.variances[this.directions.length];
  }
}
