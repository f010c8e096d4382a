"""Bring everything that is generated in step with its source: `python tools/sync.py [--check]`.

- badges and install cells of the notebooks, from user and repo in settings.ini
- the tables of the three tracks on the start page, from the notebooks' own titles and minutes
- the notebooks' metadata (nbdev_clean)
- the package, from the notebooks (nbdev_export), and the signposts of modules that are gone
- README.md, from nbs/index.ipynb
"""

import argparse
import ast
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
FLOORS = ("course", "further", "inside")
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
# How the pages of the two other tracks are listed; the course has numbers.
ORDER = (
    "moving_from_4x own_data no_answer analysis report architectures generative languages adapters "
    "performance many_processes serving "
    "files examples models pairs processes batching evaluation answering arguments checkpoints "
    "results hub training loop_steps backends bulk export cli exercises trust moved"
).split()


def settings(root: Path) -> dict:
    "The [DEFAULT] section of settings.ini."
    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini", encoding="utf-8")
    return dict(config["DEFAULT"])


def set_links(root: Path) -> None:
    "Point every badge and install cell at the repository that settings.ini names."
    cfg = settings(root)
    here = f"{cfg['user']}/{cfg['repo']}"
    hosts = r"(colab\.research\.google\.com/github/|git\+https://github\.com/|https://github\.com/)"
    address = re.compile(hosts + r"[\w.-]+/" + re.escape(cfg["repo"]) + r"\b")
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        new = address.sub(lambda match: match[1] + here, text)
        if new != text:
            path.write_text(new, encoding="utf-8")


# --- the tables of the start page


def read_cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def text_of(cell: dict) -> str:
    return "".join(cell["source"])


def about(path: Path) -> dict:
    "Title, promise, minutes and module of a notebook; None for what it does not have."
    cells = read_cells(path)
    text = "\n".join(map(text_of, cells))
    promise = re.search(r"^> (.+)$", text_of(cells[0]), re.M)
    minutes = re.search(r"\b[Ii]n about (\d+) minutes", text)
    module = re.search(r"^#\|\s*default_exp (\w+)", text, re.M)
    return {
        "title": text_of(cells[0]).split("\n")[0].removeprefix("# "),
        "promise": re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", promise[1]) if promise else "",
        "minutes": int(minutes[1]) if minutes else None,
        "module": module[1] if module else None,
    }


def floor(root: Path, name: str) -> list[Path]:
    "The notebooks of a track, in the order in which they are listed."
    place = {stem: i for i, stem in enumerate(ORDER)}
    paths = (root / "nbs" / name).glob("*.ipynb")
    return sorted(paths, key=lambda path: (place.get(path.stem, len(place)), path.stem))


def track_table(root: Path, name: str) -> str:
    "One track as a Markdown table."
    cfg, lines, total = settings(root), [], 0
    for path in floor(root, name):
        found = about(path)
        total += found["minutes"] or 0
        page = f"{name}/{path.name}"
        place = f"{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}/nbs/{page}"
        badge = f"[![Open in Colab]({BADGE})](https://colab.research.google.com/github/{place})"
        number = path.stem.partition("_")[0]
        label = f"{number} " if number.isdigit() else ""
        row = [f"[{label}{found['title']}]({page})", found["promise"]]
        if name == "inside":
            row += [f"`{found['module']}`" if found["module"] else ""]
        else:
            row += [str(found["minutes"] or ""), badge]
        lines.append("| " + " | ".join(row) + " |")
    if name == "inside":
        return "\n".join(["| page | about | module |", "|---|---|---|", *lines])
    head = ["| lesson | what it is about | minutes | Colab |", "|---|---|---:|---|"]
    end = [f"| | together | {total} | |"] if name == "course" else []
    return "\n".join([*head, *lines, *end])


def write_tables(root: Path) -> None:
    "Fill the cells `course-table`, `further-table` and `inside-table` of the start page."
    path = root / "nbs" / "index.ipynb"
    if not path.exists():
        return
    book = json.loads(path.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        name = cell["id"].removesuffix("-table")
        if cell["id"].endswith("-table") and name in FLOORS:
            cell["source"] = track_table(root, name).splitlines(True)
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# --- README


def cell_text(cell: dict) -> str | None:
    "One notebook cell as Markdown; None for a hidden one."
    source = text_of(cell)
    if re.search(r"^#\|\s*(hide|default_exp)\b", source, re.M):
        return None
    if cell["cell_type"] == "markdown":
        return source
    lines = [line for line in source.splitlines() if not line.startswith("#|")]
    code = "\n".join(lines).strip()
    shown = "".join(map(output_text, cell["outputs"]))
    output = f"\n\n```text\n{shown.rstrip()}\n```" if shown.strip() else ""
    return f"```python\n{code}\n```{output}"


def output_text(output: dict) -> str:
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))


