"""A page for each module: every public name with its header as Python reads it.

A header keeps its `*`, its defaults and the comment that documents each parameter, and it is the
text of the source itself, so it cannot say anything else than what is called.
"""

import ast
import json
import re
import sys
from functools import lru_cache
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sync import settings

BEGIN_WITH = (
    "data.load_squad",
    "data.check_examples",
    "windows.tokenize_windows",
    "labeling.prepare_train_features",
    "validation.prepare_validation_features",
    "postprocessing.postprocess",
    "metrics.compute_metrics",
    "trainer.fine_tune",
    "loop.train_loop",
    "inference.QuestionAnswerer",
    "inference.restore_pipeline",
)  # the first things that one looks up
MOVED = "moved"  # a module of signposts, not of things to call
Definition = ast.FunctionDef | ast.ClassDef


@lru_cache
def homes(root: Path) -> dict[str, str]:
    "Module -> the notebook that makes it, below nbs/; the course first."
    found = {}
    for floor in ("course", "inside", "further"):
        for path in sorted((root / "nbs" / floor).glob("*.ipynb")):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
            module = re.search(r"^#\|\s*default_exp (\w+)", text, re.M)
            if module and module[1] != MOVED:
                found[module[1]] = f"{floor}/{path.name}"
    return found


@lru_cache
def public_names(root: Path) -> dict[str, list[Definition]]:
    "The public functions and classes of each module, in the order of the code."
    found = {}
    for module in homes(root):
        body = tree(root, module).body
        names = next(
            ast.literal_eval(node.value)
            for node in body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        )
        found[module] = [node for node in body if getattr(node, "name", None) in names]
    return found


@lru_cache
def source(root: Path, module: str) -> str:
    return (root / "squadqa" / f"{module}.py").read_text(encoding="utf-8")


def tree(root: Path, module: str) -> ast.Module:
    return ast.parse(source(root, module))


def addresses(root: Path) -> dict[str, str]:
    "Where each public name is documented: by its full name, and by its short one if that is clear."
    found = {}
    for module, nodes in public_names(root).items():
        for node in nodes:
            address = f"{module}.qmd#{anchor(node.name)}"
            found[f"squadqa.{module}.{node.name}"] = address
            if module != "cli":  # its commands are words that mean other things
                found.setdefault(node.name, address)
    return found


def anchor(name: str) -> str:
    return f"api-{name}"


# --- how a definition is written


def header(lines: list[str], node: ast.FunctionDef) -> str:
    "A function from `def` to the colon, with the comments on its parameters."
    last = node.body[0].lineno - 1
    text = lines[node.lineno - 1 : last]
    return "\n".join(line for line in text if line.strip())


def class_header(lines: list[str], node: ast.ClassDef) -> str:
    "A class with its documented fields; its methods follow on their own."
    decorators = [lines[d.lineno - 1] for d in node.decorator_list]
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    shown = [line for n in fields for line in lines[n.lineno - 1 : n.end_lineno]]
    return "\n".join([*decorators, lines[node.lineno - 1], *shown])


def description(node: Definition) -> str:
    "What a docstring says; the empty text in backticks, or pandoc makes a quotation mark of it."
    return re.sub(r"(?<!`)''(?!`)", "`''`", ast.get_docstring(node) or "")


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    "The methods that a user calls, making one and calling it among them."
    named = [n for n in node.body if isinstance(n, ast.FunctionDef)]
    return [n for n in named if n.name[0] != "_" or n.name in ("__init__", "__call__")]


def dedent(text: str) -> str:
    return re.sub(r"^    ", "", text, flags=re.M)


def message(node: ast.Raise) -> str:
    "`ValueError`: the words of its message, values left out, where it stands in the code."
    call = node.exc
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return ""
    if call.func.id == "SystemExit":
        return ""
    return f"`{call.func.id}`: {words(call.args[0])}" if call.args else f"`{call.func.id}`"


def words(node: ast.expr) -> str:
    "A string of the code as it reads, with ... for each value."
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [x.value if isinstance(x, ast.Constant) else "..." for x in node.values]
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return words(node.left) + words(node.right)
    return "..."


def raises(node: Definition) -> list[str]:
    "What a definition itself raises."
    found = (message(x) for x in ast.walk(node) if isinstance(x, ast.Raise))
    plain = (re.sub(r"\s+", " ", text).replace("<", "\\<").replace("*", "\\*") for text in found)
    lines = sorted({text for text in plain if re.search(r"\w", text)})
    return ["Raises", "", *(f"- {line}" for line in lines), ""] if lines else []


