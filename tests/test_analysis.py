"""Error analysis: intervals and tests against what is known, slices that lose no question, a page
that no text can break."""

import json
import math
import re
from html.parser import HTMLParser
from itertools import product
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from squadqa.analysis import (
    CONTEXTS,
    LENGTHS,
    QUESTION_WORDS,
    Difference,
    Slice,
    all_slices,
    answer_confusion,
    bin_names,
    bootstrap_interval,
    bootstrap_means,
    compare_predictions,
    count_windows,
    flip_test,
    in_bins,
    per_question,
    plot_confusion,
    plot_slices,
    question_labels,
    question_word,
    sign_test,
    slices,
)
from squadqa.data import load_squad
from squadqa.metrics import squad_scores
from squadqa.report import (
    answer_span,
    error_table,
    mark_answers,
    report_html,
    worst_errors,
    write_report,
)


def example(i, context="The lens came from Paris by sea", question="Where from?", golds=("Paris",)):
    return {
        "id": str(i),
        "title": "",
        "context": context,
        "question": question,
        "answers": {"text": list(golds), "answer_start": [context.find(g) for g in golds]},
    }


def right_or_wrong(pattern):
    return {str(i): "Paris" if right else "sea" for i, right in enumerate(pattern)}


# --- scores of each question


def test_means_equal_the_scores_of_published_predictions(shared, dev):
    "Also in every division: its slices hold each question once."
    examples, files = dev.to_list(), sorted((shared / "squad" / "predictions").glob("*.json"))
    assert len(files) == 2
    for predictions in (json.loads(path.read_text()) for path in files):
        scores, means = per_question(predictions, examples), squad_scores(predictions, examples)
        assert {name: 100 * float(values.mean()) for name, values in scores.items()} == means
        for name, found in all_slices(scores, examples, n_resamples=10).items():
            assert sum(s.questions for s in found) == len(examples), name
            assert sum(s.questions * s.scores["f1"] for s in found) / len(
                examples
            ) == pytest.approx(means["f1"])


def test_published_predictions_differ_for_certain(shared, dev):
    one, two = (
        json.loads(path.read_text())
        for path in sorted((shared / "squad" / "predictions").glob("*.json"))
    )
    examples = dev.to_list()
    found, means = (
        compare_predictions(one, two, examples, n_resamples=500),
        [squad_scores(p, examples) for p in (one, two)],
    )
    assert set(found) == {"exact_match", "f1"}
    for metric, d in found.items():
        assert [d.first, d.second] == pytest.approx([m[metric] for m in means])
        assert (
            d.interval[0] < d.difference < d.interval[1]
            and d.interval[0] * d.interval[1] > 0
            and d.p_value < 0.001
        )


def test_question_words_of_squad(dev):
    "Nearly every question has one, and 'what' is by far the most frequent."
    words = [question_word(q) for q in dev["question"]]
    assert (
        words.count("other") < 0.01 * len(words) and 0.5 < words.count("what") / len(words) < 0.65
    )
    assert set(words) == set(QUESTION_WORDS)


def test_missing_predictions_are_told():
    for call in (per_question, answer_confusion, error_table):
        with pytest.raises(ValueError, match="1 example without a prediction, the first is '1'"):
            call({"0": "Paris"}, [example(0), example(1)])
        with pytest.raises(ValueError, match="there are two references for example '0'"):
            call({"0": "Paris"}, [example(0), example(0)])


# --- intervals


def test_interval_covers_a_known_mean_at_its_nominal_rate():
    """400 samples of 200 questions each with a true mean of 0.7: 95 % intervals hold it about 95
    times in 100, 50 % ones about 50 times."""
    rng = np.random.default_rng(0)
    samples = (rng.random((400, 200)) < 0.7).astype(float)
    for confidence, least, most in ((0.95, 0.91, 0.98), (0.5, 0.42, 0.58)):
        ends = [
            bootstrap_interval(s, n_resamples=300, confidence=confidence, seed=i)
            for i, s in enumerate(samples)
        ]
        assert least < np.mean([low <= 0.7 <= high for low, high in ends]) < most


