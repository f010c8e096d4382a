"""The pages of the site: `python tools/pages.py` makes them in _proc, `--render` also runs Quarto on them and leaves the site in _docs.

nbdev processes the notebooks (front matter, `show_doc` for whatever is exported, hidden cells away). On top of that, here:
- the code of an exported cell stays on the page, under its documentation, and the documentation stands in the order of the code
- names in backticks link to squadqa's own pages only, never to another library's, and the command `train` is not every "train"
- links are relative where they lead to a page, and lead to the repository where they leave the site
- each page says where its notebook is, and reference.qmd lists every public name by module
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import yaml
from execnb.nbio import mk_cell, read_nb, write_nb
from nbdev import processors as nbp
from nbdev.config import get_config
from nbdev.process import NBProcessor, Processor

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sync import settings

ROOT = Path(__file__).resolve().parent.parent
UNLINKED = "squadqa.cli"  # its commands are called train, evaluate, check: words that mean other things in a lesson
SECTIONS = {
    "01": "Prepare",
    "06b": "Train",
    "08b": "Use",
    "10": "Go further",
}  # the lesson that begins each
EXPORTED = {"export", "exports", "exporti"}


# --- what is exported, and where it is taught


@lru_cache
def public_names(root: Path) -> dict[str, list[ast.stmt]]:
    "The public functions and classes of each module, in the order of the lessons and of the code."
    found = {}
    for path in sorted((root / "nbs").glob("[0-9]*.ipynb")):
        module = nbp._default_exp(read_nb(path))
        if not module:
            continue
        tree = ast.parse((root / "squadqa" / f"{module}.py").read_text(encoding="utf-8"))
        exported = next(
            ast.literal_eval(s.value)
            for s in tree.body
            if isinstance(s, ast.Assign) and s.targets[0].id == "__all__"
        )
        found[module] = [s for s in tree.body if getattr(s, "name", None) in exported]
    return found


@lru_cache
def lesson_of(root: Path) -> dict[str, str]:
    "The notebook that exports each module."
    return {
        nbp._default_exp(nb): path.name
        for path in sorted((root / "nbs").glob("*.ipynb"))
        for nb in [read_nb(path)]
        if nbp._default_exp(nb)
    }


@lru_cache
def places(root: Path) -> dict[str, tuple[str, str, int]]:
    "For each public name, with its module before it: the notebook and the anchor where it is documented, and its line in the module."
    found = {}
    for module, nodes in public_names(root).items():
        names = {node.name for node in nodes}
        for node in nodes:  # nbdev's own rule is the name in small letters; where a class and a function differ in nothing else, the class keeps its capitals
            anchor = node.name if node.name.lower() in names else node.name.lower()
            found[f"{module}.{node.name}"] = lesson_of(root)[module], anchor, node.lineno
    return found


# --- what is done to a notebook


class OrderedDocs(nbp.add_show_docs):
    "One `show_doc` for each public name of an exported cell, before the cell, in the order of the code."

    def begin(self):
        cells = []
        for cell in self.nb.cells:
            names = nbp._def_names(cell, set()) if nbp._want_doc(cell) else []
            cells += [mk_cell(f"show_doc({name})") for name in names] + [cell]
        self.nb.cells[:] = cells
        self.nb.has_docs_ = True


class RunDocs(nbp.exec_show_docs):
    "As nbdev's, but each cell of definitions runs before the documentation above it, and imports for type checkers are made."

    def begin(self):
        super().begin()
        root = get_config().config_path
        self.places, self.module = (
            places(root),
            {name: module for module, name in lesson_of(root).items()}.get(
                Path(self.nb.path_).name
            ),
        )
        for cell in self.nb.cells:
            if cell.cell_type == "code" and EXPORTED & cell.directives_.keys():
                self.k.run_cell(cell.source.replace("if TYPE_CHECKING:", "if True:"))
                if self.k.exc:
                    raise RuntimeError(
                        f"this cell fails while the pages are made:\n{cell.source}"
                    ) from self.k.exc

    def __call__(self, cell):
        if not nbp._is_showdoc(cell):
            return
        self.k.cell(cell)
        if self.k.exc:
            raise RuntimeError(f"no documentation: {cell.source}") from self.k.exc
        name, cfg = (
            re.search(r"show_doc\((\w+)\)", cell.source)[1],
            settings(get_config().config_path),
        )
        _, anchor, line = self.places[f"{self.module}.{name}"]
        source = f"{cfg['git_url']}/blob/{cfg['branch']}/squadqa/{self.module}.py#L{line}"
        links = "".join(
            f'[{word}]({to}){{style="float:right; font-size:smaller; margin-left:1em"}}\n'
            for word, to in (
                ("source", source),
                ("reference", f"reference.qmd#api-{self.module}.{name}"),
            )
        )
        for output in cell.outputs:
            text = re.sub(
                r"^\[source\].*\n", "", "".join(output.data["text/markdown"]), count=1, flags=re.M
            )
            output.data["text/markdown"] = re.sub(
                rf"^### {name}$", f"{links}\n### {name} {{#{anchor}}}", text, count=1, flags=re.M
            )


def keep_code(cell):
    "Exported code stays, open and ready to be folded; the installation is folded; hidden cells and `default_exp` go."
    if cell.cell_type != "code":
        return
    if 'find_spec("squadqa")' in cell.source:
        cell.source = f'#| code-fold: true\n#| code-summary: "Install squadqa where it is missing"\n{cell.source}'
    elif {"hide", "default_exp"} & cell.directives_.keys():
        del cell["source"]
    elif EXPORTED & cell.directives_.keys() and re.search(r"^(def|class|@)", cell.source, re.M):
        cell.source = f'#| code-fold: show\n#| code-summary: "Code"\n{cell.source}'


class PageLinks(Processor):
    "Names in backticks to their documentation; files of the repository to the repository."

    def begin(self):
        root = get_config().config_path
        cfg, self.places = settings(root), places(root)
        self.blob = f"{cfg['git_url']}/blob/{cfg['branch']}"
        self.pages, here = {}, Path(self.nb.path_).name
        for full, (notebook, anchor, _) in self.places.items():
            module, name = full.split(".")
            self.pages[f"squadqa.{full}"] = page = f"{notebook}#{anchor}"
            if f"squadqa.{module}" != UNLINKED and (name not in self.pages or notebook == here):
                self.pages[name] = page  # the page's own, or the earliest

    def name(self, match):
        page = self.pages.get(match[1].removesuffix("()"))
        return f"[`{match[1]}`]({page})" if page else match[0]

    def markdown(self, text):
        parts = re.split(
            r"(^```.*?^```|\[[^\]]*\]\([^)]*\))", text, flags=re.M | re.S
        )  # fences and links stay as they are
        text = "".join(
            part if i % 2 else re.sub(r"(?<!`)`([\w.]+(?:\(\))?)`(?!`)", self.name, part)
            for i, part in enumerate(parts)
        )
        return re.sub(r"\]\(\.\./([^)\s]+)\)", rf"]({self.blob}/\1)", text)

    def heading(self, match):
        "A heading that reads like a function of this page must not take its address."
        here = {
            anchor
            for notebook, anchor, _ in self.places.values()
            if notebook == Path(self.nb.path_).name
        }
        return f"{match[0]} {{#about-{match[2].lower()}}}" if match[2].lower() in here else match[0]

    def cell(self, cell):
        if cell.cell_type != "markdown":
            return
        lines = re.split(r"(^#{2,6} .+$)", cell.source, flags=re.M)  # headings get no links
        cell.source = "".join(
            re.sub(r"^(#+) (\w+)$", self.heading, part) if i % 2 else self.markdown(part)
            for i, part in enumerate(lines)
        )


class WhereItIs(Processor):
    "Open in Colab and view source, at the top of each page."

    def begin(self):
        cfg, name = settings(get_config().config_path), Path(self.nb.path_).name
        place = f"{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}/nbs/{name}"
        badge = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        line = f"{badge}(https://colab.research.google.com/github/{place}) [View source](https://github.com/{place})"
        cells = [
            c for c in self.nb.cells if not c.source.strip().startswith(badge)
        ]  # the lesson's own
        top = next(i for i, c in enumerate(cells) if c.cell_type == "raw") + 1
        self.nb.cells[:] = (
            cells[:top] + [mk_cell(f"::: {{.where}}\n{line}\n:::", "markdown")] + cells[top:]
        )


class Pages(nbp.FilterDefaults):
    "nbdev's processors, with ours in the place of four of them."

    def base_procs(self):
        ours = {
            nbp.add_show_docs: OrderedDocs,
            nbp.exec_show_docs: RunDocs,
            nbp.rm_export: keep_code,
            nbp.add_links: PageLinks,
        }
        left_out = (nbp.add_fold, nbp.mv_exports)
        return [ours.get(p, p) for p in super().base_procs() if p not in left_out] + [WhereItIs]


# --- the page that lists everything


def signature(node: ast.stmt) -> str:
    "How one calls it: names of the parameters, without types."
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    a, n_plain = node.args, len(node.args.posonlyargs + node.args.args) - len(node.args.defaults)
    plain = [
        p.arg + ("" if i < n_plain else "=" + ast.unparse(a.defaults[i - n_plain]))
        for i, p in enumerate(a.posonlyargs + a.args)
    ]
    star = [f"*{a.vararg.arg}"] if a.vararg else ["*"] if a.kwonlyargs else []
    named = [
        p.arg + (f"={ast.unparse(d)}" if d else "") for p, d in zip(a.kwonlyargs, a.kw_defaults)
    ]
    return f"{node.name}({', '.join(plain + star + named + ([f'**{a.kwarg.arg}'] if a.kwarg else []))})"


def first_line(node: ast.stmt) -> str:
    return (ast.get_docstring(node) or "").split("\n")[0]


def reference(root: Path) -> str:
    "reference.qmd: every public function and class by module, each with a link to where it is taught."
    lessons, lines = lesson_of(root), []
    names, where = public_names(root), places(root)
    for module, nodes in names.items():
        notebook = lessons[module]
        title = title_of(root / "nbs" / notebook)
        number = notebook.split("_")[0].lstrip("0")
        lines += [
            f"## squadqa.{module} {{#{module}}}",
            "",
            f"Lesson {number}, [{title}]({notebook}). {first_line(ast.parse((root / 'squadqa' / f'{module}.py').read_text(encoding='utf-8')))}",
            "",
        ]
        for node in nodes:
            lines += [
                f"[`{signature(node)}`]({notebook}#{where[f'{module}.{node.name}'][1]}){{#api-{module}.{node.name}}}",
                f":   {first_line(node)}",
                "",
            ]
    head = {
        "title": "Reference",
        "description": "Every public function and class, by module, with a link to where it is taught.",
        "repo-actions": False,
        "toc-depth": 2,
    }
    total = sum(map(len, names.values()))
    intro = (
        f"{total} functions and classes in {len(names)} modules, in the order of the lessons. A link leads to the lesson, where the code stands with all its "
        "parameters, the reason for it, and a test. The modules import one by one: `from squadqa.data import load_squad`."
    )
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{intro}\n\n"
        + "\n".join(lines)
    )


# --- all of it


def title_of(path: Path) -> str:
    return "".join(read_nb(path).cells[0].source).split("\n")[0].removeprefix("# ")


def lessons(root: Path) -> list[str]:
    "The lessons in reading order, which is that of the map on the start page; what is not on it comes last."
    start = root / "nbs" / "index.ipynb"
    text = (
        "\n".join("".join(cell.source) for cell in read_nb(start).cells) if start.exists() else ""
    )
    order = re.findall(r"^\| \w+ \| \[[^]]*\]\((\w+\.ipynb)\)", text, re.M)
    here = sorted(path.name for path in (root / "nbs").glob("[0-9]*.ipynb"))
    return sorted(here, key=lambda name: order.index(name) if name in order else len(order))


def sidebar(root: Path) -> dict:
    "Every page in reading order, the lessons in sections and with their numbers."
    contents, pages = [{"text": "Start", "href": "index.ipynb"}], []
    for name in lessons(root):
        number = name.split("_")[0]
        if number in SECTIONS or not pages:
            contents.append({"section": SECTIONS.get(number, "Lessons"), "contents": (pages := [])})
        pages.append(
            {"text": f"{number.lstrip('0')}. {title_of(root / 'nbs' / name)}", "href": name}
        )
    pages = [
        {"text": "Functions and classes", "href": "reference.qmd"},
        {"text": "Glossary", "href": "glossary.ipynb"},
    ]
    return {
        "website": {
            "sidebar": {"contents": contents + [{"section": "Reference", "contents": pages}]}
        }
    }


def site_settings(root: Path) -> dict:
    "What Quarto has to know and settings.ini says."
    cfg = settings(root)
    source = {"icon": "github", "href": cfg["git_url"], "text": "Source code"}
    return {
        "website": {
            "title": cfg["title"],
            "description": cfg["description"],
            "site-url": cfg["doc_host"] + cfg["doc_baseurl"],
            "repo-url": cfg["git_url"],
            "repo-branch": cfg["branch"],
            "navbar": {"tools": [source]},
        }
    }


def make_pages(root: Path) -> Path:
    "Process everything below root into root/_proc."
    os.chdir(root)
    get_config.cache_clear()
    os.environ["IN_TEST"] = "1"  # as nbdev does: an nbdev_export in a cell does nothing
    pages = root / "_proc"
    shutil.rmtree(pages, ignore_errors=True)
    pages.mkdir()
    for path in sorted((root / "nbs").iterdir()):
        if path.suffix == ".ipynb":
            nb = read_nb(path)
            NBProcessor(nb=nb, procs=Pages().procs()).process()
            write_nb(nb, pages / path.name)
        elif path.suffix in (".qmd", ".yml") and path.name not in ("nbdev.yml", "sidebar.yml"):
            shutil.copy(path, pages / path.name)
    shutil.copytree(root / "nbs" / "assets", pages / "assets")
    (pages / "reference.qmd").write_text(reference(root), encoding="utf-8")
    for name, content in (("nbdev.yml", site_settings(root)), ("sidebar.yml", sidebar(root))):
        (pages / name).write_text(
            yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8"
        )
    return pages


def render(root: Path, pages: Path) -> Path:
    "Run Quarto on the pages (the outputs are those of the notebooks); what it makes takes the place of root/_docs."
    if not shutil.which("quarto"):
        sys.exit(
            "The site needs Quarto, which is not on the path: install it from quarto.org, then run make docs again"
        )
    subprocess.run(["quarto", "render", "--no-execute"], cwd=pages, check=True)
    shutil.rmtree(root / "_docs", ignore_errors=True)
    return Path(shutil.move(pages / "_docs", root / "_docs"))


if __name__ == "__main__":
    done = make_pages(ROOT)
    print(f"{len(list(done.glob('*.ipynb')) + list(done.glob('*.qmd')))} pages in {done.name}")
    if "--render" in sys.argv[1:]:
        print(f"the site is in {render(ROOT, done).name}")