def auto_id(heading: str) -> str:
    "The id that pandoc gives a heading (its rule auto_identifiers)."
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    text = re.sub(r"[^\w\s.-]", "", text.lower())
    return re.sub(r"^[\W\d_]+", "", re.sub(r"\s+", "-", text.strip())) or "section"


@lru_cache
def sections(root: Path, home: str) -> dict[str, str]:
    "Name -> the section of the notebook that defines it."
    found, section = {}, ""
    for cell in json.loads((root / "nbs" / home).read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            section = ([section] + re.findall(r"^##+ (.+)$", text, re.M))[-1]
        elif section:
            names = re.findall(r"^(?:def|class) (\w+)", text, re.M)
            found |= {name: section for name in names}
    return found


def places(root: Path, home: str, name: str) -> str:
    "The section where a name is explained, as a link."
    section = sections(root, home).get(name)
    if not section:
        return f"[{title(root, home)}](../{home})"
    return f"[{title(root, home)}: {section.replace('`', '')}](../{home}#{auto_id(section)})"


def entry(lines: list[str], node: Definition, link: str, explained: str) -> list[str]:
    "One section: the name, what it does, how it is called, what it raises, where it is explained."
    parts = [f"## {node.name} {{#{anchor(node.name)}}}", "", description(node), ""]
    if isinstance(node, ast.ClassDef):
        written = class_header(lines, node)
        parts += [] if written == f"class {node.name}:" else [f"```python\n{written}\n```", ""]
        for method in methods(node):
            text = dedent(header(lines, method))
            name = method.name.replace("_", "\\_")  # a narrow screen breaks before it
            parts += [f"### {node.name}.<wbr>{name}", "", description(method), ""]
            parts += [f"```python\n{text}\n```", "", *raises(method)]
    else:
        parts += [f"```python\n{header(lines, node)}\n```", "", *raises(node)]
    return [*parts, f"Explained in {explained}. [Source]({link}#L{node.lineno})", ""]


def page(root: Path, module: str) -> str:
    "The page of one module."
    cfg, home = settings(root), homes(root)[module]
    about = ast.get_docstring(tree(root, module)) or f"The module {module}."
    link = f"{cfg['git_url']}/blob/{cfg['branch']}/squadqa/{module}.py"
    floor = home.partition("/")[0]
    place = "Taught in the course" if floor == "course" else "Explained"
    head = {"title": f"squadqa.{module}", "description": about, "repo-actions": False}
    parts = [f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=10_000)}---"]
    parts += ["", f"{place}: [{title(root, home)}](../{home}).", ""]
    lines = source(root, module).splitlines()
    for node in public_names(root)[module]:
        parts += entry(lines, node, link, places(root, home, node.name))
    return "\n".join(parts)


def title(root: Path, home: str) -> str:
    cells = json.loads((root / "nbs" / home).read_text(encoding="utf-8"))["cells"]
    return "".join(cells[0]["source"]).split("\n")[0].removeprefix("# ")


def first_line(node: Definition) -> str:
    return description(node).split("\n")[0]


def index(root: Path) -> str:
    "The page that lists everything, with the names to begin with on top."
    names = public_names(root)
    total = sum(map(len, names.values()))
    head = {
        "title": "All functions",
        "description": "Every public function and class, by module.",
        "repo-actions": False,
    }
    parts = [f"---\n{yaml.safe_dump(head, sort_keys=False)}---", ""]
    parts += [f"{total} functions and classes in {len(names)} modules, which import one by one:"]
    parts += ["`from squadqa.data import load_squad`.", "", "## Start with these", ""]
    lookup = {f"{m}.{node.name}": node for m, nodes in names.items() for node in nodes}
    for full in BEGIN_WITH:
        if full in lookup:
            parts += item(full, lookup[full])
    for module, nodes in names.items():
        about = ast.get_docstring(tree(root, module)) or ""
        parts += [f"## squadqa.{module} {{#{module}}}", "", about, ""]
        for node in nodes:
            parts += item(f"{module}.{node.name}", node)
    return "\n".join(parts)


def item(full: str, node: Definition) -> list[str]:
    module, name = full.split(".")
    return [f"[`{name}`]({module}.qmd#{anchor(name)})", f":   {first_line(node)}", ""]


def pages(root: Path) -> dict[str, str]:
    "All pages by file name."
    return {"index.qmd": index(root)} | {f"{name}.qmd": page(root, name) for name in homes(root)}
