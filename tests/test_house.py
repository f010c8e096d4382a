"""The house: generated files in step, imports that go down only, one style, complete metadata."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from notebooks import NBS, cells, source

sys.path.insert(0, str(ROOT / "tools"))
import reference
import sync

MODULES = sorted(p.stem for p in (ROOT / "squadqa").glob("*.py") if not p.name.startswith("_"))
SIGNPOSTS = {"modeling", "runs", "step", "distributed", "performance", "moved"}

# What a module may import: those of the lines above its own, and of its own line those before it.
RANKS = (
    "exercises moved files examples arguments processes models results checkpoints batching hub",
    "backends",
    "data windows pairs labeling validation postprocessing metrics",
    "evaluation",
    "training trainer loop_steps loop answering inference",
    "own_data no_answer languages analysis report generative adapters capstone demo bulk export",
    "cli",
)


def tracked() -> list[Path]:
    "The project's own text files."
    skip = {".git", ".venv", "runs", "_proc", "_docs", "build", "dist", "__pycache__"}
    skip |= {".pytest_cache", ".hypothesis", ".ruff_cache", ".mypy_cache", ".ipynb_checkpoints"}
    found = []
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        built = any(part in skip or part.endswith(".egg-info") for part in parts)
        if path.is_file() and not built and path.suffix not in (".png", ".safetensors"):
            found.append(path)
    return found


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="ignore")


# --- in step


def test_generated_files_are_in_step():
    "Badges, tables, cleaned notebooks, exported package and README equal what their sources give."
    assert sync.out_of_step() == [], "run `make sync`"


def test_the_page_on_trust_counts_the_tests_as_they_are(monkeypatch):
    "The table that it keeps is the one that its cells make now."
    trust, names = cells(NBS / "inside" / "trust.ipynb"), {}
    monkeypatch.chdir(NBS / "inside")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for cell in trust:
        if cell["cell_type"] == "code":
            exec(source(cell), names)
        if cell["id"] == "table":
            break
    kept = "".join(cell["outputs"][0]["data"]["text/markdown"])
    assert kept == "\n".join(names["lines"]), "run `python tools/outputs.py --only inside/trust`"


def test_out_of_step_is_noticed(monkeypatch, tmp_path):
    "The check above can fail: a module edited by hand is named."
    copy = sync.copy_sources(ROOT, tmp_path / "edited")
    module = copy / "squadqa" / "metrics.py"
    module.write_text(text_of(module) + "\n# by hand\n")
    monkeypatch.setattr(sync, "ROOT", copy)
    assert sync.out_of_step() == ["squadqa/metrics.py"]


def test_owner_stands_in_settings_only(tmp_path):
    "With another owner in settings.ini, no generated file keeps the old one."
    owner = sync.settings(ROOT)["user"]
    named = {str(p.relative_to(ROOT)) for p in tracked() if owner in text_of(p)}
    made = {name for name in named if name.startswith(("nbs/", "squadqa/")) or name == "README.md"}
    assert named - made == {"settings.ini"}
    assert "README.md" in made and len(made) > 20
    copy = sync.copy_sources(ROOT, tmp_path / "other")
    changed = text_of(ROOT / "settings.ini").replace(f"user = {owner}", "user = somebody-else")
    (copy / "settings.ini").write_text(changed)
    sync.sync(copy)
    assert [name for name in sync.snapshot(copy) if owner in text_of(copy / name)] == []
    assert "somebody-else/squadqa" in text_of(copy / "README.md")


# --- imports


def test_import_is_light():
    "`import squadqa` loads no heavy library; importing the command line neither."
    heavy = "('torch', 'transformers', 'datasets', 'matplotlib', 'numpy')"
    code = f"import sys, squadqa, squadqa.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_asking_loads_no_data_set_library():
    "Who only asks waits neither for datasets nor for evaluate to be imported."
    heavy = "('datasets', 'evaluate')"
    code = f"import sys, squadqa.inference; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_changes_nothing_of_the_process(tmp_path):
    "No file, no environment variable, no seed, no thread count, no signal handler, no log level."
    code = """
import logging, os, random, signal, sys, torch, transformers, datasets, evaluate
import numpy as np

