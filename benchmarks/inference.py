"""`QuestionAnswerer` beside transformers' old pipeline, the bare forward pass and int8, on the same questions in the same run.

    python benchmarks/inference.py --data FOLDER --old-python PYTHON [--questions 1000 --texts 20 --repeat 3]

FOLDER holds dev-v1.1.json; PYTHON has transformers 4.57 and torch (an environment of its own). Writes results/inference.json.
Each measurement is a process of its own; the variants take turns, and medians are compared (long texts: one round).
"""
import argparse, json, statistics, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
LONGEST = 15  # tokens in an answer: the old pipeline's default, for both


def questions_of(folder: Path, n: int, long: bool, n_texts: int = 20) -> tuple[list[dict], list[dict]]:
    "Pairs to ask and their reference answers: the first n questions, or texts of 20,000 characters with five questions each"
    from squadqa.data import load_squad
    dev = load_squad(folder / "dev-v1.1.json")["validation"]
    if not long: return [{"question": r["question"], "context": r["context"]} for r in dev.select(range(n))], dev.select(range(n)).to_list()
    texts, pairs = list(dict.fromkeys(dev["context"][:])), []
    questions = dev["question"][:]
    for i in range(n_texts):
        text = ""
        while len(text) < 20_000: text += texts.pop(0) + "\n"
        pairs += [{"question": questions[i * 400 + 7 * k], "context": text[:20_000]} for k in range(5)]
    return pairs, []


def peak_mib() -> float:
    "The most memory that this process had; ru_maxrss would begin with that of the process that started it."
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))


def worker(kind: str, model: str, file: str, batch_size: int, threads: int):
    "One measurement; prints one line of JSON"
    import torch
    from squadqa.inference import AskOptions, QuestionAnswerer
    from squadqa.modeling import WindowCollator, load_model
    torch.set_num_threads(threads)
    pairs = json.loads(Path(file).read_text())
    bare = kind == "forward"  # as it was loaded, its weights in PyTorch's order
    qa = QuestionAnswerer(load_model(model) if bare else model, model, device="cpu", batch_size=batch_size, dtype="int8" if kind == "int8" else None)
    qa(**pairs[0])
    result = {}
    if bare:  # the windows of 256 questions at a time, sorted by length: what the model alone needs
        asked, collate = [qa.prepare([(p["question"], p["context"]) for p in pairs[i:i + 256]], AskOptions()) for i in range(0, len(pairs), 256)], WindowCollator(qa.tokenizer)
        batches = []
        for some in asked:
            windows = sorted((w.features for a in some for w in a.windows), key=lambda f: -len(f["input_ids"]))
            batches += [collate(windows[i:i + batch_size]) for i in range(0, len(windows), batch_size)]
        result["windows"] = sum(len(b["input_ids"]) for b in batches)
        start = time.perf_counter()
        with torch.inference_mode():
            for batch in batches: qa.model(**batch)
    else:
        start = time.perf_counter()
        result["answers"] = ([qa(**p, max_answer_len=LONGEST) for p in pairs] if kind == "single" else
                             qa([p["question"] for p in pairs], [p["context"] for p in pairs], max_answer_len=LONGEST))
    result |= {"seconds": time.perf_counter() - start, "peak_mib": peak_mib()}
    print(json.dumps(result))


