"""The site, as far as it can be seen without Quarto; its pages are made once, in a copy."""

import ast
import importlib
import inspect
import json
import re
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from conftest import ROOT
from notebooks import LESSONS, NOTEBOOKS, cells, name_of, source

sys.path.insert(0, str(ROOT / "tools"))
import pages as site
import reference
import sync

BLOB = f"{sync.settings(ROOT)['git_url']}/blob/{sync.settings(ROOT)['branch']}/"
BOOKS = [f"{name_of(path)}.ipynb" for path in NOTEBOOKS]


def copy_project(folder: Path) -> Path:
    "What the pages are made from."
    sync.copy_sources(ROOT, folder)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=ignore)
    return folder


def make(root: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "tools/pages.py"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    "The folder of processed pages."
    root = copy_project(tmp_path_factory.mktemp("site") / "squadqa")
    done = make(root)
    assert done.returncode == 0 and "arning" not in done.stderr, done.stderr[-3000:]
    return root / "_proc"


@pytest.fixture(scope="module")
def texts(made) -> dict[str, str]:
    "Each page as the Markdown that pandoc gets to read."
    paths = [*made.rglob("*.ipynb"), *made.rglob("*.qmd")]
    return {path.relative_to(made).as_posix(): as_markdown(path) for path in sorted(paths)}


def cell_markdown(cell: dict) -> str:
    if cell["cell_type"] != "code":
        return source(cell)
    code = "\n".join(line for line in source(cell).splitlines() if not line.startswith("#|"))
    parts = [f"~~~~~ python\n{code}\n~~~~~"]
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "text/markdown" in data:
            parts.append("".join(data["text/markdown"]))
        elif "image/png" in data:
            parts.append("![A figure](output.png)")
        else:
            shown = "".join(output.get("text") or data.get("text/plain", ""))
            parts.append(f"~~~~~ text\n{shown}\n~~~~~")
    return "\n\n".join(parts)


def as_markdown(path: Path) -> str:
    if path.suffix == ".qmd":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(map(cell_markdown, cells(path)))


def without_fences(text: str) -> str:
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    return re.sub(r"^(~~~+|```+)[^\n]*\n.*?^\1 *$", "", text, flags=re.S | re.M)


def prose(text: str) -> str:
    "A page without front matter, fenced code, and code between backticks."
    return re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "CODE", without_fences(text))


def auto_id(heading: str) -> str:
    "The id that pandoc gives a heading (its rule auto_identifiers)."
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    text = re.sub(r"[^\w\s.-]", "", text.replace("<wbr>", "").lower())
    return re.sub(r"^[\W\d_]+", "", re.sub(r"\s+", "-", text.strip())) or "section"


def ids(text: str) -> list[str]:
    "The ids of a page's headings, as pandoc numbers them."
    found = []
    for heading in re.findall(r"^#{1,6} +(.+)$", without_fences(text), re.M):
        explicit = re.search(r"\{#([\w.-]+)\}\s*$", heading)
        name = explicit[1] if explicit else auto_id(heading)
        again = sum(1 for f in found if re.fullmatch(re.escape(name) + r"(-\d+)?", f))
        found.append(f"{name}-{again}" if again and not explicit else name)
    return found


def spans(text: str) -> list[str]:
    "Ids of pieces of text: <a id=...></a> and [code](link){#id}."
    return re.findall(r'<a id="([\w.-]+)">', text) + re.findall(r"[\])]\{#([\w.-]+)", prose(text))


def links(text: str) -> list[str]:
    inside = r"(?:!\[[^\]]*\]\([^)]*\)|[^\[\]]|\[[^\]]*\])*"
    return re.findall(rf"(?<!!)\[{inside}\]\(([^)\s]+)\)", prose(text))


