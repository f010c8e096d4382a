"""The lessons run from top to bottom in fresh kernels, keep to the measures of a lesson, and their exercises can be failed and passed."""

import ast
import json
import re
import shutil
import statistics
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import outputs

NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
LESSONS = [
    p for p in NOTEBOOKS if p.stem[0].isdigit()
]  # index and glossary are pages of their own kind

# Appended to each lesson: every solution passes its check, and the empty stub fails it with a message.
TRY_EXERCISES = """
for _name in {names}:
    globals()["check_" + _name](globals()[_name + "_solution"])
    try: globals()["check_" + _name](globals()[_name])
    except AssertionError as e: assert str(e), f"check_{{_name}} fails without a message"
    else: raise RuntimeError(f"check_{{_name}} passes with the empty stub")
"""


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def sources(path: Path, kind: str) -> list[str]:
    return ["".join(c["source"]) for c in cells(path) if c["cell_type"] == kind]


def exercises(path: Path) -> list[str]:
    return re.findall(r"^def (\w+)_solution\(", "\n".join(sources(path, "code")), re.M)


def test_all_notebooks_are_found():
    assert len(NOTEBOOKS) >= 9 and len(LESSONS) >= 8


if not shutil.which(
    "chromium"
):  # where it is, test_jupyterlab.py runs them and their exercises in the browser, which takes as long

    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
    def test_runs_in_a_fresh_kernel(path):
        names = exercises(path)
        done = outputs.run(path, TRY_EXERCISES.format(names=names) if names else "")
        assert all(
            c.execution_count for c in done.cells if c.cell_type == "code" and c.source.strip()
        )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_notebook_is_fit_to_read(path):
    "Stable ids, outputs of a complete run, no error, nothing of a machine, small."
    found = cells(path)
    ids = [c["id"] for c in found]
    assert len(set(ids)) == len(ids) and path.stat().st_size <= 200_000
    text = path.read_text(encoding="utf-8")
    assert "ipykernel_" not in text and "it/s]" not in text and '"output_type": "error"' not in text
    assert any(c.get("outputs") for c in found if c["cell_type"] == "code"), (
        f"{path.stem} was committed without outputs"
    )
    assert not re.search(r'"name": "stderr"', text), f"{path.stem} has warnings among its outputs"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_relative_links_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", "\n".join(sources(path, "markdown")))
    assert all((path.parent / link).exists() for link in links), [
        k for k in links if not (path.parent / k).exists()
    ]
    assert links, "a lesson leads on to another"


# The measures of a lesson. Each one looks at a lesson and yields (what, whether it is as it should be), once for everything it looked at;
# further down, each is shown a lesson that breaks it.


def is_export(source: str) -> bool:
    return bool(re.search(r"^#\|\s*export\b", source, re.M))


def has_picture(cell: dict) -> bool:
    return any("image/png" in o.get("data", {}) for o in cell.get("outputs", []))


def bare_lines(source: str) -> int:
    "Lines of a cell that exports code, without blank ones, directives (`#|`) and parameters: one to a line with its comment they read as a table."
    lines = source.splitlines()
    skipped = {n for n, line in enumerate(lines, 1) if not line.strip() or line.startswith("#|")}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            skipped |= set(range(node.lineno + 1, node.body[0].lineno))
    return len(lines) - len(skipped)


def exported_definitions(source: str) -> list[ast.AST]:
    "The public functions and classes of a cell that exports code; none of any other cell."
    nodes = ast.parse(source).body if is_export(source) else []
    return [
        n
        for n in nodes
        if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")
    ]


def public_functions(source: str) -> list[ast.FunctionDef]:
    "The public functions of a cell that exports code, and the public methods of its public classes."
    found = exported_definitions(source)
    methods = [
        n
        for c in found
        if isinstance(c, ast.ClassDef)
        for n in c.body
        if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")
    ]
    return [n for n in found if isinstance(n, ast.FunctionDef)] + methods


