"""The engines' answers to every validation question: EM and F1 of each, how many are PyTorch's,
memory, and the seconds to the first answer. `answering` compares their speed."""

import importlib.metadata
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.answering import ENGINES, FIRST, Worker, merged_starter, own_command, percent_same
from benchmarks.harness import Measured, Settings
from benchmarks.material import validation_set, write_json

CHUNK = 500  # questions at a time
LONGEST = 30  # tokens in an answer, as SQuAD is usually decoded


def scores(answers: list[dict], examples) -> dict[str, float]:
    from squadqa.metrics import squad_scores

    texts = {i: answer["answer"] for i, answer in zip(examples["id"], answers, strict=True)}
    return {name: round(value, 3) for name, value in squad_scores(texts, examples).items()}


def answers_of(name: str, model: str, file: Path, n: int) -> tuple[list[dict], dict[str, float]]:
    "All answers of one engine; seconds to the first and for all, and peak memory in MiB."
    begin = time.perf_counter()
    worker = Worker(own_command("many", name, model, file, LONGEST))
    ready = time.perf_counter() - begin
    answers, seconds = [], 0.0
    for place in range(0, n, CHUNK):
        took, found = worker.ask(place, min(place + CHUNK, n))
        seconds += took
        answers += found
    told = {"first": round(ready, 2), "all": round(seconds, 2), "peak_mib": worker.end()}
    return answers, told


def measure(settings: Settings) -> Measured:
    examples = validation_set(settings)
    pairs = [{"question": row["question"], "context": row["context"]} for row in examples]
    answers, told = {}, {}
    with TemporaryDirectory() as folder:
        model = merged_starter(Path(folder))
        file = write_json(Path(folder) / "pairs.json", pairs)
        for name in ENGINES:
            answers[name], told[name] = answers_of(name, model, file, len(pairs))
    same = {name: percent_same(answers[FIRST], found) for name, found in answers.items()}
    for name in ENGINES:
        if "float32" in name:
            assert same[name] >= 99.5, f"{name}: {same[name]} % of the answers are {FIRST}'s"
    return Measured(
        what=f"{len(pairs)} questions, one engine after the other, the starter, answers of up to "
        f"{LONGEST} tokens",
        equal="answers of the engines in float32 are PyTorch's to at least 99.5 %",
        seconds={name: [each["all"]] for name, each in told.items()},
        more={
            "scores": {name: scores(found, examples) for name, found in answers.items()},
            "same_answers_percent": same,
            "peak_mib": {name: each["peak_mib"] for name, each in told.items()},
            "seconds_until_first_answer": {name: each["first"] for name, each in told.items()},
            "engines": {
                name: importlib.metadata.version(name)
                for name in ("onnxruntime", "openvino", "onnx", "onnxscript")
            },
        },
        remarks="one round: the seconds are told for orientation",
    )
