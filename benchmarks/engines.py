"""Engines: PyTorch, ONNX Runtime and OpenVINO answer the same questions, each in a process of its
own (two engines in one process disturb each other's threads), in turns."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Measured, Settings, Target

# Backend and precision; the first one is what the others are compared with.
VARIANTS = {
    "torch float32": ("torch", None),
    "torch bfloat16": ("torch", "bfloat16"),
    "onnx float32": ("onnx", None),
    "onnx int8": ("onnx", "int8"),
    "openvino float32": ("openvino", None),
    "openvino bfloat16": ("openvino", "bfloat16"),
}
FIRST = "torch float32"
CHUNK = 20  # questions that go through a model together


def peak_mib() -> float:
    "The most memory that this process had; ru_maxrss would begin with that of its parent."
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def worker(backend: str, dtype: str, model: str, file: str) -> None:
    "Answers the questions that standard input names, a range (begin end) a line, as JSON lines."
    begin = time.perf_counter()
    from squadqa.inference import QuestionAnswerer

    pairs = json.loads(Path(file).read_text())
    qa = QuestionAnswerer(model, backend=backend, dtype=None if dtype == "None" else dtype)
    qa(**pairs[0])
    print(json.dumps({"ready": time.perf_counter() - begin}), flush=True)
    for line in sys.stdin:
        some = pairs[slice(*map(int, line.split()))]
        begin, cpu = time.perf_counter(), time.process_time()
        answers = list(qa.stream(some))
        took = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}
        print(json.dumps(took | {"answers": answers}), flush=True)
    print(json.dumps({"peak_mib": round(peak_mib())}), flush=True)


class Workers:
    "Processes that answer in turns."

    def __init__(self, model: str, file: str):
        self.running = {}
        self.ready = {}
        for name, (backend, dtype) in VARIANTS.items():
            words = ["-m", "benchmarks.engines", "--worker", backend, str(dtype), model, file]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            process = subprocess.Popen([sys.executable, *words], **pipes)
            self.running[name] = process
            told = process.stdout.readline()
            if told:
                self.ready[name] = round(json.loads(told)["ready"], 2)
            else:  # such as bfloat16 on a processor without it
                del self.running[name]

    def ask(self, name: str, begin: int, end: int) -> dict:
        process = self.running[name]
        process.stdin.write(f"{begin} {end}\n")
        process.stdin.flush()
        found = json.loads(process.stdout.readline())
        time.sleep(0.05)  # until its threads sleep
        return found

    def end(self) -> dict[str, int]:
        "Peak memory of each, in MiB."
        peaks = {}
        for name, process in self.running.items():
            process.stdin.close()
            peaks[name] = json.loads(process.stdout.readline())["peak_mib"]
            process.wait()
        return peaks


def _one_round(workers: Workers, n: int, size: int, backwards: bool) -> dict[str, dict]:
    "Seconds, CPU seconds and answers of each, with the questions a chunk in turn"
    names = list(workers.running)[:: -1 if backwards else 1]
    found = {name: {"seconds": 0.0, "cpu": 0.0, "answers": []} for name in names}
    for begin in range(0, n, size):
        for name in names:
            told = workers.ask(name, begin, min(begin + size, n))
            for key, value in told.items():
                found[name][key] += value
    return found


def _questions(settings: Settings) -> tuple[list[dict], list[dict]]:
    "Pairs to ask, and the references"
    from squadqa.data import load_squad

    if settings.quick:
        examples = load_squad()["validation"].select(range(8))
    else:
        file = settings.data("squad/dev-v1.1.json")
        examples = load_squad(file)["validation"]
        n = int(os.environ.get("SQUADQA_QUESTIONS", 1000))
        examples = examples.select(range(min(n, len(examples))))
    pairs = [{"question": e["question"], "context": e["context"]} for e in examples]
    return pairs, [{"id": e["id"], "answers": e["answers"]} for e in examples]


def _scores(answers: list[dict], references: list[dict]) -> dict[str, float]:
    from squadqa.metrics import squad_scores

    rows = [{"id": r["id"], "prediction_text": a["answer"]} for r, a in zip(references, answers)]
    return {name: round(value, 3) for name, value in squad_scores(rows, references).items()}


def _same(one: list[dict], other: list[dict]) -> float:
    "Percent of answers that are the same span"
    same = sum((a["start"], a["end"]) == (b["start"], b["end"]) for a, b in zip(one, other))
    return round(100 * same / len(one), 2)


def measure(settings: Settings) -> Measured:
    "Questions in chunks and one by one, the same answers in float32, EM/F1, and peak memory."
    model = os.environ.get("SQUADQA_MODEL", "starter")
    pairs, references = _questions(settings)
    n = len(pairs)
    alone = max(4, n // 10)
    seconds: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    answers = {}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(pairs))
        file.flush()
        workers = Workers(model, file.name)
        for i in range(settings.rounds):
            kinds = (("", n, CHUNK), (", one by one", alone, 1))
            for kind, count, size in kinds:
                for name, found in _one_round(workers, count, size, bool(i % 2)).items():
                    seconds.setdefault(name + kind, []).append(round(found["seconds"], 4))
                    cpu.setdefault(name + kind, []).append(round(found["cpu"], 4))
                    answers.setdefault(name + kind, found["answers"])
        peaks = workers.end()
    same = {name: _same(answers[name], answers[FIRST]) for name in peaks}
    for name in peaks:
        if name.endswith("float32"):
            assert same[name] >= 99.5, f"{name} gives the answers of {FIRST} to {same[name]} %"
    others = [name for name in peaks if name != FIRST]
    targets = [Target(name, FIRST) for name in others]
    targets += [Target(f"{name}, one by one", f"{FIRST}, one by one") for name in others]
    return Measured(
        what=f"{n} questions in chunks of {CHUNK}, {alone} of them one by one; {model}",
        equal="answers of the engines in float32 are PyTorch's to at least 99.5 %",
        seconds=seconds,
        cpu_seconds=cpu,
        targets=targets,
        more={
            "same_answers_percent": same,
            "scores": {name: _scores(answers[name], references) for name in peaks},
            "peak_mib": peaks,
            "seconds_until_first_answer": workers.ready,
            "engines": _versions(),
        },
    )


def _versions() -> dict[str, str]:
    import importlib.metadata

    names = ("onnxruntime", "openvino", "onnx", "onnxscript")
    return {name: importlib.metadata.version(name) for name in names}


def main() -> None:
    from benchmarks.__main__ import main as run

    run(["engines", *sys.argv[1:]])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