def images(text: str) -> list[tuple[str, str]]:
    "(what is read aloud, address) of each picture; {fig-alt=...} is said where nothing is printed."
    found = re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)(?:\{fig-alt=\"([^\"]*)\"\})?", prose(text))
    return [(alt or aloud, address) for alt, address, aloud in found]


# --- the pages are there, and whole


def test_every_notebook_and_every_module_has_a_page(made, texts):
    assert len(BOOKS) > 30
    assert {name for name in texts if name.endswith(".ipynb")} == set(BOOKS)
    modules = {f"reference/{name}.qmd" for name in reference.homes(ROOT)}
    assert modules | {"reference/index.qmd", "404.qmd", "troubleshooting.qmd"} <= set(texts)
    assert (made / "_quarto.yml").read_text() == (ROOT / "_quarto.yml").read_text()
    assert not (made / "_quarto.yml").is_symlink()


def test_each_page_has_a_title_and_a_description(texts):
    for name, text in texts.items():
        head = yaml.safe_load(re.search(r"\A---\n(.*?)\n---", text, re.S)[1])
        assert head["title"] and head["description"], name


def test_no_cell_that_should_be_hidden(made):
    directive = r"^#\| *(hide|default_exp|export|exporti|exports|slow|gpu|net)\b"
    looked = 0
    for name in BOOKS:
        for cell in cells(made / name):
            looked += 1
            assert not re.search(directive, source(cell), re.M), (name, source(cell)[:200])
    assert looked > 900


def test_no_error_among_the_outputs(made):
    looked = 0
    wrong = r"Traceback \(most recent|NameError|ModuleNotFoundError|<function \w+ at 0x"
    for name in BOOKS:
        for output in [o for c in cells(made / name) for o in c.get("outputs", [])]:
            looked += 1
            shown = "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))
            assert output["output_type"] != "error" and not re.search(wrong, shown), (name, shown)
    assert looked > 200


def test_solutions_and_installation_are_folded(made):
    solutions = installs = 0
    for path in LESSONS:
        for cell in cells(made / f"{name_of(path)}.ipynb"):
            text = source(cell)
            if re.search(r"^def \w+_solution\(", text, re.M):
                solutions += 1
                assert "#| code-fold: true" in text and "#| code-summary:" in text
            elif site.INSTALL in text:
                installs += 1
                assert text.startswith("#| code-fold: true")
    assert installs == len(LESSONS) and solutions >= 2 * len(LESSONS)


def test_a_cell_that_is_folded_in_jupyterlab_is_folded_on_the_site():
    hidden = {"jupyter": {"source_hidden": True}}
    for metadata in (hidden, {}):
        cell = site.nbformat.v4.new_code_cell("#| export\ndef f(): ...", metadata=metadata)
        assert site.code_cell(cell).source.startswith("#| code-fold: true") == bool(metadata)


def test_a_long_comment_does_not_break_its_line(tmp_path):
    said = "what stands behind the line, and takes more room than the line can give to it"
    before = (
        f"answerer = find(starter)  # {said}\n"
        f"def f(\n    golds: list[str],  # {said}\n):\n    return golds  # {said}\n"
    )
    after = (
        f"# {said}\nanswerer = find(starter)\n\n\n"
        f"def f(\n    golds: list[str],  # {said}\n):\n    # {said}\n    return golds"
    )
    cell = site.code_cell(site.nbformat.v4.new_code_cell(before))
    book = site.nbformat.v4.new_notebook(cells=[cell])
    site.nbformat.write(book, tmp_path / "page.ipynb")
    site.fit_code(tmp_path)
    assert source(cells(tmp_path / "page.ipynb")[0]) == after
    script = f"%%bash\necho '  # {said}"
    assert site.comments_apart(script) == script


def test_exported_code_stands_once(made):
    "No documentation is put above code that says the same."
    text = "\n".join((made / name).read_text(encoding="utf-8") for name in BOOKS)
    assert "show_doc" not in text
    assert text.count("def prepare_train_features(") == 1


# --- looking things up


def test_every_public_name_has_a_section(texts):
    count = 0
    for module, nodes in reference.public_names(ROOT).items():
        text = texts[f"reference/{module}.qmd"]
        for node in nodes:
            count += 1
            assert f"\n## {node.name} {{#api-{node.name}}}\n" in text, f"{module}.{node.name}"
            assert f"]({module}.qmd#api-{node.name})" in texts["reference/index.qmd"]
    assert count > 150


def written_parameters(text: str) -> list[tuple[str, str, bool]]:
    "Name, kind, and whether there is a default, of the parameters in a header, as Python reads it."
    a = ast.parse(text + "\n    ...").body[0].args
    plain = a.posonlyargs + a.args
    first = len(plain) - len(a.defaults)
    found = [(x.arg, "plain", i >= first) for i, x in enumerate(plain)]
    found += [(a.vararg.arg, "*", False)] if a.vararg else []
    found += [(x.arg, "keyword", d is not None) for x, d in zip(a.kwonlyargs, a.kw_defaults)]
    return found + ([(a.kwarg.arg, "**", False)] if a.kwarg else [])


def seen_parameters(thing) -> list[tuple[str, str, bool]]:
    "The same, as `inspect.signature` sees it."
    seen = inspect.signature(inspect.unwrap(thing)).parameters.values()
    return [(p.name, KINDS[p.kind], p.default is not p.empty) for p in seen]


KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "plain",
    inspect.Parameter.POSITIONAL_ONLY: "plain",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def test_signatures_are_those_of_python(texts):
    "Each header on a reference page has the parameters that `inspect.signature` sees."
    looked = keyword_only = classes = methods = 0
    for module, nodes in reference.public_names(ROOT).items():
        found = importlib.import_module(f"squadqa.{module}")
        text = texts[f"reference/{module}.qmd"]
        for node in nodes:
            section = text.split(f"\n## {node.name} {{#", 1)[1].split("\n## ", 1)[0]
            code = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
            thing = getattr(found, node.name)
            if isinstance(node, ast.ClassDef):
                classes += 1
                own = re.search(rf"^class {node.name}\b", code[0], re.M)
                assert own or not (node.bases or node.decorator_list)  # a bare name is the heading
                names = re.findall(r"^### (.+)$", section, re.M)
                names = [name.replace("<wbr>", "").replace("\\_", "_") for name in names]
                assert names == [f"{node.name}.{m.name}" for m in reference.methods(node)]
                for method, header in zip(reference.methods(node), code[bool(own) :], strict=True):
                    if not method.decorator_list:  # a property has no parameters
                        seen = seen_parameters(getattr(thing, method.name))
                        assert written_parameters(header) == seen, f"{node.name}.{method.name}"
                        methods += 1
                continue
            looked += 1
            want = seen_parameters(thing)
            keyword_only += any(kind == "keyword" for _, kind, _ in want)
            without = re.sub(r"\A(@.*\n)+", "", code[0])
            assert written_parameters(without) == want, f"{module}.{node.name}"
    assert methods > 25
    assert looked > 120 and keyword_only > 15 and classes > 15


# --- links, anchors, pictures


def leads_somewhere(texts, places, page: str, link: str) -> bool:
    if link.startswith(BLOB):
        path, _, line = link.removeprefix(BLOB).partition("#L")
        file = ROOT / path
        return file.exists() and (not line or int(line) <= len(file.read_text().splitlines()))
    if link.startswith("https://colab."):
        return (ROOT / link.partition("/blob/main/")[2]).exists()
    if re.match(r"https?://|mailto:", link):
        return bool(re.match(r"https?://[\w.-]+\.\w+(/\S*)?$|mailto:", link))
    target, _, place = link.partition("#")
    name = (Path(page).parent / target).as_posix() if target else page
    name = re.sub(r"(^|/)[^/.]+/\.\./", r"\1", name)
    return name in texts and (not place or place in places[name])


def test_links_and_anchors_lead_somewhere(texts):
    places = {name: {*ids(text), *spans(text)} for name, text in texts.items()}
    found = [(name, link) for name, text in texts.items() for link in links(text)]
    assert len(found) > 500
    wrong = [pair for pair in found if not leads_somewhere(texts, places, *pair)]
    assert wrong == []


def test_names_and_terms_lead_somewhere_in_a_text_below_a_heading():
    "A heading stays as it is, and what follows it in the same cell does not."
    text = "## The `postprocess` of windows\n\n`postprocess` reads each window.\n"
    heading, _, rest = (
        site.Links(ROOT, "course/05_postprocessing.ipynb").markdown(text).split("\n", 2)
    )
    assert heading == "## The `postprocess` of windows"
    assert "[`postprocess`](../reference/postprocessing.qmd#api-postprocess)" in rest
    assert "[window](../glossary.ipynb#term-window){.term}" in rest


def test_words_of_other_libraries_are_theirs(texts):
    "Accelerate has a `gather` too, which lessons speak of."
    assert "`gather`" in texts["course/08_accelerate.ipynb"]
    found = {name for name, text in texts.items() if "[`gather`](" in text and name in BOOKS}
    assert found == {"further/own_data.ipynb"}


def test_images_are_there_and_described(made, texts):
    found = [(n, alt, src) for n, text in texts.items() for alt, src in images(text)]
    assert all(alt.strip() for _, alt, _ in found), [f for f in found if not f[1].strip()]
    local = [(n, src) for n, _, src in found if not re.match("https://|output.png", src)]
    assert ("index.ipynb", "assets/path.svg") in local
    assert all((made / Path(n).parent / src).exists() for n, src in local)


def test_colab_and_source_on_each_page(texts):
    for name in BOOKS:
        head = texts[name][: texts[name].index("\n:::\n")]
        assert f"/nbs/{name})" in head and "[View source](https://github.com/" in head
        badge = f"colab.research.google.com/github/{BLOB.removeprefix('https://github.com/')}"
        assert texts[name].count(f"{badge}nbs/{name}") == 1, f"{name}: two badges"


def test_made_for_another_owner(tmp_path):
    "No page names the owner on its own: a fork's pages lead to the fork."
    root = copy_project(tmp_path / "fork")
    owner = sync.settings(ROOT)["user"]
    text = (root / "settings.ini").read_text()
    (root / "settings.ini").write_text(text.replace(f"user = {owner}", "user = somebody-else"))
    sync.set_links(root)
    sync.write_tables(root)
    done = make(root)
    assert done.returncode == 0, done.stderr[-2000:]
    made = [p for p in (root / "_proc").rglob("*") if p.suffix in (".ipynb", ".qmd", ".yml")]
    text = "".join(path.read_text(encoding="utf-8") for path in made)
    assert "https://somebody-else.github.io/squadqa" in text and owner not in text


# --- navigation


def sidebar_entries(made) -> list[tuple[str, str, str]]:
    "(section, label, page) in the order of the sidebar."
    found = []
    for entry in yaml.safe_load((made / "sidebar.yml").read_text())["website"]["sidebar"][
        "contents"
    ]:
        inner = entry.get("contents", [entry])
        found += [(entry.get("section", ""), e["text"], e["href"]) for e in inner]
    return found


def test_sidebar_is_complete_and_in_order(made, texts):
    entries = sidebar_entries(made)
    assert sorted(page for *_, page in entries) == sorted(set(texts) - {"404.qmd"})
    sections = list(dict.fromkeys(section for section, *_ in entries))
    assert sections == ["", "The course", "Going further", "Inside the package", "Look it up"]
    course = [page for section, _, page in entries if section == "The course"]
    assert course == sorted(course) and len(course) == 11
    for page, following in zip(course, course[1:]):  # a lesson's last cell leads the same way
        last = source(cells(ROOT / "nbs" / page)[-1])
        assert Path(following).name in last, page


def test_start_page_lists_every_notebook(texts):
    listed = re.findall(r"^\| \[[^]]+\]\((\w+/\w+\.ipynb)\)", texts["index.ipynb"], re.M)
    assert sorted(listed) == sorted(set(BOOKS) - {"index.ipynb", "glossary.ipynb"})


def test_configuration_of_the_site(made):
    config = yaml.safe_load((made / "_quarto.yml").read_text())
    written = yaml.safe_load((made / "nbdev.yml").read_text())
    web, html, cfg = config["website"], config["format"]["html"], sync.settings(ROOT)
    assert list(config["format"]) == ["html"] and set(html["theme"]) == {"light", "dark"}
    assert html["respect-user-color-scheme"] is True
    assert web["search"] and web["page-navigation"] and web["open-graph"] and web["twitter-card"]
    for path in (web["favicon"], web["image"]):
        assert (made / path).exists()
    assert web["image"].endswith(".png"), "networks do not show an svg"
    assert written["website"]["repo-url"] == cfg["git_url"]
    assert config["metadata-files"] == ["nbdev.yml", "sidebar.yml"]
    assert config["project"]["output-dir"] == "_docs" == cfg["doc_path"]


def test_nothing_is_loaded_from_other_hosts():
    "Style sheets and pictures of the site are its own."
    for path in (ROOT / "nbs" / "assets").iterdir():
        if path.suffix in (".css", ".scss", ".svg", ".js", ".html"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"url\(['\"]?(https?:)?//|@import|<script|href=['\"]http", text)


def test_assets_are_what_they_say():
    assets = ROOT / "nbs" / "assets"
    card = (assets / "card.png").read_bytes()
    assert card[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", card[16:24]) == (1200, 630)
    for name in ("favicon.svg", "path.svg"):
        tree = ElementTree.parse(assets / name).getroot()
        assert tree.tag.endswith("svg") and tree.get("viewBox") and len(list(tree.iter())) > 5


def test_readme_leads_somewhere():
    "It is read far from the notebooks: no relative link; each of ours names a file that exists."
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    ours = [link for link in links(text) if not link.startswith("#")]
    assert len(ours) > 30 and all(link.startswith("https://") for link in ours)
    files = [link.removeprefix(BLOB) for link in ours if link.startswith(BLOB)]
    assert len(files) > 20 and all((ROOT / file).exists() for file in files)
    assert {link[1:] for link in links(text) if link.startswith("#")} <= set(ids(text))


def test_glossary_is_complete(texts):
    "The terms of the field, each with an anchor of its own and a link to where it is taught."
    text = texts["glossary.ipynb"]
    terms = re.findall(r'^- <a id="([\w-]+)"></a>\*\*([^*]+)\*\*: (.+)$', text, re.M)
    anchors = [place for place, *_ in terms]
    assert len(set(anchors)) == len(anchors) >= 40
    wanted = (
        "example context question answer window feature offset start_char end_char start_token "
        "end_token null_score n_best token tokenizer logits EM F1 CLS stride padding epoch batch "
        "checkpoint Hub adapter LoRA softmax loss span seed"
    ).split()
    have = {w.strip(" `()*").lower() for _, term, _ in terms for w in re.split(r",|\(", term)}
    assert [w for w in wanted if w.lower() not in have] == []
    for _, term, meaning in terms:
        assert re.search(r"\]\((course|further|inside)/\w+\.ipynb", meaning), term


def test_troubleshooting_answers_by_symptom(texts):
    text = texts["troubleshooting.qmd"]
    for word in ("out of memory", "stride", "NaN", "slow", "offline", "IndexError", "own data"):
        assert any(word.lower() in h.lower() for h in re.findall(r"^## (.+)$", text, re.M)), word


@pytest.mark.parametrize(
    "question, page",
    [
        ("own data", "further/own_data.ipynb"),
        ("out of memory", "troubleshooting.qmd"),
        ("QuestionAnswerer", "reference/inference.qmd"),
        ("stride", "troubleshooting.qmd"),
        ("no answer", "further/no_answer.ipynb"),
        ("fine_tune", "reference/trainer.qmd"),
        ("windows", "course/02_windows.ipynb"),
        ("postprocess", "reference/postprocessing.qmd"),
        ("restore_pipeline", "reference/inference.qmd"),
        ("load_squad", "reference/data.qmd"),
    ],
)
def test_questions_find_a_title(texts, question, page):
    "What a reader types is the title of a page or of a section, which is what the search indexes."
    text = texts[page]
    head = yaml.safe_load(re.search(r"\A---\n(.*?)\n---", text, re.S)[1])
    titles = [head["title"], *re.findall(r"^#{1,3} (.+)$", without_fences(text), re.M)]
    assert any(question.lower() in title.lower() for title in titles)


# --- pandoc, which Quarto is made of


@pytest.fixture(scope="module")
def trees(texts) -> dict[str, tuple[dict, str]]:
    "Each page as pandoc's tree, and the warnings."
    import pypandoc

    command = [pypandoc.get_pandoc_path(), "-f", "markdown", "-t", "json"]
    done = {}
    for name, text in texts.items():
        run = subprocess.run(command, input=text, capture_output=True, text=True)
        assert run.returncode == 0, (name, run.stderr)
        done[name] = json.loads(run.stdout), run.stderr
    return done


def walk(node, kind: str):
    "All elements of one kind in a tree."
    if isinstance(node, dict):
        if node.get("t") == kind:
            yield node.get("c")
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from walk(value, kind)


def words(inlines) -> str:
    spaces = {"SoftBreak": "\n", "Space": " "}
    return "".join(n["c"] if n["t"] == "Str" else spaces.get(n["t"], "") for n in inlines)


def test_pandoc_reads_each_page_without_a_warning(trees):
    assert {name: warning for name, (_, warning) in trees.items() if warning} == {}


def test_no_id_occurs_twice(trees, texts):
    "The rule for ids in this file is checked against pandoc's own."
    seen = 0
    for name, (tree, _) in trees.items():
        found = [attr[0] for _, attr, _ in walk(tree, "Header")]
        twice = [k for k, n in Counter(found).items() if n > 1]
        assert twice == [] and found == ids(texts[name]), name
        seen += len(found)
    assert seen > 400


def test_no_cell_is_called_like_a_heading(made, texts):
    "Quarto gives a cell its id, beside the ids of headings."
    looked = 0
    for path in made.rglob("*.ipynb"):
        headings = ids(texts[path.relative_to(made).as_posix()])
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [cell["id"] for cell in cells if cell["cell_type"] == "code"]
        assert not set(code) & set(headings), path.name
        looked += len(code)
    assert looked > 500


def test_pandoc_reads_what_was_meant(trees):
    "No list glued to a paragraph, no word taken for a citation, no table left as text."
    strange, paragraphs = [], 0
    for name, (tree, _) in trees.items():
        strange += [(name, "citation", c) for c in walk(tree, "Cite")]
        for kind in ("Subscript", "Superscript", "Strikeout"):
            strange += [(name, kind, c) for c in walk(tree, kind)]
        for paragraph in walk(tree, "Para"):
            paragraphs += 1
            text = words(paragraph)
            for what, pattern in (
                ("list without a blank line before it", r"\n([-*+]|\d+[.)]) "),
                ("table", r"^\|.*\|"),
                ("markup left over", r"\]\(|\*\*"),
            ):
                if re.search(pattern, text):
                    strange.append((name, what, text[:200]))
    assert paragraphs > 500 and strange == []


# --- the workflow


def test_the_workflow_is_pinned_and_deploys_from_main_only():
    text = (ROOT / ".github/workflows/docs.yml").read_text()
    flow = yaml.safe_load(text)
    steps = [step for job in flow["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert len(used) >= 4 and all(re.search(r"@[0-9a-f]{40}$", u) for u in used)
    assert re.search(r"QUARTO_VERSION: [\"']?1\.(8|9|\d\d)\.\d+", text) and "sha256sum" in text
    assert "refs/heads/main" in flow["jobs"]["deploy"]["if"]
    assert flow["permissions"] == {"contents": "read"}
    assert set(flow["jobs"]["deploy"]["permissions"]) == {"pages", "id-token"}


def test_columns_are_as_wide_as_what_they_hold(texts):
    "Pandoc divides the width of a table with long rows by the dashes below its head."
    (rule,) = re.findall(
        r"^\| lesson \| what it is about .*\n\|(.+)\|$", texts["index.ipynb"], re.M
    )[:1]
    lesson, about, minutes, colab = (mark.count("-") for mark in rule.split("|"))
    assert minutes < colab < lesson < about
    table = "| a | b |\n|:--|--:|\n| [x](https://example.org/long) | y \\| z |\n"
    assert site.prose.tables(table) == table.replace("|:--|--:|", "|:-----|----------:|")
    uneven = "| a | b |\n|---|---|\n| only one |\n"
    assert site.prose.tables(uneven) == uneven
