// A waveform as it is drawn.

/** Lowest and highest sample of so many columns, in turn. */
export function outline(waveform: Float32Array, columns: number): Float32Array {
  const out = new Float32Array(2 * columns);
  for (let column = 0; column < columns; column++) {
    let low = Infinity;
    let high = -Infinity;
    const end = Math.floor(((column + 1) * waveform.length) / columns);
    for (let i = Math.floor((column * waveform.length) / columns); i < end; i++) {
      if (waveform[i] < low) low = waveform[i];
      if (waveform[i] > high) high = waveform[i];
    }
    out[2 * column] = low;
    out[2 * column + 1] = high;
  }
  return out;
}