def measure(command: list) -> dict:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode: raise SystemExit(f"{command} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def cause(qa, pair: dict, old: dict) -> str:
    "Why the old pipeline answers otherwise: do as it does, one thing after the other, until its answer comes out"
    from squadqa.inference import AskOptions, log_total, window_masks
    from squadqa.modeling import predict_logits
    from squadqa.postprocessing import find_spans
    asked = qa.prepare([(pair["question"], pair["context"])], AskOptions())[0]
    logits = predict_logits(qa.model, [w.features for w in asked.windows], qa.tokenizer, progress=False)
    allowed, counted = window_masks(asked.windows, [asked.context] * len(asked.windows), logits[0].shape[1])
    first, last, scores = find_spans(*logits, allowed, n_best=1, max_answer_length=LONGEST, search="exact")
    found = {}
    for i, w in enumerate(asked.windows):
        total = sum(log_total(np.where(counted[i:i + 1], side[i:i + 1], -np.inf)) for side in logits)
        text = pair["context"][asked.context.starts[first[i, 0] + w.begin - w.first]:asked.context.ends[last[i, 0] + w.begin - w.first]]
        found.setdefault(text.lower(), []).append(np.exp(scores[i, 0] - total))
    by_window = max(found, key=lambda text: max(found[text]))
    added = max(found, key=lambda text: sum(found[text]))
    if len(asked.windows) > 1 and by_window == old["answer"].lower(): return "the old pipeline takes the softmax of each window by itself"
    if len(asked.windows) > 1 and added == old["answer"].lower(): return "the old pipeline adds the scores of equal texts of several windows"
    return "the same span scores as high: rounding" if abs(np.log(max(old["score"], 1e-9)) - np.log(max(map(max, found.values())))) < 1e-4 else "unknown"


def differences(ours: list[dict], old: list[dict], pairs: list[dict], model: str) -> list[dict]:
    "The answers that are not the same text; the texts themselves stay out"
    from squadqa.inference import QuestionAnswerer
    qa = QuestionAnswerer(model, device="cpu")
    return [{"question": i, "ours": [a["start"], a["end"], round(a["score"], 5)], "old": [b["start"], b["end"], round(b["score"], 5)],
             "context_characters": len(p["context"]), "cause": cause(qa, p, b)}
            for i, (a, b, p) in enumerate(zip(ours, old, pairs)) if a["answer"] != b["answer"]]


def compare(args, model: str, long: bool) -> dict:
    pairs, references = questions_of(args.data, args.questions, long, args.texts)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(pairs))
        file.flush()
        own = lambda kind, size: [sys.executable, __file__, "--worker", kind, model, file.name, size, args.threads]
        old = lambda size, *more: [args.old_python, HERE / "old_pipeline.py", model, file.name, size, args.threads, *more]
        variants = {"squadqa": own("many", 32), "forward": own("forward", 8), "int8": own("int8", 32)} | {f"old, batch {b}": old(b) for b in ((1, 8) if long else (1, 8, 32))}
        if not long: variants |= {"squadqa, one by one": own("single", 32), "old, one by one": old(0)}
        runs = {name: [] for name in variants}
        for _ in range(1 if long else args.repeat):
            for name, command in variants.items():
                runs[name].append(measure(command))
                print(f"{'long' if long else 'short'} {name}: {runs[name][-1]['seconds']:.2f} s, {runs[name][-1]['peak_mib']:.0f} MiB", flush=True)
    seconds = {name: [round(r["seconds"], 3) for r in found] for name, found in runs.items()}
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    best = min((v, name) for name, v in middle.items() if name.startswith("old, batch"))
    answers = {name: found[0].get("answers") for name, found in runs.items()}
    n = len(pairs)
    same = lambda a, b: 100 * sum(x["answer"] == y["answer"] for x, y in zip(answers[a], answers[b])) / n
    found = {"questions": n, "seconds": seconds, "peak_mib": {name: round(max(r["peak_mib"] for r in rs)) for name, rs in runs.items()},
             "questions_per_second": {name: round(n / v, 1) for name, v in middle.items()}, "best_old": best[1],
             "speed_against_best_old": round(best[0] / middle["squadqa"], 3), "int8_against_best_old": round(best[0] / middle["int8"], 3),
             "time_over_bare_forward": round(middle["squadqa"] / middle["forward"] - 1, 4), "windows": runs["forward"][0]["windows"],
             "same_answers_percent": round(same("squadqa", best[1]), 2), "int8_same_answers_percent": round(same("int8", "squadqa"), 2),
             "differences": differences(answers["squadqa"], answers[best[1]], pairs, model)}
    if not long:
        from squadqa.metrics import squad_scores
        score = lambda name: squad_scores([{"id": r["id"], "prediction_text": a["answer"]} for r, a in zip(references, answers[name])], references)
        found |= {"scores": {name: score(name) for name in ("squadqa", "int8", best[1])}, "single_against_old": round(middle["old, one by one"] / middle["squadqa, one by one"], 3),
                  "int8_f1_lost": round(score("squadqa")["f1"] - score("int8")["f1"], 3)}
        one_window = window_counts(model, pairs)
        gaps = [abs(a["score"] - b["score"]) for a, b, w in zip(answers["squadqa"], answers[best[1]], one_window) if w == 1 and (a["start"], a["end"]) == (b["start"], b["end"])]
        found |= {"one_window_questions": sum(w == 1 for w in one_window), "largest_score_gap_in_one_window": max(gaps), "compared_scores": len(gaps)}
    return found | {"old_versions": runs[best[1]][0]["versions"]}


def window_counts(model: str, pairs: list[dict]) -> list[int]:
    from squadqa.inference import QuestionAnswerer
    return [len(a.windows) for a in QuestionAnswerer(model).prepare([(p["question"], p["context"]) for p in pairs])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--old-python", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--texts", type=int, default=20, help="of 20,000 characters")
    parser.add_argument("--kinds", nargs="+", default=["short", "long"], choices=["short", "long"], help="what is measured; the rest of the file stays")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    from machine import machine
    from squadqa.modeling import load_model
    from squadqa.windows import load_tokenizer
    with tempfile.TemporaryDirectory() as folder:  # a plain checkpoint, which both can read
        load_model(args.model).save_pretrained(folder)
        load_tokenizer(args.model).save_pretrained(folder)
        file = HERE / "results" / "inference.json"
        results = (json.loads(file.read_text()) if file.exists() else {}) | {"threads": args.threads, "model": args.model, "options": f"max_answer_len={LONGEST}, else defaults"}
        for kind in args.kinds:
            results[kind] = {"machine": machine(), "rounds": 1 if kind == "long" else args.repeat} | compare(args, folder, kind == "long")
            file.write_text(json.dumps(results, indent=1) + "\n")
            print(kind, {k: v for k, v in results[kind].items() if k not in ("differences", "seconds", "scores")}, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]: worker(*sys.argv[2:5], int(sys.argv[5]), int(sys.argv[6]))
    else: main()
