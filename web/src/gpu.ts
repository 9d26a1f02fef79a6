// The model on the GPU: ONNX Runtime's wasm with WebGPU, which is larger and is fetched only where there is a GPU.

import * as ort from "onnxruntime-web/jspi";
import mjs from "onnxruntime-web/ort-wasm-simd-threaded.jspi.mjs?url";
import wasm from "onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm?url";
import { serve } from "./serve";

const here = import.meta.url;
ort.env.wasm.wasmPaths = { mjs: new URL(mjs, here).href, wasm: new URL(wasm, here).href };
serve(ort, "webgpu");
