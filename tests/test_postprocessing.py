"""Span search against oracles: a literal loop by the course's rule, brute force, and properties
over random input."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings, strategies as st

from squadqa.data import load_squad
from squadqa.metrics import compute_metrics, squad_scores
from squadqa.models import load_tokenizer
from squadqa.postprocessing import find_spans, n_best_answers, postprocess
from squadqa.validation import prepare_validation_features


def course_loop(start_logits, end_logits, features, examples, n_best=20, max_answer_length=30):
    """The course's loop, literally: for each example, window, start and end of the n best; the
    highest sum that is a valid span."""
    windows = {}
    for i, name in enumerate(features["example_id"]):
        windows.setdefault(name, []).append(i)
    offsets, texts = features["offset_mapping"][:], {}
    for name, context in zip(examples["id"], examples["context"]):
        candidates = []
        for i in windows[name]:
            for s in np.argsort(start_logits[i])[-1 : -n_best - 1 : -1].tolist():
                for e in np.argsort(end_logits[i])[-1 : -n_best - 1 : -1].tolist():
                    if (
                        s >= len(offsets[i])
                        or e >= len(offsets[i])
                        or offsets[i][s] is None
                        or offsets[i][e] is None
                    ):
                        continue
                    if e < s or e - s + 1 > max_answer_length:
                        continue
                    candidates.append(
                        (
                            start_logits[i][s] + end_logits[i][e],
                            context[offsets[i][s][0] : offsets[i][e][1]],
                        )
                    )
        texts[name] = max(candidates, key=lambda c: c[0])[1] if candidates else ""
    return texts


def peaky_logits(rng, features, examples):
    """Logits as a model gives them: noise, a peak at the gold start and end that is often but not
    always the highest, and one at CLS."""
    gold = {
        i: (a["answer_start"][0], a["answer_start"][0] + len(a["text"][0]))
        for i, a in zip(examples["id"], examples["answers"])
    }
    logits = rng.normal(
        -4, 2.5, size=(2, len(features), max(map(len, features["input_ids"])))
    ).astype(np.float32)
    for i, (name, offsets) in enumerate(zip(features["example_id"], features["offset_mapping"])):
        for side in (0, 1):
            tokens = [t for t, o in enumerate(offsets) if o and o[side] == gold[name][side]]
            logits[side, i, tokens] += rng.normal(7, 3, len(tokens))
        logits[:, i, 0] += 4
    return logits


@pytest.fixture(scope="module")
def dev_features(shared, dev):
    tokenizer = load_tokenizer(shared / "tokenizers" / "bert-base-cased")
    return dev.map(
        prepare_validation_features,
        batched=True,
        remove_columns=dev.column_names,
        fn_kwargs={"tokenizer": tokenizer, "padding": False},
    )


def test_whole_dev_set_equals_the_course_loop(dev, dev_features):
    start, end = peaky_logits(np.random.default_rng(0), dev_features, dev)
    course = course_loop(start, end, dev_features, dev)
    ours = postprocess(start, end, dev_features, dev, search="n_best")
    assert [p["prediction_text"] for p in ours] == [course[i] for i in dev["id"]]
    exact = postprocess(start, end, dev_features, dev)
    assert all(a["score"] >= b["score"] for a, b in zip(exact, ours))
    assert (
        squad_scores(ours, dev)
        == squad_scores(course, dev)
        == compute_metrics(start, end, dev_features, dev, search="n_best")
    )
    assert (
        20 < squad_scores(ours, dev)["exact_match"] < 100
    )  # the logits are neither hopeless nor perfect
    for p, context in zip(exact, dev["context"]):
        assert context[p["start"] : p["end"]] == p["prediction_text"]
    first = n_best_answers(start, end, dev_features, dev, n_best=3)
    assert [first[p["id"]][0]["score"] for p in exact] == [p["score"] for p in exact]


def brute_force(start, end, allowed, longest):
    "Score of the best valid span, by trying all of them."
    n = len(start)
    return max(
        (
            start[i] + end[j]
            for i in range(n)
            for j in range(i, min(n, i + longest))
            if allowed[i] and allowed[j]
        ),
        default=-np.inf,
    )


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 14), st.integers(1, 16), st.integers(1, 5))
def test_exact_equals_brute_force(seed, tokens, longest, windows):
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, windows, tokens)).astype(np.float32)
    allowed = np.zeros((windows, tokens), bool)
    for row in allowed:
        row[slice(*sorted(rng.integers(0, tokens + 1, 2)))] = True
    first, last, score = find_spans(start, end, allowed, max_answer_length=longest, chunk=2)
    course = find_spans(start, end, allowed, max_answer_length=longest, search="n_best", n_best=3)[
        2
    ]
    for w in range(windows):
        assert score[w, 0] == brute_force(start[w], end[w], allowed[w], longest) >= course[w, 0]
        if score[w, 0] > -np.inf:
            assert (
                allowed[w, first[w, 0]]
                and allowed[w, last[w, 0]]
                and 0 <= last[w, 0] - first[w, 0] < longest
            )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 10), st.integers(1, 30))
def test_top_spans_equal_a_sorted_list_of_all(seed, tokens, n):
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, 1, tokens)).astype(np.float32)
    first, last, score = find_spans(
        start, end, np.ones((1, tokens), bool), n_best=n, max_answer_length=4, search="top"
    )
    every = sorted(
        (
            (start[0, i] + end[0, j], i, j)
            for i in range(tokens)
            for j in range(i, min(tokens, i + 4))
        ),
        reverse=True,
    )[:n]
    found = [(s, i, j) for s, i, j in zip(score[0], first[0], last[0]) if s > -np.inf]
    assert found == every


ROW = {"example_id": "a", "cls_index": 0}
CONTEXT = [{"id": "a", "context": "Ann met Bo."}]


def test_no_candidate_gives_an_empty_answer():
    "Every token outside the context: neither a crash nor the word 'empty'."
    features = [ROW | {"offset_mapping": [None, None, None]}]
    for search in ("exact", "n_best"):
        answer = postprocess(np.zeros((1, 3)), np.zeros((1, 3)), features, CONTEXT, search=search)[
            0
        ]
        assert (answer["prediction_text"], answer["start"], answer["end"], answer["score"]) == (
            "",
            0,
            0,
            -np.inf,
        )
    features = [ROW | {"offset_mapping": [None, (0, 3), (4, 7), (8, 10)]}]
    buried = np.array([[9.0, -5, -6, -7]])  # the best start is no context token
    assert (
        postprocess(buried, buried, features, CONTEXT, search="n_best", n_best=1)[0][
            "prediction_text"
        ]
        == ""
    )
    assert postprocess(buried, buried, features, CONTEXT)[0]["prediction_text"] == "Ann"


def test_null_score_is_the_minimum_over_windows_at_the_cls_token():
    features = [
        ROW | {"offset_mapping": [None, (0, 3)]},
        {"example_id": "a", "cls_index": 1, "offset_mapping": [(4, 7), None]},
    ]
    logits = np.array([[3.0, 1], [9, 0.5]])
    assert postprocess(logits, logits, features, CONTEXT)[0]["null_score"] == 1.0


def test_best_window_wins_and_feature_order_does_not_matter():
    features = [ROW | {"offset_mapping": [None, (0, 3)]}, ROW | {"offset_mapping": [None, (8, 10)]}]
    logits = np.array([[0.0, 1], [0, 2]])
    for order in ([0, 1], [1, 0]):
        answer = postprocess(logits[order], logits[order], [features[i] for i in order], CONTEXT)[0]
        assert answer["prediction_text"] == "Bo" and answer["score"] == 4


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(start=np.full((1, 2), np.nan)), "NaN"),
        (dict(start=np.zeros((2, 2))), "shape"),
        (dict(start=np.zeros((1, 1))), "shape"),
        (dict(examples=CONTEXT + [{"id": "b", "context": "x"}]), "'b'"),
        (dict(search="best"), "search='best'"),
        (dict(max_answer_length=0), "max_answer_length=0"),
    ],
)
def test_bad_input_is_told(change, words):
    given = (
        dict(
            start=np.zeros((1, 2)),
            end=np.zeros((1, 2)),
            features=[ROW | {"offset_mapping": [None, (0, 3)]}],
            examples=CONTEXT,
        )
        | change
    )
    with pytest.raises(ValueError, match=words):
        postprocess(
            given.pop("start"),
            given.pop("end"),
            given.pop("features"),
            given.pop("examples"),
            **given,
        )


def test_features_as_dataset_and_as_list_give_the_same(minilm):
    data = load_squad()["validation"].select(range(6))
    features = data.map(
        prepare_validation_features,
        batched=True,
        remove_columns=data.column_names,
        fn_kwargs={"tokenizer": minilm, "max_length": 128, "stride": 32, "padding": False},
    )
    start, end = np.random.default_rng(0).normal(size=(2, len(features), 128)).astype(np.float32)
    assert postprocess(start, end, features, data) == postprocess(
        start, end, features.to_list(), data.to_list()
    )
    shuffled = np.random.default_rng(1).permutation(
        len(features)
    )  # a selection has an index of its own
    assert postprocess(
        start[shuffled], end[shuffled], features.select(shuffled), data
    ) == postprocess(start, end, features, data)


@pytest.mark.timeout(20)
def test_fewer_spans_than_are_wanted():
    "Where every span of a window is valid, the search must know that it has seen them all."
    features = [{"example_id": "a", "offset_mapping": [(0, 1), (2, 3)]}]
    logits = np.array([[1.0, 2.0]])
    examples = [{"id": "a", "context": "a b"}]
    (found,) = n_best_answers(logits, logits, features, examples, max_answer_length=1).values()
    assert [(answer["text"], answer["score"]) for answer in found] == [("b", 4.0), ("a", 2.0)]


def test_spans_that_share_characters_hide_no_better_one():
    "Two tokens of one emoji fill a window's best; its next span beats that of the other window."
    offsets = [None, (0, 1), (0, 1), (2, 5)], [None, (6, 9), None, None]
    features = [{"example_id": "x", "offset_mapping": one} for one in offsets]
    logits = np.array([[-9, 5, 5, 4.0], [-9, 1, -9, -9]])
    examples = [{"id": "x", "context": "🦊 ran off"}]
    (found,) = n_best_answers(logits, logits, features, examples, n_best=2).values()
    assert [(answer["text"], answer["score"]) for answer in found] == [("🦊", 10), ("🦊 ran", 9)]


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_the_best_of_spans_that_share_characters(seed, n):
    rng = np.random.default_rng(seed)
    features, every = [], {}
    logits = rng.integers(-9, 9, (2, 3, 5)).astype(float)
    for start_logits, end_logits in zip(*logits):
        chars = np.sort(rng.integers(0, 4, 5))  # several tokens at one place
        features.append({"example_id": "x", "offset_mapping": [(c, c + 1) for c in chars]})
        for i in range(5):
            for j in range(i, 5):
                place, score = (chars[i], chars[j] + 1), start_logits[i] + end_logits[j]
                every[place] = max(score, every.get(place, -np.inf))
    examples = [{"id": "x", "context": "abcde"}]
    found = n_best_answers(*logits, features, examples, n_best=n)["x"]
    assert [answer["score"] for answer in found] == sorted(every.values())[::-1][:n]
    assert all(every[answer["start"], answer["end"]] == answer["score"] for answer in found)


NAMED = [{"example_id": "a", "offset_mapping": [None, (0, 3), (4, 7)]}]
ANN = [{"id": "a", "context": "Ann met Bo"}]


def test_rows_that_come_one_by_one():
    logits = np.array([[0.0, 1, 2]])
    expected = postprocess(logits, logits, NAMED, ANN)
    assert postprocess(logits, logits, iter(NAMED), (row for row in ANN)) == expected
    assert n_best_answers(logits, logits, iter(NAMED), iter(ANN))["a"][0]["text"] == "met"
    stream = Dataset.from_list(ANN).to_iterable_dataset()
    assert postprocess(logits, logits, NAMED, stream) == expected


@pytest.mark.parametrize("search", ["exact", "n_best"])
@pytest.mark.parametrize("kind", [np.float16, np.int8, torch.bfloat16])
def test_narrow_numbers_are_added_in_32_bits(kind, search):
    values = [[100, 120, 110]]
    logits = np.array(values, kind) if isinstance(kind, type) else torch.tensor(values, dtype=kind)
    (found,) = postprocess(logits, logits, NAMED, ANN, search=search)
    assert (found["score"], found["null_score"]) == (240, 200)
    (found,) = postprocess(*2 * [np.array([[0, 6e4, 6e4]], np.float16)], NAMED, ANN, search=search)
    assert found["score"] == 2 * float(np.float16(6e4))


def test_tensors_with_a_gradient():
    logits = torch.tensor([[0.0, 1, 2]], requires_grad=True)
    assert postprocess(logits, logits, NAMED, ANN)[0]["prediction_text"] == "met"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"max_answer_length": None}, "max_answer_length=None must be a whole number"),
        ({"max_answer_length": "3"}, "max_answer_length='3' must be"),
        ({"n_best": 1.5}, "n_best=1.5 must be"),
        ({"features": [{"example_id": "a"}]}, "have no offset_mapping"),
        ({"features": {"example_id": ["a"]}}, "'example_id' is no row"),
        ({"start_logits": [[None, 1, 2]]}, "the logits are no numbers"),
        ({"start_logits": [[1, 2], [1]]}, "the logits are no table"),
    ],
)
def test_what_is_not_of_the_right_type(change, words):
    logits = np.array([[0.0, 1, 2]])
    given = dict(start_logits=logits, end_logits=logits, features=NAMED, examples=ANN)
    with pytest.raises(ValueError, match=words):
        postprocess(**given | change)
