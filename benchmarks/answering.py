"""Answering on a CPU: `QuestionAnswerer` and the question-answering pipeline of transformers
4.57.6, each in a process of its own, the same questions in turns."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import HERE, Measured, Settings, Target, environment
from benchmarks.material import pairs_of, write_json

PEER = ("transformers-4.57.6", ["transformers==4.57.6"])
OWN = "QuestionAnswerer, batch 32"
BARE = "the bare forward pass, windows by length, batch 8"
ONE_OWN, ONE_OLD = "QuestionAnswerer, one by one", "old pipeline, one by one"
QUESTIONS, CHUNK = 400, 100
LONGEST = 15  # tokens in an answer: the old pipeline's default


def worker(kind: str, model: str, file: str) -> None:
    "Answers the questions that standard input names, a range (begin end) a line, as JSON lines."
    import torch

    from squadqa.inference import QuestionAnswerer

    pairs = json.loads(Path(file).read_text())
    qa = QuestionAnswerer(model, device="cpu")

    def ask(some):
        if kind == "one":
            return [qa(**pair, max_answer_len=LONGEST) for pair in some]
        questions, contexts = ([pair[name] for pair in some] for name in ("question", "context"))
        return qa(questions, contexts, max_answer_len=LONGEST)

    def forward(some):
        columns = [pair["question"].strip() for pair in some], [pair["context"] for pair in some]
        rows = qa.tokenizer(*columns, truncation="only_second", max_length=384)["input_ids"]
        rows.sort(key=len)
        batches = [rows[i : i + 8] for i in range(0, len(rows), 8)]
        batches = [qa.tokenizer.pad({"input_ids": b}, return_tensors="pt") for b in batches]
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


class Worker:
    "A process that answers on demand."

    def __init__(self, command: list):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(list(map(str, command)), **pipes)
        self.answers: list[dict] = []
        assert self.process.stdout.readline() == "ready\n", command

    def ask(self, begin: int, end: int) -> float:
        "Seconds; the answers are kept."
        self.process.stdin.write(f"{begin} {end}\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        self.answers += told["answers"]
        return told["seconds"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def commands(model: str, file: Path, quick: bool) -> dict[str, list]:
    own = [sys.executable, "-m", "benchmarks.answering"]
    found = {OWN: [*own, "many", model, file], ONE_OWN: [*own, "one", model, file]}
    if quick:
        return found
    old = [environment(*PEER), HERE / "old_pipeline.py", model, file]
    found |= {f"old pipeline, batch {size}": [*old, size] for size in (8, 32)}
    return found | {ONE_OLD: [*old, 1], BARE: [*own, "bare", model, file]}


def same_answers(one: list[dict], other: list[dict]) -> int:
    "How many texts are the same; where they are not, no score may be far from the other's."
    return sum(a["answer"] == b["answer"] for a, b in zip(one, other, strict=True))


def in_turns_of(workers: dict[str, Worker], n: int, rounds: int) -> dict[str, list[float]]:
    "Each answers a chunk in turn, so that what disturbs the machine meets all alike."
    seconds = {name: [] for name in workers}
    for turn in range(rounds):
        took = dict.fromkeys(workers, 0.0)
        for i, begin in enumerate(range(0, n, CHUNK)):
            for name in list(workers)[:: -1 if i % 2 else 1]:
                if turn:
                    workers[name].answers.clear()
                took[name] += workers[name].ask(begin, min(begin + CHUNK, n))
        if not turn:
            first = {name: list(w.answers) for name, w in workers.items() if w.answers}
            check_equal(first, n)
        for name, s in took.items():
            seconds[name].append(round(s, 4))
    return seconds


def check_equal(answers: dict[str, list[dict]], n: int) -> None:
    "One by one and in batches the same; the old pipeline in 99 of 100 (it scores windows alone)."
    for name, found in answers.items():
        least = n if name in (OWN, ONE_OWN) else 0.99 * n
        same = same_answers(answers[OWN], found)
        assert same >= least, f"{name}: {same} of {n} answers are the same"


def measure(settings: Settings) -> Measured:
    pairs = pairs_of(settings, 8 if settings.quick else QUESTIONS)
    with tempfile.TemporaryDirectory() as folder:
        model = merged_starter(Path(folder))
        file = write_json(Path(folder) / "pairs.json", pairs)
        workers = {n: Worker(c) for n, c in commands(model, file, settings.quick).items()}
        seconds = in_turns_of(workers, len(pairs), settings.rounds)
        for one in workers.values():
            one.close()
    middle = {name: sorted(s)[len(s) // 2] for name, s in seconds.items()}
    targets = []
    if not settings.quick:
        best = min((n for n in middle if n.startswith("old") and n != ONE_OLD), key=middle.get)
        targets = [Target(OWN, best), Target(ONE_OWN, ONE_OLD), Target(OWN, BARE)]
    return Measured(
        what=f"{len(pairs)} validation questions, the starter, answers of up to {LONGEST} tokens",
        equal="one by one and in batches all answers; the old pipeline's in at least 99 of 100",
        seconds=seconds,
        targets=targets,
        more={"questions_per_second": {n: round(len(pairs) / s, 1) for n, s in middle.items()}},
    )


def merged_starter(folder: Path) -> str:
    "The starter as a whole model, which transformers 4.57.6 can open too."
    from squadqa.models import load_model, load_tokenizer

    load_model("starter").save_pretrained(folder / "model")
    load_tokenizer("starter").save_pretrained(folder / "model")
    return str(folder / "model")


if __name__ == "__main__":
    worker(*sys.argv[1:])
