"""Fine-tune minilm on the SQuAD training part and score it on the whole v1.1 validation set, with
the commands that users run.

    SQUADQA_DATA=... python -m benchmarks.fine_tune [RUN_FOLDER]

A run that is complete in RUN_FOLDER is not repeated, only scored and recorded.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import machine

HERE = Path(__file__).parent


def squadqa(*words) -> str:
    "Run one command; its last line of output."
    command = [sys.executable, "-m", "squadqa.cli", *words, "--json"]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()[-1]


if __name__ == "__main__":
    data, run = (
        Path(os.environ["SQUADQA_DATA"]) / "squad",
        sys.argv[1] if len(sys.argv) > 1 else "runs/full",
    )
    train, dev = f"train={data / 'train-v1.1-part.json'}", f"validation={data / 'dev-v1.1.json'}"
    if not (Path(run) / "all_results.json").exists():
        squadqa("train", "--data", train, "--model", "minilm", "--output", run, "--resume")
    training = json.loads((Path(run) / "all_results.json").read_text())
    scores = json.loads(squadqa("evaluate", "--data", dev, "--model", run))
    record = {
        "what": "minilm (22.7 M parameters) fine-tuned on 11,877 of the 87,599 SQuAD v1.1 training "
        "questions, scored on all 10,570 validation questions",
        "commands": [
            "squadqa train --data train=train-v1.1-part.json --model minilm --output DIR",
            "squadqa evaluate --data validation=dev-v1.1.json --model DIR",
        ],
        "exact_match": scores["exact_match"],
        "f1": scores["f1"],
        "questions": scores["questions"],
        "train_seconds": training["train_seconds"],
        "evaluate_seconds": scores["seconds"],
        "steps": training["steps"],
        "windows_per_second": training["windows_per_second"],
        "train_loss": training["train_loss"],
        "runs": 1,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "fine_tune_minilm.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
