"""Scores on the corners of the rule, and the threshold search against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from squadqa.metrics import (
    SquadMetric,
    SquadV2Metric,
    best_threshold,
    exact_match,
    f1,
    normalize_answer,
    squad_scores,
    squad_v2_scores,
)


@pytest.mark.parametrize(
    "text, want",
    [
        ("The  Cat's hat!", "cats hat"),
        ("24–10", "24–10"),
        ("a", ""),
        ("An apple, a day", "apple day"),
        ("ÉCOLE", "école"),
    ],
)
def test_normalisation(text, want):
    assert normalize_answer(text) == want


@pytest.mark.parametrize(
    "prediction, golds, em, score",
    [
        ("cat", ["the cat"], 1, 1),
        ("the", ["a"], 1, 0),
        ("black cat", ["cat", "dog"], 0, 2 / 3),
        ("", [], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
    ],
)
def test_corners_of_v1(prediction, golds, em, score):
    assert exact_match(prediction, golds) == em and f1(prediction, golds) == pytest.approx(score)


REFERENCES = [
    {"id": "1", "answers": {"text": ["x"], "answer_start": [0]}},
    {"id": "2", "answers": {"text": [], "answer_start": []}},
]


def test_examples_without_answers_can_be_scored():
    assert squad_scores({"1": "x", "2": ""}, REFERENCES) == {"exact_match": 100, "f1": 100}
    assert squad_scores({"1": "x", "2": "y"}, REFERENCES) == {"exact_match": 50, "f1": 50}


@pytest.mark.parametrize(
    "predictions, words",
    [
        ({"1": "x"}, "1 example without a prediction, the first is '2'"),
        (
            {"1": "x", "2": "", "3": "z"},
            "1 example predicted but without a reference, the first is '3'",
        ),
        ([{"id": "1", "prediction_text": "x"}] * 2, "two predictions for example '1'"),
    ],
)
def test_missing_extra_and_double_predictions_are_told(predictions, words):
    with pytest.raises(ValueError, match=words):
        squad_scores(predictions, REFERENCES)
    if isinstance(predictions, dict):
        rows = [
            {"id": i, "prediction_text": t, "no_answer_probability": 0.0}
            for i, t in predictions.items()
        ]
        with pytest.raises(ValueError, match=words):
            squad_v2_scores(rows, REFERENCES)


def test_v2_by_hand():
    rows = [
        {"id": "1", "prediction_text": "x", "no_answer_probability": 0.2},
        {"id": "2", "prediction_text": "y", "no_answer_probability": 0.8},
    ]
    scores = SquadV2Metric().compute(predictions=rows, references=REFERENCES)
    assert (
        scores["exact"] == 50
        and scores["HasAns_exact"] == 100
        and scores["NoAns_exact"] == 0
        and scores["total"] == 2
    )
    assert scores["best_exact"] == 100 and scores["best_exact_thresh"] == 0.2
    assert (
        SquadV2Metric().compute(predictions=rows, references=REFERENCES, no_answer_threshold=0.5)[
            "exact"
        ]
        == 100
    )


def at(threshold, nulls, scores, empty):
    return 100 * np.mean([e if n > threshold else s for n, s, e in zip(nulls, scores, empty)])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0]),
            st.booleans(),
            st.sampled_from([0.0, 0.5, 1.0]),
        ),
        min_size=1,
        max_size=9,
    )
)
def test_best_threshold_equals_brute_force_with_ties(rows):
    "The reported score is the highest that any threshold gives, and its threshold gives it."
    nulls = [r[0] for r in rows]
    empty = [float(not answerable) for _, answerable, _ in rows]
    scores = [s if answerable else float(s == 1.0) for _, answerable, s in rows]
    best, threshold = best_threshold(nulls, scores, empty)
    assert best == pytest.approx(at(threshold, nulls, scores, empty))
    assert best == pytest.approx(max(at(t, nulls, scores, empty) for t in [min(nulls) - 1, *nulls]))


def official_search(nulls, scores, answerable, predicted):
    """The official rule for distinct scores: raise the threshold question by question and keep the
    best running total."""
    current = best = sum(not a for a in answerable)
    found = 0.0
    for i in sorted(range(len(nulls)), key=lambda i: nulls[i]):
        current += scores[i] if answerable[i] else -1 if predicted[i] else 0
        if current > best:
            best, found = current, nulls[i]
    return 100 * best / len(nulls), found


def test_best_threshold_equals_the_official_search_without_ties():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(1, 30))
        nulls, answerable, predicted = (
            rng.permutation(n * 3)[:n] / 7 + 0.1,
            rng.random(n) < 0.6,
            rng.random(n) < 0.9,
        )
        scores = np.where(answerable, rng.random(n) * predicted, ~predicted)
        assert best_threshold(nulls, scores, ~answerable) == pytest.approx(
            official_search(nulls, scores, answerable, predicted)
        )


def test_all_null_scores_equal_reports_an_attainable_score():
    "With equal null scores a threshold keeps all texts or none."
    rows = [{"id": str(i), "prediction_text": "x", "no_answer_probability": 0.0} for i in range(4)]
    references = [
        {"id": str(i), "answers": {"text": ["x"] * (i < 2), "answer_start": [0] * (i < 2)}}
        for i in range(4)
    ]
    assert squad_v2_scores(rows, references)["best_exact"] == 50
    assert SquadMetric().compute(
        predictions=[{"id": "0", "prediction_text": "x"}], references=references[:1]
    ) == {"exact_match": 100, "f1": 100}


@pytest.mark.parametrize("value", [float("nan"), "0.5", [0.5], {}])
def test_thresholds_and_probabilities_are_numbers(value):
    rows = [
        {"id": i, "prediction_text": "x", "no_answer_probability": np.float32(0.5)} for i in "12"
    ]
    with pytest.raises(ValueError, match="no_answer_threshold=.* is no number"):
        squad_v2_scores(rows, REFERENCES, value)
    rows[1]["no_answer_probability"] = value
    with pytest.raises(ValueError, match="no_answer_probability of '2' is no number: "):
        squad_v2_scores(rows, REFERENCES)


@pytest.mark.parametrize("value, exact", [(10**400, 100 / 3), (-(10**400), 200 / 3)])
def test_a_whole_number_may_be_larger_than_a_float(value, exact):
    rows = [{"id": i, "prediction_text": "x", "no_answer_probability": value} for i in "123"]
    gold = {"text": ["x"], "answer_start": [0]}
    references = [{"id": i, "answers": gold} for i in "12"]
    references.append({"id": "3", "answers": {"text": [], "answer_start": []}})
    assert squad_v2_scores(rows, references, 0.5)["exact"] == pytest.approx(exact)


def test_what_cannot_be_scored_is_told():
    good, answers = {"1": "x", "2": ""}, REFERENCES[0]["answers"]
    for predictions, references, words in (
        (5, REFERENCES, "there are no predictions in int"),
        (good, 5, "there are no references in int"),
        ([{"id": ["1"], "prediction_text": "x"}], REFERENCES, r"id of a prediction is \['1'\]"),
        (
            good,
            [{"id": ["1"], "answers": answers}],
            r"the id of a reference is \['1'\], not a text",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            squad_scores(predictions, references)
    with pytest.raises(ValueError, match="need rows with id, prediction_text"):
        squad_v2_scores(good, REFERENCES)
    with pytest.raises(ValueError, match="there are 2, 1 of texts and 2 of no text"):
        best_threshold([0.1, 0.2], [1], [0, 1])
    for scores in (([np.nan, 0.2], [1, 1], [0, 1]), ([0.1, 0.2], [1, np.nan], [0, 1])):
        with pytest.raises(ValueError, match="no score may be NaN"):
            best_threshold(*scores)


@pytest.mark.parametrize("measure", [exact_match, f1])
def test_references_are_a_list_of_texts(measure):
    for prediction, golds, words in (
        ("cat", "cat", "the references are 'cat': pass a list"),
        ("cat", {"text": ["cat"], "answer_start": [0]}, "as answers\\['text'\\] is one"),
        (None, ["cat"], "an answer is None, not a text"),
        ("cat", [None], "an answer is None, not a text"),
    ):
        with pytest.raises(ValueError, match=words):
            measure(prediction, golds)
