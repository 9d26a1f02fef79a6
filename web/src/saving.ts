// Embeddings as text, as `sondino embed` writes them.

/** A clip with its embedding and those of its windows. */
export interface Row {
  name: string;
  seconds: number;
  vector: Float32Array;
  windows: Float32Array;
  starts: number[];
}

/** Nine digits give back the same float32. */
function digits(value: number): string {
  return String(Number(value.toPrecision(9)));
}

export function vectorText(vector: Float32Array): string {
  return `[${Array.from(vector, digits).join(", ")}]`;
}

/** One row per clip: id, then v0, v1 and so on. */
export function toCsv(rows: Row[]): string {
  const dim = rows[0]?.vector.length ?? 0;
  const head = ["id", ...Array.from({ length: dim }, (_, i) => `v${i}`)];
  const quoted = (name: string) => (/[",\r\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name);
  const lines = rows.map((row) => [quoted(row.name), ...Array.from(row.vector, digits)]);
  return [head, ...lines].map((line) => line.join(",") + "\n").join("");
}

export function toJson(model: string, sampleRate: number, rows: Row[]): string {
  const sounds = rows.map(({ name, seconds, vector, windows, starts }) => {
    const own = starts.map((start, i) => {
      const part = windows.subarray(i * vector.length, (i + 1) * vector.length);
      return `      {"start": ${start}, "vector": ${vectorText(part)}}`;
    });
    const text = `    {"id": ${JSON.stringify(name)}, "seconds": ${digits(seconds)},\n     "vector": ${vectorText(vector)}`;
    return `${text},\n     "windows": [\n${own.join(",\n")}\n    ]}`;
  });
  const top = `{"model": ${JSON.stringify(model)}, "sample_rate": ${sampleRate}`;
  return `${top}, "sounds": [\n${sounds.join(",\n")}\n]}\n`;
}

export function save(name: string, content: BlobPart, type: string): void {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
