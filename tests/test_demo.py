"""The page to ask on: its HTML over random text, what it refuses, and a real browser."""

import html
import http.client
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from demo_server import stand_in
from hypothesis import given, settings, strategies as st

from squadqa.data import load_squad
from squadqa.demo import (
    MAX_BODY,
    MAX_CONTEXT,
    MAX_QUESTION,
    MAX_WAITING,
    MAX_WINDOWS,
    Guard,
    RunningPage,
    answer_html,
    answers_table,
    check_text,
    highlight,
    reply,
    sample_questions,
    serve,
)

CONTEXT = "Port Sorrel has 3 piers & a crane > 40 tonnes 🦀. Its café opens at 7."
HOSTILE = (
    "<script>window.hacked=1</script> <img src=x onerror='window.hacked=1'> </textarea></div>"
    "<b>bold</b> ${window.hacked=1} {{value}} {{{value}}} &lt;i&gt; </mark> "
    "the crane lifts <b>40</b> tonnes"
)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_highlight_keeps_every_character(data):
    "Without its tags, and unescaped, the HTML is the context; between the tags are the spans."
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
    for empty in ("", " \n", None):
        with pytest.raises(ValueError, match="The context is empty"):
            check_text("context", empty, MAX_CONTEXT)


def test_empty_answers():
    nothing = {"score": 0.2, "start": 0, "end": 0, "answer": ""}
    some = {"score": 0.1, "start": 0, "end": 4, "answer": "Port"}
    assert "No answer in this context</em> (score 0.200)" in answer_html(CONTEXT, [nothing, some])
    assert "<mark>" not in answer_html(CONTEXT, [nothing, some])
    table = answers_table([some, nothing])
    assert table.count("<tr>") == 3 or table.count('scope="row"') == 2
    assert "<em>no answer</em>" in table


class Slow:
    "A model of which each call would take for ever, with windows to count"

    def prepare(self, pairs, options=None):
        ((question, context),) = pairs
        return [type("Asked", (), {"windows": [0] * len(context.split())})]

    def __call__(self, question, context, *, top_k, handle_impossible_answer):
        assert 1 <= top_k <= 10
        return [{"score": 1.0, "start": 0, "end": 1, "answer": context[0]}]


def test_work_is_bounded():
    "What would keep the model busy for long is refused before the work."
    assert "<mark>x</mark>" in reply(Slow(), "x " * MAX_WINDOWS, "Who?")
    refused = reply(Slow(), "x " * (MAX_WINDOWS + 1), "Who?")
    assert f"would read {MAX_WINDOWS + 1} windows" in refused and "<mark>" not in refused


@pytest.mark.parametrize("top_k", [0, -1, 10**9, 1.5])
def test_number_of_answers_is_bounded(top_k):
    assert "<mark>x</mark>" in reply(Slow(), "x", "Who?", top_k)
    assert 'role="alert"' in reply(Slow(), "x", "Who?", float("inf"))


def test_windows_of_a_real_model(qa):
    "A long question makes many windows of a context that is allowed."
    context = ((sample_questions()[0][0] + " ") * 100)[:MAX_CONTEXT]
    start = time.monotonic()
    assert "Shorten the question" in reply(qa, context, "where " * 166)
    assert time.monotonic() - start < 10


def test_buttons_are_answered_rightly(qa):
    answers = {
        row["question"].strip(): row["answers"]["text"] for row in load_squad()["validation"]
    }
    for context, question in sample_questions():
        (marked,) = re.findall("<mark>(.*?)</mark>", reply(qa, context, question, 1))
        assert any(a in html.unescape(marked) for a in answers[question]), (question, marked)


@pytest.fixture(scope="module")
def qa():
    from squadqa.inference import QuestionAnswerer

    return QuestionAnswerer("starter")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "A page in a process of its own; settings around it, like a proxy, must not matter."
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
        "GRADIO_ALLOWED_PATHS": "/",
        "GRADIO_MCP_SERVER": "True",
        "GRADIO_ROOT_PATH": "http://192.0.2.1",
    }
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("demo_server.py"), str(port)],
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_context_stays_text(page):
    page.ask(HOSTILE, "How much <b>40", "score 0.750")
    assert page.shown() == HOSTILE and page.marks() == ["<b>40"]
    assert page.page.evaluate("typeof window.hacked") == "undefined"
    assert page.result.locator("script, img, b, i").count() == 0


