"""Answering on a CPU: the engines of `QuestionAnswerer` and the question-answering pipeline of
transformers 4.57.6, each in a process of its own, the same questions in turns."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import HERE, Measured, Settings, Target, environment
from benchmarks.material import pairs_of, validation_set, write_json

PEER = ("transformers-4.57.6", ["transformers==4.57.6"])
ENGINES = {  # backend and precision
    "torch float32": ("torch", None),
    "onnx float32": ("onnx", None),
    "openvino float32": ("openvino", None),
    "onnx int8": ("onnx", "int8"),
    "torch bfloat16": ("torch", "bfloat16"),
    "openvino bfloat16": ("openvino", "bfloat16"),
}
QUICK = ("torch float32",)  # engines of the quick form
FIRST = "torch float32"
OLD = "old pipeline"
BARE = "the bare forward pass, windows by length, batch 8"
CHUNK = 100
LONGEST = 15  # tokens in an answer: the old pipeline's default
LONG_TEXTS, CHARACTERS = 20, 20_000


def peak_mib() -> int:
    "The most memory that this process had; ru_maxrss would begin with that of its parent."
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))


def windows_by_length(tokenizer, pairs: list[dict], size: int) -> list:
    "Batches of windows as a model takes them, the shortest first: little padding is left."
    columns = [pair["question"].strip() for pair in pairs], [pair["context"] for pair in pairs]
    options = {"truncation": "only_second", "max_length": 384, "stride": 128}
    rows = tokenizer(*columns, **options, return_overflowing_tokens=True)["input_ids"]
    rows.sort(key=len)
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    return [tokenizer.pad({"input_ids": b}, return_tensors="pt") for b in batches]


def worker(kind: str, backend: str, dtype: str, model: str, file: str, longest: str) -> None:
    "Answers the questions that standard input names, a range (begin end) a line, as JSON lines."
    import torch

    from squadqa.inference import QuestionAnswerer

    pairs = json.loads(Path(file).read_text())
    dtype = None if dtype == "None" else dtype
    qa = QuestionAnswerer(model, device="cpu", backend=backend, dtype=dtype)
    options = {"max_answer_len": int(longest)}

    def ask(some):
        if kind == "one":
            return [qa(**pair, **options) for pair in some]
        questions, contexts = ([pair[name] for pair in some] for name in ("question", "context"))
        return qa(questions, contexts, **options)

    def forward(some):
        batches = windows_by_length(qa.tokenizer, some, 8)
        begin = time.perf_counter()
        with torch.inference_mode():
            for batch in batches:
                qa.model(**batch)
        return time.perf_counter() - begin

    qa(**pairs[0])
    print("ready", flush=True)
    for line in sys.stdin:
        some = pairs[slice(*map(int, line.split()))]
        begin = time.perf_counter()
        found = forward(some) if kind == "bare" else ask(some)
        took = found if kind == "bare" else time.perf_counter() - begin
        print(json.dumps({"seconds": took, "answers": [] if kind == "bare" else found}), flush=True)
    print(json.dumps({"peak_mib": peak_mib()}), flush=True)


class Worker:
    "A process that answers on demand."

    def __init__(self, command: list):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(list(map(str, command)), **pipes)
        assert self.process.stdout.readline() == "ready\n", command

    def ask(self, begin: int, end: int) -> tuple[float, list[dict]]:
        "Seconds and answers"
        self.process.stdin.write(f"{begin} {end}\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        time.sleep(0.05)  # until its threads sleep
        return told["seconds"], told["answers"]

    def end(self) -> int:
        "Peak memory in MiB"
        self.process.stdin.close()
        peak = json.loads(self.process.stdout.readline())["peak_mib"]
        self.process.wait()
        return peak


def own_command(kind: str, name: str, model: str, file: Path, longest: int = LONGEST) -> list:
    'A worker of this module: kind is "many", "one" or "bare"'
    begin = [sys.executable, "-m", "benchmarks.answering", kind]
    return [*begin, *ENGINES[name], model, file, longest]


def start_workers(model: str, file: Path, quick: bool) -> dict[str, Worker]:
    'By name; what ends in "one by one" takes its questions so.'
    commands = {}
    for name in QUICK if quick else ENGINES:
        commands[name] = own_command("many", name, model, file)
        commands[f"{name}, one by one"] = own_command("one", name, model, file)
    if not quick:
        old = [environment(*PEER), HERE / "old_pipeline.py", model, file]
        commands |= {f"{OLD}, batch {size}": [*old, size] for size in (8, 32)}
        commands[f"{OLD}, one by one"] = [*old, 1]
        commands[BARE] = own_command("bare", FIRST, model, file)
    return {name: Worker(command) for name, command in commands.items()}


def in_turns_of(workers: dict[str, Worker], places: range, chunk: int) -> tuple[dict, dict]:
    "Seconds and answers by name: each answers a chunk in turn, as what disturbs then meets all."
    seconds, answers = dict.fromkeys(workers, 0.0), {name: [] for name in workers}
    for i, begin in enumerate(range(places.start, places.stop, chunk)):
        for name in list(workers)[:: -1 if i % 2 else 1]:
            took, found = workers[name].ask(begin, min(begin + chunk, places.stop))
            seconds[name] += took
            answers[name] += found
    return seconds, answers


def percent_same(one: list[dict], other: list[dict]) -> float:
    "How many of a hundred answers have the same text"
    same = sum(a["answer"] == b["answer"] for a, b in zip(one, other, strict=True))
    return round(100 * same / len(one), 2)


def check_equal(answers: dict[str, list[dict]]) -> None:
    "One by one as in batches, in float32 the same; the old pipeline (it scores windows alone) 99 %"
    for name, found in answers.items():
        if "float32" in name or name.startswith(OLD):
            least = 99.0 if name.startswith(OLD) else 99.5
            same = percent_same(answers[FIRST], found)
            assert same >= least, f"{name}: {same} % of the answers are the same"


def long_pairs(settings: Settings) -> list[dict]:
    "Questions about texts that are the paragraphs of several articles, joined."
    n, characters = (2, 3000) if settings.quick else (LONG_TEXTS, CHARACTERS)
    examples = validation_set(settings)
    questions = examples["question"][:: max(1, len(examples) // n)]
    contexts = list(dict.fromkeys(examples["context"]))
    made = []
    for i in range(n):
        turned = contexts[i * 7 % len(contexts) :] + contexts
        made.append({"question": questions[i], "context": "\n".join(turned)[:characters]})
    return made


def measure(settings: Settings) -> Measured:
    questions = 8 if settings.quick else int(os.environ.get("SQUADQA_QUESTIONS", 1000))
    pairs = pairs_of(settings, questions)
    long = long_pairs(settings)
    n, seconds = len(pairs), {}
    with tempfile.TemporaryDirectory() as folder:
        model = merged_starter(Path(folder))
        file = write_json(Path(folder) / "pairs.json", pairs + long)
        workers = start_workers(model, file, settings.quick)
        many = {k: w for k, w in workers.items() if "one by one" not in k and k != BARE}
        for turn in range(settings.rounds):
            took, found = in_turns_of(workers, range(n), CHUNK)
            took_long, found_long = in_turns_of(many, range(n, n + len(long)), 4)
            if not turn:
                answers, answers_long = {k: v for k, v in found.items() if v}, found_long
                check_equal(answers)
            for name, s in [
                *took.items(),
                *((f"{k}, long texts", s) for k, s in took_long.items()),
            ]:
                seconds.setdefault(name, []).append(round(s, 4))
        peaks = {name: one.end() for name, one in workers.items()}
    middle = {name: sorted(s)[len(s) // 2] for name, s in seconds.items()}
    return Measured(
        what=f"{n} validation questions, and {len(long)} texts of {len(long[0]['context']):,} "
        f"characters; the starter, answers of up to {LONGEST} tokens",
        equal="answers of the float32 engines, one by one and in batches, to at least 99.5 %; the "
        "old pipeline's to at least 99 %",
        seconds=seconds,
        targets=[] if settings.quick else targets(middle),
        more={
            "questions_per_second": {k: round(n / middle[k], 1) for k in took},
            "same_answers_percent": {
                k: percent_same(answers[FIRST], v) for k, v in answers.items()
            },
            "same_answers_percent_long_texts": {
                k: percent_same(answers_long[FIRST], v) for k, v in answers_long.items()
            },
            "peak_mib": peaks,
        },
    )


def targets(middle: dict[str, float]) -> list[Target]:
    "Each kind of work against the old pipeline's best batch size for it."
    best = min((f"{OLD}, batch {size}" for size in (8, 32)), key=middle.get)
    best_long = min((f"{OLD}, batch {size}, long texts" for size in (8, 32)), key=middle.get)
    alone = f"{OLD}, one by one"

    def fastest(names, end=""):
        return min((name + end for name in names), key=middle.get)

    exact = [name for name in ENGINES if "float32" in name]
    return [
        *(Target(name, best) for name in ENGINES),
        Target(fastest(exact), best, at_least=1.7),
        Target(fastest(ENGINES), best, at_least=2.8),
        Target(f"{FIRST}, one by one", alone),
        Target(fastest(ENGINES, ", one by one"), alone, at_least=1.4),
        Target(fastest(exact, ", long texts"), best_long, at_least=1.5),
        Target(fastest(ENGINES, ", long texts"), best_long, at_least=2.5),
        Target(FIRST, BARE),
    ]


def merged_starter(folder: Path) -> str:
    "The starter as a whole model, which transformers 4.57.6 can open too."
    from squadqa.models import load_model, load_tokenizer

    load_model("starter").save_pretrained(folder / "model")
    load_tokenizer("starter").save_pretrained(folder / "model")
    return str(folder / "model")


if __name__ == "__main__":
    worker(*sys.argv[1:])
