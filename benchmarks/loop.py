"""Time per step of `train_loop` against `fine_tune`, on the same work: minilm, the sample, the same
batches, fp32, no evaluation.

    python benchmarks/loop.py

A step's time is the median distance between two calls of the optimizer; the engines take turns,
twice each.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from machine import machine

from squadqa.loop import train_loop
from squadqa.trainer import fine_tune

HERE, ROUNDS, STEPS, WARM_UP = Path(__file__).parent, 2, 12, 4


def step_seconds(train) -> float:
    "Median seconds per step of one run; the first WARM_UP steps do not count."
    real, moments = torch.optim.AdamW.step, []

    def step(self, *args, **kwargs):
        moments.append(time.perf_counter())
        return real(self, *args, **kwargs)

    torch.optim.AdamW.step = step
    try:
        with tempfile.TemporaryDirectory() as folder:
            train(
                "minilm",
                "sample",
                Path(folder) / "run",
                max_steps=STEPS,
                evaluate_every="no",
                mixed_precision="no",
                batch_size=8,
                disable_tqdm=True,
            )
    finally:
        torch.optim.AdamW.step = real
    return statistics.median(b - a for a, b in zip(moments[WARM_UP:], moments[WARM_UP + 1 :]))


if __name__ == "__main__":
    found = {train.__name__: [] for train in (fine_tune, train_loop)}
    for _ in range(ROUNDS):
        for train in (fine_tune, train_loop):
            found[train.__name__].append(step_seconds(train))
            print(train.__name__, found[train.__name__][-1], flush=True)
    record = {
        "what": "seconds per optimizer step: minilm (22.7 M parameters), the sample, "
        f"batches of 8 windows, fp32, {STEPS} steps",
        "seconds": found,
        "median": {name: statistics.median(times) for name, times in found.items()},
        "loop_to_trainer": statistics.median(found["train_loop"])
        / statistics.median(found["fine_tune"]),
        "rounds": ROUNDS,
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }
    (HERE / "results" / "loop.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