def write_readme(root: Path) -> None:
    "README.md out of the start page, its relative links made absolute."
    cfg = settings(root)
    raw = f"https://raw.githubusercontent.com/{cfg['user']}/{cfg['repo']}/{cfg['branch']}"
    blob = f"{cfg['git_url']}/blob/{cfg['branch']}"

    def absolute(match: re.Match) -> str:
        "A picture is shown, so it must be the file itself and not the page about it."
        place = os.path.normpath(os.path.join("nbs", match[3])).replace(os.sep, "/")
        return f"{match[1]}[{match[2]}]({raw if match[1] else blob}/{place})"

    texts = map(cell_text, read_cells(root / "nbs" / "index.ipynb"))
    text = "\n\n".join(text for text in texts if text is not None)
    relative = r"(!?)\[([^\[\]]*)\]\((?!https?:|#|mailto:)([^)\s]+)\)"
    text = re.sub(relative, absolute, text)
    text = text.replace("this site", f"[the site]({cfg['doc_host']}{cfg['doc_baseurl']})")
    note = "<!-- Made from nbs/index.ipynb by tools/sync.py: edit there. -->\n\n"
    (root / "README.md").write_text(note + text + "\n", encoding="utf-8")


# --- signposts


def write_signposts(root: Path) -> None:
    "A file for each module of the first layout that is gone: it says where its names are."
    module = root / "squadqa" / "moved.py"
    if not module.exists():
        return
    for name in gone_modules(module):
        text = (
            f'"""The names of squadqa.{name} have moved; asking for one says where."""\n\n'
            "# AUTOGENERATED by tools/sync.py from the table in nbs/inside/moved.ipynb.\n\n"
            "from .moved import signpost\n\n"
            "__getattr__ = signpost(__name__)\n"
        )
        (root / "squadqa" / f"{name}.py").write_text(text, encoding="utf-8")


def gone_modules(moved: Path) -> list[str]:
    "The modules in the table of `moved` that no notebook makes."
    for node in ast.parse(moved.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "MOVED":
            names = [key.value for key in node.value.keys]
    made = {about(path)["module"] for name in FLOORS for path in floor(moved.parents[1], name)}
    return [name for name in names if name not in made]


# --- all of it


def clean(root: Path, paths: list[Path]) -> None:
    "Clean the named notebooks only."
    names = json.dumps([str(path) for path in paths])
    code = f"from nbdev.clean import nbdev_clean as f; [f(name) for name in {names}]"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def sync(root: Path) -> None:
    "Regenerate everything below root."
    set_links(root)
    write_tables(root)
    for module, command in (("clean", "nbdev_clean"), ("doclinks", "nbdev_export")):
        code = f"from nbdev.{module} import {command} as f; f()"
        subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
    write_signposts(root)
    write_readme(root)


def snapshot(root: Path) -> dict[str, bytes]:
    "The generated files and what they hold."
    paths = [path for pattern in GENERATED for path in sorted(root.glob(pattern))]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def copy_sources(root: Path, copy: Path) -> Path:
    "What generated files are made from, in another folder."
    copy.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "runs")
    for name in ("nbs", "squadqa"):
        shutil.copytree(root / name, copy / name, symlinks=True, ignore=ignore)
    for name in ("settings.ini", "_quarto.yml", "README.md", "setup.py"):
        shutil.copy(root / name, copy / name)
    return copy


def out_of_step() -> list[str]:
    "Generated files that differ from what their sources give; the tree itself is left alone."
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_sources(ROOT, Path(folder) / "squadqa")
        before = snapshot(copy)
        sync(copy)
        after = snapshot(copy)
    names = before.keys() | after.keys()
    return sorted(name for name in names if before.get(name) != after.get(name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only tell what is out of step")
    if not parser.parse_args().check:
        sync(ROOT)
    elif names := out_of_step():
        sys.exit("out of step with the notebooks (run `make sync`): " + ", ".join(names))
