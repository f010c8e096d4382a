"""Notebooks, for the tests that look at them or run them."""

import io
import json
import multiprocessing
import os
import queue
import re
import sys
import tempfile
import time
from pathlib import Path

from conftest import ROOT

NBS = ROOT / "nbs"
COURSE = sorted((NBS / "course").glob("*.ipynb"))
FURTHER = sorted((NBS / "further").glob("*.ipynb"))
INSIDE = sorted((NBS / "inside").glob("*.ipynb"))
PAGES = sorted(NBS.glob("*.ipynb"))  # the start page and the glossary
LESSONS = COURSE + FURTHER
NOTEBOOKS = PAGES + LESSONS + INSIDE

# A lesson that trains says beside a number what is enough for a quick look; the tests take that.
QUICK = re.compile(r"^(\w+) = [^#\n]+#(.*?)\b([\w.]+) for a quick look", re.M)

# Appended to a lesson: each check says that the stub is untried, refuses a wrong answer, and takes
# the solution.
TRY_EXERCISES = """
def _wrong_answer(*args, **kwargs):
    return "a wrong answer"

for _name in {names}:
    _check = globals()["check_" + _name]
    for _given, _begins in (
        (globals()[_name], "Not tried yet"),
        (_wrong_answer, "Not yet"),
        (globals()[_name + "_solution"], "Right"),
    ):
        _said = _check(_given)
        assert isinstance(_said, str) and _said.startswith(_begins), (_name, _begins, _said)
"""


def name_of(path: Path) -> str:
    "Such as course/03_labeling."
    here = path.relative_to(NBS) if path.is_relative_to(NBS) else Path(path.name)
    return here.with_suffix("").as_posix()


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def sources(path: Path, kind: str) -> list[str]:
    return [source(c) for c in cells(path) if c["cell_type"] == kind]


def exercises(path: Path) -> list[str]:
    "The names of a notebook's exercises."
    return re.findall(r"^def (\w+)_solution\(", "\n".join(sources(path, "code")), re.M)


def is_export(text: str) -> bool:
    return bool(re.search(r"^#\|\s*export\b", text, re.M))


def quick(text: str) -> str:
    "A cell with its numbers replaced by those for a quick look."
    return QUICK.sub(r"\1 = \3  #\2", text)


def open_numbers(text: str) -> str:
    "A text, its numbers left open: those may differ from machine to machine."
    text = re.sub(r"[-+]?\d[\d.,]*(e[-+]\d+)?", "#", text)
    return re.sub(r"\s+", " ", text).strip()


def other_text(said: str, cell: dict) -> str | None:
    "How what a cell printed differs from what the notebook shows; None if it does not."
    outputs = [o for o in cell["outputs"] if o.get("name") == "stdout"]
    shown = open_numbers("".join("".join(output["text"]) for output in outputs))
    now = open_numbers(said)
    return None if now == shown else f"prints {now!r}, and the notebook shows {shown!r}"


def run_in_this_process(path: Path, folder: str, report, same: bool) -> None:
    """Run all code cells in IPython, as a kernel would; tell the first error, or None.

    What a notebook prints has to be what it shows, unless it was given numbers for a quick look.

    Temporary files go into `folder`: this process ends without the clean-up of a kernel."""
    import matplotlib
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    matplotlib.use("Agg")
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    os.chdir(folder if path in COURSE else path.parent)  # its lessons leave models where they run
    sys.stdout = sys.stderr = open(os.devnull, "w")
    shell = InteractiveShell.instance()
    shell.enable_gui = lambda gui=None: None
    shell.display_trap.hook = lambda value: None  # results and pictures are not prints
    shell.display_pub = CapturingDisplayPublisher()
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    compared = same and not any(QUICK.search(source(cell)) for cell in code)
    names = exercises(path)
    if names:
        tried = TRY_EXERCISES.format(names=names)
        code.append({"id": "exercises", "source": [tried], "outputs": []})
    for cell in code:
        if compared:
            sys.stdout = said = io.StringIO()
        done = shell.run_cell(quick(source(cell)), store_history=False)
        error = done.error_before_exec or done.error_in_exec
        if error is not None:
            report.put(f"cell {cell['id']}: {type(error).__name__}: {error}")
            return
        if compared and (differs := other_text(said.getvalue(), cell)):
            report.put(f"cell {cell['id']} {differs}")
            return
    report.put(None)


# A process that has loaded the libraries and done nothing else; each notebook runs in a fork of it.
# (A fork of the process that runs the tests could wait for ever for threads that it does not have.)
LOADED = ["torch", "transformers", "datasets", "matplotlib.pyplot", "IPython", "squadqa.loop"]


def run(path: Path, seconds: float = 300) -> float:
    """Run a notebook in a fresh process that has the libraries loaded already; seconds.

    A failing cell raises an AssertionError that names it."""
    start, context = time.perf_counter(), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    report = context.Queue()
    # what is printed is compared where the pages were made: on Linux, with the pinned versions
    same = sys.platform == "linux" and not os.environ.get("SQUADQA_BOUNDS")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = context.Process(target=run_in_this_process, args=(path, folder, report, same))
        process.start()
        while True:
            try:
                error = report.get(timeout=2)
                break
            except queue.Empty:
                took = time.perf_counter() - start
                if process.is_alive() and took < seconds:
                    continue
                process.kill()
                raise AssertionError(f"{name_of(path)} did not end, after {took:.0f} s") from None
        process.join(20)
    assert error is None, f"{name_of(path)}, {error}"
    return time.perf_counter() - start
