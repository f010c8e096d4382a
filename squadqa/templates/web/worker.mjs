// The model works here, beside the page, so that the page can be scrolled and read meanwhile.

import { Tokenizer } from "./vendor/tokenizers.min.mjs";
import * as ort from "./vendor/ort.wasm.bundle.min.mjs";
import { QuestionAnswerer } from "./squadqa.mjs";

const here = (name) => new URL(name, import.meta.url).href;
ort.env.wasm.wasmPaths = { wasm: here("vendor/ort-wasm-simd-threaded.wasm") };
ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
ort.env.logLevel = "error";

// The bytes of a file of this folder; the page is told how many have come
async function fetchFile(name) {
  const response = await fetch(here(name));
  if (!response.ok) throw new Error(`${name} did not come (${response.status})`);
  const total = Number(response.headers.get("Content-Length"));
  const pieces = [];
  let loaded = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    loaded += value.length;
    postMessage({ type: "loading", name, loaded, total });
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

const ready = QuestionAnswerer.load({ ort, Tokenizer, fetchFile });
ready.then(
  () => postMessage({ type: "ready" }),
  (error) => postMessage({ type: "broken", message: error.message }),
);

self.onmessage = async ({ data: { id, question, text, options } }) => {
  try {
    const qa = await ready;
    const onWindow = (done, all) => postMessage({ type: "window", id, done, all });
    const answers = await qa.ask(question, text, { ...options, onWindow });
    postMessage({ type: "answers", id, answers });
  } catch (error) {
    postMessage({ type: "problem", id, message: error.message });
  }
};
