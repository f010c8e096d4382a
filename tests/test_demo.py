"""The page to ask on: its HTML over random text, and the page itself in a real browser, on a machine that nothing leaves."""

import html
import os
import re
import socket
import subprocess
import sys
import time
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings, strategies as st

from squadqa.demo import MAX_CONTEXT, MAX_QUESTION, answer_html, check_text, highlight, reply

CONTEXT = "Port Sorrel has 3 piers & a crane > 40 tonnes 🦀. Its café opens at 7."
HOSTILE = (
    "<script>window.hacked=1</script> <img src=x onerror='window.hacked=1'> </textarea></div><b>bold</b> ${window.hacked=1} "
    "{{value}} {{{value}}} &lt;i&gt; </mark> the crane lifts <b>40</b> tonnes"
)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_highlight_keeps_every_character(data):
    "Without its tags, and unescaped, the HTML is the context; what stands between the tags are the spans."
    context = data.draw(st.one_of(st.text(max_size=80), st.text("<>&\"';#amrk/ \n🦀", max_size=80)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(context)), max_size=8)))
    spans = list(pairwise(cuts))[data.draw(st.integers(0, 1)) :: 2]
    marked = highlight(context, data.draw(st.permutations(spans)))
    assert html.unescape(re.sub("</?mark>", "", marked)) == context
    assert [html.unescape(m) for m in re.findall("<mark>(.*?)</mark>", marked, re.S)] == [
        context[s:e] for s, e in spans
    ]
    assert set(re.findall("<[^>]*>", marked)) <= {"<mark>", "</mark>"}


def test_highlight_counts_characters():
    assert (
        highlight("a🦀b", [(1, 2)]) == "a<mark>🦀</mark>b"
        and highlight("e\u0301x", [(2, 3)]) == "e\u0301<mark>x</mark>"
    )
    assert highlight("<b>&", [(0, 4)]) == "<mark>&lt;b&gt;&amp;</mark>" and highlight("", []) == ""


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 3), (2, 4)],
        [(2, 4), (0, 3)],
        [(0, 3), (0, 3)],
        [(-1, 2)],
        [(3, 7)],
        [(6, 7)],
        [(2, 2)],
        [(3, 1)],
    ],
)
def test_highlight_refuses(spans):
    with pytest.raises(ValueError, match="overlaps|has 6 characters"):
        highlight("abcdef", spans)


def test_what_a_model_says_is_escaped():
    shown = answer_html(
        "<u>x",
        [
            {"score": 0.5, "start": 0, "end": 3, "answer": "<u>"},
            {"score": 0.1, "start": 0, "end": 0, "answer": ""},
        ],
    )
    assert "<u>" not in shown and shown.count("&lt;u&gt;") == 3

    def fails(question, context, **options):
        raise ValueError(f"no: {question}")

    assert "no: &lt;b&gt;" in reply(fails, "context", "<b>") and "<b>" not in reply(
        fails, "context", "<b>"
    )


def test_limits_are_inclusive():
    assert check_text("question", "x" * MAX_QUESTION, MAX_QUESTION)
    with pytest.raises(ValueError, match="has 1,001 characters"):
        check_text("question", "x" * (MAX_QUESTION + 1), MAX_QUESTION)


