"""Time decoding and scoring of the whole v1.1 validation set against a literal loop by the course's
rule.

SQUADQA_DATA=... python benchmarks/postprocessing.py
"""

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from machine import machine

from squadqa.data import load_squad
from squadqa.metrics import squad_scores
from squadqa.models import load_tokenizer
from squadqa.postprocessing import n_best_answers, postprocess
from squadqa.validation import prepare_validation_features

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from test_postprocessing import course_loop, peaky_logits  # noqa: E402


def seconds(function, repeats: int) -> dict:
    "Median, least and most wall seconds of several calls."
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return {
        "median": round(median(times), 3),
        "min": round(min(times), 3),
        "max": round(max(times), 3),
        "runs": repeats,
    }


if __name__ == "__main__":
    data = Path(os.environ["SQUADQA_DATA"])
    dev = load_squad(data / "squad" / "dev-v1.1.json")["validation"]
    tokenizer = load_tokenizer(data / "tokenizers" / "bert-base-cased")

    def prepare():
        return dev.map(
            prepare_validation_features,
            batched=True,
            remove_columns=dev.column_names,
            fn_kwargs={"tokenizer": tokenizer},
        )

    features = prepare()
    start, end = peaky_logits(np.random.default_rng(0), features, dev)
    answers = postprocess(start, end, features, dev)
    figures = {
        "prepare_validation_features through Dataset.map": seconds(prepare, 1),
        "the course's loop, literally": seconds(lambda: course_loop(start, end, features, dev), 2),
        "postprocess(search='n_best')": seconds(
            lambda: postprocess(start, end, features, dev, search="n_best"), 5
        ),
        "postprocess(search='exact')": seconds(lambda: postprocess(start, end, features, dev), 5),
        "n_best_answers(n_best=20)": seconds(lambda: n_best_answers(start, end, features, dev), 3),
        "squad_scores": seconds(lambda: squad_scores(answers, dev), 5),
    }
    record = {
        "what": f"{len(dev)} questions, {len(features)} windows (bert-base-cased, 384/128), "
        "synthetic logits; wall seconds",
        "seconds": figures,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "postprocessing.json").write_text(json.dumps(record, indent=1) + "\n")
    slow = figures["the course's loop, literally"]["median"]
    for name, t in figures.items():
        print(
            f"{name:50} {t['median']:8.3f} s   {slow / t['median']:6.1f} times as fast as the loop"
        )
