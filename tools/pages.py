"""The pages of the site: `python tools/pages.py` makes them in _proc, `--render` also runs Quarto.

- a page for each notebook: its title, its text, its values; what is exported stands once, as code
- a page for each module, made from the signatures in the source (tools/reference.py)
- names in backticks lead to the page of their module, links out of nbs/ to the repository
- the first use of each term leads to the glossary; notes become callouts (tools/prose.py)
- code is formatted anew, for the width of the column
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tokenize
from functools import lru_cache
from io import StringIO
from pathlib import Path

import nbformat
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
import prose
import reference
from sync import settings

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {"course": "The course", "further": "Going further", "inside": "Inside the package"}
ABOUT = {
    "course": "From the first answer to a model of your own, in order.",
    "further": "Your own data, no answer, other models, speed: each stands alone.",
    "inside": "How the package does what the course calls by name.",
}
INSTALL = 'find_spec("squadqa")'
# Pages with a box that answers, and the cell that it follows
ASK_AFTER = {"index.ipynb": "what", "course/00_first_answer.ipynb": "extractive"}
# Names of ours that are words of Accelerate, or columns of a table: linked on their own page only
ELSEWHERE_OTHERS = ("gather", "reply")
WITHOUT_TERMS = ("index.ipynb", "glossary.ipynb")
COLUMN = 76  # characters of code that fit beside the two sidebars
FIT = ("--line-length", str(COLUMN), "--no-respect-gitignore", "--no-cache")
KEEP = "# noqa: page"  # before a comment: ruff does not count the width of such ones


# --- what there is


@lru_cache
def notebooks(root: Path) -> list[str]:
    "All notebooks as paths below nbs/, in reading order."
    order = [name for names in tracks(root).values() for name in names]
    return ["index.ipynb", *order, "glossary.ipynb"]


@lru_cache
def tracks(root: Path) -> dict[str, list[str]]:
    "The notebooks of each floor, in the order of the start page's tables; new ones come last."
    start = nbformat.read(root / "nbs" / "index.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in start.cells)
    listed = re.findall(r"\]\(((?:course|further|inside)/\w+\.ipynb)\)", text)
    place = {name: i for i, name in reversed(list(enumerate(listed)))}
    found = {}
    for floor in FLOORS:
        names = [f"{floor}/{path.name}" for path in sorted((root / "nbs" / floor).glob("*.ipynb"))]
        found[floor] = sorted(names, key=lambda name: (place.get(name, len(place)), name))
    return found


def title_of(path: Path) -> str:
    first = nbformat.read(path, as_version=4).cells[0].source
    return first.split("\n")[0].removeprefix("# ")


# --- what is done to a notebook


def front_matter(cell: nbformat.NotebookNode, up: str) -> nbformat.NotebookNode:
    """Title and description for Quarto, out of the first cell: `# Title` and `> Promise`.

    The picture for sharing is named, or Quarto takes the first plot of the page."""
    title, _, rest = cell.source.partition("\n")
    promise = re.search(r"^> (.+)$", rest, re.M)
    head = {"title": title.removeprefix("# ").strip()}
    if promise:
        head["description"] = promise[1].strip()
    head["image"] = f"{up}assets/card.png"
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=10_000)
    return nbformat.v4.new_raw_cell(f"---\n{text}---")


def directives(source: str) -> set[str]:
    "The first words of a cell's `#|` lines."
    return {line[2:].split()[0].rstrip(":") for line in source.splitlines() if line[:2] == "#|"}


def code_cell(cell: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    "A code cell as the page shows it; None for one that is hidden."
    found = directives(cell.source)
    if {"hide", "default_exp"} & found:
        return None
    lines = cell.source.splitlines()
    plain = [x for x in lines if not re.match(r"#\|\s*(export|exporti|exports|slow|gpu|net)\b", x)]
    cell.source = script_fitted(comments_apart(on_one_line("\n".join(plain).strip("\n"))))
    if INSTALL in cell.source:
        fold(cell, "Install squadqa where it is missing")
    elif "export" in found and is_helper(cell.source):
        imports = re.search(r"^(import|from) ", cell.source, re.M)
        fold(cell, "Imports and helpers" if imports else "Helpers")
    elif is_folded(cell) and "code-fold" not in found:
        fold(cell, "Show the code")
    return cell


def script_fitted(source: str) -> str:
    "A cell that writes a script, formatted like any other: ruff leaves out cells with magics."
    first, _, script = source.partition("\n")
    if not first.startswith("%%writefile"):
        return source
    command = [sys.executable, "-m", "ruff", "format", *FIT, "-"]
    apart = comments_apart(script)
    done = subprocess.run(command, input=apart, capture_output=True, text=True, check=True)
    return f"{first}\n{done.stdout.strip()}"


def on_one_line(source: str) -> str:
    "A description of a figure in one line: Quarto loses one that goes over several."

    def joined(match: re.Match) -> str:
        text = re.sub(r"^#\|\s*", "", match[2], flags=re.M)
        return f"#| {match[1]}: {json.dumps(' '.join(text.split()), ensure_ascii=False)}\n"

    return re.sub(r"^#\| (fig-\w+): >-?\n((?:^#\|  +.*\n)+)", joined, source, flags=re.M)


def fold(cell: nbformat.NotebookNode, summary: str) -> None:
    "Fold a cell, if it does not say itself how it is folded: Quarto refuses an option given twice."
    if "code-fold" in directives(cell.source):
        return
    cell.source = f'#| code-fold: true\n#| code-summary: "{summary}"\n{cell.source}'


def is_folded(cell: nbformat.NotebookNode) -> bool:
    "Is the cell folded in JupyterLab? An exported one says so in its metadata, not in its source."
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


def is_helper(source: str) -> bool:
    "Does an exported cell hold nothing that a reader calls: imports, constants, private functions?"
    kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    return not any(isinstance(n, kinds) and n.name[0] != "_" for n in ast.parse(source).body)


class Links:
    "Names in backticks to their page; files of the repository to the repository."

    def __init__(self, root: Path, page: str):
        cfg = settings(root)
        self.blob = f"{cfg['git_url']}/blob/{cfg['branch']}"
        self.up = "../" * page.count("/")
        self.floor = Path(page).parent
        modules = reference.homes(root) if page == "index.ipynb" else {}  # its table names them
        self.addresses = reference.addresses(root) | {name: f"{name}.qmd" for name in modules}
        for name in ELSEWHERE_OTHERS:
            module = self.addresses[name].partition(".")[0]
            if reference.homes(root)[module] != page:
                del self.addresses[name]
        self.terms = prose.Terms(root, self.up) if page not in WITHOUT_TERMS else None

    def name(self, match: re.Match) -> str:
        address = self.addresses.get(match[1].removesuffix("()"))
        return f"[`{match[1]}`]({self.up}reference/{address})" if address else match[0]

    def markdown(self, text: str) -> str:
        "Fences, headings and links stay as they are."
        text = prose.pictures(prose.commands(prose.badges(text)))
        kept = r"(^```.*?^```|^#{1,6} [^\n]+$|\[[^\]]*\]\([^)]*\))"
        parts = re.split(kept, text, flags=re.M | re.S)
        for i in range(0, len(parts), 2):
            parts[i] = re.sub(r"(?<!`)`([\w.]+(?:\(\))?)`(?!`)", self.name, parts[i])
        text = "".join(parts)
        text = re.sub(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", self.relative, text)
        return prose.callouts(prose.tables(self.terms.markdown(text) if self.terms else text))

    def relative(self, match: re.Match) -> str:
        place = os.path.normpath(Path("nbs") / self.floor / match[1]).replace(os.sep, "/")
        return match[0] if place.startswith("nbs/") else f"]({self.blob}/{place}"


def where_it_is(root: Path, page: str) -> nbformat.NotebookNode:
    "Open in Colab and view source, at the top of each page."
    cfg = settings(root)
    place = f"{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}/nbs/{page}"
    colab = f"[Open in Colab](https://colab.research.google.com/github/{place})"
    source = f"[View source](https://github.com/{place})"
    return nbformat.v4.new_markdown_cell(f"::: {{.where}}\n{colab} · {source}\n:::")


def taught(root: Path, page: str) -> list[nbformat.NotebookNode]:
    "Where the functions of this notebook's module can be looked up."
    module = {place: name for name, place in reference.homes(root).items()}.get(page)
    if not module:
        return []
    link = f"[squadqa.{module}](../reference/{module}.qmd)"
    text = f"::: {{.where}}\nThis page makes the module {link}.\n:::"
    return [nbformat.v4.new_markdown_cell(text)]


def entries(root: Path, source: str) -> list[nbformat.NotebookNode]:
    "Below code that is exported: where what it defines can be looked up."
    places = reference.addresses(root)
    kinds = (ast.FunctionDef, ast.ClassDef)
    named = [n.name for n in ast.parse(source).body if isinstance(n, kinds) and n.name in places]
    if not named:
        return []
    links = ", ".join(f"[`{name}`](../reference/{places[name]})" for name in named)
    text = f"::: {{.where}}\nLook it up: {links}\n:::"
    return [nbformat.v4.new_markdown_cell(text)]


def cards(root: Path) -> nbformat.NotebookNode:
    "The three tracks at a glance, on the start page."
    parts = [":::: {.tracks}"]
    for floor, names in tracks(root).items():
        minutes = sum(minutes_of(root / "nbs" / name) for name in names)
        first = names[0] if floor == "course" else f"#{FLOORS[floor].lower().replace(' ', '-')}"
        unit = "pages" if floor == "inside" else "lessons"
        time = f", {minutes} minutes" if minutes else ", to look things up"
        line = f"{len(names)} {unit}{time}"
        parts += ["::: {.track}", f"[{FLOORS[floor]}]({first})", "", ABOUT[floor], "", line, ":::"]
    return nbformat.v4.new_markdown_cell("\n".join([*parts, "::::"]))


def minutes_of(path: Path) -> int:
    "How long a lesson takes, as its top says; 0 where it does not say."
    top = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells[:4])
    found = re.search(r"(\d+) minutes", top)
    return int(found[1]) if found else 0


def printed(output: nbformat.NotebookNode) -> str:
    "The plain text of an output."
    return output.get("text") or output.get("data", {}).get("text/plain", "")


def quiet_outputs(cell: nbformat.NotebookNode, number: int) -> None:
    """What the outputs of a cell need on a page.

    Quarto takes an HTML output for a widget, and loads jQuery and RequireJS from another host."""
    lines = [line for output in cell.outputs for line in printed(output).splitlines()]
    if sum(bool(re.search(r"\S {2,}\S", line)) for line in lines) > 1:
        cell.source = f"#| classes: aligned\n{cell.source}"  # columns: on a phone they scroll
    for output in cell.outputs:
        if output.output_type == "execute_result":
            output.execution_count = number  # pandoc wants one
        html = output.get("data", {}).pop("text/html", None)
        if html:
            output.data = {"text/markdown": f"```{{=html}}\n{html}\n```"}
        elif "text/markdown" in output.get("data", {}):
            output.data["text/markdown"] = prose.tables(output.data["text/markdown"])


def ask_box(page: str) -> nbformat.NotebookNode:
    "The starter, to be asked on the page itself; a browser loads it when the box is opened."
    address = "../" * page.count("/") + "ask/index.html"
    html = f"""<details class="ask">
