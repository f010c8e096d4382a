"""Tests that need something optional say so, and cannot pass by accident where it is missing."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

SKIPS = """
import pytest

@pytest.fixture
def engine():
    pytest.skip("there is no engine")

def test_with_a_fixture(engine): ...
def test_that_asks(): pytest.importorskip("no_such_module")
@pytest.mark.skipif(True, reason="not on this system")
def test_with_a_mark(): ...
def test_plain(): ...
"""


def run_pytest(folder, *words, **environment) -> str:
    "What pytest says in a folder with this project's conftest"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "SQUADQA"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    done = subprocess.run(
        command, cwd=folder, env=env | environment, text=True, capture_output=True
    )
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_optional.py").write_text(SKIPS)
    return tmp_path


def test_a_skip_is_told_elsewhere(folder):
    said = run_pytest(folder, "-rs")
    assert "1 passed, 3 skipped" in said and "there is no engine" in said


def test_a_skip_has_failed_where_nothing_may_be_missing(folder):
    said = run_pytest(folder, SQUADQA_NO_SKIP="1")
    assert "1 failed, 1 passed, 2 errors" in said
    for reason in ("there is no engine", "could not import 'no_such_module'", "not on this system"):
        assert f"this was skipped: Skipped: {reason}" in said


def test_what_needs_an_environment_of_its_own_may_be_skipped(folder):
    marked = SKIPS.replace(
        "@pytest.mark.skipif", "@pytest.mark.own_environment\n@pytest.mark.skipif"
    )
    (folder / "test_optional.py").write_text(marked)
    said = run_pytest(folder, SQUADQA_NO_SKIP="1")
    assert "1 failed, 1 passed, 1 skipped" in said and "1 error" in said


def test_a_whole_module_that_is_skipped_has_failed_too(folder):
    (folder / "test_optional.py").write_text(
        'import pytest\npytest.importorskip("no_such_module")\n'
    )
    said = run_pytest(folder, SQUADQA_NO_SKIP="1")
    assert "this was skipped: Skipped: could not import 'no_such_module'" in said
    assert "1 error in" in said


def test_continuous_integration_lets_nothing_be_missing():
    script = (ROOT / ".ci" / "run").read_text()
    assert "export SQUADQA_NO_SKIP=1" in script and "${1:-test-all}" in script
