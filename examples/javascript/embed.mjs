// node embed.mjs MODEL.onnx CLIP.wav: the first five values of the clip's embedding. First: npm ci

import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** The sample rate that a model expects, from a bundle's config.json or an export's export.json beside it. */
async function rateOf(modelFile) {
  for (const name of ["config.json", "export.json"]) {
    const text = await readFile(join(dirname(modelFile), name), "utf8").catch(() => null);
    if (text !== null) return JSON.parse(text).sample_rate;
  }
  throw new Error(`neither config.json nor export.json lies beside ${modelFile}: copy the model's whole folder`);
}

/** Mono samples and rate of a WAV file of 16-bit or 32-bit float samples, its channels averaged. */
function readWav(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (place) => String.fromCharCode(...bytes.subarray(place, place + 4));
  if (text(0) !== "RIFF" || text(8) !== "WAVE") throw new Error("it is no WAV file");
  let format, channels, rate, bits;
  for (let place = 12; place + 8 <= bytes.length; ) {
    const size = view.getUint32(place + 4, true);
    const begin = place + 8;
    if (text(place) === "fmt ") {
      format = view.getUint16(begin, true);
      if (format === 0xfffe) format = view.getUint16(begin + 24, true); // an extended header
      channels = view.getUint16(begin + 2, true);
      rate = view.getUint32(begin + 4, true);
      bits = view.getUint16(begin + 14, true);
    } else if (text(place) === "data") {
      if (!((format === 1 && bits === 16) || (format === 3 && bits === 32)))
        throw new Error("only WAV files of 16-bit or 32-bit float samples are read here");
      const step = bits / 8;
      const frames = Math.floor(Math.min(size, bytes.length - begin) / (step * channels));
      const samples = Float32Array.from({ length: frames }, (_, frame) => {
        let sum = 0;
        for (let channel = 0; channel < channels; channel++) {
          const at = begin + step * (frame * channels + channel);
          sum += bits === 16 ? view.getInt16(at, true) / 32768 : view.getFloat32(at, true);
        }
        return sum / channels;
      });
      return { samples, rate };
    }
    place = begin + size + (size % 2);
  }
  throw new Error("it holds no sound");
}

async function main(modelFile, clipFile) {
  if (clipFile === undefined) throw new Error("usage: node embed.mjs MODEL.onnx CLIP.wav");
  process.env.ORT_DISABLE_TELEMETRY ??= "1"; // before the import, or ONNX Runtime reports to Microsoft
  // The native runtime; or that of browsers, whose results differ in the fifth digit.
  const ort = await import("onnxruntime-node").catch(() => import("onnxruntime-web"));
  const { samples, rate } = readWav(await readFile(clipFile));
  const wanted = await rateOf(modelFile);
  if (rate !== wanted) throw new Error(`${clipFile} is at ${rate} Hz, the model expects ${wanted} Hz: resample it first`);
  const model = await ort.InferenceSession.create(new Uint8Array(await readFile(modelFile)));
  const { vector } = await model.run({ waveform: new ort.Tensor("float32", samples, [1, samples.length]) });
  console.log(Array.from(vector.data.slice(0, 5), (number) => number.toFixed(6)).join(" "));
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
