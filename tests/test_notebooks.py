"""The lessons run from top to bottom in fresh kernels, and their exercises can be failed and passed."""
import json, re, sys
from pathlib import Path

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import outputs

NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
LESSONS = [p for p in NOTEBOOKS if p.stem[0].isdigit()]  # index and glossary are pages of their own kind

# Appended to each lesson: every solution passes its check, and the empty stub fails it with a message.
TRY_EXERCISES = """
for _name in {names}:
    globals()["check_" + _name](globals()[_name + "_solution"])
    try: globals()["check_" + _name](globals()[_name])
    except AssertionError as e: assert str(e), f"check_{{_name}} fails without a message"
    else: raise RuntimeError(f"check_{{_name}} passes with the empty stub")
"""


def cells(path: Path) -> list[dict]: return json.loads(path.read_text(encoding="utf-8"))["cells"]
def sources(path: Path, kind: str) -> list[str]: return ["".join(c["source"]) for c in cells(path) if c["cell_type"] == kind]
def exercises(path: Path) -> list[str]: return re.findall(r"^def (\w+)_solution\(", "\n".join(sources(path, "code")), re.M)


def test_all_notebooks_are_found(): assert len(NOTEBOOKS) >= 9 and len(LESSONS) >= 8


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_in_a_fresh_kernel(path):
    names = exercises(path)
    done = outputs.run(path, TRY_EXERCISES.format(names=names) if names else "")
    assert all(c.execution_count for c in done.cells if c.cell_type == "code" and c.source.strip())


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_shape_of_a_lesson(path):
    prose, code = sources(path, "markdown"), sources(path, "code")
    assert re.match(r"# .+\n\n> .+", prose[0])
    text = "\n".join(prose)
    for part in ("What you will be able to do", "minutes", "colab.research.google.com", "## Summary", "## Your turn", "## Questionnaire"):
        assert part in text, f"{path.stem} has no {part!r}"
    assert len(exercises(path)) >= 3
    assert "def check_" in "\n".join(code) and "assert" in "\n".join(code)
    assert max(len(c.splitlines()) for c in code if "#| export" not in c) <= 30


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_notebook_is_fit_to_read(path):
    "Stable ids, outputs of a complete run, no error, nothing of a machine, small."
    found = cells(path)
    ids = [c["id"] for c in found]
    assert len(set(ids)) == len(ids) and path.stat().st_size <= 200_000
    text = path.read_text(encoding="utf-8")
    assert "ipykernel_" not in text and "it/s]" not in text and '"output_type": "error"' not in text
    assert any(c.get("outputs") for c in found if c["cell_type"] == "code"), f"{path.stem} was committed without outputs"
    assert not re.search(r'"name": "stderr"', text), f"{path.stem} has warnings among its outputs"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_relative_links_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", "\n".join(sources(path, "markdown")))
    assert all((path.parent / link).exists() for link in links), [k for k in links if not (path.parent / k).exists()]
    assert links, "a lesson leads on to another"
