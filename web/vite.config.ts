import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { defineConfig } from "vite";

// Without Vite ONNX Runtime finds its wasm by itself; here its files are assets, named to it in worker.ts and gpu.ts.
const conditions = ["onnxruntime-web-use-extern-wasm", "module", "browser", "development|production"];

// An .mjs is not served as a script everywhere; a .js is.
const assetFileNames = (asset: { names: string[] }) =>
  asset.names.some((name) => name.endsWith(".mjs")) ? "assets/[name]-[hash].js" : "assets/[name]-[hash][extname]";

// The package keeps the wasm files compressed, a quarter of their size; an exported page has them as they are.
const compressWasm = {
  name: "compress-wasm",
  apply: "build" as const,
  closeBundle() {
    const assets = join(import.meta.dirname, "../src/sondino/page/assets");
    for (const name of readdirSync(assets).filter((name) => name.endsWith(".wasm"))) {
      writeFileSync(join(assets, `${name}.gz`), gzipSync(readFileSync(join(assets, name)), { level: 9 }));
      rmSync(join(assets, name));
    }
  },
};

export default defineConfig({
  base: "./", // a page may lie in any folder of a site
  plugins: [compressWasm],
  resolve: { conditions },
  build: {
    outDir: "../src/sondino/page",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the page's own rules allow no data: scripts
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: ["index.html", "label.html"].map((page) => join(import.meta.dirname, page)),
      output: { assetFileNames },
    },
  },
  worker: { format: "es", rollupOptions: { output: { assetFileNames } } },
});
