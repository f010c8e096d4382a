"""Run the notebooks in fresh kernels and keep their outputs: `python tools/outputs.py [NAME ...]`.

Outputs come out the same run after run: no progress bars, neighbouring pieces of one stream joined,
metadata cleaned. A name is a path below nbs/, such as course/03_labeling. With --only, nothing else
is brought in step afterwards.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "true",
}


def notebooks(root: Path = ROOT) -> list[Path]:
    "All notebooks: the start page, the glossary, and those of the three floors."
    nbs = root / "nbs"
    floors = [
        path for floor in ("course", "further", "inside") for path in (nbs / floor).glob("*.ipynb")
    ]
    return sorted(nbs.glob("*.ipynb")) + sorted(floors)


def run(path: Path, extra: str = "", timeout: int = 1200) -> nbformat.NotebookNode:
    "Execute a notebook, with one more cell at its end if `extra` has code; a failing cell raises."
    notebook = nbformat.read(path, as_version=4)
    if extra:
        notebook.cells.append(nbformat.v4.new_code_cell(extra))
    os.environ.update(QUIET)
    # a kernel that is ended may leave its temporary files behind
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        here = folder if path.parent.name == "course" else path.parent  # lessons leave models there
        resources = {"metadata": {"path": str(here)}}
        client = NotebookClient(
            notebook, timeout=timeout, kernel_name="python3", resources=resources
        )
        client.execute(env=os.environ | {"TMPDIR": folder})
    return notebook


def is_bar(output: nbformat.NotebookNode) -> bool:
    "Is it nothing but progress bars?"
    lines = re.split(r"[\r\n]+", output.get("text", ""))
    return output.get("name") == "stderr" and all("%|" in line for line in lines if line.strip())


def join_streams(notebook: nbformat.NotebookNode) -> None:
    "A kernel may deliver one print in several pieces; make them one, and leave out progress bars."
    for cell in notebook.cells:
        joined = []
        for output in cell.get("outputs", []):
            if is_bar(output):
                continue
            last = joined[-1] if joined else None
            both = last and output.output_type == last.output_type == "stream"
            if both and output.name == last.name:
                last.text += output.text
            else:
                joined.append(output)
        if cell.cell_type == "code":
            cell.outputs = joined


def main() -> None:
    "Run the named notebooks, or all."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="none: all notebooks")
    parser.add_argument("--only", action="store_true", help="do not bring the rest in step")
    args = parser.parse_args()
    chosen = [(ROOT / "nbs" / name).with_suffix(".ipynb") for name in args.names] or notebooks()
    for path in chosen:
        print(path.relative_to(ROOT / "nbs"), flush=True)
        notebook = run(path)
        join_streams(notebook)
        nbformat.write(notebook, path)
    sys.path.insert(0, str(ROOT / "tools"))
    import sync

    if args.only:
        sync.clean(ROOT, chosen)
    else:
        sync.sync(ROOT)


if __name__ == "__main__":
    main()