def body_lines(node: ast.FunctionDef) -> int:
    "Lines of a function's body after its docstring: the signature documents a parameter a line, and that makes no function longer to understand."
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return node.end_lineno - body[0].lineno + 1 if body else 0


def is_test_of(name: str, source: str) -> bool:
    "Is this cell a test (it has an `assert`) in which the name is used?"
    nodes = list(ast.walk(ast.parse(source)))
    used = {n.id for n in nodes if isinstance(n, ast.Name)} | {
        n.attr for n in nodes if isinstance(n, ast.Attribute)
    }
    return any(isinstance(n, ast.Assert) for n in nodes) and name in used


def opens_well(path):
    "Title and promise, goals, badge, install cell."
    found = ["".join(c["source"]) for c in cells(path)[:6]]
    yield (
        "the first cell has a title and a promise",
        bool(re.match(r"# .+\n\n> .+", found[0])) and cells(path)[0]["cell_type"] == "markdown",
    )
    goals = [text for text in found[1:3] if "What you will be able to do" in text]
    yield (
        "the goals are in the second or third cell, with the minutes",
        len(goals) == 1 and "minutes" in goals[0],
    )
    yield (
        "the badge names its own notebook",
        any("colab-badge.svg" in text and f"/nbs/{path.stem}.ipynb)" in text for text in found),
    )
    yield (
        "the install cell is among the first six",
        any('find_spec("squadqa") is None' in text and "pip" in text for text in found),
    )


def ends_well(path):
    "Summary, exercises, questionnaire, in this order."
    places = [
        "\n".join(sources(path, "markdown")).find(f"\n{part}\n")
        for part in ("## Summary", "## Your turn", "## Questionnaire")
    ]
    yield "a summary, then exercises, then a questionnaire", -1 < places[0] < places[1] < places[2]
    names, code = exercises(path), "\n".join(sources(path, "code"))
    yield f"3 to 5 exercises, not {len(names)}", 3 <= len(names) <= 5
    for name in names:
        yield (
            f"exercise {name} has a stub and a check",
            f"def {name}(" in code and f"def check_{name}(" in code,
        )


def has_its_size(path):
    "35 to 70 cells, 0.7 to 1.4 cells of code to one of prose."
    prose, code = len(sources(path, "markdown")), len(sources(path, "code"))
    yield f"35 to 70 cells, not {prose + code}", 35 <= prose + code <= 70
    yield (
        f"0.7 to 1.4 code cells per prose cell, not {code / prose:.2f}",
        0.7 <= code / prose <= 1.4,
    )


def has_short_cells(path):
    "Cells of code up to 30 lines; where code is exported, without the lines that only document a parameter."
    for cell in cells(path):
        source = "".join(cell["source"])
        lines = bare_lines(source) if is_export(source) else len(source.splitlines())
        if cell["cell_type"] == "code":
            yield f"cell {cell['id']} has {lines} lines", lines <= 30


def shows_its_tests(path):
    "What is exported is used in a test within the 3 code cells after the one that defines it; prose in between does not count."
    code = sources(path, "code")
    for i, source in enumerate(code):
        for node in exported_definitions(source):
            yield (
                f"no test of {node.name} within 3 code cells",
                any(is_test_of(node.name, later) for later in code[i + 1 : i + 4]),
            )


def has_short_functions(path):
    "No exported function of more than 30 lines, from `def` to its end; the median is looked at below, over all lessons."
    for source in sources(path, "code"):
        for node in public_functions(source):
            lines = node.end_lineno - node.lineno + 1
            yield f"{node.name} has {lines} lines", lines <= 30


