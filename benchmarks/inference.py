"""`QuestionAnswerer` beside transformers' old pipeline and the bare forward pass, on the same
questions in the same run.

    python benchmarks/inference.py --data FOLDER --old-python PYTHON [--questions 1000 --texts 20
    --repeat 3]

FOLDER holds dev-v1.1.json; PYTHON has transformers 4.57 and torch (an environment of its own).
Writes results/inference.json.
transformers imports accelerate and scipy where they are installed, which takes 90 MiB: to
compare memory, give the other environment the
versions that squadqa's has. What it has is noted as old_versions.
Each variant is a process of its own. They take turns: 250 questions each, then the next (one
long text, or one question when asked one
by one). Medians of the rounds are compared; long texts have one round.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
LONGEST = 15  # tokens in an answer: the old pipeline's default, for both


def questions_of(
    folder: Path, n: int, long: bool, n_texts: int = 20
) -> tuple[list[dict], list[dict]]:
    """Pairs to ask and their reference answers: the first n questions, or texts of 20,000
    characters with five questions each"""
    from squadqa.data import load_squad

    dev = load_squad(folder / "dev-v1.1.json")["validation"]
    if not long:
        return [
            {"question": r["question"], "context": r["context"]} for r in dev.select(range(n))
        ], dev.select(range(n)).to_list()
    texts, pairs = list(dict.fromkeys(dev["context"][:])), []
    questions = dev["question"][:]
    for i in range(n_texts):
        text = ""
        while len(text) < 20_000:
            text += texts.pop(0) + "\n"
        pairs += [
            {"question": questions[i * 400 + 7 * k], "context": text[:20_000]} for k in range(5)
        ]
    return pairs, []


def peak_mib() -> float:
    """The most memory that this process had; ru_maxrss would begin with that of the process that
    started it."""
    return next(
        int(line.split()[1]) / 1024
        for line in open("/proc/self/status")
        if line.startswith("VmHWM")
    )


def worker(kind: str, model: str, file: str, batch_size: int, threads: int):
    """Answers the questions that standard input names, one range (begin end) a line, each with a
    line of JSON; at its end tells the memory"""
    import torch

    from squadqa.answering import AskOptions
    from squadqa.batching import WindowCollator
    from squadqa.inference import QuestionAnswerer
    from squadqa.models import load_model

    torch.set_num_threads(threads)
    pairs = json.loads(Path(file).read_text())
    bare = kind == "forward"  # as it was loaded, its weights in PyTorch's order
    qa = QuestionAnswerer(
        load_model(model) if bare else model,
        model,
        device="cpu",
        batch_size=batch_size,
        dtype=kind if kind == "bfloat16" else None,
    )
    collate = WindowCollator(qa.tokenizer)

    def ask(some: list[dict]) -> dict:
        start = time.perf_counter()
        if len(some) == 1:
            answers = [qa(**some[0], max_answer_len=LONGEST)]
        else:
            answers = qa(
                [p["question"] for p in some], [p["context"] for p in some], max_answer_len=LONGEST
            )
        return {"seconds": time.perf_counter() - start, "answers": answers}

    def forward(some: list[dict]) -> dict:  # windows sorted by length: what the model alone needs
        asked = qa.prepare([(p["question"], p["context"]) for p in some], AskOptions())
        windows = sorted(
            (w.features for a in asked for w in a.windows), key=lambda f: -len(f["input_ids"])
        )
        batches = [collate(windows[i : i + batch_size]) for i in range(0, len(windows), batch_size)]
        start = time.perf_counter()
        with torch.inference_mode():
            for batch in batches:
                qa.model(**batch)
        return {"seconds": time.perf_counter() - start, "windows": len(windows)}

    qa(**pairs[0])
    print("ready", flush=True)
    for line in sys.stdin:
        begin, end = map(int, line.split())
        print(json.dumps((forward if bare else ask)(pairs[begin:end])), flush=True)
    print(json.dumps({"peak_mib": peak_mib()}), flush=True)


class Workers:
    "Processes that answer the same questions in turn, and what they told."

    def __init__(self, commands: dict[str, list]):
        self.commands = commands
        self.found = {name: {"seconds": [], "answers": [], "windows": 0} for name in commands}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.running = {
            name: subprocess.Popen(list(map(str, command)), **pipes)
            for name, command in commands.items()
        }
        for name in commands:
            assert self.line(name) == "ready\n"

    def line(self, name: str) -> str:
        line = self.running[name].stdout.readline()
        if not line:
            raise SystemExit(f"{name} failed: {self.commands[name]}")
        return line

    def ask(self, name: str, begin: int, end: int, keep: bool) -> None:
        "Let one of them answer some questions."
        self.running[name].stdin.write(f"{begin} {end}\n")
        self.running[name].stdin.flush()
        told, found = json.loads(self.line(name)), self.found[name]
        found["seconds"][-1] += told["seconds"]
        if keep:
            found["answers"] += told.get("answers", [])
            found["windows"] += told.get("windows", 0)
        time.sleep(0.02)  # until the threads of the last one sleep

    def end(self) -> dict[str, dict]:
        for name, worker in self.running.items():
            worker.stdin.close()
            self.found[name] |= json.loads(self.line(name))
            worker.wait()
        return self.found


def in_turns(commands: dict[str, list], n: int, chunk: int, rounds: int = 1) -> dict[str, dict]:
    """All commands answer the same questions, a chunk each in turn, so that a machine whose speed
    wavers is as fast for one as for the other.
    Of each: seconds of each round, answers of the first, peak_mib, and what else its lines tell."""
    workers = Workers(commands)
    for turn in range(rounds):
        for found in workers.found.values():
            found["seconds"].append(0.0)
        for i, begin in enumerate(range(0, n, chunk)):
            for name in list(commands)[:: -1 if i % 2 else 1]:
                workers.ask(name, begin, min(begin + chunk, n), keep=turn == 0)
        took = {name: found["seconds"][-1] for name, found in workers.found.items()}
        print(", ".join(f"{name}: {seconds:.2f} s" for name, seconds in took.items()), flush=True)
    return workers.end()


def cause(qa, pair: dict, old: dict) -> str:
    """Why the old pipeline answers otherwise: do as it does, one thing after the other, until its
    answer comes out"""
    from squadqa.answering import AskOptions, log_total, window_masks
    from squadqa.batching import predict_logits
    from squadqa.postprocessing import find_spans

    asked = qa.prepare([(pair["question"], pair["context"])], AskOptions())[0]
    logits = predict_logits(
        qa.model, [w.features for w in asked.windows], qa.tokenizer, progress=False
    )
    allowed, counted = window_masks(
        asked.windows, [asked.context] * len(asked.windows), logits[0].shape[1]
    )
    first, last, scores = find_spans(
        *logits, allowed, n_best=1, max_answer_length=LONGEST, search="exact"
    )
    found = {}
    for i, w in enumerate(asked.windows):
        total = sum(
            log_total(np.where(counted[i : i + 1], side[i : i + 1], -np.inf)) for side in logits
        )
        text = pair["context"][
            asked.context.starts[first[i, 0] + w.begin - w.first] : asked.context.ends[
                last[i, 0] + w.begin - w.first
            ]
        ]
        found.setdefault(text.lower(), []).append(np.exp(scores[i, 0] - total))
    by_window = max(found, key=lambda text: max(found[text]))
    added = max(found, key=lambda text: sum(found[text]))
    if len(asked.windows) > 1 and by_window == old["answer"].lower():
        return "the old pipeline takes the softmax of each window by itself"
    if len(asked.windows) > 1 and added == old["answer"].lower():
        return "the old pipeline adds the scores of equal texts of several windows"
    return (
        "the same span scores as high: rounding"
        if abs(np.log(max(old["score"], 1e-9)) - np.log(max(map(max, found.values())))) < 1e-4
        else "unknown"
    )


def differences(ours: list[dict], old: list[dict], pairs: list[dict], model: str) -> list[dict]:
    "The answers that are not the same text; the texts themselves stay out"
    from squadqa.inference import QuestionAnswerer

    qa = QuestionAnswerer(model, device="cpu")
    return [
        {
            "question": i,
            "ours": [a["start"], a["end"], round(a["score"], 5)],
            "old": [b["start"], b["end"], round(b["score"], 5)],
            "context_characters": len(p["context"]),
            "cause": cause(qa, p, b),
        }
        for i, (a, b, p) in enumerate(zip(ours, old, pairs))
        if a["answer"] != b["answer"]
    ]


def compare(args, model: str, long: bool) -> dict:
    pairs, references = questions_of(args.data, args.questions, long, args.texts)
    n, rounds = len(pairs), 1 if long else args.repeat
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(pairs))
        file.flush()

        def own(kind, size):
            return [
                sys.executable,
                __file__,
                "--worker",
                kind,
                model,
                file.name,
                size,
                args.threads,
            ]

        def old(size):
            return [args.old_python, HERE / "old_pipeline.py", model, file.name, size, args.threads]

        variants = {
            "squadqa": own("float32", 32),
            "forward": own("forward", 8),
            "bfloat16": own("bfloat16", 32),
        }
        runs = in_turns(
            variants | {f"old, batch {b}": old(b) for b in ((1, 8) if long else (1, 8, 32))},
            n,
            5 if long else 250,
            rounds,
        )
        singles = (
            {} if long else in_turns({"squadqa": own("float32", 32), "old": old(1)}, n, 1, rounds)
        )

    def seconds(runs):
        return {name: [round(s, 3) for s in r["seconds"]] for name, r in runs.items()}

    def middle(runs):
        return {name: statistics.median(r["seconds"]) for name, r in runs.items()}

    def memory(runs):
        return {name: round(r["peak_mib"]) for name, r in runs.items()}

    took = middle(runs)
    best = min((v, name) for name, v in took.items() if name.startswith("old"))
    answers = {name: r["answers"] for name, r in runs.items()}

    def same(a, b):
        return round(
            100 * sum(x["answer"] == y["answer"] for x, y in zip(answers[a], answers[b])) / n, 2
        )

    fewer = ("bfloat16",)
    found = {
        "questions": n,
        "seconds": seconds(runs),
        "peak_mib": memory(runs),
        "questions_per_second": {name: round(n / v, 1) for name, v in took.items()},
        "best_old": best[1],
        "speed_against_best_old": {
            name: round(best[0] / took[name], 3) for name in ("squadqa", *fewer)
        },
        "time_over_bare_forward": round(took["squadqa"] / took["forward"] - 1, 4),
        "windows": runs["forward"]["windows"],
        "same_answers_percent": {"squadqa and old": same("squadqa", best[1])}
        | {f"{name} and squadqa": same(name, "squadqa") for name in fewer},
        "differences": differences(answers["squadqa"], answers[best[1]], pairs, model),
    }
    if long:
        return found | {"old_versions": runs[best[1]]["versions"]}
    from squadqa.metrics import squad_scores

    scores = {
        name: squad_scores(
            [
                {"id": r["id"], "prediction_text": a["answer"]}
                for r, a in zip(references, answers[name])
            ],
            references,
        )
        for name in ("squadqa", *fewer, best[1])
    }
    gaps = [
        abs(a["score"] - b["score"])
        for a, b, w in zip(answers["squadqa"], answers[best[1]], window_counts(model, pairs))
        if w == 1 and (a["start"], a["end"]) == (b["start"], b["end"])
    ]
    alone = middle(singles)
    return found | {
        "scores": scores,
        "f1_lost": {name: round(scores["squadqa"]["f1"] - scores[name]["f1"], 3) for name in fewer},
        "largest_score_gap_in_one_window": max(gaps),
        "compared_scores": len(gaps),
        "one_by_one": {
            "seconds": seconds(singles),
            "peak_mib": memory(singles),
            "speed_against_old": round(alone["old"] / alone["squadqa"], 3),
        },
        "old_versions": runs[best[1]]["versions"],
    }


def window_counts(model: str, pairs: list[dict]) -> list[int]:
    from squadqa.inference import QuestionAnswerer

    return [
        len(a.windows)
        for a in QuestionAnswerer(model).prepare([(p["question"], p["context"]) for p in pairs])
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--old-python", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--texts", type=int, default=20, help="of 20,000 characters")
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=["short", "long"],
        choices=["short", "long"],
        help="what is measured; the rest of the file stays",
    )
    parser.add_argument(
        "--suffix",
        default="",
        help="after the names of what is measured, to keep the results that are there",
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    from machine import machine

    from squadqa.models import load_model, load_tokenizer

    with tempfile.TemporaryDirectory() as folder:  # a plain checkpoint, which both can read
        load_model(args.model).save_pretrained(folder)
        load_tokenizer(args.model).save_pretrained(folder)
        file = HERE / "results" / "inference.json"
        results = (json.loads(file.read_text()) if file.exists() else {}) | {
            "threads": args.threads,
            "model": args.model,
            "options": f"max_answer_len={LONGEST}, else defaults",
        }
        for kind in args.kinds:
            results[kind + args.suffix] = {
                "machine": machine(),
                "rounds": 1 if kind == "long" else args.repeat,
            } | compare(args, folder, kind == "long")
            file.write_text(json.dumps(results, indent=1) + "\n")
            print(
                kind,
                {
                    k: v
                    for k, v in results[kind + args.suffix].items()
                    if k not in ("differences", "seconds", "scores")
                },
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:5], int(sys.argv[5]), int(sys.argv[6]))
    else:
        main()
