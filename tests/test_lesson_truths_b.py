"""Truths of the lessons on labels, validation features, post-processing and metrics: edge cases
that a reader need not see."""

import numpy as np
import pytest

from squadqa.data import error_message
from squadqa.labeling import answer_chars, label_windows, prepare_train_features, token_span
from squadqa.metrics import (
    SquadMetric,
    SquadV2Metric,
    by_id,
    exact_match,
    f1,
    f1_v2,
    golds_v2,
    squad_scores,
    squad_v2_scores,
    token_f1,
)
from squadqa.models import load_tokenizer
from squadqa.postprocessing import (
    distinct_spans,
    find_spans,
    n_best_answers,
    null_scores,
    offset_arrays,
    postprocess,
    span_scores,
    windows_of,
)
from squadqa.validation import (
    context_offsets,
    locate_windows,
    prepare_validation_features,
    trim_offsets,
)
from squadqa.windows import tokenize_windows

QUESTION = "What colour was the tide bell?"
CONTEXT = (
    "The tide bell of the old harbour was cast in 1871. It was painted green, "
    "and a boy rang it at high water."
)
NO_ANSWER = {"text": [], "answer_start": []}


def answer_of(text: str) -> dict:
    return {"text": [text], "answer_start": [CONTEXT.index(text)]}


@pytest.fixture(scope="module")
def left():
    tokenizer = load_tokenizer("minilm")
    tokenizer.padding_side = "left"
    return tokenizer


def tide_windows(tokenizer, context=CONTEXT, **options):
    options = {"max_length": 28, "stride": 6} | options
    return tokenize_windows(tokenizer, [QUESTION], [context], **options)


# --- labels


def test_white_space_around_an_answer_is_no_part_of_it():
    assert answer_chars(answer_of("green")) == answer_chars(answer_of(" green")) == (66, 71)
    for nothing in (None, NO_ANSWER, {"text": ["  "], "answer_start": [3]}):
        assert answer_chars(nothing) is None


def brute_force(offsets, start_char, end_char):
    "Of all spans of tokens that hold the answer, the one with the fewest characters."
    found = None
    for i, (start, _) in enumerate(offsets):
        for j in range(i, len(offsets)):
            end = offsets[j][1]
            if start <= start_char and end >= end_char:
                if found is None or end - start < found[0]:
                    found = (end - start, i, j)
    return found and found[1:]


def test_the_label_is_the_tightest_span_of_tokens():
    rng = np.random.default_rng(42)
    seen = 0
    for _ in range(300):
        cuts = np.unique(rng.integers(0, 40, 12)).tolist()
        offsets = list(zip(cuts[:-1], cuts[1:]))
        start, end = sorted(rng.choice(40, 2, replace=False).tolist())
        want = brute_force(offsets, start, end)
        assert token_span(offsets, start, end) == want
        seen += want is not None
    assert seen > 100


def test_tokens_that_share_characters_never_turn_a_label_round():
    first, last = token_span([(0, 5), (5, 6), (5, 6), (6, 9)], 5, 6)
    assert first <= last


def test_labels_at_the_edges_of_a_window(minilm):
    windows = tide_windows(minilm)

    def label(answer):
        return label_windows(windows, [answer], minilm)["start_positions"]

    assert label(answer_of("The")) == [9, 0] and windows.tokens(0)[8] == "[SEP]"
    end = label({"text": ["."], "answer_start": [len(CONTEXT) - 1]})
    assert end[0] == 0 and windows.tokens(1)[end[1] : end[1] + 2] == [".", "[SEP]"]
    assert label(NO_ANSWER) == [0, 0]
    empty = tide_windows(minilm, context="")
    assert label_windows(empty, [answer_of("green")], minilm)["start_positions"] == [0]


def test_labels_with_padding_on_the_left(left):
    windows = tide_windows(left, max_length=48)
    assert windows.tokens(0)[0] == "[PAD]"
    for text in ("The tide bell", "green"):
        labels = label_windows(windows, [answer_of(text)], left)
        offsets = windows["offset_mapping"][0]
        start, end = labels["start_positions"][0], labels["end_positions"][0]
        assert CONTEXT[offsets[start][0] : offsets[end][1]] == text
    cls = label_windows(windows, [NO_ANSWER], left)["start_positions"][0]
    assert cls > 0 and windows.tokens(0)[cls] == "[CLS]"


def test_errors_of_features_name_the_example(minilm):
    batch = {"id": ["bell"], "question": [QUESTION], "context": [CONTEXT]}
    for prepare, more in (
        (prepare_train_features, {"answers": [answer_of("green")]}),
        (prepare_validation_features, {}),
    ):
        message = error_message(prepare, batch | more, minilm, max_length=14, stride=6)
        assert "example 'bell'" in message


