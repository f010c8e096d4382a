"""How fast could any engine be? The products of matrices that answers need, computed alone, with
nothing before, between and after them, beside the question-answering pipeline of transformers
4.57.6 and `QuestionAnswerer`: all in float32, each in its own process, the same questions in turns.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import answering
from benchmarks.answering import FIRST, OLD, Worker
from benchmarks.harness import HERE, Measured, Settings, Target, environment
from benchmarks.material import pairs_of, write_json

PRODUCTS = "the products alone"
KINDS = {"many": "batch 8", "one": "one by one", "long": "long texts"}


def products(model, shapes: list[tuple[int, int]]) -> float:
    "Seconds of all linear layers and of attention, for batches of so many windows and tokens."
    import torch
    from torch.nn.functional import linear, scaled_dot_product_attention

    config = model.config
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    widths = {m.in_features for m in layers}
    heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    seconds = 0.0
    with torch.inference_mode():
        for windows, tokens in shapes:
            rows = {n: torch.randn(windows * tokens, n) for n in widths}
            q, k, v = torch.randn(3, windows, heads, tokens, size)
            begin = time.perf_counter()
            for m in layers:
                linear(rows[m.in_features], m.weight)
            for _ in range(config.num_hidden_layers):
                scaled_dot_product_attention(q, k, v)
            seconds += time.perf_counter() - begin
    return seconds


def worker(model: str, file: str, size: str) -> None:
    "Computes the products for the questions that standard input names, a range a line."
    from squadqa.models import load_model, load_tokenizer

    pairs = json.loads(Path(file).read_text())
    tokenizer, encoder = load_tokenizer(model), load_model(model).eval()
    print("ready", flush=True)
    for line in sys.stdin:
        some = pairs[slice(*map(int, line.split()))]
        batches = answering.windows_by_length(tokenizer, some, int(size))
        seconds = products(encoder, [tuple(batch["input_ids"].shape) for batch in batches])
        print(json.dumps({"seconds": seconds, "answers": []}), flush=True)
    print(json.dumps({"peak_mib": 0}), flush=True)


def start_workers(model: str, file: Path, quick: bool) -> dict[str, dict[str, Worker]]:
    "By kind of work, then by name."
    own = [sys.executable, "-m", "benchmarks.ceiling", model, file]
    commands = {
        kind: {
            PRODUCTS: [*own, 1 if kind == "one" else 8],
            FIRST: answering.own_command("one" if kind == "one" else "many", FIRST, model, file),
        }
        for kind in KINDS
    }
    if not quick:
        old = [environment(*answering.PEER), HERE / "old_pipeline.py", model, file]
        for kind, of_kind in commands.items():
            of_kind[OLD] = [*old, 1 if kind == "one" else 8]
    return {
        kind: {name: Worker(command) for name, command in of_kind.items()}
        for kind, of_kind in commands.items()
    }


def measure(settings: Settings) -> Measured:
    questions = 8 if settings.quick else int(os.environ.get("SQUADQA_QUESTIONS", 200))
    pairs, long = pairs_of(settings, questions), answering.long_pairs(settings)
    n, seconds = len(pairs), {}
    with tempfile.TemporaryDirectory() as folder:
        model = answering.merged_starter(Path(folder))
        file = write_json(Path(folder) / "pairs.json", pairs + long)
        workers = start_workers(model, file, settings.quick)
        places = dict.fromkeys(KINDS, range(n)) | {"long": range(n, n + len(long))}
        for _ in range(settings.rounds):
            for kind, of_kind in workers.items():
                chunk = 4 if kind == "long" else 100
                took, answers = answering.in_turns_of(of_kind, places[kind], chunk)
                if kind != "long":
                    answering.check_equal({name: found for name, found in answers.items() if found})
                for name, s in took.items():
                    seconds.setdefault(f"{name}, {KINDS[kind]}", []).append(round(s, 4))
        for of_kind in workers.values():
            for one in of_kind.values():
                one.end()
    return Measured(
        what=f"{n} validation questions, and {len(long)} texts of {len(long[0]['context']):,} "
        f"characters; the starter in float32, answers of up to {answering.LONGEST} tokens",
        equal="the old pipeline's answers to the questions, to at least 99 %; products have none",
        seconds=seconds,
        targets=[
            Target(f"{name}, {words}", f"{OLD}, {words}")
            for words in KINDS.values()
            for name in (PRODUCTS, FIRST)
        ]
        * (not settings.quick),
    )


if __name__ == "__main__":
    worker(*sys.argv[1:])
