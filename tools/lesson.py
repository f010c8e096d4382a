"""Check one lesson while it is being written: `python tools/lesson.py 03` (or a name).

Brings it in step, runs it with its exercises, compares what it prints with what it shows (unless it
trains), and runs the tests that bear its module's name.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests")]
import sync  # noqa: E402


def find(name: str) -> Path:
    "The first notebook whose number or name begins so, or holds that."
    paths = [path for floor in sync.FLOORS for path in sync.floor(ROOT, floor)]
    found = sorted((p for p in paths if name in p.stem), key=lambda p: not p.stem.startswith(name))
    if not found:
        sys.exit(f"there is no lesson {name}: there are {', '.join(p.stem for p in paths)}")
    return found[0]


def pytest(*words: str) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *words], cwd=ROOT).returncode


def main(name: str) -> int:
    path = find(name)
    import notebooks

    module = sync.about(path)["module"]
    sync.clean(ROOT, [path])
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(path)], check=True)
    code = "from nbdev.doclinks import nbdev_export as f; f()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    try:
        seconds = notebooks.run(path)
    except AssertionError as e:
        sys.exit(str(e))
    print(f"{notebooks.name_of(path)} runs in {seconds:.0f} s, its exercises too", flush=True)
    words = ["-m", "not slow", "-k", "measure and not spoiled", "tests/test_lessons.py"]
    tests = ROOT / "tests" / f"test_{module}.py"
    failed = pytest(*words)
    if tests.exists():
        return failed | pytest("-m", "not slow", str(tests))
    imports = re.compile(rf"^from squadqa\.{module} import", re.M)
    files = sorted((ROOT / "tests").glob("test_*.py"))
    named = [test.name for test in files if imports.search(test.read_text(encoding="utf-8"))]
    print(f"There is no {tests.name}; what uses {module}: {', '.join(named) or 'no test alone'}")
    return failed


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"\w+", sys.argv[1]):
        sys.exit("say which lesson: make lesson N=03")
    sys.exit(main(sys.argv[1]))