def describes_its_pictures(path):
    "A picture has words in the cell before it or the one before that, and an alt text that says what is seen, in a sentence of its own."
    found = cells(path)
    for i, cell in enumerate(found):
        if has_picture(cell):
            alt = re.search(r'^#\| fig-alt: "[A-Z][^"]{39,}"$', "".join(cell["source"]), re.M)
            yield f"cell {cell['id']} draws without `#| fig-alt`", bool(alt)
            yield (
                f"no prose before picture {cell['id']}",
                any(c["cell_type"] == "markdown" for c in found[max(0, i - 2) : i]),
            )


def is_clean(path):
    "No errors, nothing of a machine, small."
    outputs = [o for c in cells(path) for o in c.get("outputs", [])]
    yield "no error among the outputs", all(o["output_type"] != "error" for o in outputs)
    yield (
        "no path of a machine",
        not re.search(
            r"(?:(?<![\w.])|\\[nt])/(home|tmp|root|work)/", path.read_text(encoding="utf-8")
        ),
    )
    yield "200 KB at the most", path.stat().st_size <= 200_000


MEASURES = [
    opens_well,
    ends_well,
    has_its_size,
    has_short_cells,
    shows_its_tests,
    has_short_functions,
    describes_its_pictures,
    is_clean,
]


def faults(path: Path) -> list[str]:
    return [f"{m.__name__}: {what}" for m in MEASURES for what, fine in m(path) if not fine]


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_keeps_to_the_measures_of_a_lesson(path):
    assert not faults(path)


def test_exported_functions_are_small():
    found = [
        node
        for path in LESSONS
        for source in sources(path, "code")
        for node in public_functions(source)
    ]
    lines = [body_lines(node) for node in found]
    assert len(found) > 200 and statistics.median(lines) <= 8 and max(lines) <= 30, sorted(
        zip(lines, [n.name for n in found])
    )[-5:]


