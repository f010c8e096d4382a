"""What every comparison needs: turns, equal results before times, the machine, a record in JSON."""

import gc
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "tokenizers", "numpy", "squadqa")


@dataclass
class Settings:
    "How a comparison is run."

    quick: bool = False  # a tiny one, on the sample: does it run, are the results equal?
    rounds: int = 5  # times that each variant is measured

    def data(self, name: str) -> Path:
        "A file below the folder of real data that SQUADQA_DATA names."
        folder = os.environ.get("SQUADQA_DATA")
        if not folder or not (Path(folder) / name).exists():
            raise SystemExit(f"SQUADQA_DATA must name a folder that holds {name}")
        return Path(folder) / name


@dataclass
class Target:
    "One variant is so many times as fast as another (or takes at most so much of its time)."

    of: str  # the variant
    against: str  # the other one
    at_least: float | None = None  # the other's time divided by its own
    at_most: float | None = None  # its own time divided by the other's


@dataclass
class Measured:
    "What a comparison found; `record` makes the JSON of it."

    what: str  # a sentence: what was done, on what
    equal: str  # what was asserted before the times were compared
    seconds: dict[str, list[float]]  # by variant, one per round
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)  # of all threads
    targets: list[Target] = field(default_factory=list)
    more: dict = field(default_factory=dict)  # further findings
    remarks: str = ""


def machine() -> dict:
    "Processor, cores, memory, system, Python and the versions that matter."
    cpu = platform.processor()
    with Path("/proc/cpuinfo").open() as lines:
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": models[0] if models else cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", "as they come"),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def in_turns(variants: dict[str, Callable], rounds: int) -> tuple[dict, dict]:
    """Seconds and CPU seconds of each variant: in each round all of them have one turn, in an
    order that changes, so that what disturbs the machine meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    cpu: dict[str, list[float]] = {name: [] for name in variants}
    for i in range(rounds):
        for name in list(variants)[:: -1 if i % 2 else 1]:
            gc.collect()
            begin, cpu_begin = time.perf_counter(), time.process_time()
            variants[name]()
            seconds[name].append(round(time.perf_counter() - begin, 4))
            cpu[name].append(round(time.process_time() - cpu_begin, 4))
    return seconds, cpu


def processes_in_turns(commands: dict[str, list], rounds: int, env=None) -> dict[str, list[float]]:
    "Wall seconds of fresh processes. Each has run once before, so that its files are in memory."
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for i in range(rounds + 1):
        for name, command in commands.items():
            begin = time.perf_counter()
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            took = time.perf_counter() - begin
            assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
            if i:
                seconds[name].append(round(took, 4))
    return seconds


def spread(values: list[float]) -> dict:
    "Median, least and most."
    return {"median": round(median(values), 4), "min": min(values), "max": max(values)}


def ratios(seconds: dict[str, list[float]], one: str, other: str) -> list[float]:
    "How many times as long the other took, round by round: what is disturbed is both."
    return [round(b / a, 3) for a, b in zip(seconds[one], seconds[other])]


def judge(target: Target, found: Measured) -> dict:
    "A target beside what was measured: the median over the rounds."
    one, other = target.of, target.against
    turned = target.at_most is not None
    each = ratios(found.seconds, other, one) if turned else ratios(found.seconds, one, other)
    told = {"of": one, "against": other, **spread(each)}
    if found.cpu_seconds:
        pair = (other, one) if turned else (one, other)
        told["cpu_median"] = round(median(ratios(found.cpu_seconds, *pair)), 3)
    if turned:
        return told | {"at_most": target.at_most, "met": told["median"] <= target.at_most}
    if target.at_least is None:
        return told
    return told | {"at_least": target.at_least, "met": told["median"] >= target.at_least}


def record(name: str, settings: Settings, found: Measured, load: list[float]) -> dict:
    "The whole finding, as it is written."
    return {
        "name": name,
        "what": found.what,
        "command": f"python -m benchmarks {name}" + (" --quick" if settings.quick else ""),
        "date": time.strftime("%Y-%m-%d"),
        "quick": settings.quick,
        "rounds": max(map(len, found.seconds.values())),
        "equal": found.equal,
        "seconds": found.seconds,
        "summary": {variant: spread(values) for variant, values in found.seconds.items()},
        "cpu_seconds": found.cpu_seconds,
        "targets": [] if settings.quick else [judge(target, found) for target in found.targets],
        "more": found.more,
        "remarks": found.remarks,
        "load_average": load,  # before and after: more than this process's threads is disturbance
        "machine": machine(),
    }


def write(result: dict, folder: Path = RESULTS) -> Path:
    "Results as JSON, one file per comparison."
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{result['name']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def told(result: dict) -> str:
    "A result for people."
    lines = [result["what"], f"equal: {result['equal']}"]
    for variant, s in result["summary"].items():
        lines.append(f"  {variant:44} {s['median']:9.3f} s   ({s['min']:.3f} to {s['max']:.3f})")
    for t in result["targets"]:
        kind = "at_most" if "at_most" in t else "at_least"
        wanted = f"{kind.replace('_', ' ')} {t[kind]}" if kind in t else "no target"
        met = {True: "met", False: "MISSED", None: ""}[t.get("met")]
        lines.append(
            f"  {t['of']} against {t['against']}: {t['median']:.2f} "
            f"({t['min']:.2f} to {t['max']:.2f}); {wanted} {met}"
        )
    return "\n".join(lines)


# --- peers


def environment(name: str, requirements: list[str]) -> Path:
    """The Python of a virtual environment that holds a peer, made when it is first asked for.

    It sees this environment's packages behind its own, so that a peer computes with the same
    PyTorch. Environments are kept below SQUADQA_BENCH_ENVS or ~/.cache/squadqa-benchmarks.
    """
    home = os.environ.get("SQUADQA_BENCH_ENVS", "~/.cache/squadqa-benchmarks")
    folder = Path(home).expanduser() / name
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    import torch

    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    inner = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout
    (Path(inner.strip()) / "behind.pth").write_text(str(Path(torch.__file__).parent.parent) + "\n")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, *requirements], check=True)
    (folder / "ready").write_text("\n".join(requirements) + "\n")
    return python