def test_interval_equals_the_exact_one_of_a_coin():
    "Means of resampled 0s and 1s are binomial; its quantiles can be counted."
    n, right = 50, 30
    chances = np.cumsum(
        [math.comb(n, k) * (right / n) ** k * (1 - right / n) ** (n - k) for k in range(n + 1)]
    )
    exact = [int((chances < q).sum()) / n for q in (0.025, 0.975)]
    got = bootstrap_interval(np.arange(n) < right, n_resamples=40_000)
    assert got == pytest.approx(exact, abs=0.021)  # one question more or less


def test_intervals_are_seeded_and_paired_scores_stay_together():
    values = np.random.default_rng(1).random((300, 2))
    assert (
        bootstrap_interval(values[:, 0])
        == bootstrap_interval(values[:, 0])
        != bootstrap_interval(values[:, 0], seed=1)
    )
    means = bootstrap_means(np.stack([values[:, 0], 1 - values[:, 0]], 1), 100)
    assert means.shape == (100, 2) and np.allclose(means.sum(1), 1)
    assert np.allclose(bootstrap_means(values[:, 0], 100), bootstrap_means(values, 100)[:, 0])


def test_many_questions_are_drawn_in_portions():
    "More draws than fit into one portion: as many as were asked for, and different ones."
    means = bootstrap_means(np.random.default_rng(0).random(400_000), n_resamples=5)
    assert len(means) == 5 == len(set(means.tolist()))


def test_slices_and_differences_print_as_one_line():
    scores = {"exact_match": 50.0, "f1": 62.5}
    intervals = {"exact_match": (40.0, 60.04), "f1": (55.0, 70.0)}
    line = str(Slice("who", 1234, scores, intervals))
    assert line.split() == "who 1,234 EM 50.0 [40.0, 60.0] F1 62.5 [55.0, 70.0]".split()
    told = str(Difference(50.0, 61.5, (1.25, 19.0), 0.0004))
    assert told == "50.00 -> 61.50: +11.50 [+1.25, +19.00], p < 0.001"


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: bootstrap_interval([]), "no question"),
        (lambda: bootstrap_interval([1], n_resamples=0), "n_resamples=0"),
        (lambda: bootstrap_interval([1], confidence=95), "write 0.95"),
    ],
)
def test_impossible_intervals_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# --- paired tests


@pytest.mark.parametrize(
    "better, worse", [(0, 0), (1, 0), (3, 3), (0, 5), (12, 4), (40, 61), (0, 1000)]
)
def test_sign_test_equals_exact_counting(better, worse):
    n, k = better + worse, min(better, worse)
    want = min(1, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)
    assert sign_test(better, worse) == pytest.approx(want) and sign_test(
        better, worse
    ) == sign_test(worse, better)


def test_sign_test_of_a_whole_data_set():
    "For large numbers the bell curve is near; 2**10500 would be no float."
    assert (
        sign_test(5000, 5500) == pytest.approx(math.erfc(499 / math.sqrt(2 * 10500)), rel=0.02)
        and sign_test(5000, 5000) == 1
    )


@pytest.mark.parametrize(
    "differences",
    [
        [1.0],
        [0.5, 0.5, 0.5, 0.5],
        [1, -0.4, 0.3, 0.3, 0, -0.1],
        [0.2, 0.7, 1, 1, 1, 0.5, -0.3, 0.9],
    ],
)
def test_flip_test_equals_all_signs(differences):
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=len(differences))]
    want = np.mean([s >= abs(sum(differences)) - 1e-9 for s in sums])
    assert flip_test(np.array(differences), 20_000) == pytest.approx(want, abs=0.015)


def test_equal_files_do_not_differ():
    examples = [example(i) for i in range(7)]
    predictions = right_or_wrong([1, 1, 0, 1, 0, 0, 1])
    for d in compare_predictions(predictions, dict(predictions), examples).values():
        assert (d.difference, d.interval, d.p_value) == (
            0,
            (0, 0),
            1,
        ) and d.first == d.second == pytest.approx(400 / 7)


