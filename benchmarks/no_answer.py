"""Fine-tune the starter on questions with and without an answer, and see what a searched threshold
is worth.

    python -m benchmarks.no_answer --data FOLDER --output runs/no-answer [--epochs 1
    --learning-rate 1e-4]

FOLDER holds train-v1.1-part.json and dev-v2.0-part.json. The v2.0 articles are sorted by title;
every second one is trained on, the others
are scored. Of the scored articles every second one is fold 0, the others are fold 1: each fold
is answered with the threshold that was
searched on the other one. Writes results/no_answer.json; the predictions stay in the output folder.
"""

import argparse
import json
import time
from pathlib import Path

from datasets import DatasetDict, concatenate_datasets

from benchmarks.harness import machine
from squadqa.data import load_squad
from squadqa.evaluation import evaluate_model
from squadqa.models import load_model, load_tokenizer
from squadqa.no_answer import find_threshold, v2_scores
from squadqa.trainer import fine_tune

HERE = Path(__file__).parent


def rows_of(examples, titles: list[str]):
    "The examples of some articles"
    chosen = set(titles)
    return examples.select([i for i, title in enumerate(examples["title"][:]) if title in chosen])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    v1, v2 = (
        load_squad(args.data / "train-v1.1-part.json")["train"],
        next(iter(load_squad(args.data / "dev-v2.0-part.json").values())),
    )
    titles = sorted(set(v2["title"][:]))
    trained, scored = titles[::2], titles[1::2]
    folds = [rows_of(v2, scored[::2]), rows_of(v2, scored[1::2])]
    train = concatenate_datasets([v1, rows_of(v2, trained)])
    start = time.time()
    run = fine_tune(
        "starter",
        DatasetDict(train=train),
        args.output,
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        batch_size=16,
        warmup_steps=0.1,
        disable_tqdm=True,
        save_strategy="steps",
        save_steps=100,
        save_total_limit=2,
        **{"resume": True} if args.resume else {"overwrite": True},
    )
    model, tokenizer = load_model(args.output), load_tokenizer(args.output)
    predictions = [
        evaluate_model(model, tokenizer, fold, progress=False).predictions for fold in folds
    ]
    (args.output / "fold_predictions.json").write_text(json.dumps(predictions) + "\n")
    thresholds = [find_threshold(predictions[1 - i], folds[1 - i]) for i in (0, 1)]
    both, every = predictions[0] + predictions[1], concatenate_datasets(folds)
    always = v2_scores(both, every)
    parts = [v2_scores(p, fold, float(t)) for p, fold, t in zip(predictions, folds, thresholds)]

    def weigh(key):
        return sum(s[key] * s["total"] for s in parts) / sum(s["total"] for s in parts)

    results = {
        "recipe": {
            "model": "starter",
            "epochs": args.epochs,
            "learning_rate": args.learning_rate,
            "batch_size": 16,
            "seed": 42,
        },
        "train_questions": len(train),
        "of_which_v2": len(train) - len(v1),
        "train_seconds": round(time.time() - start),
        "steps": run.steps,
        "articles_trained_on": trained,
        "articles_scored": {"fold 0": scored[::2], "fold 1": scored[1::2]},
        "always_answering": always,
        "searched_on_the_other_fold": {
            "thresholds": [float(t) for t in thresholds],
            "exact": weigh("exact"),
            "f1": weigh("f1"),
            "folds": parts,
        },
        "best_threshold_in_hindsight": {
            k: always[k] for k in ("best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh")
        },
        "machine": machine(),
    }
    (HERE / "results" / "no_answer.json").write_text(json.dumps(results, indent=1) + "\n")
    print(
        json.dumps(
            {
                k: v
                for k, v in results.items()
                if k not in ("machine", "articles_trained_on", "articles_scored")
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