<summary>Ask the starter here, in your browser</summary>
<p>Opening this loads 39 MB. The model runs in your browser, and what you type stays there.
It has <a href="{address}">a page of its own</a> too.</p>
<iframe src="{address}" title="Ask a text" loading="lazy" width="100%" height="850"></iframe>
</details>"""
    return nbformat.v4.new_markdown_cell(f"```{{=html}}\n{html}\n```")


def page_cells(root: Path, page: str, cells: list) -> list[nbformat.NotebookNode]:
    "The cells of a page, without its title."
    links, shown = Links(root, page), []
    for cell in cells:
        exported = cell.cell_type == "code" and "export" in directives(cell.source)
        if cell.cell_type == "markdown":
            if cell.source.strip().startswith("[![Open in Colab]"):
                continue  # the page has a line of its own for it
            cell.source = links.markdown(cell.source)
        elif cell.cell_type == "code":
            cell = code_cell(cell)
        if cell is not None:
            shown.append(cell)
            shown += entries(root, cell.source) if exported else []
            shown += [ask_box(page)] if ASK_AFTER.get(page) == cell.id else []
    return shown


def make_page(root: Path, page: str) -> nbformat.NotebookNode:
    "One notebook as a page."
    book = nbformat.read(root / "nbs" / page, as_version=4)
    cells = page_cells(root, page, book.cells[1:])
    for number, cell in enumerate((c for c in cells if c.cell_type == "code"), 1):
        cell.id = f"cell-{cell.id}"  # on the page beside the ids of headings
        quiet_outputs(cell, number)
    if page == "index.ipynb":
        after = next(i for i, c in enumerate(cells) if c.id == "who")
        cells.insert(after + 1, cards(root))
    top = [front_matter(book.cells[0], "../" * page.count("/")), where_it_is(root, page)]
    book.cells = top + cells + taught(root, page)
    return book


# --- settings of the site


def sidebar(root: Path) -> dict:
    "Every page in reading order, by track."
    contents = [{"text": "Start", "href": "index.ipynb"}]
    for floor, names in tracks(root).items():
        pages = []
        for name in names:
            number = Path(name).stem.partition("_")[0]
            label = f"{int(number)}. " if number.isdigit() else ""
            pages.append({"text": label + title_of(root / "nbs" / name), "href": name})
        contents.append({"section": FLOORS[floor], "contents": pages})
    modules = [{"text": name, "href": f"reference/{name}.qmd"} for name in reference.homes(root)]
    looking_up = [
        {"text": "Glossary", "href": "glossary.ipynb"},
        {"text": "When something goes wrong", "href": "troubleshooting.qmd"},
        {"text": "All functions", "href": "reference/index.qmd"},
    ]
    contents.append({"section": "Look it up", "contents": looking_up + modules})
    return {"website": {"sidebar": {"contents": contents}}}


def site_settings(root: Path) -> dict:
    "What Quarto has to know and settings.ini says."
    cfg = settings(root)
    source = {"icon": "github", "href": cfg["git_url"], "text": "Source code"}
    website = {
        "title": cfg["title"],
        "description": cfg["description"],
        "site-url": cfg["doc_host"] + cfg["doc_baseurl"],
        "repo-url": cfg["git_url"],
        "repo-branch": cfg["branch"],
        "navbar": {"tools": [source]},
    }
    return {"website": website}


def comments_apart(source: str) -> str:
    """Keep long lines with a comment from being broken to make room for it: behind a statement it
    goes above it; within brackets, as in a signature, it stays, marked so that ruff lets it be."""
    try:
        ast.parse(source)
    except SyntaxError:  # a script of the shell, for example
        return source
    lines = source.split("\n")  # as tokenize counts them
    depth, began = 0, 0
    above: list[tuple[int, int]] = []  # row and column
    for token in tokenize.generate_tokens(StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
        elif token.type == tokenize.NEWLINE:
            began = 0
        elif token.type == tokenize.COMMENT:
            line = lines[row - 1]
            if not line[:column].strip() or len(line) <= COLUMN:
                continue
            if depth == 0 and began == row:
                above.append((row - 1, column))
            else:
                lines[row - 1] = f"{line[:column]}{KEEP} {token.string}"
        if not began and token.type in (tokenize.NAME, tokenize.OP, tokenize.STRING):
            began = row
    for row, column in reversed(above):
        code, comment = lines[row][:column].rstrip(), lines[row][column:]
        indent = code[: len(code) - len(code.lstrip())]
        lines[row : row + 1] = [indent + comment, code]
    return "\n".join(lines)


def fit_code(pages: Path) -> None:
    "Format the code on the pages for their column; what is no Python, such as a script, stays."
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", *FIT, pages], check=True)
    for page in pages.glob("**/*.ipynb"):
        page.write_text(page.read_text(encoding="utf-8").replace(f"{KEEP} ", ""), encoding="utf-8")


def write_yaml(path: Path, content: dict) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


# --- all of it


def make_pages(root: Path) -> Path:
    "Process everything below root into root/_proc."
    pages = root / "_proc"
    shutil.rmtree(pages, ignore_errors=True)
    for floor in (*FLOORS, "reference"):
        (pages / floor).mkdir(parents=True)
    for page in notebooks(root):
        nbformat.write(make_page(root, page), pages / page)
    fit_code(pages)
    for path in (root / "nbs").iterdir():
        if path.suffix in (".qmd", ".yml") and path.name not in ("nbdev.yml", "sidebar.yml"):
            shutil.copy(path, pages / path.name)
    shutil.copytree(root / "nbs" / "assets", pages / "assets")
    for name, text in reference.pages(root).items():
        (pages / "reference" / name).write_text(text, encoding="utf-8")
    write_yaml(pages / "nbdev.yml", site_settings(root))
    write_yaml(pages / "sidebar.yml", sidebar(root))
    return pages


def render(root: Path, pages: Path) -> Path:
    "Run Quarto on the pages; what it makes takes the place of root/_docs."
    if not shutil.which("quarto"):
        sys.exit(
            "The site needs Quarto, which is not on the path: "
            "install it from quarto.org, then run make docs again"
        )
    subprocess.run(["quarto", "render", "--no-execute"], cwd=pages, check=True)
    shutil.rmtree(root / "_docs", ignore_errors=True)
    site = Path(shutil.move(pages / "_docs", root / "_docs"))
    print(add_ask_page(site))
    return site


LEFT_OUT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Ask a text</title>
<p>This copy of the site was made without the page that answers by itself. To make that page:</p>
<pre>squadqa export starter --format web --output ask</pre>
</html>
"""


def add_ask_page(site: Path) -> str:
    "Put the page that answers by itself into the site; where it cannot be made, say so there."
    from squadqa.export import export_model

    try:
        export_model("starter", site / "ask", format="web")
    except ValueError as e:
        (site / "ask").mkdir(exist_ok=True)
        (site / "ask" / "index.html").write_text(LEFT_OUT, encoding="utf-8")
        return f"the page that answers by itself is left out: {e}"
    return "the page that answers by itself is in ask"


if __name__ == "__main__":
    done = make_pages(ROOT)
    count = len([*done.rglob("*.ipynb"), *done.rglob("*.qmd")])
    print(f"{count} pages in {done.name}")
    if "--render" in sys.argv[1:]:
        print(f"the site is in {render(ROOT, done).name}")
