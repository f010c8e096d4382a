// What the page shows. The answers come from worker.mjs.
"use strict";

const find = (id) => document.getElementById(id);
const waiting = new Map(); // questions that are not answered yet, by their number
let asked = 0;
let worker;

function say(message, isProblem = false) {
  const status = find("status");
  status.textContent = message;
  status.classList.toggle("problem", isProblem);
}

function showProgress(value, most, label) {
  const bar = find("progress");
  bar.hidden = false;
  bar.setAttribute("aria-label", label);
  if (most) Object.assign(bar, { max: most, value });
  else bar.removeAttribute("value");
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(0);

// One per message of the worker
const heard = {
  loading({ name, loaded, total }) {
    if (name !== "model.onnx") return;
    showProgress(loaded, total, "Loading the model");
    if (loaded === total) say("Starting the model ...");
    else if (!find("status").textContent.startsWith("Loading the model")) {
      say(`Loading the model, ${megabytes(total)} MB; the browser keeps it for the next time ...`);
    }
  },
  ready() {
    find("progress").hidden = true;
    find("ask").disabled = false;
    document.body.dataset.state = "ready";
    say("Ready. Ask a question.");
  },
  broken({ message }) {
    find("progress").hidden = true;
    say(`The model could not be loaded: ${message}. Reload the page to try again.`, true);
  },
  window({ id, done, all }) {
    if (waiting.get(id)?.onWindow) waiting.get(id).onWindow(done, all);
  },
  answers({ id, answers }) {
    waiting.get(id).resolve(answers);
    waiting.delete(id);
  },
  problem({ id, message }) {
    waiting.get(id).reject(new Error(message));
    waiting.delete(id);
  },
};

// Resolves to [{ answer, start, end, score }], best first; text.slice(start, end) === answer
function askWorker(question, text, options = {}, onWindow = null) {
  const id = ++asked;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject, onWindow });
    worker.postMessage({ id, question, text, options });
  });
}

function showMarked(text, { start, end }) {
  const mark = document.createElement("mark");
  mark.textContent = text.slice(start, end);
  const parts = end > start ? [text.slice(0, start), mark, text.slice(end)] : [text];
  find("marked").replaceChildren(...parts);
  const box = find("marked");
  box.scrollTop = end > start ? mark.offsetTop - box.offsetTop - box.clientHeight / 2 : 0;
}

function row(rank, { answer, score }) {
  const line = document.createElement("tr");
  const cells = [["th", rank], ["td", answer || "no answer"], ["td", score.toFixed(3)]];
  for (const [kind, value] of cells) {
    const cell = document.createElement(kind);
    cell.textContent = value;
    line.append(cell);
  }
  line.children[0].scope = "row";
  line.children[1].dir = "auto";
  line.children[2].className = "number";
  return line;
}

function show(text, answers) {
  const best = answers[0] ?? { answer: "", start: 0, end: 0, score: 0 };
  find("answer").textContent = best.answer || "No answer in this text";
  find("score").textContent = `(score ${best.score.toFixed(3)})`;
  showMarked(text, best);
  find("answers").replaceChildren(...answers.map((answer, i) => row(i + 1, answer)));
  find("result").hidden = false;
  say(`Answer: ${find("answer").textContent}`);
}

async function submit(event) {
  event.preventDefault();
  const text = find("text").value;
  const options = { topK: 3, mayBeEmpty: find("may-be-empty").checked };
  find("ask").disabled = true;
  say("Reading the text ...");
  try {
    const answers = await askWorker(find("question").value, text, options, (done, all) => {
      if (all > 1) showProgress(done, all, "Reading the text");
    });
    show(text, answers);
  } catch (error) {
    find("result").hidden = true;
    say(`This could not be answered: ${error.message}.`, true);
  } finally {
    find("progress").hidden = true;
    find("ask").disabled = false;
  }
}

function fillExamples(examples) {
  const choices = examples.map(({ question }, i) => new Option(question, i));
  find("example").replaceChildren(...choices);
  const use = ({ question, text }) => {
    find("text").value = text;
    find("question").value = question;
  };
  find("example").addEventListener("change", (event) => use(examples[event.target.value]));
  use(examples[0]);
}

async function start() {
  if (location.protocol === "file:") {
    say(
      "A browser lets no page that was opened as a file load a model. Serve this folder: " +
        "run python -m http.server --bind 127.0.0.1 in it, and open the address that it prints.",
      true,
    );
    return;
  }
  say("Loading the model ...");
  worker = new Worker("worker.mjs", { type: "module" });
  worker.onmessage = ({ data }) => heard[data.type](data);
  worker.onerror = () => heard.broken({ message: "this browser does not run it" });
  find("form").addEventListener("submit", submit);
  const page = await (await fetch("page.json")).json();
  find("about").textContent = page.about;
  fillExamples(page.examples);
}

start();
