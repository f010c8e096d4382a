"""The notebooks: fit to read, built like lessons, and running from top to bottom."""

import json
import re

import pytest
from notebooks import (
    COURSE,
    FURTHER,
    INSIDE,
    LESSONS,
    NOTEBOOKS,
    cells,
    exercises,
    is_export,
    name_of,
    other_text,
    quick,
    run,
    source,
    sources,
)

# They train, export, start processes or have a real model answer over and over, and take a quarter
# of a minute or more: `make test-all` runs them.
HEAVY = (
    "course/00_first_answer",
    "course/07_trainer",
    "course/08_accelerate",
    "course/10_capstone",
    "further/adapters",
    "further/analysis",
    "further/generative",
    "further/many_processes",
    "further/performance",
    "further/no_answer",
    "further/report",
    "further/serving",
    "inside/backends",
    "inside/batching",
    "inside/bulk",
    "inside/cli",
    "inside/export",
    "inside/processes",
)


def test_there_is_something_to_check():
    assert len(COURSE) == 11 and len(FURTHER) >= 11 and len(INSIDE) >= 12
    assert {name_of(path) for path in NOTEBOOKS} >= set(HEAVY)


# --- they run


def marked(path):
    slow = [pytest.mark.slow] if name_of(path) in HEAVY else []
    return pytest.param(path, id=name_of(path), marks=slow)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", map(marked, NOTEBOOKS))
def test_runs_and_its_exercises_can_be_failed_and_passed(path):
    run(path, seconds=800)


def test_a_notebook_that_fails_is_noticed(tmp_path, monkeypatch):
    "The runner sees an error in a cell, and a check that passes a wrong answer."
    monkeypatch.delenv("SQUADQA_BOUNDS", raising=False)  # other versions print other things
    for name, text, says in (
        ("error", ["1 + 1", "1 / 0"], "cell c1: ZeroDivisionError"),
        (
            "lax",
            ["def f(): ...\ndef f_solution(): ...\ndef check_f(f): return 'Right'"],
            "exercises",
        ),
        ("stale", ["print('new')"], "cell c0 prints 'new', and the notebook shows ''"),
    ):
        path = tmp_path / f"{name}.ipynb"
        code = {"cell_type": "code", "outputs": []}
        made = [code | {"id": f"c{i}", "source": [s]} for i, s in enumerate(text)]
        path.write_text(json.dumps({"cells": made}), encoding="utf-8")
        with pytest.raises(AssertionError, match=says):
            run(path)


def test_another_text_is_noticed():
    "Numbers may differ from machine to machine, words may not."
    cell = {"outputs": [{"name": "stdout", "text": ["3 questions\n", "in 2.5 s\n"]}]}
    assert other_text("3 questions\nin 71 s\n", cell) is None
    assert other_text("3 answers\n", cell).startswith("prints '# answers'")


def test_a_quick_look_changes_numbers_only():
    cell = "EPOCHS = 3  # about three minutes; 0.1 for a quick look\nx = 3  # three"
    assert quick(cell).startswith("EPOCHS = 0.1  #") and quick(cell).endswith("x = 3  # three")


# --- they are fit to read

# Each measure looks at a notebook and yields (what, whether it is as it should be), once for
# everything it looked at; further down each is shown a lesson that breaks it.


def is_clean(path):
    "Stable ids, outputs of a complete run, no error, no warning, nothing of a machine, small."
    found = cells(path)
    ids = [cell["id"] for cell in found]
    outputs = [output for cell in found for output in cell.get("outputs", [])]
    text = path.read_text(encoding="utf-8")
    yield "ids are unique", len(set(ids)) == len(ids)
    yield "it was committed with outputs", bool(outputs)
    yield "no error among the outputs", all(o["output_type"] != "error" for o in outputs)
    told = ["".join(o["text"]) for o in outputs if o.get("name") == "stderr"]
    yield "no warning among the outputs", not any("arning" in text for text in told)
    yield "no progress bar", "it/s]" not in text and "ipykernel_" not in text
    places = r"(?:(?<![\w.])|\\[nt])/(home|tmp|root|work|Users)/\w"
    yield "no path of a machine", not re.search(places, text)
    yield "400 KB at the most", len(text) <= 400_000


def links_lead_somewhere(path):
    "Relative links name files that are there."
    text = "\n".join(sources(path, "markdown"))
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        there = (path.parent / link).exists() or link.endswith(".qmd")
        yield f"{link} is there", there


def opens_well(path):
    "Title and promise, minutes, badge, install cell."
    found = [source(cell) for cell in cells(path)[:7]]
    yield "title and promise", bool(re.match(r"# .+\n+> .+", found[0]))
    text = "\n".join(found)
    yield "minutes", bool(re.search(r"\*\*In about \d+ minutes", text))
    yield "badge of its own", f"/nbs/{name_of(path)}.ipynb)" in text and "colab-badge.svg" in text
    yield "an install cell", 'find_spec("squadqa") is None' in text and "pip" in text


def ends_well(path):
    "A summary, exercises that talk to the reader, a questionnaire."
    text = "\n".join(sources(path, "markdown"))
    parts = ("## Summary", "## Your turn", "## Questionnaire")
    places = [text.find(f"\n{part}\n") for part in parts]
    yield "summary, your turn, questionnaire", -1 < places[0] < places[1] < places[2]
    names, code = exercises(path), "\n".join(sources(path, "code"))
    yield f"2 to 5 exercises, not {len(names)}", 2 <= len(names) <= 5
    for name in names:
        yield f"{name} has a stub", f"def {name}(" in code
        yield f"{name} is checked", f"print(check_{name}({name}))" in code


