"""Train the starter, the adapter that ships with the package, and score it on all of SQuAD's
validation questions.

    python -m benchmarks.starter --data FOLDER --output runs/starter [--epochs 4 --rank 64
    --learning-rate 1e-3 --questions 0]

FOLDER holds train-v1.1-part.json and dev-v1.1.json. The checkpoint is the one with the best F1
on 1,000 of the validation questions,
drawn with seed 0. --questions N trains on N questions only, drawn with seed 1: to try a recipe.
"""

import argparse
import json
import time
from pathlib import Path

from datasets import DatasetDict
from transformers import set_seed

from benchmarks.harness import machine
from squadqa.adapters import add_adapter, pack_adapter
from squadqa.data import load_squad
from squadqa.evaluation import evaluate_model
from squadqa.models import load_model, load_tokenizer
from squadqa.trainer import fine_tune


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--alpha", type=float, default=None)
    parser.add_argument(
        "--target-modules",
        default="all-linear",
        help="which linear layers: a pattern for their whole names",
    )
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--questions", type=int, default=0)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    train = load_squad(args.data / "train-v1.1-part.json")["train"]
    validation = load_squad(args.data / "dev-v1.1.json")["validation"]
    if args.questions:
        train = train.shuffle(seed=1).select(range(args.questions))
    data = DatasetDict(train=train, validation=validation.shuffle(seed=0).select(range(1000)))
    set_seed(args.seed)
    model, tokenizer = (
        add_adapter(
            load_model("minilm", new_head=True),
            rank=args.rank,
            alpha=args.alpha,
            target_modules=args.target_modules,
        ),
        load_tokenizer("minilm"),
    )
    start = time.time()
    run = fine_tune(
        model,
        data,
        args.output,
        tokenizer=tokenizer,
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        warmup_steps=0.1,
        seed=args.seed,
        overwrite=True,
        disable_tqdm=True,
    )
    results = {
        "recipe": {
            k: str(v) if isinstance(v, Path) else v
            for k, v in vars(args).items()
            if k not in ("data", "output")
        },
        "train_seconds": round(time.time() - start),
        "steps": run.steps,
        "best_step": run.best_step,
        "history": run.history,
        "machine": machine(),
    }
    if not args.questions:
        pack_adapter(
            args.output, args.output / "packed", config={"attention_probs_dropout_prob": 0.0}
        )
        evaluation = evaluate_model(
            load_model(args.output / "packed"), tokenizer, validation, progress=False
        )
        results |= {
            "validation": evaluation.scores,
            "evaluation_seconds": round(evaluation.seconds),
        }
    (args.output / "starter.json").write_text(json.dumps(results, indent=1) + "\n")
    print(
        json.dumps({k: v for k, v in results.items() if k not in ("history", "machine")}),
        flush=True,
    )


if __name__ == "__main__":
    main()