# A stand-in for a model, which finds the question's last word; a hook tells of every address outside of this machine.
SERVER = """
import ipaddress, sys
def local(host):
    try: return ipaddress.ip_address(host).is_loopback
    except ValueError: return host in ("localhost", None)
def hook(event, args):
    if event == "socket.getaddrinfo" and not local(args[0]): print("OUTSIDE", args[0], flush=True)
    if event == "socket.connect" and isinstance(args[1], tuple) and not local(args[1][0]): print("OUTSIDE", args[1], flush=True)
sys.addaudithook(hook)

def qa(question, context, *, top_k=1, handle_impossible_answer=False):
    assert type(top_k) is int and type(handle_impossible_answer) is bool
    word = question.split()[-1].rstrip("?")
    if word == "crash": raise RuntimeError("the secret of the server")
    start = context.rfind(word)
    found = [{"score": 0.0, "start": 0, "end": 0, "answer": ""}] if start < 0 or handle_impossible_answer else []
    if start >= 0: found[:0] = [{"score": 0.75 - i / 10, "start": start, "end": end, "answer": context[start:end]}
                                for i, end in enumerate(range(start + len(word), start, -1))]
    return found[0] if top_k == 1 else found[:top_k]

from squadqa.demo import serve
serve(qa, port=int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "A page in a process of its own, with settings around it that must not matter: a proxy, and the wish to share."
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'squadqa[demo]'")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = tmp_path_factory.mktemp("demo") / "log.txt"
    dead = dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
        "http://127.0.0.1:9",
    )
    wishes = {
        "GRADIO_SHARE": "True",
        "GRADIO_ANALYTICS_ENABLED": "True",
        "GRADIO_SERVER_NAME": "0.0.0.0",
    }
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(port)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | dead | wishes,
        )
    try:
        end = time.monotonic() + 180
        while "Ask on" not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, (
                f"the page did not start:\n{log.read_text()}"
            )
            time.sleep(0.1)
        yield {"url": f"http://127.0.0.1:{port}", "log": log, "pid": process.pid, "port": port}
    finally:
        process.terminate()
        process.wait(20)


class Page:
    "The page with names for what people do on it; it remembers which addresses were asked."

    def __init__(self, browser, url: str, **options):
        self.context = browser.new_context(locale="en-US", **options)
        self.page, self.asked = self.context.new_page(), []
        self.page.set_default_timeout(60_000)
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))
        self.page.goto(url)
        self.result = self.page.locator("#answer")

    def box(self, name: str):
        return self.page.get_by_role("textbox", name=name)

    def button(self, name: str):
        return self.page.get_by_role("button", name=name, exact=True)

    def ask(self, context: str, question: str, wait_for: str):
        "Type, press Enter, and wait until the result holds a text."
        self.box("Context").fill(context)
        self.box("Question").fill(question)
        self.box("Question").press("Enter")
        self.result.filter(has_text=wait_for).wait_for()

    def shown(self) -> str:
        return self.result.locator(".qa-context").text_content()

    def marks(self) -> list[str]:
        return self.result.locator("mark").all_text_contents()


@pytest.fixture()
def page(browser, server, request):
    opened = Page(browser, server["url"], **getattr(request, "param", {}))
    yield opened
    opened.context.close()
    hosts = {
        urlsplit(url).hostname
        for url in opened.asked
        if urlsplit(url).scheme not in ("data", "blob")
    }
    assert len(opened.asked) > 10 and hosts == {"127.0.0.1"}, (
        f"the page asked other machines: {hosts}"
    )


def test_answer_stands_marked_in_its_context(page):
    page.ask(CONTEXT, "Which crane?", "score 0.750")
    assert page.marks() == ["crane"] and page.shown() == CONTEXT
    assert page.result.locator(".qa-answer strong").text_content() == "crane"
    rows = page.result.locator("tbody tr")
    start = CONTEXT.index("crane")
    assert [rows.nth(i).locator("td").all_text_contents() for i in range(rows.count())] == [
        ["crane"[:n], score, str(start), str(start + n)]
        for n, score in ((5, "0.750"), (4, "0.650"), (3, "0.550"))
    ]


def test_context_stays_text(page):
    page.ask(HOSTILE, "How much <b>40", "score 0.750")
    assert page.shown() == HOSTILE and page.marks() == ["<b>40"]
    assert page.page.evaluate("typeof window.hacked") == "undefined"
    assert page.result.locator("script, img, b, i").count() == 0


@pytest.mark.parametrize(
    "context, question, said",
    [
        (CONTEXT, "", "The question is empty"),
        (CONTEXT, "   ", "The question is empty"),
        ("", "Who?", "The context is empty"),
        (
            "x" * (MAX_CONTEXT + 1),
            "Who?",
            "The context has 20,001 characters; this page takes 20,000",
        ),
        (CONTEXT, "x" * (MAX_QUESTION + 1), "The question has 1,001 characters"),
    ],
)
def test_what_cannot_be_asked_is_told(page, context, question, said):
    page.ask(context, question, said)
    assert (
        page.result.get_by_role("alert").count() == 1
        and page.marks() == []
        and "Traceback" not in page.page.content()
    )


def test_no_answer(page):
    page.page.get_by_label("The context may hold no answer").check()
    page.ask(CONTEXT, "Which lighthouse?", "No answer in this context")
    assert (
        page.marks() == []
        and page.shown() == CONTEXT
        and page.result.locator("tbody tr").count() == 1
    )


def test_fault_of_the_model_tells_no_secret(page):
    page.box("Question").fill("crash")
    page.box("Question").press("Enter")
    page.page.get_by_text("Error").first.wait_for()
    assert "secret" not in page.page.content() and "Traceback" not in page.page.content()
    page.ask(CONTEXT, "Which crane?", "score 0.750")  # and the next question is answered
    assert page.marks() == ["crane"]


def test_keyboard_alone_and_examples(page):
    first = page.box("Context").input_value()
    assert len(first) > 100  # something can be asked at once
    page.button("Who introduced the moka pot?").press("Enter")
    page.page.wait_for_function(
        "() => [...document.querySelectorAll('textarea')].some(t => t.value.startsWith('Arabica'))"
    )
    page.box("Question").fill("What is a peaberry")
    focused = "() => document.activeElement.innerText?.trim()"
    for _ in range(12):
        page.page.keyboard.press("Tab")
        if page.page.evaluate(focused) == "Ask":
            break
    assert page.page.evaluate(focused) == "Ask"
    page.page.keyboard.press("Enter")
    page.result.filter(has_text="score 0.750").wait_for()
    assert page.marks() == ["peaberry"] and page.shown() != first


def test_names_for_screen_readers(page):
    page.ask(CONTEXT, "Which crane?", "score 0.750")
    assert (
        page.page.get_by_role("slider", name="Answers to show").count() == 1
        and page.button("Ask").count() == 1
    )
    assert page.result.locator("[aria-live=polite]").count() == 1
    assert page.result.get_by_role("region", name="The context, answer marked").count() == 1
    assert page.result.get_by_role("columnheader").all_text_contents() == [
        "Rank",
        "Answer",
        "Score",
        "Start",
        "End",
    ]


def test_answer_deep_in_a_long_context_comes_into_view(page):
    page.ask("word " * 3900 + "needle", "Where is the needle?", "score 0.750")
    page.page.wait_for_function(
        "() => { const m = document.querySelector('#answer mark').getBoundingClientRect(),"
        "b = document.querySelector('.qa-context').getBoundingClientRect();"
        "return m.top >= b.top && m.bottom <= b.bottom + 1 && m.bottom <= innerHeight }"
    )


# Contrast as the Web Content Accessibility Guidelines define it; 4.5 is their demand for text.
CONTRAST = """selector => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = color => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data };
  const light = c => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => { const x = c[i] / 255; return sum + w * (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4) }, 0);
  return [...document.querySelectorAll(selector)].map(element => {
    let behind = element;
    while (behind.parentElement && rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
    const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(c => light(rgba(c))).sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  })
}"""


@pytest.mark.parametrize(
    "page",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}],
    indirect=True,
    ids=["light", "dark"],
)
def test_readable_in_light_and_dark(page, request):
    page.ask(CONTEXT, "Which crane?", "score 0.750")
    assert page.page.evaluate("() => document.body.classList.contains('dark')") == (
        request.node.callspec.id == "dark"
    )
    for selector in (
        "#answer mark",
        ".qa-answer",
        ".qa-context",
        "#answer td",
        "#answer th",
        "#answer caption",
        "button.primary",
        "textarea",
        "label",
        "label span",
        "label div",
        ".prose p",
    ):
        found = page.page.evaluate(CONTRAST, selector)
        assert found and min(found) >= 4.5, f"{selector}: {found}"
    page.ask(CONTEXT, "", "is empty")
    assert min(page.page.evaluate(CONTRAST, ".qa-problem")) >= 4.5


@pytest.mark.parametrize(
    "page", [{"viewport": {"width": 360, "height": 640}}], indirect=True, ids=["phone"]
)
def test_fits_a_phone(page):
    page.ask(CONTEXT + " " + "x" * 300, "Which crane?", "score 0.750")
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_line_is_bounded():
    "One question at a time is answered, so many may wait; the next is refused."
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'squadqa[demo]'")
    from squadqa.demo import MAX_WAITING, build_demo

    built = build_demo(lambda *a, **k: None, examples=[])
    assert built._queue.max_size == MAX_WAITING and {
        f.concurrency_limit for f in built.fns.values()
    } <= {1, "default"}
    assert built._queue.default_concurrency_limit == 1 and built.api_open is False


def test_server_is_reached_from_this_machine_only(server):
    "It listens on 127.0.0.1 alone, and has asked no other machine for anything: no news, no report, no tunnel."
    import psutil

    listening = {
        c.laddr
        for c in psutil.Process(server["pid"]).net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    }
    assert {(a.ip, a.port) for a in listening} == {("127.0.0.1", server["port"])}
    assert "OUTSIDE" not in server["log"].read_text(), server["log"].read_text()


def test_hook_hears(tmp_path):
    "The guard above can fail: the same hook hears of an address outside."
    hook = (
        SERVER.split("def qa(")[0]
        + "import socket\ntry: socket.create_connection(('192.0.2.1', 9), timeout=0.01)\nexcept OSError: pass"
    )
    assert (
        "OUTSIDE"
        in subprocess.run(
            [sys.executable, "-c", hook], capture_output=True, text=True, check=True
        ).stdout
    )
