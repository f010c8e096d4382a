"""Try the properties of `tests/properties.py` on new cases, and write down what was tried.

    python tools/fuzz.py --cases 100000        # on each tokenizer, spread over its properties

Each failing case is printed with its seed, and the exit code is 1. Seeds begin with the day, so
that every day tries other cases; `--seed` tries those of another day again.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from itertools import product
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
RESULT = ROOT / "benchmarks" / "results" / "fuzz.json"
SIDES = ("right", "left")


def find_tokenizers() -> dict[str, str]:
    "Names, and what to load them by: those of SQUADQA_DATA, if it is set, and of the starter"
    data = os.environ.get("SQUADQA_DATA")
    folders = sorted(Path(data, "tokenizers").iterdir()) if data else []
    return {"minilm": "minilm"} | {f.name: str(f) for f in folders if f.is_dir()}


def try_property(promise: str, source: str | None, side: str, cases: int, seed: str) -> dict:
    "Run one property; at most three of its failures are told"
    from properties import OF_THE_SEARCH, OF_TOKENIZERS

    from squadqa.models import load_tokenizer

    check, make = (OF_TOKENIZERS | OF_THE_SEARCH)[promise]
    fixed = []
    if source:
        fixed = [load_tokenizer(source)]
        fixed[0].padding_side = side
    began = time.monotonic()
    seen, failures = 0, []
    for i in range(cases):
        case = make(Random(f"{seed} {i}"))
        seen += 1
        try:
            check(*fixed, **case)
        except Exception as e:
            failures.append(f"seed '{seed} {i}': {type(e).__name__}: {e}\n{case}")
            if len(failures) == 3:
                break
    return {"cases": seen, "seconds": round(time.monotonic() - began, 1), "failures": failures}


def plan(cases: int, seed: str) -> list[tuple]:
    "What each process tries: so many cases on each tokenizer, over all of its properties"
    from properties import OF_THE_SEARCH, OF_TOKENIZERS

    each = -(-cases // (len(OF_TOKENIZERS) * len(SIDES)))
    jobs = [
        (name, promise, source, side, each, f"{seed} {name} {side} {promise}")
        for (name, source), promise, side in product(
            find_tokenizers().items(), OF_TOKENIZERS, SIDES
        )
    ]
    return jobs + [("search", promise, None, "", cases, seed) for promise in OF_THE_SEARCH]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000, help="on each tokenizer")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", default=date.today().isoformat())
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tried: dict[str, dict] = {}
    failures = []
    jobs = plan(args.cases, args.seed)
    with ProcessPoolExecutor(args.workers) as pool:
        waiting = [(job, pool.submit(try_property, *job[1:])) for job in jobs]
        for (name, promise, _, side, *_), future in waiting:
            found = future.result()
            counts = tried.setdefault(name, {})
            counts[promise] = counts.get(promise, 0) + found["cases"]
            told = f"{found['cases']:7,} cases, {found['seconds']:7,.1f} s"
            print(f"{name:18} {side:5} {promise:42} {told}", flush=True)
            failures += found["failures"]
    for failure in failures:
        print(f"\nFAILED {failure}")
    result = {"seed": args.seed, "failures": len(failures), "cases": tried}
    args.output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