def test_a_clear_difference_is_found_and_a_tiny_sample_proves_nothing():
    examples = [example(i) for i in range(40)]
    clear = compare_predictions(
        right_or_wrong([i < 10 for i in range(40)]),
        right_or_wrong([i < 30 for i in range(40)]),
        examples,
    )
    for d in clear.values():
        assert d.difference == 50 and d.interval[0] > 25 and d.p_value < 0.001
    assert clear["exact_match"].p_value == pytest.approx(2 / 2**20)
    for n, want in (
        (1, 1),
        (2, 0.5),
        (4, 0.125),
    ):  # even if the second is right wherever the first is wrong
        tiny = compare_predictions(right_or_wrong([0] * n), right_or_wrong([1] * n), examples[:n])
        assert all(
            d.difference == 100 and d.p_value == pytest.approx(want, abs=0.02)
            for d in tiny.values()
        )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(["Paris", "from Paris", "came from Paris", "sea", ""]),
        min_size=2,
        max_size=16,
    )
)
def test_comparison_is_symmetric(texts):
    half = len(texts) // 2
    examples, (one, two) = (
        [example(i) for i in range(half)],
        ({str(i): t for i, t in enumerate(part[:half])} for part in (texts, texts[half:])),
    )
    there, back = (
        compare_predictions(one, two, examples, n_resamples=200),
        compare_predictions(two, one, examples, n_resamples=200),
    )
    for metric, d in there.items():
        assert back[metric].difference == -d.difference and back[metric].p_value == d.p_value
        assert back[metric].interval == pytest.approx((-d.interval[1], -d.interval[0]))


def test_p_values_of_equal_models_are_spread_evenly():
    "Two models that are right by the same coin: p below 0.1 at most about one time in ten."
    rng = np.random.default_rng(0)
    p = [
        flip_test(a.astype(float) - b, 400, seed)
        for seed, (a, b) in enumerate(rng.random((300, 2, 60)) < 0.6)
    ]
    assert np.mean(np.array(p) < 0.1) < 0.14 and np.mean(np.array(p) < 0.5) > 0.3


# --- slices


@pytest.mark.parametrize(
    "question, word",
    [
        ("What is it?", "what"),
        (" What's it called? ", "what"),
        ("To whom was it sold?", "who"),
        ("Whose?", "who"),
        ("Who’s there?", "who"),
        ("In which year?", "which"),
        ("How many are there?", "how many"),
        ("How much is it?", "how many"),
        ("How long?", "how"),
        ("HOW?", "how"),
        ("Since when?", "when"),
        ("The dog is where?", "where"),
        ("Why not?", "why"),
        ("Name a river.", "other"),
        ("", "other"),
        ("¿Qué es?", "other"),
        ("Somewhat late?", "other"),
        ("what/which one?", "what"),
    ],
)
def test_question_word(question, word):
    assert question_word(question) == word


@given(st.lists(st.integers(0, 500), min_size=1), st.sampled_from([LENGTHS, CONTEXTS]))
def test_bins_hold_their_values(values, edges):
    bounds = {
        name: (low, high)
        for name, low, high in zip(bin_names(edges), edges, [*edges[1:], math.inf])
    }
    for value, name in zip(values, in_bins(values, edges)):
        low, high = bounds[name]
        assert low <= value < high and re.match(rf"{low}(–|\+|$)", name)


def test_bins_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="0 lies below the first edge, 1"):
        in_bins([2, 0], (1, 2, 3))
    with pytest.raises(ValueError, match="do not rise"):
        bin_names((1, 3, 2))


@pytest.fixture(scope="module")
def v2():
    """Examples with and without answers, and predictions that are right, near, wrong and silent in
    turn."""
    examples = load_squad("sample-v2")["validation"].to_list()

    def text(i, e):
        gold = (e["answers"]["text"] or [""])[0]
        return [gold, gold + " indeed", "<script>alert(1)</script>", ""][i % 4]

    return examples, [
        {
            "id": e["id"],
            "prediction_text": text(i, e),
            "start": 0,
            "end": 0,
            "score": float(i),
            "null_score": 0.0,
        }
        for i, e in enumerate(examples)
    ]


