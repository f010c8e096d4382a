"""Run the notebooks in fresh kernels and keep their outputs: `python tools/outputs.py [NAME ...]`.

Outputs come out the same run after run: no progress bars, neighbouring pieces of one stream joined, metadata cleaned.
"""

import os
import sys
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


def run(path: Path, extra: str = "", timeout: int = 900) -> nbformat.NotebookNode:
    "Execute a notebook, with one more cell at its end if `extra` has code; a failing cell raises."
    notebook = nbformat.read(path, as_version=4)
    if extra:
        notebook.cells.append(nbformat.v4.new_code_cell(extra))
    os.environ.update(QUIET)
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    return notebook


def join_streams(notebook: nbformat.NotebookNode) -> None:
    "A kernel may deliver one print in several pieces; make them one."
    for cell in notebook.cells:
        joined = []
        for output in cell.get("outputs", []):
            last = joined[-1] if joined else None
            if (
                last
                and output.output_type == last.output_type == "stream"
                and output.name == last.name
            ):
                last.text += output.text
            else:
                joined.append(output)
        if cell.cell_type == "code":
            cell.outputs = joined


if __name__ == "__main__":
    names = sys.argv[1:] or sorted(p.name for p in (ROOT / "nbs").glob("*.ipynb"))
    for name in names:
        path = ROOT / "nbs" / Path(name).with_suffix(".ipynb").name
        print(path.name, flush=True)
        notebook = run(path)
        join_streams(notebook)
        nbformat.write(notebook, path)
    sys.path.insert(0, str(ROOT / "tools"))
    from sync import sync

    sync(ROOT)