@pytest.mark.parametrize(
    "measure, least",
    [
        (opens_well, 4),
        (ends_well, 4),
        (has_its_size, 2),
        (has_short_cells, 15),
        (shows_its_tests, 4),
        (has_short_functions, 4),
        (describes_its_pictures, 1),
        (is_clean, 3),
    ],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_each_measure_looked_at_something(measure, least):
    "Enough in all lessons together, and in nearly every single one."
    looked = [len(list(measure(path))) for path in LESSONS]
    assert sum(looked) >= least * len(LESSONS) and sum(n > 0 for n in looked) >= 0.75 * len(LESSONS)


def small_lesson(path: Path, spoil=lambda cells: None) -> Path:
    "The least lesson that keeps all measures, after `spoil` has changed its list of cells."
    code, prose = "code", "markdown"
    made = [
        (prose, "# A lesson\n\n> A promise."),
        (prose, "**What you will be able to do**, in 5 minutes"),
        (prose, f"[![Open in Colab](x/colab-badge.svg)](y/nbs/{path.stem}.ipynb)"),
        (code, 'if find_spec("squadqa") is None: run("pip")'),
        (
            code,
            '#| export\ndef double(\n    x: int,  # a number\n) -> int:\n    "Twice."\n    return 2 * x',
        ),
        (code, "assert double(2) == 4"),
        (prose, "A line."),
        (code, f'#| fig-alt: "{"A line that climbs " * 3}."\nplot()'),
    ]
    for name in "abc":
        made += [
            (prose, name),
            (code, f"def {name}(): ..."),
            (code, f"def {name}_solution(): ..."),
            (code, f"def check_{name}(f): assert f()"),
        ]
    made += (
        [(prose, "An aside.")] * 18
        + [(code, "pass")] * 12
        + [(prose, f"\n{part}\n") for part in ("## Summary", "## Your turn", "## Questionnaire")]
    )
    book = [
        {"cell_type": kind, "id": f"c{i}", "source": [source], "outputs": []}
        for i, (kind, source) in enumerate(made)
    ]
    book[7]["outputs"] = [{"output_type": "display_data", "data": {"image/png": ""}}]
    spoil(book)
    path.write_text(json.dumps({"cells": book}), encoding="utf-8")
    return path


def put(place: int, source: str):
    return lambda cells: cells[place].update(source=[source])


def long_body(lines: int) -> str:
    return "#| export\ndef double(x):\n" + "    x += 1\n" * (lines - 2) + "    return x"


SPOILED = {  # what is done to the small lesson, and the one measure that has to notice
    "no promise": (put(0, "# A lesson"), opens_well),
    "no goals": (put(1, "Read this in 5 minutes."), opens_well),
    "badge of another lesson": (put(2, "[![](x/colab-badge.svg)](y/nbs/other.ipynb)"), opens_well),
    "no install cell": (put(3, "pass"), opens_well),
    "no summary": (put(-3, "The end"), ends_well),
    "questionnaire first": (lambda cells: cells.insert(-3, cells.pop()), ends_well),
    "two exercises": (put(10, "pass"), ends_well),
    "no check": (put(11, "assert True"), ends_well),
    "too few cells": (lambda cells: cells.__delitem__(slice(21, 40)), has_its_size),
    "too many cells": (lambda cells: cells.extend(cells[21:22] * 30), has_its_size),
    "all code": (
        lambda cells: [c.update(cell_type="code", source=["pass"]) for c in cells[20:38]],
        has_its_size,
    ),
    "long cell": (
        put(3, 'if find_spec("squadqa") is None: run("pip")\n' + "pass\n" * 30),
        has_short_cells,
    ),
    "long cell with an export": (
        put(
            4, long_body(24).replace("(x)", "(x, y=1)") + "\n\ndef _more(x):\n" + "    x += 1\n" * 7
        ),
        has_short_cells,
    ),
    "no test": (put(5, "double(2) == 4"), shows_its_tests),
    "test too late": (lambda cells: cells.insert(25, cells.pop(5)), shows_its_tests),
    "long function": (
        put(
            4, "#| export\ndef double(\n" + "    x,  # a number\n" * 25 + "):\n" + "    x = 1\n" * 5
        ),
        has_short_functions,
    ),
    "long method": (
        put(
            4,
            "#| export\nclass double:\n    def twice(\n        self,\n"
            + "        x,  # a number\n" * 25
            + "    ):\n"
            + "        x = 1\n" * 5,
        ),
        has_short_functions,
    ),
    "picture without alt text": (put(7, "plot()"), describes_its_pictures),
    "alt text of a word": (put(7, '#| fig-alt: "Plot."\nplot()'), describes_its_pictures),
    "picture without prose": (lambda cells: cells.append(cells.pop(6)), describes_its_pictures),
    "an error": (lambda cells: cells[3]["outputs"].append({"output_type": "error"}), is_clean),
    "a path": (
        lambda cells: cells[3]["outputs"].append(
            {"output_type": "stream", "text": "saved in " + "/home/" + "me/x"}
        ),
        is_clean,
    ),
    "too big": (
        lambda cells: cells[3]["outputs"].append({"output_type": "stream", "text": "x" * 200_000}),
        is_clean,
    ),
}


def test_a_good_lesson_has_no_faults(tmp_path):
    path = small_lesson(tmp_path / "00_small.ipynb")
    assert not faults(path) and all(list(measure(path)) for measure in MEASURES)
    assert {measure for _, measure in SPOILED.values()} == set(MEASURES), (
        "each measure is shown something that breaks it"
    )


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_lesson_is_noticed(tmp_path, name):
    spoil, measure = SPOILED[name]
    found = faults(small_lesson(tmp_path / "00_small.ipynb", spoil))
    assert {line.split(":")[0] for line in found} == {measure.__name__}, found


def test_the_median_counts_bodies():
    (node,) = public_functions(
        '#| export\ndef f(\n    x,  # a number\n):\n    "What it does,\\nin two lines."\n    x += 1\n\n    return x'
    )
    assert body_lines(node) == 3