def test_slices_lose_no_question(v2, minilm):
    examples, predictions = v2
    counts = count_windows(minilm, examples)
    scores = per_question(predictions, examples)
    found = all_slices(scores, examples, counts, n_resamples=50)
    assert list(found) == [
        "question word",
        "answerability",
        "answer length",
        "context length",
        "number of windows",
    ]
    for some in found.values():
        assert sum(s.questions for s in some) == len(examples)
        assert all(
            s.intervals[m][0] <= s.scores[m] <= s.intervals[m][1] for s in some for m in s.scores
        )
    assert [s.name for s in found["answerability"]] == ["HasAns", "NoAns"] and found[
        "answer length"
    ][0].name == "0"
    assert [s.questions for s in found["answerability"]] == [
        sum(bool(e["answers"]["text"]) is has for e in examples) for has in (True, False)
    ]


def test_windows_are_counted_as_the_features_are(minilm, small_data):
    from squadqa.batching import make_features
    from squadqa.postprocessing import windows_of
    from squadqa.validation import prepare_validation_features

    examples = small_data["validation"]
    features = make_features(
        examples, prepare_validation_features, minilm, max_length=100, stride=20
    )
    counts = count_windows(minilm, examples, max_length=100, stride=20)
    assert counts == [len(w) for w in windows_of(features, examples)] and max(counts) > 2


def test_labels_of_one_example():
    labels = question_labels([example(0, golds=("Paris by sea", "Paris"))], [4])
    assert {name: label for name, (label, _) in labels.items()} == {
        "question word": ["where"],
        "answerability": ["HasAns"],
        "answer length": ["1"],
        "context length": ["0–99"],
        "number of windows": ["3+"],
    }
    with pytest.raises(ValueError, match="1 examples, but 2 numbers"):
        question_labels([example(0)], [1, 1])


def test_slices_by_any_label():
    scores = {"exact_match": np.array([1, 0, 1.0]), "f1": np.array([1, 0.5, 1])}
    a, b = slices(scores, ["b", "a", "b"], n_resamples=10)
    assert (a.name, a.questions, a.scores) == ("a", 1, {"exact_match": 0, "f1": 50}) and (
        b.questions,
        b.scores["f1"],
    ) == (2, 100)
    assert [s.name for s in slices(scores, ["b", "a", "b"], ("b", "c", "a"), n_resamples=10)] == [
        "b",
        "a",
    ]
    with pytest.raises(ValueError, match="3 questions, but 1 labels"):
        slices(scores, ["a"])
    with pytest.raises(ValueError, match="leaves out b"):
        slices(scores, ["b", "a", "b"], ["a"])


# --- pictures


def test_picture_of_slices_shows_scores_and_intervals(v2):
    examples, predictions = v2
    found = all_slices(per_question(predictions, examples), examples, n_resamples=50)[
        "question word"
    ]
    axes = plot_slices(found, "By question word")
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        f"{s.name} ({s.questions})" for s in found
    ]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "EM",
        "F1",
    ] and axes.figure.get_facecolor() == (1, 1, 1, 1)
    for container, metric in zip(axes.containers, ("exact_match", "f1")):
        points, _, (bars,) = container.lines
        assert points.get_xdata().tolist() == [s.scores[metric] for s in found]
        assert np.allclose(
            [[bar[0][0], bar[1][0]] for bar in bars.get_segments()],
            [s.intervals[metric] for s in found],
        )


def test_confusion_counts(v2):
    examples = [
        example(0),
        example(1),
        example(2, golds=()),
        example(3, golds=()),
        example(4, golds=()),
    ]
    counts = answer_confusion({"0": "sea", "1": "", "2": "sea", "3": "", "4": ""}, examples)
    assert counts.tolist() == [[1, 1], [1, 2]]
    axes = plot_confusion(counts)
    assert {t.get_position(): t.get_text() for t in axes.texts} == {
        (0, 0): "1",
        (1, 0): "1",
        (0, 1): "1",
        (1, 1): "2",
    }
    assert answer_confusion(v2[1], v2[0]).sum() == len(v2[0])
    plot_confusion(np.zeros((2, 2), int)).figure.canvas.draw()


# --- marks, errors, the page