# --- validation features


def test_training_and_validation_read_the_same_windows(minilm):
    batch = {"id": ["bell"], "question": [QUESTION], "context": [CONTEXT]}
    sizes = {"max_length": 28, "stride": 6}
    trained = prepare_train_features(batch | {"answers": [answer_of("green")]}, minilm, **sizes)
    features = prepare_validation_features(batch, minilm, **sizes)
    assert trained["input_ids"] == features["input_ids"]
    assert set(trained) - set(features) == {"start_positions", "end_positions"}
    assert set(features) - set(trained) == {"example_id", "offset_mapping", "cls_index"}


def test_offsets_outside_the_context_are_none():
    ids = [None, 0, None, 1, 1, None]
    places = [(0, 0), (0, 4), (0, 0), (0, 3), (4, 9), (0, 0)]
    assert context_offsets(places, ids, 1) == [None, None, None, (0, 3), (4, 9), None]
    assert context_offsets(places, ids, 0) == [None, (0, 4), None, None, None, None]


def test_offsets_are_trimmed():
    text = " an  old\u00a0mill\n"
    given = [None, (0, 3), (3, 5), (3, 8), (8, 14), (6, 8), (5, 5), (13, 14)]
    want = [None, (1, 3), (5, 5), (5, 8), (9, 13), (6, 8), (5, 5), (14, 14)]
    assert trim_offsets(given, text) == want


def test_a_window_without_context_has_no_offsets(minilm):
    located = locate_windows(tide_windows(minilm, context=""), ["blank"], minilm)
    assert set(located["offset_mapping"][0]) == {None}


def test_features_with_padding_on_the_left_hold_the_same_context(minilm, left):
    batch = {"id": ["bell"], "question": [QUESTION], "context": [CONTEXT]}
    right_side, left_side = (
        prepare_validation_features(batch, tokenizer, max_length=40, stride=6)
        for tokenizer in (minilm, left)
    )
    inside = [
        [o for o in features["offset_mapping"][0] if o is not None]
        for features in (right_side, left_side)
    ]
    assert inside[0] == inside[1]
    cls = left_side["cls_index"][0]
    assert right_side["cls_index"][0] == 0 < cls
    assert left_side["input_ids"][0][cls] == left.cls_token_id


# --- post-processing


def test_span_scores_hold_every_span():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 1, 8))
    scores = span_scores(start, end, 3)
    assert scores.shape == (1, 8, 3)
    for i in range(8):
        for k in range(3):
            want = start[0, i] + end[0, i + k] if i + k < 8 else -np.inf
            assert scores[0, i, k] == want


def test_chunks_change_nothing():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 30, 20))
    allowed = rng.random((30, 20)) < 0.6
    for search in ("exact", "n_best", "top"):
        whole = find_spans(start, end, allowed, search=search)
        parts = find_spans(start, end, allowed, search=search, chunk=7)
        assert all((a == b).all() for a, b in zip(whole, parts))


def window(example, offsets, cls=0):
    return {"example_id": example, "cls_index": cls, "offset_mapping": offsets}


def test_offsets_of_windows_of_different_length():
    features = [window("a", [None, (0, 3)]), window("a", [None, (4, 7), (8, 10)])]
    starts, ends = offset_arrays(features)
    assert starts.tolist() == [[-1, 0, -1], [-1, 4, 8]]
    assert ends.tolist() == [[-1, 3, -1], [-1, 7, 10]]


def test_windows_of_says_what_does_not_belong_together():
    features = [window("a", [None]), window("b", [None]), window("a", [None])]
    assert windows_of(features, [{"id": "a"}, {"id": "b"}]) == [[0, 2], [1]]
    assert windows_of(features, [{"id": "b"}]) == [[1]]
    assert "the first is 'c'" in error_message(windows_of, features, [{"id": "a"}, {"id": "c"}])
    assert "two examples have the id 'b'" in error_message(
        windows_of, features, [{"id": "b"}, {"id": "b"}]
    )
    assert "no examples" in error_message(windows_of, features, [])


def test_null_scores_are_read_at_the_cls_token():
    start, end = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    features = [window("a", [None], cls=0), window("a", [None], cls=2)]
    assert null_scores(start, end, features).tolist() == [1.0, 6.0]


def test_minus_infinity_may_stay():
    features = [window("a", [None, (0, 3), (4, 7)])]
    start = np.array([[0.0, -np.inf, 1.0]])
    answer = postprocess(start, start, features, [{"id": "a", "context": "Ann met Bo."}])[0]
    assert answer["prediction_text"] == "met"


