"""The site in a browser: nothing cut off, readable light and dark, nothing from elsewhere, found.

SQUADQA_SITE names the site that Quarto made (the workflow that deploys sets it): then all of its
pages are measured, and its own search index. Elsewhere pandoc renders the processed pages.
"""

import functools
import json
import os
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pypandoc
import pytest
import site_probe
import yaml
from conftest import ROOT
from test_site import made, texts  # noqa: F401 - fixtures

sys.path.insert(0, str(ROOT / "tools"))
import reference

SITE = os.environ.get("SQUADQA_SITE")
# One page of each kind; `slow` measures all.
SAMPLE = (
    "index course/05_postprocessing course/07_trainer further/serving inside/backends glossary "
    "troubleshooting reference/index reference/inference"
).split()
TELLING = ["index", "course/05_postprocessing", "reference/inference"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def render_all(folder: Path, names: list[str], pages: Path) -> None:
    pandoc = pypandoc.get_pandoc_path()
    for name in names:
        page = next(p for p in pages.glob(f"{name}.*") if p.suffix in (".ipynb", ".qmd"))
        file = folder / f"{name}.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(site_probe.render(page, ROOT, pandoc), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request) -> Path:
    "The pages as HTML: Quarto's, or those that pandoc makes."
    if SITE:
        found = (ROOT / SITE).resolve()
        assert (found / "index.html").exists(), f"SQUADQA_SITE={SITE}: there is no site"
        return found
    made_pages = request.getfixturevalue("made")
    rendered = tmp_path_factory.mktemp("pages")
    render_all(rendered, SAMPLE, made_pages)
    (rendered / "assets").symlink_to(ROOT / "nbs" / "assets")
    return rendered


@pytest.fixture(scope="module")
def address(folder):
    "Where the pages are served, on this machine."
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def look(browser, address: str, names: list[str], width: int, scheme: str, ask: str, script=None):
    "What `ask` tells of each page, and what the pages wanted from other hosts."
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, told, elsewhere = context.new_page(), {}, set()
    page.route(lambda url: not url.startswith((address, "data:")), lambda route: route.abort())
    page.on("requestfailed", lambda r: elsewhere.add(r.url))
    for name in names:
        page.goto(f"{address}/{name}.html", wait_until="load")
        if script:
            page.evaluate(script)
        told[name] = page.evaluate(ask)
    context.close()
    return told, {url for url in elsewhere if not url.startswith(address)}


def assert_whole(browser, address: str, names: list[str]) -> None:
    "Nothing is cut off, nothing scrolls sideways, no id twice, nothing from other hosts."
    for width in (1280, 390):
        told, elsewhere = look(browser, address, names, width, "light", site_probe.MEASURE)
        assert sum(page["looked"] for page in told.values()) > 8 * len(names)
        assert sum(page["ids"] for page in told.values()) > 5 * len(names)
        for key, nothing in site_probe.NOTHING.items():
            wrong = {name: page[key] for name, page in told.items() if page[key] != nothing}
            assert wrong == {}, (width, key)
        assert elsewhere == set()


def assert_accessible(browser, address: str, names: list[str]) -> None:
    for scheme in ("light", "dark"):
        script = site_probe.axe_script()
        told, _ = look(browser, address, names, 1280, scheme, site_probe.axe(scheme), script)
        assert all(page["passes"] > 5 for page in told.values()), "axe looked at nothing"
        wrong = {name: page["violations"] for name, page in told.items() if page["violations"]}
        assert wrong == {}, scheme


def test_pages_are_whole_on_a_screen_and_on_a_phone(browser, address):
    assert_whole(browser, address, SAMPLE)


def test_pages_are_accessible_in_light_and_dark(browser, address):
    assert_accessible(browser, address, TELLING)


@pytest.mark.slow  # all pages through pandoc, and each in the browser
@pytest.mark.timeout(1500)  # 370 s were seen on two cores, beside another worker
def test_all_pages_are_whole_and_accessible(browser, tmp_path, request):
    if SITE:
        folder = request.getfixturevalue("folder")
        names = [p.relative_to(folder).as_posix()[:-5] for p in folder.rglob("*.html")]
        names = [name for name in names if not name.startswith(("ask/", "site_libs/"))]
    else:
        folder, made_pages = tmp_path, request.getfixturevalue("made")
        paths = [p for p in made_pages.rglob("*") if p.suffix in (".ipynb", ".qmd")]
        names = [p.relative_to(made_pages).with_suffix("").as_posix() for p in paths]
        render_all(folder, names, made_pages)
        (folder / "assets").symlink_to(ROOT / "nbs" / "assets")
    assert len(names) > 75
    handler = functools.partial(Quiet, directory=folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    told, elsewhere = look(browser, address, names, 390, "light", site_probe.MEASURE)
    for key, nothing in site_probe.NOTHING.items():
        wrong = {name: page[key] for name, page in told.items() if page[key] != nothing}
        assert wrong == {}, key
    assert elsewhere == set()
    assert_accessible(browser, address, names)
    server.shutdown()


def test_a_fault_is_seen(browser, tmp_path):
    "The measures themselves: a page with each fault is found guilty of it."
    (tmp_path / "bad.html").write_text(
        "<!doctype html><title>x</title><body><main><pre style='overflow:hidden;width:50px'>"
        f"{'x' * 300}</pre><p id='a' style='color:#ccc'>grey</p><p id='a'>twice</p>"
        "<table><td style='max-width:50px;overflow-wrap:anywhere'>onelongword</td></table>"
        "<div style='width:3000px'>wide</div><img src='https://example.org/x.png'></main>"
    )
    handler = functools.partial(Quiet, directory=tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    told, elsewhere = look(browser, address, ["bad"], 390, "light", site_probe.MEASURE)
    bad = told["bad"]
    assert bad["cut"] and bad["sideways"] > 1000 and bad["twice"] == ["a"] and bad["outside"]
    assert bad["broken"] == ["onelongword"]
    assert elsewhere == {"https://example.org/x.png"}
    script = site_probe.axe_script()
    for scheme, rules in (("light", {"color-contrast", "image-alt"}), ("dark", {"color-contrast"})):
        told, _ = look(browser, address, ["bad"], 390, scheme, site_probe.axe(scheme), script)
        assert rules <= {rule for rule, *_ in told["bad"]["violations"]}, scheme
    server.shutdown()


# --- search


@pytest.fixture(scope="module")
def index(request) -> list[dict]:
    "Quarto's search.json, or the same made from the pages."
    if SITE:
        return json.loads((ROOT / SITE / "search.json").read_text(encoding="utf-8"))
    found = []
    for name, text in request.getfixturevalue("texts").items():
        head = yaml.safe_load(text.split("---\n")[1])
        if head.get("search", True):
            found += site_probe.documents(name, head["title"], text.split("---\n", 2)[2])
    return found


def test_search_holds_every_public_name(index):
    have = {(entry["href"], entry["section"]) for entry in index}
    count = 0
    for module, nodes in reference.public_names(ROOT).items():
        for node in nodes:
            count += 1
            wanted = f"reference/{module}.html#{reference.anchor(node.name)}"
            assert (wanted, node.name) in have, f"{module}.{node.name}"
    assert count > 150


QUESTIONS = {
    "how do I train on my own data": "troubleshooting.html#own-data",
    "own data": "further/own_data.html",
    "CUDA out of memory": "troubleshooting.html#out-of-memory",
    "QuestionAnswerer": "reference/inference.html#api-QuestionAnswerer",
    "stride": "troubleshooting.html#stride",
    "no answer": "further/no_answer.html",
    "fine_tune": "reference/trainer.html#api-fine_tune",
    "restore_pipeline": "reference/inference.html#api-restore_pipeline",
    "load_squad": "reference/data.html#api-load_squad",
    "NaN": "troubleshooting.html#nan",
    "offline": "troubleshooting.html#offline",
    "IndexError": "troubleshooting.html#indexerror",
    "backends": "inside/backends.html",
    "It is slow": "troubleshooting.html#slow",
    "glossary": "glossary.html",
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_finds_its_section_first_or_second(index, question):
    "Hits of one page stand together in the search box, so pages are counted."
    hits = site_probe.rank(question, index)
    wanted = QUESTIONS[question]
    pages = list(dict.fromkeys(hit.partition("#")[0] for hit in hits))
    assert wanted.partition("#")[0] in pages[:2], pages[:5]
    if "#" in wanted:
        own = [hit for hit in hits if hit.startswith(wanted.partition("#")[0])]
        assert wanted in own[:2], own[:4]