def test_answer_span_takes_no_guess():
    context = "Paris to Paris by sea"
    assert answer_span(context, "Paris", 9) == (9, 14) and answer_span(context, "sea") == (18, 21)
    assert answer_span(context, "sea", 0) == (18, 21)  # a wrong start, but only one place
    assert (
        answer_span(context, "Paris")
        is answer_span(context, "Rome", 2)
        is answer_span(context, "", 0)
        is answer_span("aaa", "aa")
        is None
    )


class Page(HTMLParser):
    "Tags, attributes and text of a page; tags that do not close in order are an error."

    VOID = {"meta", "img", "br", "link", "hr", "input"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *a) for a in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def shown(html):
    return "".join(Page(f"<p>{html}</p>").text)


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet="<>&\"'/ab\n é🦀", max_size=30),
    st.lists(st.integers(-2, 32), min_size=6, max_size=6),
)
def test_marks_change_no_character(context, ends):
    golds, predicted = [tuple(sorted(ends[:2])), tuple(sorted(ends[2:4]))], tuple(sorted(ends[4:]))
    marked = mark_answers(context, golds, predicted)
    assert shown(marked) == context
    kinds = [
        kind
        for kind, text in re.findall(r'<mark class="(\w+)">(.*?)</mark>', marked, re.S)
        for _ in shown(text)
    ]
    inside = [
        (any(s <= i < e for s, e in golds), predicted[0] <= i < predicted[1])
        for i in range(len(context))
    ]
    assert kinds == [
        {(True, True): "both", (True, False): "gold", (False, True): "predicted"}[pair]
        for pair in inside
        if any(pair)
    ]


def test_excerpts_keep_what_is_near():
    context = "a" * 50 + " GOLD " + "b" * 50 + " GUESS " + "c" * 50
    marked = mark_answers(context, [(51, 55)], (107, 112), around=5)
    assert re.sub("<.*?>", "|", marked) == "…aaaa |GOLD| bbbb… …bbbb |GUESS| cccc…"
    assert (
        mark_answers(context, [], None, around=5) == "a" * 10 + "…"
        and mark_answers("short", [], None, around=5) == "short"
    )


def test_worst_errors_come_first():
    examples = [example(i) for i in range(5)]
    texts = ["Paris", "sea", "from Paris", "by", "lens"]
    predictions = [
        {"id": str(i), "prediction_text": t, "score": s}
        for i, (t, s) in enumerate(zip(texts, (9, 1, 5, 7, 3)))
    ]
    scores = per_question(predictions, examples)
    assert worst_errors(scores, predictions, examples) == [3, 4, 1, 2] and worst_errors(
        scores, predictions, examples, 2
    ) == [3, 4]
    assert worst_errors(scores, predictions[::-1], examples) == [3, 4, 1, 2]  # matched by id
    assert worst_errors(scores, dict(zip("01234", texts)), examples) == [1, 3, 4, 2]


def test_error_table_marks_the_occurrence_that_was_predicted():
    context = "Paris to Rome, Rome to Paris"
    one = example(0, context, golds=("Rome",))
    wrong = {
        "id": "0",
        "prediction_text": "Paris",
        "start": 23,
        "end": 28,
        "score": 1.0,
        "null_score": 0.0,
    }
    assert 'to <mark class="predicted">Paris</mark>' in error_table([wrong], [one])
    assert 'Paris to <mark class="gold">Rome</mark>' in error_table([wrong], [one])
    assert "predicted" not in error_table({"0": "Paris"}, [one])  # two places: no guess