def test_a_span_that_two_windows_share_counts_once():
    starts, ends = np.array([[3, 3, 9]]), np.array([[5, 5, 12]])
    scores = np.array([[1.0, 2.0, -np.inf]])
    assert distinct_spans(starts, ends, scores, 5) == [(3, 5, 2.0)]


@pytest.mark.parametrize("n_best", [1, 2, 3, 6, 50])
def test_n_best_looks_deeper_where_tokens_share_characters(n_best):
    "Four tokens of one character: nine spans of tokens are but a few spans of characters."
    context = "x\N{SNAIL}y"
    offsets = [None, (0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3)]
    rng = np.random.default_rng(3)
    start, end = rng.normal(size=(2, 1, len(offsets)))
    start[0, 2:6] += 9
    end[0, 2:6] += 9
    best = {}
    for i in range(1, 7):
        for j in range(i, 7):
            span = (offsets[i][0], offsets[j][1])
            best[span] = max(best.get(span, -np.inf), start[0, i] + end[0, j])
    want = sorted(best.items(), key=lambda item: -item[1])[:n_best]
    rows = n_best_answers(
        start, end, [window("a", offsets)], [{"id": "a", "context": context}], n_best=n_best
    )["a"]
    assert [((row["start"], row["end"]), row["score"]) for row in rows] == want


# --- metrics


def slow_f1(prediction, gold):
    "Cross shared words out one by one, then take precision and recall as they are defined."
    left = list(gold)
    for word in prediction:
        if word in left:
            left.remove(word)
    shared = len(gold) - len(left)
    if not shared:
        return 0.0
    precision, recall = shared / len(prediction), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def test_f1_against_its_definition():
    rng = np.random.default_rng(0)
    for _ in range(500):
        p, g = (rng.choice(list("abcd"), rng.integers(0, 7)).tolist() for _ in range(2))
        assert token_f1(p, g) == pytest.approx(slow_f1(p, g))


def test_odd_cases_of_the_rule():
    assert exact_match("the", ["a"]) == 1 and f1("the", ["a"]) == 0 and f1_v2("the", ["a"]) == 1
    assert f1_v2("Paris", [""]) == 0 == f1_v2("", ["Paris"])
    assert golds_v2({"text": ["the", "lamp"]}) == ["lamp"] and golds_v2(NO_ANSWER) == [""]
    assert exact_match("caf\u00e9", ["cafe\u0301"]) == 0  # one character, or e and an accent


ROW = {"id": "q1", "prediction_text": "lamp", "no_answer_probability": 0.0}
GOOD = {"id": "q1", "answers": {"text": ["lamp"], "answer_start": [0]}}
BAD_REFERENCES = [
    GOOD | {"answers": None},
    GOOD | {"answers": [{"text": "lamp", "answer_start": 0}]},
    GOOD | {"answers": {"text": None}},
    GOOD | {"answers": {"text": [None]}},
    GOOD | {"answers": {"text": "lamp"}},
    {"id": "q1"},
]


@pytest.mark.parametrize("bad", BAD_REFERENCES)
def test_bad_answers_are_told_by_id(bad):
    for score in (
        lambda: squad_scores([ROW], [bad]),
        lambda: squad_v2_scores([ROW], [bad]),
        lambda: SquadMetric().compute(predictions=[ROW], references=[bad]),
        lambda: SquadV2Metric().compute(predictions=[ROW], references=[bad]),
    ):
        assert "answers of 'q1' are" in error_message(score)


@pytest.mark.parametrize("bad", [{"id": "q1"}, {"id": "q1", "prediction_text": None}])
def test_bad_predictions_are_told_by_id(bad):
    assert "prediction of 'q1' is None" in error_message(squad_scores, [bad], [GOOD])
    assert "prediction of 'q1' is None" in error_message(by_id, {"q1": None})
    metric = SquadMetric()
    assert "'q1'" in error_message(lambda: metric.compute(predictions=[bad], references=[GOOD]))
    missing = {"id": "q1", "prediction_text": "lamp"}
    assert "'q1'" in error_message(squad_v2_scores, [missing], [GOOD])


def test_nothing_at_all_is_told():
    assert "no predictions" in error_message(squad_scores, None, [GOOD])
    assert "no references" in error_message(squad_scores, [ROW], None)
    assert "no id" in error_message(squad_scores, [ROW], [{"answers": GOOD["answers"]}])


def test_metrics_take_raw_rows_and_single_ones():
    raw = GOOD | {"title": "Lamps", "context": "lamp", "question": "What?"}
    right = {"exact_match": 100.0, "f1": 100.0}
    assert SquadMetric().compute(predictions=[ROW], references=[raw]) == right
    metric = SquadMetric()
    metric.add(prediction=ROW, reference=raw)
    assert metric.compute() == right
    assert SquadV2Metric().compute(predictions=[ROW], references=[raw])["exact"] == 100.0