@pytest.mark.slow
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


@pytest.mark.slow
def test_no_answer(page):
    page.page.get_by_label("The context may hold no answer").check()
    page.ask(CONTEXT, "Which lighthouse?", "No answer in this context")
    assert (
        page.marks() == []
        and page.shown() == CONTEXT
        and page.result.locator("tbody tr").count() == 1
    )


@pytest.mark.slow
def test_fault_of_the_model_tells_no_secret(page):
    page.box("Question").fill("crash")
    page.box("Question").press("Enter")
    page.page.get_by_text("Error").first.wait_for()
    assert "secret" not in page.page.content() and "Traceback" not in page.page.content()
    page.ask(CONTEXT, "Which crane?", "score 0.750")  # and the next question is answered
    assert page.marks() == ["crane"]


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const linear = x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  const weights = [0.2126, 0.7152, 0.0722];
  const light = c => weights.reduce((sum, w, i) => sum + w * linear(c[i] / 255), 0);
  return [...document.querySelectorAll(selector)].map(element => {
    let behind = element;
    while (behind.parentElement && rgba(getComputedStyle(behind).backgroundColor)[3] < 255)
      behind = behind.parentElement;
    const colors = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
    const [a, b] = colors.map(c => light(rgba(c))).sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
}"""


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [{"viewport": {"width": 360, "height": 640}}], indirect=True, ids=["phone"]
)
def test_fits_a_phone(page):
    page.ask(CONTEXT + " " + "x" * 300, "Which crane?", "score 0.750")
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= 360


# What programs send, and not the page


def send(server, method, path, body=None, **headers):
    "One request, as any program on this machine could make it: status and text."
    connection = http.client.HTTPConnection("127.0.0.1", server["port"], timeout=300)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def ask_number(server):
    "Gradio's number for the event that asks."
    status, text = send(server, "GET", "/config")
    assert status == 200
    return next(d["id"] for d in json.loads(text)["dependencies"] if len(d["inputs"]) == 4)


def join(server, number, data):
    "Stand in line: status, and the name of the session or what was said."
    session = uuid.uuid4().hex
    body = json.dumps({"data": data, "fn_index": number, "session_hash": session})
    kind = {"Content_Type": "application/json"}
    status, text = send(server, "POST", "/gradio_api/queue/join", body, **kind)
    return status, session if status == 200 else text


def ask_page(server, number, context, question, top_k=3):
    "Ask as the page does, and wait for the HTML."
    status, session = join(server, number, [context, question, top_k, False])
    assert status == 200, session
    status, text = send(server, "GET", f"/gradio_api/queue/data?session_hash={session}")
    messages = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:")]
    done = next(m for m in messages if m["msg"] == "process_completed")
    assert done["success"], done
    return done["output"]["data"][0]


def test_foreign_pages_and_names_are_refused(server):
    port = server["port"]
    own = (f"127.0.0.1:{port}", f"localhost:{port}")
    for host in own:
        assert send(server, "GET", "/", Host=host)[0] == 200
        assert send(server, "GET", "/", Host=host, Origin=f"http://{host}")[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
        assert send(server, "GET", "/", Host=host)[0] == 403, host
        assert send(server, "POST", "/gradio_api/queue/join", "{}", Host=host)[0] == 403, host
    for origin in ("http://evil.example", "null", f"https://{own[0]}", "http://localhost", ""):
        for method, path in (("GET", "/config"), ("POST", "/gradio_api/queue/join")):
            body = "{}" if method == "POST" else None
            assert send(server, method, path, body, Origin=origin)[0] == 403, origin
        assert send(server, "OPTIONS", "/gradio_api/queue/join", Origin=origin)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/assets/../../../../../../../../etc/passwd",
        "/static/..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/mcp/sse",
        "/monitoring",
        "/docs",
        "/gradio_api/upload_progress?upload_id=x",
        "/gradio_api/vibe-code",
    ],
)
def test_nothing_else_is_served(server, path):
    status, text = send(server, "GET", path)
    assert status in (403, 404) and "root:" not in text


def test_uploads_are_refused(server):
    part = (
        '--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nab\r\n--x--\r\n'
    )
    kind = {"Content_Type": "multipart/form-data; boundary=x"}
    for path in ("/gradio_api/upload", "/upload", "/gradio_api/process_recording"):
        for method in ("POST", "PUT"):
            assert send(server, method, path, part, **kind)[0] == 404


def test_the_guard_refuses_a_request_of_two_sizes():
    "A transfer-encoding goes before a content-length, which could be a lie."
    guard = Guard(None, 7860)
    headers = [(b"host", b"localhost:7860"), (b"content-length", b"10")]
    scope = {"method": "POST", "path": "/gradio_api/queue/join", "headers": headers}
    assert guard.refusal(scope) is None
    headers.append((b"transfer-encoding", b"chunked"))
    assert guard.refusal(scope)[0] == 411


def test_large_requests_are_refused(server, ask_number):
    path = "/gradio_api/queue/join"
    assert send(server, "POST", path, "x" * (MAX_BODY + 1))[0] == 413
    assert send(server, "POST", path, iter([b"x"] * 10), Transfer_Encoding="chunked")[0] == 411
    assert send(server, "POST", path, "[" * MAX_BODY)[0] in (400, 422)
    largest = "🦀" * MAX_CONTEXT  # twelve bytes a character, as JSON writes it
    assert "<mark>🦀</mark>" in ask_page(server, ask_number, largest, "🦀", 1)


@pytest.mark.parametrize(
    "data",
    [
        [],
        [CONTEXT],
        [CONTEXT, "Which crane?", 10**9, False],
        [CONTEXT, "Which crane?", "many", False],
        [{"a": 1}, ["b"], None, "x"],
        [None, None, None, None],
        ["\ud800", "\ud800?", 1, False],
    ],
)
def test_odd_requests_do_no_harm(server, ask_number, data):
    "What the page would never send: no traceback, and the next question is answered."
    status, session = join(server, ask_number, data)
    if status == 200:
        text = send(server, "GET", f"/gradio_api/queue/data?session_hash={session}")[1]
        assert "Traceback" not in text and 'File \\"' not in text
    assert "<mark>crane</mark>" in ask_page(server, ask_number, CONTEXT, "Which crane?")


@pytest.mark.parametrize(
    "path, body",
    [
        ("queue/join", {"data": [], "fn_index": 10**20, "session_hash": "odd"}),
        ("cancel", {"session_hash": "\ud800", "fn_index": 0, "event_id": "x"}),
        ("cancel", {"session_hash": "odd", "fn_index": float("nan"), "event_id": "x"}),
    ],
)
def test_crafted_requests_print_no_traceback(server, ask_number, path, body):
    "A line in the terminal is enough."
    kind, before = {"Content_Type": "application/json"}, len(server["log"].read_text())
    status, _ = send(server, "POST", f"/gradio_api/{path}", json.dumps(body), **kind)
    assert status >= 400 or path == "cancel"
    assert "<mark>crane</mark>" in ask_page(server, ask_number, CONTEXT, "Which crane?")
    assert "Traceback" not in server["log"].read_text()[before:]


def test_who_has_gone_is_not_answered(server, ask_number):
    "Twelve ask, and eleven close the page: only what was begun before is computed."
    before = server["log"].read_text().count("SLOW")
    sockets = []
    for _ in range(12):
        status, session = join(server, ask_number, [CONTEXT, "Is it slow", 1, False])
        assert status == 200
        connection = http.client.HTTPConnection("127.0.0.1", server["port"], timeout=60)
        connection.request("GET", f"/gradio_api/queue/data?session_hash={session}")
        sockets.append(connection)
    for connection in sockets:
        connection.close()
    assert "<mark>crane</mark>" in ask_page(server, ask_number, CONTEXT, "Which crane?")
    assert server["log"].read_text().count("SLOW") - before < 9


def many(server, number, count, at_once):
    "Ask many questions at the same time; each answer must be the one of its own question."
    contexts = [f"Pier {i} has a lamp {i % 7}, " * (1 + i % 5) for i in range(count)]
    pairs = [(context, f"Which lamp {i % 7}?") for i, context in enumerate(contexts)]
    wanted = [reply(stand_in, *pair, 1 + i % 3) for i, pair in enumerate(pairs)]
    with ThreadPoolExecutor(at_once) as pool:
        tops = [1 + i % 3 for i in range(count)]
        found = list(pool.map(lambda pair, k: ask_page(server, number, *pair, k), pairs, tops))
    assert found == wanted


def test_sixty_questions_twenty_at_a_time(server, ask_number):
    many(server, ask_number, 60, 20)


def test_the_line_cannot_be_passed_by(server, ask_number):
    "The route that fills in the examples answers no question at once."
    body = json.dumps({"data": [CONTEXT, "Which crane?", 1, False], "fn_index": ask_number})
    kind = {"Content_Type": "application/json"}
    status, text = send(server, "POST", "/gradio_api/run/predict", body, **kind)
    assert status == 404 and "crane" not in text


@pytest.mark.slow
def test_thousand_questions_fifty_at_a_time_in_flat_memory(server, ask_number):
    import psutil

    many(server, ask_number, 1000, 50)
    before = psutil.Process(server["pid"]).memory_info().rss
    many(server, ask_number, 1000, 50)
    assert psutil.Process(server["pid"]).memory_info().rss - before < 60e6


def test_line_is_bounded_and_tells_the_place(server, ask_number):
    "Who waits is told the place in line; more than fit are refused, and nobody in line is lost."
    joined = [join(server, ask_number, [CONTEXT, "Is it slow", 1, False]) for _ in range(4)]
    text = send(server, "GET", f"/gradio_api/queue/data?session_hash={joined[-1][1]}")[1]
    assert '"msg":"estimation"' in text and '"rank":' in text and '"queue_size":' in text
    assert MAX_WAITING >= 200


def test_port_is_taken_or_odd(server):
    with pytest.raises(ValueError, match=f"port {server['port']} is taken"):
        serve(print, port=server["port"])
    for port in (80, -1, 65536):
        with pytest.raises(ValueError, match="not one of 1024 to 65535"):
            serve(print, port=port)


def test_page_in_a_thread(capsys):
    "`wait=False` comes back, and `close` ends the page."
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'squadqa[demo]'")
    page = serve(Slow(), port=0, wait=False)
    assert capsys.readouterr().out == f"Ask on {page.url} (Ctrl-C ends it)\n"
    status, text = send({"port": page.port}, "GET", "/")
    assert status == 200 and "squadqa: ask a text" in text
    page.close()
    with pytest.raises(OSError):
        send({"port": page.port}, "GET", "/")


def test_a_page_that_was_waited_for_can_be_closed(monkeypatch):
    "After Ctrl-C `serve` gives the page back, and who cleans up closes it."
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'squadqa[demo]'")
    monkeypatch.setattr(RunningPage, "run", lambda page: None)
    page = serve(Slow(), port=0)
    page.close()
    assert page.listener.fileno() == -1


def test_loggers_of_the_program_are_left_alone(capsys):
    "A server that sets up logging anew would close what the program around it logs to."
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'squadqa[demo]'")
    closed = []
    handler = logging.NullHandler()
    handler.close = lambda: closed.append(True)
    logging.getLogger("program").addHandler(handler)
    try:
        serve(Slow(), port=0, wait=False).close()
        assert closed == []
    finally:
        logging.getLogger("program").removeHandler(handler)


def test_without_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"pip install 'squadqa\[demo\]'"):
        serve(print, port=0)


def test_server_is_reached_from_this_machine_only(server):
    "It listens on 127.0.0.1 alone, and has asked no other machine for anything."
    import psutil

    listening = {
        c.laddr
        for c in psutil.Process(server["pid"]).net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    }
    assert {(a.ip, a.port) for a in listening} == {("127.0.0.1", server["port"])}
    assert "OUTSIDE" not in server["log"].read_text(), server["log"].read_text()


def test_hook_hears():
    "The guard above can fail: the same hook hears of an address outside."
    program = (
        "import socket, sys; from demo_server import tell_of_outside\n"
        "sys.addaudithook(tell_of_outside)\n"
        "try: socket.create_connection(('192.0.2.1', 9), timeout=0.01)\nexcept OSError: pass"
    )
    words = [sys.executable, "-c", program]
    folder = Path(__file__).parent
    said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=folder).stdout
    assert "OUTSIDE" in said
