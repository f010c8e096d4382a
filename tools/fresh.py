"""A fresh virtual environment with what some requirements ask for, and nothing else: `python
tools/fresh.py FOLDER 'squadqa[offline]' ipykernel`.

squadqa is built from this checkout, as pip builds it from the repository. The rest are the
distributions that its metadata ask for, and
those that these ask for, in the versions of the environment that runs this: their files are
linked, so it takes seconds and no index.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("squadqa", "setup.py", "settings.ini", "README.md", "MANIFEST.in", "LICENSE")


def closure(
    wanted: list[str], find: Callable[[str], Distribution] = distribution
) -> dict[str, Distribution]:
    """The distributions that requirements ask for, and those that these ask for; a missing one, or
    another version, is a `ValueError`."""
    waiting, seen, found = [Requirement(w) for w in wanted], set(), {}
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        try:
            found[name] = dist = find(name)
        except PackageNotFoundError as e:
            raise ValueError(f"{need} is not installed here") from e
        if not need.specifier.contains(dist.version, prereleases=True):
            raise ValueError(f"{need} is asked for, {dist.version} is installed here")
        for extra in {"", *need.extras} - {e for n, e in seen if n == name}:
            seen.add((name, extra))
            asked = map(Requirement, dist.requires or [])
            waiting += [r for r in asked if r.marker is None or r.marker.evaluate({"extra": extra})]
    return found


def purelib(python: Path) -> Path:
    "Where an environment keeps its packages."
    return Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )


def install_checkout(python: Path) -> None:
    """Build squadqa out of a copy of the checkout, and install what was built; the working tree is
    not touched."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "checkout")
        copy.mkdir()
        for name in SOURCES:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, copy],
            check=True,
        )
        subprocess.run(
            [
                *pip,
                "--python",
                python,
                "install",
                "--no-deps",
                "--no-index",
                *Path(folder).glob("*.whl"),
            ],
            check=True,
        )


def link(source: Path, target: Path) -> None:
    "A second name for a file, its own interpreter in a script's first line."
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.parent.name in ("bin", "Scripts"):
        shutil.copy(source, target)
        text = source.read_bytes()
        if text.startswith(b"#!"):
            target.write_bytes(
                text.replace(os.fsencode(sys.prefix), os.fsencode(target.parent.parent), 1)
            )
        return
    try:
        os.link(source, target)
    except OSError:
        os.symlink(source, target)  # the folder lies on another disk


def make(folder: Path, requirements: list[str]) -> Path:
    "Make the environment; its interpreter."
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install_checkout(python)
    site = purelib(python)
    built = {canonicalize_name(d.name): d for d in distributions(path=[str(site)])}
    here = Path(sys.prefix).resolve()
    for name, dist in closure(
        requirements, lambda name: built.get(name) or distribution(name)
    ).items():
        if name in built:
            continue
        for file in dist.files:
            source = Path(os.path.normpath(dist.locate_file(file)))
            target = folder / source.resolve().relative_to(here)
            if source.exists() and not target.exists():
                link(source, target)
    return python


if __name__ == "__main__":
    print(make(Path(sys.argv[1]).resolve(), sys.argv[2:]))
