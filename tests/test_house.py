"""The house: generated files in step, one home for the owner's name, a light import, complete metadata."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import sync

LESSONS = sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))
MODULES = sorted(p.stem for p in (ROOT / "squadqa").glob("*.py") if not p.name.startswith("_"))


def tracked() -> list[Path]:
    "The project's own text files."
    skip = {
        ".git",
        ".venv",
        "runs",
        "_proc",
        "_docs",
        "build",
        "dist",
        "__pycache__",
        ".pytest_cache",
        ".hypothesis",
        ".ruff_cache",
        ".ipynb_checkpoints",
    }
    files = [
        p
        for p in ROOT.rglob("*")
        if p.is_file()
        and not skip & set(p.relative_to(ROOT).parts)
        and not str(p).endswith((".png", ".safetensors"))
    ]
    return [
        p
        for p in files
        if not any(part.endswith(".egg-info") for part in p.relative_to(ROOT).parts)
    ]


def test_there_is_something_to_check():
    assert len(LESSONS) >= 8 and len(MODULES) >= 8


def test_generated_files_are_in_step():
    "Badges, cleaned notebooks, exported package and README equal what their sources give."
    assert sync.out_of_step() == [], "run `make sync`"


def test_out_of_step_is_noticed(monkeypatch, tmp_path):
    "The check above can fail: a module edited by hand is named."
    copy = tmp_path / "edited"
    shutil.copytree(
        ROOT,
        copy,
        symlinks=True,
        ignore=shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__"),
    )
    (copy / "squadqa" / "metrics.py").write_text(
        (copy / "squadqa" / "metrics.py").read_text() + "\n# by hand\n"
    )
    monkeypatch.setattr(sync, "ROOT", copy)
    assert sync.out_of_step() == ["squadqa/metrics.py"]


def test_owner_stands_in_settings_only(tmp_path):
    "With another owner in settings.ini, no generated file keeps the old one, and no other file has it."
    owner, files = sync.settings(ROOT)["user"], tracked()
    assert len(files) > 30
    named = {
        str(p.relative_to(ROOT))
        for p in files
        if owner in p.read_text(encoding="utf-8", errors="ignore")
    }
    generated = {
        name for name in named if name.startswith(("nbs/", "squadqa/")) or name == "README.md"
    }
    assert named - generated == {"settings.ini"}
    assert "README.md" in generated and len(generated) > len(LESSONS)
    copy = tmp_path / "other"
    copy.mkdir()
    for name in ("nbs", "squadqa"):
        shutil.copytree(
            ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("settings.ini", "_quarto.yml", "README.md", "setup.py"):
        shutil.copy(ROOT / name, copy / name)
    (copy / "settings.ini").write_text(
        (ROOT / "settings.ini").read_text().replace(f"user = {owner}", "user = somebody-else")
    )
    sync.sync(copy)
    left = [
        name for name in sync.snapshot(copy) if owner in (copy / name).read_text(encoding="utf-8")
    ]
    assert left == [] and "somebody-else/squadqa" in (copy / "README.md").read_text()


def test_import_is_light():
    "`import squadqa` loads no heavy library; importing the command line neither."
    code = "import sys, squadqa, squadqa.cli; print([m for m in ('torch', 'transformers', 'datasets', 'matplotlib') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_asking_loads_no_data_set_library():
    "Who only asks waits neither for datasets nor for evaluate to be imported."
    code = "import sys, squadqa.inference; print([m for m in ('datasets', 'evaluate') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize("module", MODULES)
def test_public_names_work_in_a_fresh_process(module):
    "Every exported name imports outside its notebook and calls only what was exported with it."
    code = (
        f"import squadqa.{module} as m; print(len(m.__all__)); [getattr(m, n) for n in m.__all__]"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert int(out.stdout) > 0
    lint = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--isolated",
            "--select",
            "F",
            f"squadqa/{module}.py",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert lint.returncode == 0, lint.stdout


def test_modules_import_earlier_lessons_only():
    "The order of the lessons is the order of the dependencies."
    named = [
        re.findall(
            r"^#\| *default_exp (\w+)",
            "\n".join("".join(c["source"]) for c in json.loads(p.read_text())["cells"]),
            re.M,
        )
        for p in LESSONS
    ]
    order = {names[0]: i for i, names in enumerate(named) if names}
    assert set(order) == set(MODULES) and {
        p.stem for p, names in zip(LESSONS, named) if not names
    } <= {"11_architectures"}  # it exports nothing
    found = []
    for module, place in order.items():
        used = re.findall(
            r"from (?:squadqa)?\.(\w+) import", (ROOT / "squadqa" / f"{module}.py").read_text()
        )
        assert all(order[u] < place for u in used), module
        found += used
    assert len(found) > 20


def test_constraints_pin_every_requirement():
    cfg = sync.settings(ROOT)
    wanted = " ".join(
        cfg[k]
        for k in ("requirements", "offline_requirements", "demo_requirements", "dev_requirements")
    ).split()
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    names = {re.match(r"[\w-]+", w)[0].lower().replace("_", "-") for w in wanted}
    assert len(names) > 15 and names <= pinned


def test_no_unfinished_code_and_no_machine_paths():
    for path in tracked():
        if path.suffix not in (".py", ".ipynb", ".md") or path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bTODO\b|\bFIXME\b|skip_exec: *true|#\| *eval: *false", text), path
        assert not re.search(r"/home/\w|/Users/\w|/tmp/\w|site-packages", text), path
