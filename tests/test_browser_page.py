"""The page that answers by itself: in Chromium, without a network, the same spans as in Python."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest
from conftest import ROOT

from squadqa import export
from squadqa.answering import tokenize_contexts
from squadqa.data import load_squad
from squadqa.export import PACKAGES, export_model
from squadqa.inference import QuestionAnswerer

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

TEXTS = [
    "Café, cafe\u0301 and Cafe\u0301\u0301 — naïve İstanbul, ΟΔΟΣ Straße",
    "日本の𠮷野家 and 한국어, 中文；“quotes”",
    "🛥️ 👨‍👩‍👧 and 1½² ﬁve ﷺ",
    "[MASK] or [SEP]? [UNK]! a-b_c don't",
    "\t tabs \u00a0 and\nlines\u200d\u00ad of\x00 nothing \ufffd",
    "العربية 12٬345 हिन्दी ไทย",
    "x" * 150 + " long words " + "antidisestablishmentarianism",
    "",
    " ",
]


def units(text: str, place: int) -> int:
    "A place in characters as JavaScript counts: an emoji is two."
    return len(text[:place].encode("utf-16-le")) // 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "The starter's page."
    try:
        for package in PACKAGES:
            export.npm_archive(package)
    except ValueError as e:
        pytest.skip(f"npm's files cannot be had: {e}")
    return export_model("starter", tmp_path_factory.mktemp("page") / "ask", format="web")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(folder):
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()


@pytest.fixture(scope="module")
def python(folder):
    "The engine of the same precision: it reads the same file."
    return QuestionAnswerer(folder, backend="onnx")


class Opened:
    "The page in a browser that reaches this machine only; it remembers what was asked for."

    def __init__(self, browser, address: str, **options):
        self.context = browser.new_context(locale="en-US", **options)
        self.page, self.asked, self.told = self.context.new_page(), [], []
        self.page.set_default_timeout(120_000)
        self.context.route("**/*", self.only_here)
        self.page.on("console", lambda message: self.told.append(message.text))
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        self.page.goto(address)

    def only_here(self, route):
        self.asked.append(route.request.url)
        here = urlsplit(route.request.url).hostname == "127.0.0.1"
        route.continue_() if here else route.abort()

    def ready(self):
        self.page.locator("body[data-state=ready]").wait_for()
        return self

    def answers(self, pairs: list) -> list[dict]:
        "The best answer of each question, from the page's own worker."
        ask = """async (pairs) => {
            const found = [];
            for (const [question, text] of pairs) found.push((await askWorker(question, text))[0]);
            return found;
        }"""
        return self.page.evaluate(ask, pairs)


@pytest.fixture(scope="module")
def opened(browser, address):
    opened = Opened(browser, address).ready()
    yield opened
    opened.context.close()


def assert_same_spans(rows, opened, python):
    pairs = [(row["question"], row["context"]) for row in rows]
    found = [a for i in range(0, len(pairs), 10) for a in opened.answers(pairs[i : i + 10])]
    expected = python([question for question, _ in pairs], [context for _, context in pairs])
    for (_, text), here, there in zip(pairs, found, expected, strict=True):
        assert here["answer"] == there["answer"]
        assert here["start"] == units(text, there["start"])
        assert here["end"] == units(text, there["end"])
        assert here["score"] == pytest.approx(there["score"], abs=1e-3)


def test_the_same_spans_as_python(opened, python):
    "Six questions, each about another text."
    rows = load_squad()["validation"]
    assert_same_spans(rows.select(range(0, 120, 20)), opened, python)


@pytest.mark.slow  # two minutes: 120 questions, one after the other
def test_the_same_spans_as_python_on_the_whole_sample(opened, python):
    rows = load_squad()["validation"]
    assert len(rows) == 120
    assert_same_spans(rows, opened, python)


def test_long_texts_are_read_in_the_same_windows(opened, python):
    "Several windows; the answer is in the last one, behind an emoji."
    text = "The keeper 🛥️ wrote letters about the weather to nobody. " * 60
    text += "The cat is called Pixel."
    question = "What is the cat called?"
    assert len(python.prepare([(question, text)])[0].windows) > 2
    (found,), expected = opened.answers([(question, text)]), python(question, text)
    assert found["answer"] == expected["answer"] and "Pixel" in found["answer"]
    assert found["start"] == units(text, expected["start"])
    assert found["score"] == pytest.approx(expected["score"], abs=1e-3)


def test_nobody_else_is_asked(opened):
    "Every file came from this machine, and the page said nothing to the console."
    assert len(opened.asked) > 10 and opened.told == []
    assert {urlsplit(url).hostname for url in opened.asked} == {"127.0.0.1"}


def test_the_policy_lets_nothing_out(opened):
    "Even a script of the page could not reach another host."
    tried = "fetch('https://example.org/').then(() => 'reached', () => 'refused')"
    before = len(opened.asked)
    assert opened.page.evaluate(tried) == "refused"
    assert len(opened.asked) == before  # stopped by the page itself, before the network
    opened.told.clear()  # the browser tells of it


def test_asking_on_the_page(opened):
    page = opened.page
    page.get_by_label("Text", exact=True).fill("A <b>ferry</b> leaves Gråvik at nine.")
    page.get_by_label("Question").fill("When does the ferry leave?")
    page.get_by_label("Question").press("Enter")
    page.get_by_role("status").filter(has_text="Answer: nine").wait_for()
    marked = page.get_by_role("region", name="The text, with the answer marked")
    assert marked.text_content() == "A <b>ferry</b> leaves Gråvik at nine."
    assert marked.locator("mark").all_text_contents()[0].startswith("nine")
    assert page.locator("#answers tr").count() == 3
    assert page.get_by_role("button", name="Ask").is_enabled()


def test_the_examples_are_there(opened):
    page = opened.page
    questions = page.get_by_label("Or try").locator("option").all_text_contents()
    assert len(questions) > 2
    page.get_by_label("Or try").select_option(label=questions[1])
    assert page.get_by_label("Question").input_value() == questions[1]


def test_a_question_that_is_too_long_is_told(opened):
    page = opened.page
    page.get_by_label("Text", exact=True).fill("word " * 400)
    page.get_by_label("Question").fill("why " * 380)
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("status").filter(has_text="shorten the question").wait_for()
    assert page.locator("#result").is_hidden()


def test_no_answer(opened, python):
    "The threshold of the folder decides, as in Python."
    ask = """([question, text]) => askWorker(question, text, { topK: 2, mayBeEmpty: true })"""
    for question in ("What is the cat called?", "Who painted the moon?"):
        text = "The keeper's cat, Pixel, waits on the quay."
        found = opened.page.evaluate(ask, [question, text])
        expected = python(question, text, top_k=2, handle_impossible_answer=True)
        assert [a["answer"] for a in found] == [a["answer"] for a in expected]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser, address, scheme):
    "Nothing is cut off, and the page takes the colours that the device asks for."
    size = {"width": 360, "height": 700}
    phone = Opened(browser, address, viewport=size, color_scheme=scheme)
    page = phone.page
    page.locator("#example option").first.wait_for(state="attached")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    black = page.evaluate("getComputedStyle(document.documentElement).color") == "rgb(0, 0, 0)"
    assert black == (scheme == "light")
    phone.context.close()


def test_keyboard_alone(opened):
    "Tab goes from the text to the question and on to the button; the marked text can be scrolled."
    page = opened.page
    page.get_by_label("Text", exact=True).focus()
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["question", "ask", "may-be-empty", "example"]
    assert page.locator("#marked").get_attribute("tabindex") == "0"


def test_opened_as_a_file_it_says_what_to_do(browser, folder):
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    page.get_by_role("status").filter(has_text="python -m http.server").wait_for()
    page.close()


# --- the reader, in Node


@pytest.fixture(scope="module")
def node(folder):
    if not shutil.which("node"):
        pytest.skip("there is no node")
    return folder


def run_node(folder, script: str, given) -> list:
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        input=json.dumps(given),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


READ = """
import { readFileSync } from "node:fs";
import { Tokenizer } from "./vendor/tokenizers.min.mjs";
import { Reader } from "./squadqa.mjs";
const json = (name) => JSON.parse(readFileSync(name, "utf-8"));
const about = json("tokenizer.json");
const reader = new Reader(new Tokenizer(about, json("tokenizer_config.json")), about);
const texts = JSON.parse(readFileSync(0, "utf-8"));
const found = texts.map((text) => reader.read(text)).map((r) => [r.ids, r.starts, r.ends]);
console.log(JSON.stringify(found));
"""


def assert_read_alike(folder, texts: list[str], tokenizer):
    found = run_node(folder, READ, texts)
    options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
    for text, read in zip(texts, found, strict=True):
        expected = tokenizer(text, **options)
        starts, ends = zip(*expected["offset_mapping"], strict=True) if len(read[0]) else ((), ())
        assert read[0] == expected["input_ids"], text
        assert read[1] == [units(text, place) for place in starts], text
        assert read[2] == [units(text, place) for place in ends], text


def test_every_character_of_the_sample(node, python):
    data = load_squad()
    rows = [row for split in data.values() for row in split]
    texts = {row["context"] for row in rows} | {row["question"].strip() for row in rows}
    assert len(texts) > 400
    assert_read_alike(node, sorted(texts), python.tokenizer)


def test_every_character_of_odd_texts(node, python):
    assert_read_alike(node, TEXTS, python.tokenizer)


MARKED = READ.replace("{ Reader }", "{ Reader, keepMarks }").replace(
    "reader.read(text))", "keepMarks(text, reader.read(text)))"
)


def test_an_answer_keeps_its_last_accent(node, python):
    texts = [
        "The capital is Bogota\u0301 and",
        "I \u2764\ufe0f it",
        "a\u0301\u0300",
        "cafe",
        "\u0301",
    ]
    found = run_node(node, MARKED, texts)
    known = tokenize_contexts(python.tokenizer, texts)
    for text, (_, starts, ends) in zip(texts, found, strict=True):
        places = known[text].offsets.tolist()
        assert [starts, ends] == [[p[0] for p in places], [p[1] for p in places]], text
    assert found[0][2][3] == len("The capital is Bogota\u0301")


def test_every_character_that_is_not_newer_than_the_tokenizer(node, python):
    "One of each 7 up to U+30000; 504 of all are in other classes, since Unicode has grown."
    import unicodedata

    old, new = unicodedata.ucd_3_2_0.category, unicodedata.category
    codes = [chr(c) for c in range(1, 0x30000, 7) if not 0xD800 <= c < 0xE000]
    known = [c for c in codes if old(c) == new(c) not in ("Cn", "Co")]
    assert len(known) > 10_000
    assert_read_alike(node, [f"a{c}b {c} x" for c in known], python.tokenizer)


def test_a_cased_tokenizer(node, tmp_path):
    "Accents and capitals stay where the tokenizer keeps them."
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "Zürich", "É", "##é", "und"]
    vocab = {word: i for i, word in enumerate(words)}
    made = BertWordPieceTokenizer(vocab, lowercase=False, strip_accents=False)
    tokenizer = BertTokenizerFast(tokenizer_object=made._tokenizer, do_lower_case=False)
    tokenizer.save_pretrained(tmp_path)
    shutil.copytree(node / "vendor", tmp_path / "vendor")
    shutil.copy(node / "squadqa.mjs", tmp_path)
    assert_read_alike(tmp_path, ["Zürich und Éé zürich", "b a"], tokenizer)


def test_the_snippet_of_the_card_runs(node, tmp_path):
    "The card's JavaScript, with the files of the page in the place of npm's."
    out = export_model("starter", tmp_path / "js", dtype="int8-weights")
    shutil.copytree(node / "vendor", out / "vendor")
    code = re.search(r"```js\n(.*?)```", (out / "README.md").read_text(), re.S)[1]
    for name, file in (
        ("onnxruntime-web", "ort.wasm.bundle.min.mjs"),
        ("@huggingface/tokenizers", "tokenizers.min.mjs"),
    ):
        assert code.count(f'"{name}"') == 1
        code = code.replace(f'"{name}"', f'"./vendor/{file}"')
    binary = 'ort.env.wasm.wasmBinary = await fetchFile("vendor/ort-wasm-simd-threaded.wasm");'
    code = code.replace("const qa =", f"{binary}\nort.env.wasm.numThreads = 1;\nconst qa =")
    (out / "ask.mjs").write_text(code)
    done = subprocess.run(["node", "ask.mjs"], cwd=out, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"answer: 'nine\.?'", done.stdout)


# --- the site


@pytest.fixture(scope="module")
def pages():
    sys.path.insert(0, str(ROOT / "tools"))
    import pages

    return pages


def test_the_site_gets_the_page(folder, pages, tmp_path):
    assert pages.add_ask_page(tmp_path) == "the page that answers by itself is in ask"
    names = {path.name for path in folder.iterdir()}
    assert {path.name for path in (tmp_path / "ask").iterdir()} == names


def test_a_site_without_the_page_says_so(pages, tmp_path, monkeypatch):
    def unreachable(package):
        raise ValueError("npm cannot be reached")

    monkeypatch.setattr(export, "npm_archive", unreachable)
    told = pages.add_ask_page(tmp_path)
    assert told == "the page that answers by itself is left out: npm cannot be reached"
    assert [path.name for path in (tmp_path / "ask").iterdir()] == ["index.html"]
    assert "squadqa export starter --format web" in (tmp_path / "ask/index.html").read_text()


def test_pages_with_a_box_that_answers(pages):
    for page, up in (("index.ipynb", ""), ("course/00_first_answer.ipynb", "../")):
        text = "\n".join(cell.source for cell in pages.make_page(ROOT, page).cells)
        assert text.count(f'<iframe src="{up}ask/index.html"') == 1
        assert 'loading="lazy"' in text


def test_the_templates_are_in_the_package():
    web = ROOT / "squadqa" / "templates" / "web"
    names = {path.name for path in web.iterdir()}
    assert names == {"index.html", "page.css", "page.js", "worker.mjs", "squadqa.mjs"}
    for path in web.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        wide = [line for line in lines if len(line) > 100 and "Content-Security-Policy" not in line]
        assert not wide, (path, wide)
        assert not any("http:" in line or "https:" in line for line in lines), path