def state():
    names = [n for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    return (dict(os.environ), random.getstate()[1][:3], np.random.get_state()[1][:3].tolist(),
            torch.get_rng_state().sum().item(), torch.get_num_threads(), torch.get_default_dtype(),
            [signal.getsignal(getattr(signal, n)) for n in names],
            transformers.logging.get_verbosity(), logging.getLogger().level, os.listdir("."))

before = state()
import importlib
for name in sys.argv[1:]:
    importlib.import_module(f"squadqa.{name}")
after = state()
print([i for i, (a, b) in enumerate(zip(before, after)) if a != b])
"""
    names = [m for m in MODULES if m not in SIGNPOSTS]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def imported(module: str) -> set[str]:
    "The modules of the package that a module names, at its top and inside its functions."
    found = set()
    for node in ast.walk(ast.parse(text_of(ROOT / "squadqa" / f"{module}.py"))):
        if isinstance(node, ast.ImportFrom):
            name = (
                (node.module or "") if node.level else (node.module or "").partition("squadqa.")[2]
            )
            found |= {name.split(".")[0]} & set(MODULES)
    return found


def test_imports_go_down_only():
    order = [name for line in RANKS for name in line.split()]
    assert set(MODULES) - SIGNPOSTS <= set(order), set(MODULES) - SIGNPOSTS - set(order)
    place = {name: i for i, name in enumerate(order)}
    pairs = [(m, used) for m in MODULES if m not in SIGNPOSTS for used in imported(m)]
    assert len(pairs) > 40
    wrong = [(m, used) for m, used in pairs if place[used] >= place[m]]
    assert wrong == []


@pytest.mark.parametrize("module", MODULES)
def test_every_exported_name_is_there(module):
    import importlib

    found = importlib.import_module(f"squadqa.{module}")
    if module in SIGNPOSTS - {"moved"}:
        return
    assert found.__all__ and all(hasattr(found, name) for name in found.__all__)


# --- one style


def ruff(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ruff", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_same_name_has_the_same_default_everywhere():
    "Many functions take lengths and strides; whoever changes one default changes all of them."
    alike = {
        "max_length": "tokens in a window",
        "max_seq_len": "tokens in a window",
        "stride": "tokens that two windows share",
        "doc_stride": "tokens that two windows share",
        "max_answer_length": "tokens in an answer",
        "max_answer_len": "tokens in an answer",
    }
    found: dict[str, dict] = {meaning: {} for meaning in alike.values()}
    for module in MODULES:
        for node in ast.walk(ast.parse(text_of(ROOT / "squadqa" / f"{module}.py"))):
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") in alike:
                value = node.value
                if isinstance(value, ast.Call) and value.args:  # a field with its explanation
                    value = value.args[0]
                places = found[alike[node.target.id]].setdefault(getattr(value, "value", None), [])
                places.append(f"{module}, a field")
            if not isinstance(node, ast.FunctionDef):
                continue
            given = node.args
            named = [*zip(reversed(given.args), reversed(given.defaults))]
            for arg, default in named + [*zip(given.kwonlyargs, given.kw_defaults)]:
                if arg.arg in alike and isinstance(default, ast.Constant) and default.value:
                    places = found[alike[arg.arg]].setdefault(default.value, [])
                    places.append(f"{module}.{node.name}")
    for meaning, values in found.items():
        assert len(values) == 1, f"{meaning}: {values}"
        assert sum(map(len, values.values())) >= 8, f"{meaning} is hardly a default any more"


def test_style():
    "ruff's rules at 100 columns, in notebooks, tests, tools and benchmarks; names in the package."
    done = ruff("check", "--output-format", "concise", "nbs", "tests", "tools", "benchmarks")
    assert done.returncode == 0, done.stdout[-3000:]
    done = ruff("check", "--output-format", "concise", "squadqa")
    wrong = [x for x in done.stdout.splitlines() if ".py:" in x and not generated_line(x)]
    assert wrong == []


def generated_line(finding: str) -> bool:
    "Is it one that nbdev writes as wide as it likes: a module's first line, its list of names?"
    path, line, *_ = finding.split(":")
    before = text_of(ROOT / path).splitlines()[: int(line)]
    starts = [i for i, text in enumerate(before) if text.startswith("__all__ = ")]
    in_list = starts and not any(text.startswith("# %%") for text in before[starts[-1] :])
    return len(before) == 1 or bool(in_list)


def test_formatting():
    done = ruff("format", "--check", "nbs", "tests", "tools", "benchmarks", "setup.py")
    assert done.returncode == 0, done.stdout[-2000:]


def test_style_is_looked_at(tmp_path):
    "The rules that matter are on: a wide line and a tangled function are found."
    branches = "".join(f"    if x == {i}:\n        y += {i}\n" for i in range(11))
    wide = "z = '" + "x" * 100 + "'\n"
    (tmp_path / "bad.py").write_text(f"def f(x):\n    y = 0\n{branches}    return y\n\n\n{wide}")
    done = ruff("check", "--config", str(ROOT / "ruff.toml"), str(tmp_path / "bad.py"))
    assert "E501" in done.stdout and "C901" in done.stdout


def test_types():
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "squadqa"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"no issues found in \d\d source files", done.stdout)


def test_every_public_function_is_documented():
    "A docstring, and a comment on each parameter and on what comes back."
    wrong, looked = [], 0
    for module, nodes in reference.public_names(ROOT).items():
        lines = reference.source(ROOT, module).splitlines()
        for node in nodes:
            looked += 1
            if not ast.get_docstring(node):
                wrong.append(f"{module}.{node.name} has no docstring")
            if isinstance(node, ast.FunctionDef):
                wrong += [f"{module}.{node.name}: {x}" for x in undocumented(lines, node)]
    assert looked > 150
    assert wrong == []


def undocumented(lines: list[str], node: ast.FunctionDef) -> list[str]:
    "Parameters without a comment on their line; what says itself (context, **kwargs) may."
    known = {"self", "context", "question", "fn"}
    args = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
    return [
        a.arg
        for a in args
        if a.arg not in known
        and "#" not in lines[a.end_lineno - 1]
        and not any("#" in lines[n - 1] for n in range(a.lineno, a.end_lineno + 2))
    ]


# --- metadata


def test_constraints_pin_every_requirement():
    cfg = sync.settings(ROOT)
    wanted = " ".join(value for key, value in cfg.items() if key.endswith("requirements")).split()
    lines = text_of(ROOT / "constraints.txt").splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    names = {re.match(r"[\w-]+", w)[0].lower().replace("_", "-") for w in wanted}
    assert len(names) > 15
    assert names - pinned == set()


def test_no_unfinished_code_and_no_machine_paths():
    unfinished = r"\bTODO\b|\bFIXME\b|skip_exec: *true|#\| *eval: *false"
    places = r"/home/\w|/Users/\w|/tmp/\w|site-packages"
    for path in tracked():
        if path.suffix in (".py", ".ipynb", ".md") and path != Path(__file__):
            assert not re.search(unfinished, text_of(path)), path
            assert not re.search(places, text_of(path)), path


def test_private_names_of_dependencies_are_listed():
    "Each use of a private name of another library stands here with its reason; new ones are found."
    reset = "a second run in one process must not inherit the first one's precision and steps"
    allowed = {
        "processes: AcceleratorState._reset_state": reset,
        "processes: GradientState._reset_state": reset,
    }
    found = {}
    for module in MODULES:
        for node in ast.walk(ast.parse(text_of(ROOT / "squadqa" / f"{module}.py"))):
            name = private_use(node)
            if name:
                found[f"{module}: {name}"] = node.lineno
    assert set(found) == set(allowed), found
    from accelerate.state import AcceleratorState, GradientState

    for state in (AcceleratorState, GradientState):
        assert callable(state._reset_state), "accelerate has another way now: use it"


def private_use(node: ast.AST) -> str | None:
    "A private name that is asked of something other than self or cls: `x._name`, `import _name`."
    if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        return None if own else ast.unparse(node)
    if isinstance(node, ast.ImportFrom) and not node.level:
        names = [a.name for a in node.names if a.name.startswith("_")]
        return f"from {node.module} import {names[0]}" if names else None
    return None


def test_package_data_reaches_the_wheel(tmp_path):
    "Sample, starter and the marker for type checkers are in the built package."
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("squadqa", "setup.py", "settings.ini", "README.md", "MANIFEST.in", "LICENSE"):
        make = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        make(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(tmp_path), str(copy)], check=True)
    import zipfile

    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for wanted in ("sample/train-v1.1.json", "starter/adapter_model.safetensors", "py.typed"):
        assert f"squadqa/{wanted}" in names
