"""Run comparisons: `python -m benchmarks NAME ...`, `--list`, `--quick`, `all`."""

import argparse
import importlib
import os
from pathlib import Path

from benchmarks.harness import RESULTS, Settings, record, told, write

# Which module measures what; its function `measure(settings)` gives a `Measured`.
COMPARISONS = {
    "train_features": "training features against the course's function, in Dataset.map",
    "validation_features": "validation features against the course's function, in Dataset.map",
    "postprocessing": "the exact search against the course's loop and run_qa's post-processing",
    "scores": "EM and F1 against the official rule",
    "training": "fine-tuning on a CPU against the course's recipe, windows per second",
    "packing": "training with several windows in a row, without padding, on a CPU",
    "answering": "questions per second of each engine against transformers' old pipeline",
    "ceiling": "how fast answering in float32 could be: the products of its matrices alone",
    "start": "import squadqa, squadqa --help, squadqa answer to its first answer",
    "engines": "EM, F1, memory of PyTorch, ONNX Runtime and OpenVINO on all questions",
    "growth": "time and memory against the number of examples and the length of a text",
}


def run(name: str, settings: Settings, folder: Path = RESULTS) -> dict:
    "Measure one comparison, write it, and give what was written."
    before = os.getloadavg()[0]
    found = importlib.import_module(f"benchmarks.{name}").measure(settings)
    load = [round(before, 2), round(os.getloadavg()[0], 2)]
    result = record(name, settings, found, load)
    write(result, folder)
    return result


def main(words=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="comparisons; all: all of them")
    parser.add_argument("--list", action="store_true", help="name them and leave")
    parser.add_argument("--quick", action="store_true", help="tiny ones: do they run?")
    parser.add_argument("--rounds", type=int, help="turns of each variant (5; quick: 1)")
    parser.add_argument("--results", type=Path, help="folder for the JSON (benchmarks/results)")
    args = parser.parse_args(words)
    if args.list or not args.names:
        for name, what in COMPARISONS.items():
            print(f"{name:20} {what}")
        return
    names = list(COMPARISONS) if args.names == ["all"] else args.names
    unknown = [name for name in names if name not in COMPARISONS]
    if unknown:
        parser.error(f"{unknown[0]!r} is none of {', '.join(COMPARISONS)}")
    settings = Settings(args.quick, args.rounds or (1 if args.quick else 5))
    folder = args.results or (HERE_QUICK if args.quick else RESULTS)
    for name in names:
        print(f"--- {name}", flush=True)
        print(told(run(name, settings, folder)), flush=True)


HERE_QUICK = Path("runs") / "benchmarks"  # what is quick proves nothing, and is not kept

if __name__ == "__main__":
    main()
