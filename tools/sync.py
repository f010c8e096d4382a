"""Bring everything that is generated in step with its source: `python tools/sync.py`, or `--check` to only look.

- badges and install cells of the notebooks, from user and repo in settings.ini
- the notebooks' metadata (nbdev_clean)
- the package, from the notebooks (nbdev_export)
- README.md, from nbs/index.ipynb
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ("nbs/**/*.ipynb", "squadqa/*.py", "README.md")


def settings(root: Path) -> dict:
    "The [DEFAULT] section of settings.ini."
    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini", encoding="utf-8")
    return dict(config["DEFAULT"])


def set_links(root: Path) -> None:
    "Point every badge and install cell at the repository that settings.ini names."
    cfg = settings(root)
    here = f"{cfg['user']}/{cfg['repo']}"
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        new = re.sub(
            r"(colab\.research\.google\.com/github/|git\+https://github\.com/|https://github\.com/)[\w.-]+/"
            + re.escape(cfg["repo"])
            + r"\b",
            lambda m: m[1] + here,
            text,
        )
        if new != text:
            path.write_text(new, encoding="utf-8")


def cell_text(cell: dict) -> str | None:
    "One notebook cell as Markdown; None for a hidden one."
    source = "".join(cell["source"])
    if re.search(r"^#\|\s*(hide|default_exp)\b", source, re.M):
        return None
    if cell["cell_type"] == "markdown":
        return source
    code = "\n".join(line for line in source.splitlines() if not line.startswith("#|")).strip()
    shown = "".join(
        "".join(o.get("text") or o.get("data", {}).get("text/plain", "")) for o in cell["outputs"]
    )
    output = f"\n\n```text\n{shown.rstrip()}\n```" if shown.strip() else ""
    return f"```python\n{code}\n```{output}"


def write_readme(root: Path) -> None:
    "README.md out of the index notebook, its relative links made absolute."
    cfg = settings(root)
    cells = json.loads((root / "nbs" / "index.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join(t for t in map(cell_text, cells) if t is not None)

    def absolute(
        match: re.Match,
    ) -> str:  # a picture is shown, so it must be the file itself and not the page about it
        place = os.path.normpath(os.path.join("nbs", match[3])).replace(os.sep, "/")
        site = (
            f"https://raw.githubusercontent.com/{cfg['user']}/{cfg['repo']}/{cfg['branch']}"
            if match[1]
            else f"{cfg['git_url']}/blob/{cfg['branch']}"
        )
        return f"{match[1]}[{match[2]}]({site}/{place})"

    text = re.sub(r"(!?)\[([^\[\]]*)\]\((?!https?:|#|mailto:)([^)\s]+)\)", absolute, text)
    (root / "README.md").write_text(
        "<!-- Made from nbs/index.ipynb by tools/sync.py: edit there. -->\n\n" + text + "\n",
        encoding="utf-8",
    )


def clean(root: Path, paths: list[Path]) -> None:
    "Clean the named notebooks only."
    names = json.dumps([str(path) for path in paths])
    code = f"from nbdev.clean import nbdev_clean as f; [f(name) for name in {names}]"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def sync(root: Path) -> None:
    "Regenerate everything below root."
    set_links(root)
    for command in ("nbdev_clean", "nbdev_export"):
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"from nbdev.{'clean' if command == 'nbdev_clean' else 'doclinks'} import {command} as f; f()",
            ],
            cwd=root,
            check=True,
        )
    write_readme(root)


def snapshot(root: Path) -> dict[str, bytes]:
    "The generated files and what they hold."
    return {
        str(p.relative_to(root)): p.read_bytes()
        for pattern in GENERATED
        for p in sorted(root.glob(pattern))
    }


def out_of_step() -> list[str]:
    "Generated files that differ from what their sources give; the tree itself is left alone."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "squadqa"
        copy.mkdir()
        for name in ("nbs", "squadqa"):
            shutil.copytree(
                ROOT / name,
                copy / name,
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
            )
        for name in ("settings.ini", "_quarto.yml", "README.md", "setup.py"):
            shutil.copy(ROOT / name, copy / name)
        before = snapshot(copy)
        sync(copy)
        after = snapshot(copy)
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )


if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        sync(ROOT)
    elif names := out_of_step():
        sys.exit("out of step with the notebooks (run `make sync`): " + ", ".join(names))
