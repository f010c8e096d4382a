"""The site, as far as it can be seen without Quarto: its pages are made once, in a copy, and then looked at from all sides."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import pages as site
import sync

NOTEBOOKS = sorted(p.name for p in (ROOT / "nbs").glob("*.ipynb"))
LESSONS = [name for name in NOTEBOOKS if name[0].isdigit()]
WRITTEN = sorted(p.name for p in (ROOT / "nbs").glob("*.qmd"))
PAGES = NOTEBOOKS + WRITTEN + ["reference.qmd"]
BLOB = f"{sync.settings(ROOT)['git_url']}/blob/{sync.settings(ROOT)['branch']}/"


def copy_project(folder: Path) -> Path:
    "What the pages are made from."
    folder.mkdir()
    for name in ("nbs", "squadqa", "tools"):
        shutil.copytree(
            ROOT / name,
            folder / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
        )
    for name in ("settings.ini", "_quarto.yml", "README.md", "setup.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def make(root: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "tools/pages.py"], cwd=root, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, str]:
    "The folder of processed pages, and what was printed while they were made."
    root = copy_project(tmp_path_factory.mktemp("site") / "squadqa")
    done = make(root)
    assert done.returncode == 0, done.stderr[-3000:]
    return root / "_proc", done.stdout + done.stderr


@pytest.fixture(scope="module")
def texts(made) -> dict[str, str]:
    "Each page as the Markdown that pandoc gets to read."
    return {name: as_markdown(made[0] / name) for name in PAGES}


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def cell_markdown(cell: dict) -> str:
    "One cell, with its outputs; a cell that says `echo: false` shows its outputs only."
    if cell["cell_type"] != "code":
        return source(cell)
    code = "\n".join(line for line in source(cell).splitlines() if not line.startswith("#|"))
    parts = (
        []
        if re.search(r"^#\| echo: false", source(cell), re.M)
        else [f"~~~~~ python\n{code}\n~~~~~"]
    )
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "text/markdown" in data:
            parts.append("".join(data["text/markdown"]))
        elif "image/png" in data:
            parts.append("![](output.png)")
        else:
            parts.append(
                f"~~~~~ text\n{''.join(output.get('text') or data.get('text/plain', ''))}\n~~~~~"
            )
    return "\n\n".join(parts)


def as_markdown(path: Path) -> str:
    if path.suffix == ".qmd":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(map(cell_markdown, cells(path)))


def prose(text: str) -> str:
    "A page without its front matter, its fenced code, and its code between backticks."
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    text = re.sub(r"^(~~~+|```+)[^\n]*\n.*?^\1 *$", "", text, flags=re.S | re.M)
    return re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "CODE", text)


def headings(text: str) -> list[str]:
    return re.findall(r"^#{1,6} +(.+)$", prose_with_code(text), re.M)


def prose_with_code(text: str) -> str:
    return re.sub(r"^(~~~+|```+)[^\n]*\n.*?^\1 *$", "", text, flags=re.S | re.M)


def auto_id(heading: str) -> str:
    "The id that pandoc gives a heading (its rule auto_identifiers)."
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    text = re.sub(r"[^\w\s.-]", "", text.lower())
    return re.sub(r"^[\W\d_]+", "", re.sub(r"\s+", "-", text.strip())) or "section"


def ids(text: str) -> list[str]:
    "Every place on a page that a link can name."
    found = []
    for heading in headings(text):
        explicit = re.search(r"\{#([\w.-]+)\}\s*$", heading)
        name = explicit[1] if explicit else auto_id(heading)
        again = sum(1 for f in found if re.fullmatch(re.escape(name) + r"(-\d+)?", f))
        found.append(f"{name}-{again}" if again and not explicit else name)
    return found + re.findall(r"[\])]\{#([\w.-]+)\}", prose(text))


def links(text: str) -> list[str]:
    return re.findall(
        r"(?<!!)\[(?:!\[[^\]]*\]\([^)]*\)|[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)", prose(text)
    )


def images(text: str) -> list[tuple[str, str]]:
    return re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", prose(text))


def sidebar(config: dict) -> list[tuple[str, str, str]]:
    "(section, label, page) in the order of the sidebar."
    found = []
    for entry in config["website"]["sidebar"]["contents"]:
        found += (
            [(entry["section"], e["text"], e["href"]) for e in entry["contents"]]
            if "section" in entry
            else [("", entry["text"], entry["href"])]
        )
    return found


# --- the pages are there, and whole


def test_every_notebook_has_a_page(made):
    assert len(NOTEBOOKS) >= 19 and len(LESSONS) >= 17 and "404.qmd" in WRITTEN
    assert {p.name for p in made[0].glob("*.ipynb")} == set(NOTEBOOKS)
    assert {p.name for p in made[0].glob("*.qmd")} == set(WRITTEN) | {"reference.qmd"}
    assert all(len(cells(made[0] / name)) > 5 for name in NOTEBOOKS)
    for name in ("favicon.svg", "card.png", "path.svg", "site.css"):
        assert (made[0] / "assets" / name).stat().st_size < 100_000
    assert (made[0] / "_quarto.yml").read_text() == (ROOT / "_quarto.yml").read_text() and not (
        made[0] / "_quarto.yml"
    ).is_symlink()


def test_pages_were_made_quietly(made):
    assert (
        f"{len(PAGES)} pages" in made[1] and "arning" not in made[1] and "Error" not in made[1]
    ), made[1][-2000:]


def test_titles_and_addresses(made):
    "Each page has a title and a description; no two pages want the same address."
    heads = [
        yaml.safe_load(re.search(r"\A---\n(.*?)\n---", as_markdown(made[0] / name), re.S)[1])
        for name in PAGES
    ]
    assert all(h["title"] and h["description"] for h in heads)
    addresses = [h.get("output-file", Path(name).stem + ".html") for h, name in zip(heads, PAGES)]
    assert len(set(addresses)) == len(PAGES) and {
        "index.html",
        "404.html",
        "data.html",
        "glossary.html",
    } <= set(addresses)


def test_no_cell_that_should_be_hidden(made):
    hidden = [
        source(c)
        for name in NOTEBOOKS
        for c in cells(ROOT / "nbs" / name)
        if re.search(r"^#\| *(hide|default_exp)\b", source(c), re.M)
    ]
    assert len(hidden) >= len(LESSONS) - 1, "each lesson that exports has such a cell"
    looked = 0
    for name in NOTEBOOKS:
        for cell in cells(made[0] / name):
            looked += 1
            assert not re.search(
                r"^#\| *(hide|default_exp|export|exporti|exports|slow|gpu|net)\b|nbdev_export\(|^%",
                source(cell),
                re.M,
            ), (name, source(cell)[:200])
            if source(cell).startswith("show_doc") or "\nshow_doc(" in source(cell):
                assert "#| echo: false" in source(cell)
    assert looked > 900


def test_no_error_among_the_outputs(made):
    outputs = [
        (name, o) for name in NOTEBOOKS for c in cells(made[0] / name) for o in c.get("outputs", [])
    ]
    assert len(outputs) > 300
    for name, output in outputs:
        assert output["output_type"] != "error" and output.get("name") != "stderr", (name, output)
        shown = "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))
        assert not re.search(
            r"Traceback \(most recent|NameError|ModuleNotFoundError|<function \w+ at 0x", shown
        ), (name, shown[:300])


def test_solutions_and_installation_are_folded(made):
    "What gives an exercise away is not seen before one asks for it."
    solutions = [
        source(c)
        for name in LESSONS
        for c in cells(made[0] / name)
        if c["cell_type"] == "code" and re.search(r"^def \w+_solution\(", source(c), re.M)
    ]
    assert len(solutions) >= 3 * len(LESSONS)
    assert all("#| code-fold: true" in s and "#| code-summary:" in s for s in solutions)
    installs = [
        source(c)
        for name in LESSONS
        for c in cells(made[0] / name)
        if 'find_spec("squadqa")' in source(c)
    ]
    assert len(installs) == len(LESSONS) and all(
        s.startswith("#| code-fold: true") for s in installs
    )


# --- the documentation of the package


def test_every_public_name_is_documented_once(made):
    "One heading, on the page of its lesson, with its signature, its docstring, its code and a link to the reference."
    names = [
        (module, node.name) for module, nodes in site.public_names(ROOT).items() for node in nodes
    ]
    assert len(names) > 200 and {
        ("data", "load_squad"),
        ("inference", "QuestionAnswerer"),
        ("postprocessing", "postprocess"),
    } <= set(names)
    lessons, shown = site.lesson_of(ROOT), Counter()
    for name in NOTEBOOKS:
        for cell in cells(made[0] / name):
            for output in cell.get("outputs", []):
                for title in re.findall(
                    r"^### (\w+) \{#\w+\}$",
                    "".join(output.get("data", {}).get("text/markdown", "")),
                    re.M,
                ):
                    shown[name, title] += 1
    assert shown == Counter((lessons[module], name) for module, name in names)
    for module, nodes in site.public_names(ROOT).items():
        page = as_markdown(made[0] / lessons[module])
        for node in nodes:
            block = page[page.index(f"### {node.name} {{#") :]
            assert (
                f"[source]({BLOB}squadqa/{module}.py#L{node.lineno})" in page
                and f"[reference](reference.qmd#api-{module}.{node.name})" in page
            )
            assert re.search(
                rf"^(async def|def|class) {node.name}\b", block[block.index("~~~~~ python") :], re.M
            ), f"no code of {node.name}"
            assert site.first_line(node), f"{module}.{node.name} has no docstring"


def test_reference_lists_every_public_name(texts):
    listed = re.findall(
        r"^\[`(?:class )?(\w+)[^`]*`\]\((\w+\.ipynb)#(\w+)\)\{#api-(\w+)\.(\w+)\}\n:   \S",
        texts["reference.qmd"],
        re.M,
    )
    lessons = site.lesson_of(ROOT)
    assert [(module, name, page) for name, page, _, module, _ in listed] == [
        (module, node.name, lessons[module])
        for module, nodes in site.public_names(ROOT).items()
        for node in nodes
    ]
    assert len(listed) > 200 and all(
        name == same and anchor in (name, name.lower()) for name, _, anchor, _, same in listed
    )
    assert len({(page, anchor) for _, page, anchor, *_ in listed}) == len(listed)


def test_public_names_are_those_of_the_index():
    "What the pages call public is what nbdev's index and the modules' __all__ call so."
    space = {}
    exec((ROOT / "squadqa" / "_modidx.py").read_text(), space)
    for module, nodes in site.public_names(ROOT).items():
        index = {
            full.removeprefix(f"squadqa.{module}.")
            for full in space["d"]["syms"][f"squadqa.{module}"]
        }
        assert {n.name for n in nodes} == {
            name for name in index if not name.startswith("_") and "." not in name
        }


def test_words_are_not_taken_for_functions(texts):
    "`train` is a split, or a word; it links to the command only where its full name stands. And no link goes to another library's pages."
    names = {node.name for nodes in site.public_names(ROOT).values() for node in nodes}
    linked = [
        (page, name, to)
        for page, text in texts.items()
        for name, to in re.findall(r"\[`([\w.]+)(?:\(\))?`\]\(([^)]+)\)", text)
    ]
    assert len(linked) > 100
    assert not [
        k
        for k in linked
        if k[1] in ("train", "evaluate", "answer", "predict") and page_of(k[2]) == "20_cli.ipynb"
    ]
    assert all(
        page_of(to) in PAGES or to.startswith(("https://github.com/", BLOB))
        for _, name, to in linked
        if name.split(".")[-1] in names
    )


def page_of(link: str) -> str:
    return link.partition("#")[0]


# --- links, anchors, pictures


def test_links_and_anchors_lead_somewhere(made, texts):
    places = {name: set(ids(text)) for name, text in texts.items()}
    counts, broken = Counter(), []
    for name, text in texts.items():
        for link in links(text):
            page, _, place = link.partition("#")
            if link.startswith(BLOB):
                path, _, line = link.removeprefix(BLOB).partition("#L")
                counts["repository"] += 1
                there = (ROOT / path).exists() and (
                    not line
                    or int(line) <= len((ROOT / path).read_text(encoding="utf-8").splitlines())
                )
            elif link.startswith("https://colab."):
                counts["colab"] += 1
                there = (ROOT / link.partition("/blob/main/")[2]).exists()
            elif re.match(r"https?://|mailto:", link):
                counts["elsewhere"] += 1
                there = re.match(r"https?://[\w.-]+\.\w+(/\S*)?$|mailto:", link)
            else:
                counts["anchor" if place else "page"] += 1
                there = (not page or page in PAGES) and (
                    not place or place in places.get(page or name, ())
                )
            if not there:
                broken.append((name, link))
    assert not broken, broken
    assert (
        counts["page"] > 60
        and counts["anchor"] > 400
        and counts["repository"] > 250
        and counts["colab"] >= 2 * len(LESSONS)
    ), counts


def test_images_are_there_and_described(made, texts):
    found = [
        (name, alt, src)
        for name, text in texts.items()
        for alt, src in images(text)
        if src != "output.png"
    ]
    assert len(found) > len(NOTEBOOKS)
    assert all(alt.strip() for _, alt, _ in found), [f for f in found if not f[1].strip()]
    local = [(name, src) for name, _, src in found if not src.startswith("https://")]
    assert ("index.ipynb", "assets/path.svg") in local and all(
        (made[0] / src).exists() for _, src in local
    ), local
    assert {src.split("/")[2] for _, _, src in found if src.startswith("https://")} == {
        "colab.research.google.com"
    }
    figures = sum(
        "image/png" in o.get("data", {})
        for name in LESSONS
        for c in cells(made[0] / name)
        for o in c.get("outputs", [])
    )
    assert figures >= 15


def test_colab_and_source_on_each_page(texts):
    for name in NOTEBOOKS:
        head = texts[name][: texts[name].index("\n:::\n")]
        assert (
            f"/nbs/{name})" in head
            and "[View source](https://github.com/" in head
            and "colab.research.google.com/github/" in head
        )
        assert (
            texts[name].count(
                f"colab.research.google.com/github/{BLOB.removeprefix('https://github.com/')}nbs/{name}"
            )
            == 1
        ), f"{name}: two badges"


def test_made_for_another_owner(tmp_path):
    "No page names the owner on its own: a fork's pages lead to the fork. (Two lessons are enough to see it.)"
    root = copy_project(tmp_path / "fork")
    owner = sync.settings(ROOT)["user"]
    (root / "settings.ini").write_text(
        (root / "settings.ini").read_text().replace(f"user = {owner}", "user = somebody-else")
    )
    for path in (root / "nbs").glob("*.ipynb"):
        if path.name not in ("03_labeling.ipynb", "05_metrics.ipynb"):
            path.unlink()
    sync.set_links(root)
    done = make(root)
    assert done.returncode == 0, done.stderr[-2000:]
    text = "".join(
        (root / "_proc" / name).read_text()
        for name in ("03_labeling.ipynb", "05_metrics.ipynb", "reference.qmd", "nbdev.yml")
    )
    assert "somebody-else/squadqa" in text and "https://somebody-else.github.io/squadqa" in text
    assert owner not in text


# --- navigation


def test_sidebar_is_complete_and_in_order(made):
    entries = sidebar(yaml.safe_load((made[0] / "sidebar.yml").read_text()))
    assert sorted(page for *_, page in entries) == sorted(set(PAGES) - {"404.qmd"}), (
        "a page without an entry, or an entry without a page"
    )
    assert list(dict.fromkeys(section for section, *_ in entries)) == [
        "",
        "Prepare",
        "Train",
        "Use",
        "Go further",
        "Reference",
    ]
    order = [page for *_, page in entries if page[0].isdigit()]
    on_the_map = re.findall(
        r"\]\((\d\w+\.ipynb)\) \|",
        source(next(c for c in cells(ROOT / "nbs" / "index.ipynb") if c["id"] == "map")),
    )
    assert order == on_the_map and len(order) > 20
    for page, following in zip(order, order[1:]):  # what a lesson ends with leads the same way
        assert (
            re.search(r"\]\((\w+\.ipynb)\)", source(cells(ROOT / "nbs" / page)[-1])).group(1)
            == following
        ), page
    sections = {page: section for section, _, page in entries}
    first = {
        "01_data.ipynb": "Prepare",
        "06a_modeling.ipynb": "Prepare",
        "06b_runs.ipynb": "Train",
        "08_accelerate.ipynb": "Train",
        "08b_performance.ipynb": "Use",
        "09c_own_data.ipynb": "Use",
        "10_no_answer.ipynb": "Go further",
        "14_capstone.ipynb": "Go further",
        "glossary.ipynb": "Reference",
    }
    assert {page: sections.get(page) for page in first} == first
    for _, label, page in entries:
        if page[0].isdigit():
            title = source(cells(ROOT / "nbs" / page)[0]).split("\n")[0].removeprefix("# ")
            assert label == f"{page.split('_')[0].lstrip('0')}. {title}"


def test_configuration_of_the_site(made):
    config, written = (
        yaml.safe_load((made[0] / name).read_text()) for name in ("_quarto.yml", "nbdev.yml")
    )
    web, cfg = config["website"], sync.settings(ROOT)
    assert list(config["format"]) == ["html"] and config["format"]["html"]["theme"].keys() == {
        "light",
        "dark",
    }
    assert web["search"] and web["page-navigation"] and web["open-graph"] and web["twitter-card"]
    assert {"edit", "source"} <= set(web["repo-actions"]) and web["repo-subdir"] == "nbs"
    for path in (web["favicon"], web["image"], config["format"]["html"]["css"]):
        assert (made[0] / path).exists()
    assert (
        written["website"]["site-url"] == cfg["doc_host"] + cfg["doc_baseurl"]
        and written["website"]["repo-url"] == cfg["git_url"]
    )
    assert (
        config["metadata-files"] == ["nbdev.yml", "sidebar.yml"]
        and config["project"]["output-dir"] == "_docs" == cfg["doc_path"]
    )
    assert [e["href"] for e in web["navbar"]["left"]] == [
        p for p in ("01_data.ipynb", "reference.qmd", "glossary.ipynb") if p in PAGES
    ]


def test_assets_are_what_they_say():
    import struct
    from xml.etree import ElementTree

    assets = ROOT / "nbs" / "assets"
    card = (assets / "card.png").read_bytes()
    assert (
        card[:8] == b"\x89PNG\r\n\x1a\n"
        and struct.unpack(">II", card[16:24]) == (1200, 630)
        and len(card) < 100_000
    )
    for name in ("favicon.svg", "path.svg"):
        tree = ElementTree.parse(assets / name).getroot()
        assert tree.tag.endswith("svg") and tree.get("viewBox") and len(list(tree.iter())) > 5
        assert not re.search(r"<script|href=|url\(http", (assets / name).read_text())
    assert (
        ElementTree.parse(assets / "path.svg")
        .getroot()
        .find("{http://www.w3.org/2000/svg}title")
        .text
    )


def test_course_map_of_the_landing_page_is_complete():
    text = "\n".join(
        source(c) for c in cells(ROOT / "nbs" / "index.ipynb") if c["cell_type"] == "markdown"
    )
    rows = re.findall(r"^\| *(\w+) \| \[[^\]]+\]\((\w+\.ipynb)\) \| .+ \| \[!\[", text, re.M)
    assert sorted(page for _, page in rows) == LESSONS
    assert all(page.split("_")[0].lstrip("0") == number for number, page in rows)
    assert all(text.count(f"/nbs/{page})") == 1 for page in LESSONS), "a badge for each"


def test_readme_leads_somewhere():
    "It is read far from the notebooks: no relative link, and each of ours names a file that exists; pictures by the file itself."
    text, raw = (
        (ROOT / "README.md").read_text(encoding="utf-8"),
        BLOB.replace("https://github.com/", "https://raw.githubusercontent.com/").replace(
            "/blob/", "/"
        ),
    )
    ours = [link for link in links(text) if not link.startswith("#")]
    assert len(ours) > 40 and all(link.startswith("https://") for link in ours)
    assert (
        all((ROOT / link.removeprefix(BLOB)).exists() for link in ours if link.startswith(BLOB))
        and sum(link.startswith(BLOB) for link in ours) > 20
    )
    assert {link[1:] for link in links(text) if link.startswith("#")} <= set(ids(text))
    local = [src for _, src in images(text) if "colab." not in src]
    assert local == [raw + "nbs/assets/path.svg"] and (ROOT / "nbs/assets/path.svg").exists()


def test_glossary_is_complete(texts):
    text = texts["glossary.ipynb"]
    terms = dict(re.findall(r"^- \*\*([^*]+)\*\*: (.+)$", text, re.M))
    wanted = (
        """example context question answer window feature offset start_char end_char start_token end_token null_score n_best token tokenizer logits EM F1
                CLS stride padding epoch batch checkpoint Hub adapter LoRA softmax loss span seed""".split()
        + ["attention mask", "gradient accumulation", "learning rate"]
    )
    have = {word.strip(" `()").lower() for term in terms for word in re.split(r",|\(", term)}
    assert not [w for w in wanted if w.lower() not in have]
    for term, meaning in terms.items():
        assert re.search(r"\]\(\d\w*\.ipynb", meaning), f"{term} has no link to a lesson"
        assert 5 <= len(re.sub(r"\]\([^)]*\)", "", meaning).split()) <= 60, term
    assert len(terms) >= 40


def test_the_workflow_is_pinned_and_deploys_from_main_only():
    flow = yaml.safe_load((ROOT / ".github/workflows/docs.yml").read_text())
    text = (ROOT / ".github/workflows/docs.yml").read_text()
    steps = [s for job in flow["jobs"].values() for s in job["steps"]]
    used = [s["uses"] for s in steps if "uses" in s]
    assert len(used) >= 4 and all(re.search(r"@[0-9a-f]{40}$", u) for u in used)
    assert re.search(r"QUARTO_VERSION: [\"']?\d+\.\d+\.\d+", text) and "sha256sum" in text
    assert "refs/heads/main" in flow["jobs"]["deploy"]["if"] and flow["permissions"] == {
        "contents": "read"
    }
    assert set(flow["jobs"]["deploy"]["permissions"]) == {"pages", "id-token"}


# --- pandoc, which Quarto is made of


def pandoc() -> str:
    found = shutil.which("pandoc")
    if not found:
        try:
            import pypandoc

            found = pypandoc.get_pandoc_path()
        except (ImportError, OSError):
            pytest.skip(
                "pandoc is not installed: Debian's package pandoc, or pip's pypandoc_binary"
            )
    return found


@pytest.fixture(scope="module")
def trees(texts) -> dict[str, tuple[dict, str]]:
    "Each page as pandoc's tree, and the warnings."
    done = {}
    for name, text in texts.items():
        run = subprocess.run(
            [pandoc(), "-f", "markdown", "-t", "json"], input=text, capture_output=True, text=True
        )
        assert run.returncode == 0, (name, run.stderr)
        done[name] = json.loads(run.stdout), run.stderr
    return done


def walk(node, kind: str):
    "All elements of one kind in a tree."
    if isinstance(node, dict):
        if node.get("t") == kind:
            yield node.get("c")
        for value in node.values():
            yield from walk(value, kind)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value, kind)


def words(inlines) -> str:
    return "".join(
        n["c"] if n["t"] == "Str" else "\n" if n["t"] == "SoftBreak" else " "
        for n in inlines
        if n["t"] in ("Str", "SoftBreak", "Space")
    )


def test_pandoc_reads_each_page_without_a_warning(trees):
    assert set(trees) == set(PAGES) and all(len(tree["blocks"]) >= 2 for tree, _ in trees.values())
    assert {name: warning for name, (_, warning) in trees.items() if warning} == {}


def test_pandoc_sees_the_same_anchors(trees, texts):
    "The rule for ids in this file is checked against pandoc's own."
    seen = 0
    for name, (tree, _) in trees.items():
        found = [attr[0] for _, attr, _ in walk(tree, "Header")]
        assert len(set(found)) == len(found), (
            name,
            [k for k, n in Counter(found).items() if n > 1],
        )
        mine = [i for i in ids(texts[name]) if not i.startswith("api-")]
        assert found == mine, (name, [pair for pair in zip(found, mine) if pair[0] != pair[1]])
        seen += len(found)
    assert seen > 500


def test_pandoc_reads_what_was_meant(trees):
    "No list glued to a paragraph, no word taken for a citation, no stray formula, no table left as text."
    strange, paragraphs = [], 0
    for name, (tree, _) in trees.items():
        strange += [(name, "citation", c) for c in walk(tree, "Cite")] + [
            (name, "formula", c) for c in walk(tree, "Math")
        ]
        strange += [
            (name, kind, c)
            for kind in ("Subscript", "Superscript", "Strikeout")
            for c in walk(tree, kind)
        ]
        for paragraph in walk(tree, "Para"):
            paragraphs += 1
            text = words(paragraph)
            if re.search(r"\n([-*+]|\d+[.)]) ", text):
                strange.append((name, "list without a blank line before it", text[:200]))
            if re.search(r"^\|.*\|", text):
                strange.append((name, "table", text[:200]))
            if re.search(r"\]\(|\*\*", text):
                strange.append((name, "markup left over", text[:200]))
    assert paragraphs > 800 and strange == []
