"""Growth: time and memory against the number of examples, and against the length of a text."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Measured, Settings
from benchmarks.material import quiet, tiny_model

COUNTS = (1_000, 10_000, 100_000)
LENGTHS = (1_000, 5_000, 10_000, 20_000, 50_000)
SENTENCE = "The ferry leaves Gråvik at nine, and the keeper's cat waits on the quay. "


def peak_mib() -> float:
    "The most memory that this process had; ru_maxrss would begin with that of its parent."
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


Took = tuple[float, float]


def clocks() -> Took:
    "Seconds, and CPU seconds of all threads."
    return time.perf_counter(), time.process_time()


def since(begin: Took) -> Took:
    return tuple(round(now - then, 4) for now, then in zip(clocks(), begin))


def made_examples(n: int) -> list[dict]:
    "Questions about contexts of 70 to 1,400 characters, five about each as in SQuAD."
    rows = []
    for i in range(n):
        context = f"This is text {i // 5}. " + SENTENCE * (1 + i // 5 % 20)
        start = context.index("nine")
        answers = {"text": ["nine"], "answer_start": [start]}
        rows.append(
            {"id": str(i), "question": f"When does ferry {i} leave?", "context": context}
            | {"title": "", "answers": answers}
        )
    return rows


# Each kind of work is a function of (number, folder) that returns its seconds and CPU seconds. It
# runs in a process of its own, which then tells its peak of memory.


def features(n: int, folder: Path) -> Took:
    "Training features of n examples."
    from datasets import Dataset

    from benchmarks.material import mapped
    from squadqa.labeling import prepare_train_features
    from squadqa.models import load_tokenizer

    quiet()
    Dataset.from_list(made_examples(n)).to_parquet(folder / f"{n}.parquet")
    examples = Dataset.from_parquet(str(folder / f"{n}.parquet"), cache_dir=str(folder))
    tokenizer = load_tokenizer("minilm")
    begin = clocks()
    mapped(examples, prepare_train_features, tokenizer=tokenizer, padding=False)
    return since(begin)


def predict(n: int, folder: Path) -> Took:
    "Answer a file of n questions with a tiny model, so that the work around it is seen."
    from squadqa.bulk import predict_file
    from squadqa.inference import QuestionAnswerer

    path = folder / f"{n}.jsonl"
    with path.open("w") as file:
        for row in made_examples(n):
            file.write(json.dumps({k: row[k] for k in ("id", "question", "context")}) + "\n")
    qa = QuestionAnswerer(str(folder / "tiny"), device="cpu")
    begin = clocks()
    done = predict_file(qa, path, folder / f"{n}-answers.jsonl", progress=False, overwrite=True)
    assert done == n
    return since(begin)


def answer(characters: int, folder: Path) -> Took:
    "One question about a text of so many characters, with the starter."
    from squadqa.inference import QuestionAnswerer

    qa = QuestionAnswerer(device="cpu")
    text = (SENTENCE * (characters // len(SENTENCE) + 1))[:characters]
    qa("When does the ferry leave?", text[:1000])
    begin = clocks()
    found = qa("When does the ferry leave?", text)
    assert text[found["start"] : found["end"]] == found["answer"] != ""
    return since(begin)


WORK = {"features": features, "predict": predict, "answer": answer}


def alone(kind: str, number: int, folder: Path) -> dict:
    "Do one piece of work in a fresh process."
    command = [sys.executable, "-m", "benchmarks.growth", kind, str(number), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def measure(settings: Settings) -> Measured:
    counts, lengths = ((100, 200), (500, 1000)) if settings.quick else (COUNTS, LENGTHS)
    kinds = ("predict",) if settings.quick else tuple(WORK)
    seconds, cpu, peaks = {}, {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_model(folder / "tiny")
        for kind in kinds:
            for number in lengths if kind == "answer" else counts:
                rounds = settings.rounds if number < COUNTS[-1] else 1
                found = [alone(kind, number, folder) for _ in range(rounds)]
                seconds[f"{kind} {number}"] = [one["seconds"] for one in found]
                cpu[f"{kind} {number}"] = [one["cpu_seconds"] for one in found]
                peaks[f"{kind} {number}"] = max(one["peak_mib"] for one in found)
    return Measured(
        what="training features and bulk answers (a model of 32 numbers per token) of made-up "
        "examples, five about each text; one answer about a long text (the starter)",
        equal="as many answers as questions; every answer is a slice of its text",
        seconds=seconds,
        cpu_seconds=cpu,
        more={"peak_mib": peaks},
        remarks="each in a process of its own; the largest number once. Peaks hold the libraries, "
        "and for the features the list of examples that the process itself made up",
    )


if __name__ == "__main__":
    kind, number, folder = sys.argv[1:]
    seconds, cpu = WORK[kind](int(number), Path(folder))
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mib": round(peak_mib())}))