def check_page(text):
    "Well-formed, nothing to fetch, nothing that runs."
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on") and name not in (
            "href",
            "srcset",
            "action",
            "data",
            "poster",
            "background",
        )
        if name == "src":
            assert tag == "img" and value.startswith("data:image/png;base64,")
        assert "javascript:" not in unquote(value or "").lower()
    style = re.search("<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style and "@import" not in style and "prefers-color-scheme: dark" in style
    images = [
        dict(a[1:] for a in page.attributes if a[0] == "img" and a[1] == name)
        for name in ("alt", "src")
    ]
    assert all(images) and page.tags.count("img") == sum(
        a[:2] == ("img", "alt") and len(a[2]) > 20 for a in page.attributes
    )
    return page


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("squadqa.files.os.replace", full)
    with pytest.raises(ValueError, match="report.html cannot be written: No space left"):
        write_report(path, [example(0), example(1)], {"0": "sea", "1": ""}, n_resamples=10)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_report_is_self_contained(v2, minilm, tmp_path):
    examples, predictions = v2
    path = write_report(
        tmp_path / "new" / "report.html",
        examples,
        predictions,
        n_windows=count_windows(minilm, examples),
        baseline={e["id"]: "" for e in examples},
        title="A & <b>",
        n_resamples=100,
        n_errors=5,
    )
    text = path.read_text(encoding="utf-8")
    page = check_page(text)
    said = " ".join(page.text)
    wrong = int((per_question(predictions, examples)["exact_match"] == 0).sum())
    for words in (
        "A & <b>",
        f"{len(examples)} questions, {wrong} of them",
        "By question word",
        "By number of windows",
        "Against the baseline",
        f"Errors: 5 of {wrong}",
        "60 questions with an answer",
    ):
        assert words in said, words
    scores = squad_scores(predictions, examples)
    assert (
        f"{scores['exact_match']:.1f}" in said
        and f"{scores['f1']:.1f}" in said
        and "<b>" not in text
        and "://" not in text
    )
    assert page.tags.count("img") == 6 and len(text) < 500_000


def test_report_of_a_data_set_row_by_row(tmp_path):
    "Rows of a `Dataset`, predictions by id, no errors at all: a whole page too."
    examples = load_squad()["validation"].select(range(5))
    check_page(
        report_html(examples, {e["id"]: e["answers"]["text"][0] for e in examples}, n_resamples=20)
    )


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        '"><img src=http://a.example/x onerror=alert(1)>',
        "</style></td><b onclick='x'>",
        "&lt;script&gt;",
    ],
)
def test_no_text_breaks_the_page(hostile):
    "In the context, the question, the answers, the id and the title at once; shown as what it is."
    context = f"before {hostile} middle {hostile} after"
    examples = [
        example(hostile, context, f"Who {hostile}?", (hostile, "middle")),
        example("two", context, hostile, ()),
    ]
    predictions = [
        {
            "id": hostile,
            "prediction_text": f"{hostile} after",
            "start": context.rindex(hostile),
            "end": len(context),
            "score": 0.0,
            "null_score": 0.0,
        },
        {
            "id": "two",
            "prediction_text": hostile,
            "start": 7,
            "end": 7 + len(hostile),
            "score": 0.0,
            "null_score": 0.0,
        },
    ]
    page = check_page(
        report_html(examples, predictions, title=hostile, baseline=predictions, n_resamples=20)
    )
    assert (
        sum(hostile in part for part in page.text) >= 8
        and "b" not in page.tags
        and "script" not in page.tags
    )


def test_empty_predictions_are_called_no_answer():
    examples = [example(0), example(1, golds=())]
    page = Page(error_table({"0": "", "1": "sea"}, examples))
    assert page.text.count("no answer") == 2 and page.tags.count("tr") == 3
    assert 'class="predicted"' in error_table({"0": "", "1": "sea"}, examples)
    assert (
        Page(report_html(examples, {"0": "", "1": ""}, n_resamples=20)).text.count("no answer") == 1
    )


NO_DICTIONARY = [{"answers": None}, {"answers": {"text": None}}, {}]


@pytest.mark.parametrize("wrong", NO_DICTIONARY)
def test_answers_that_are_null_are_told_by_id(wrong):
    "As in `squad_scores`: a sentence that names the example, wherever the answers are read."
    good = example(0)
    bad = {name: good[name] for name in ("question", "context")} | {"id": "lost"} | wrong
    texts = {good["id"]: "x", "lost": "y"}
    for read in (
        lambda: squad_scores(texts, [good, bad]),
        lambda: per_question(texts, [good, bad]),
        lambda: compare_predictions(texts, texts, [good, bad]),
        lambda: question_labels([good, bad]),
        lambda: answer_confusion(texts, [good, bad]),
        lambda: error_table(texts, [good, bad]),
        lambda: report_html([good, bad], texts),
    ):
        with pytest.raises(ValueError, match="the answers of 'lost' are"):
            read()