def hides_its_solutions(path):
    "A solution is hidden on the site, in JupyterLab and in Colab."
    for cell in cells(path):
        if re.search(r"^def \w+_solution\(", source(cell), re.M):
            metadata = cell["metadata"]
            yield f"{cell['id']} is folded", "#| code-fold: true" in source(cell)
            yield f"{cell['id']}: JupyterLab", metadata.get("jupyter") == {"source_hidden": True}
            yield f"{cell['id']}: Colab", metadata.get("cellView") == "form"


# On one line in quotes, or folded over several.
ALT = r'^#\| fig-alt: (?:"[A-Z][^"]{39,}"$|>-\n#\|   [A-Z].{39,}$)'


def describes_its_pictures(path):
    "A picture has words before it, and an alt text that says what is seen in a sentence."
    found = cells(path)
    for i, cell in enumerate(found):
        if any("image/png" in o.get("data", {}) for o in cell.get("outputs", [])):
            alt = re.search(ALT, source(cell), re.M)
            before = [c["cell_type"] for c in found[max(0, i - 2) : i]]
            yield f"{cell['id']} has an alt text", bool(alt)
            yield f"prose before {cell['id']}", "markdown" in before


def shows_its_values(path):
    "In a course lesson, about half of the code cells that a reader runs show something."
    told = [c for c in cells(path) if c["cell_type"] == "code" and not is_plumbing(source(c))]
    shown = [cell for cell in told if cell["outputs"]]
    yield f"{len(shown)} of {len(told)} cells show something", len(shown) >= 0.45 * len(told)


def is_plumbing(text: str) -> bool:
    "Cells that have nothing to show: imports, exports, installation, solutions and stubs."
    first = text.lstrip().splitlines()[0] if text.strip() else ""
    stub_or_solution = re.search(r"_solution\(|# your code here", text)
    return (
        is_export(text)
        or first.startswith(("#| default_exp", "import ", "from "))
        or bool(stub_or_solution)
    )


MEASURES = {
    is_clean: NOTEBOOKS,
    links_lead_somewhere: NOTEBOOKS,
    opens_well: LESSONS,
    ends_well: [path for path in LESSONS if path.stem != "moving_from_4x"],  # a page to look up
    hides_its_solutions: LESSONS,
    describes_its_pictures: LESSONS,
    shows_its_values: COURSE,
}


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.__name__)
def test_measure(measure):
    looked, wrong = 0, []
    for path in MEASURES[measure]:
        for what, fine in measure(path):
            looked += 1
            if not fine:
                wrong.append(f"{name_of(path)}: {what}")
    assert looked >= len(MEASURES[measure])
    assert wrong == []


# --- each measure is shown something that breaks it


def book(*made) -> list[dict]:
    found = []
    for i, (kind, text, *more) in enumerate(made):
        cell = {"cell_type": kind, "id": f"c{i}", "source": [text], "metadata": {}, "outputs": []}
        found.append(cell | (more[0] if more else {}))
    return found


PICTURE = {"output_type": "display_data", "data": {"image/png": ""}}
WARNING = {"output_type": "stream", "name": "stderr", "text": ["UserWarning: odd"]}
HIDDEN = {"jupyter": {"source_hidden": True}, "cellView": "form"}
SPOILED = [
    (is_clean, book(("code", "1", {"outputs": [{"output_type": "error"}]}))),
    (is_clean, book(("code", "1"))),
    (is_clean, book(("code", "1", {"outputs": [WARNING]}))),
    (is_clean, book(("markdown", "see /home" + "/me/x"))),
    (is_clean, book(("markdown", "x" * 400_000))),
    (links_lead_somewhere, book(("markdown", "[gone](nowhere.ipynb)"))),
    (opens_well, book(("markdown", "# A title"))),
    (ends_well, book(("markdown", "x\n## Questionnaire\n\n## Summary\n\n## Your turn\n"))),
    (ends_well, book(("code", "def f_solution(): ..."))),
    (hides_its_solutions, book(("code", "def f_solution(): ...", {"metadata": HIDDEN}))),
    (hides_its_solutions, book(("code", "#| code-fold: true\ndef f_solution(): ..."))),
    (describes_its_pictures, book(("code", "plot()", {"outputs": [PICTURE]}))),
    (shows_its_values, book(("code", "x = 1"), ("code", "y = 2"))),
]


@pytest.mark.parametrize("number", range(len(SPOILED)))
def test_a_spoiled_notebook_is_noticed(number, tmp_path):
    measure, made = SPOILED[number]
    path = tmp_path / "spoiled.ipynb"
    path.write_text(json.dumps({"cells": made}), encoding="utf-8")
    assert [what for what, fine in measure(path) if not fine]


def test_each_measure_is_spoiled_once():
    assert {measure for measure, _ in SPOILED} == set(MEASURES)


def test_models_that_a_gpu_may_have_get_their_inputs_there():
    "No GPU runs these tests, and a lesson is to run in Colab with one."
    by_hand = []
    for path in NOTEBOOKS:
        for cell in cells(path):
            if cell["cell_type"] == "code":
                for call in re.findall(r"\bqa\.model\(.*", source(cell)):
                    by_hand.append((path.stem, cell["id"], "to(qa.model.device)" in call))
    assert len(by_hand) >= 2 and all(moved for *_, moved in by_hand), by_hand
    texts = {name_of(path): "".join(map(source, cells(path))) for path in NOTEBOOKS}
    # `evaluate_model` has moved it
    assert 'model.to("cpu")(**inputs)' in texts["course/00_first_answer"]
    for name in ("course/08_accelerate", "further/many_processes", "inside/processes"):
        assert "CUDA_VISIBLE_DEVICES" in texts[name], f"{name} starts two processes on one GPU"
