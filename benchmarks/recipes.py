"""Whole runs: minilm on the SQuAD training part with its own recipe and with `fast`, several seeds
each, scored on all validation questions of SQuAD v1.1, with the commands that users run.

    SQUADQA_DATA=... python -m benchmarks.recipes [--recipes minilm fast] [--seeds 42 43 44]

A run takes most of an hour on two cores. Each is recorded in results/recipes.json as it ends, and
one that is recorded there is not repeated; one that was interrupted goes on.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

from benchmarks.harness import RESULTS, Settings, machine

RECORD = RESULTS / "recipes.json"
WHAT = (
    "minilm (22.7 M parameters) fine-tuned on 11,877 of the 87,599 SQuAD v1.1 training questions, "
    "scored on all 10,570 validation questions"
)
TRAIN = "squadqa train --data train={} --model minilm --recipe {} --seed {} --output {}"
EVALUATE = "squadqa evaluate --data validation={} --model {}"
FIGURES = ("train_seconds", "steps", "windows_per_second", "train_loss", "mixed_precision")


def squadqa(line: str) -> dict:
    "Run one command; what it tells machines."
    words = [sys.executable, "-m", "squadqa.cli", *line.split()[1:], "--json"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def one_run(recipe: str, seed: int, folder: Path) -> dict:
    "Train and score; a folder with a finished model is only scored."
    data = Settings()
    if not (folder / "all_results.json").exists():
        part = data.data("squad/train-v1.1-part.json")
        squadqa(TRAIN.format(f"{part}", recipe, seed, folder) + " --resume")
    training = json.loads((folder / "all_results.json").read_text())
    scores = squadqa(EVALUATE.format(data.data("squad/dev-v1.1.json"), folder))
    return {
        "recipe": recipe,
        "seed": seed,
        "exact_match": scores["exact_match"],
        "f1": scores["f1"],
        "questions": scores["questions"],
        **{name: training[name] for name in FIGURES if name in training},
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }


def summary(runs: list[dict]) -> dict:
    "Mean, least and most of EM and F1 by recipe, and how many runs they are of."
    told: dict[str, dict] = {}
    for recipe in sorted({run["recipe"] for run in runs}):
        own = [run for run in runs if run["recipe"] == recipe]
        told[recipe] = {"runs": len(own)}
        for name in ("exact_match", "f1"):
            values = [run[name] for run in own]
            told[recipe][name] = {
                "mean": round(mean(values), 2),
                "min": round(min(values), 2),
                "max": round(max(values), 2),
            }
    return told


def main(words=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes")
    parser.add_argument("--recipes", nargs="+", default=["minilm", "fast"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--runs", type=Path, default=Path("runs") / "recipes")
    parser.add_argument("--record", type=Path, default=RECORD)
    args = parser.parse_args(words)
    runs = json.loads(args.record.read_text())["runs"] if args.record.exists() else []
    for seed in args.seeds:
        for recipe in args.recipes:
            if any((run["recipe"], run["seed"]) == (recipe, seed) for run in runs):
                continue
            runs.append(one_run(recipe, seed, args.runs / f"{recipe}-{seed}"))
            commands = [
                TRAIN.format("train-v1.1-part.json", "RECIPE", "SEED", "DIR"),
                EVALUATE.format("dev-v1.1.json", "DIR"),
            ]
            told = {"what": WHAT, "commands": commands, "summary": summary(runs), "runs": runs}
            args.record.parent.mkdir(exist_ok=True, parents=True)
            args.record.write_text(json.dumps(told, indent=1) + "\n")
            print(json.dumps(told["summary"], indent=1), flush=True)


if __name__ == "__main__":
    main()
