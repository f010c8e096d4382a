"""No answer: v2.0 scores against a second implementation, thresholds against brute force,
confidence against the answerer."""

import json
import math
import re
import shutil
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from squadqa import no_answer
from squadqa.data import load_squad
from squadqa.models import save_settings
from squadqa.no_answer import (
    apply_threshold,
    confidence_loss,
    draw_precision_recall,
    draw_reliability,
    evaluate_v2,
    expected_calibration_error,
    find_threshold,
    fit_temperature,
    gather_evidence,
    precision_recall,
    reliability,
    score_differences,
    score_each,
    v2_scores,
)

ALL_KEYS = {
    prefix + name for prefix in ("", "HasAns_", "NoAns_") for name in ("exact", "f1", "total")
} | {"best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"}


# A second implementation of the v2.0 rules: question by question, in plain Python


def plain(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(?:a|an|the)\b", " ", text).split()


def text_scores(text, golds):
    golds = [g for g in map(plain, golds) if g] or [[]]

    def overlap(gold):
        if not gold or not plain(text):
            return float(gold == plain(text))
        same = sum(min(n, Counter(plain(text))[word]) for word, n in Counter(gold).items())
        p, r = same / len(plain(text)), same / len(gold)
        return 2 * p * r / (p + r) if same else 0.0

    return float(plain(text) in golds), max(map(overlap, golds))


def official(predictions, references, threshold):
    """All figures of the v2.0 evaluation. Only for distinct differences: its search of the best
    threshold looks at one question after the other."""
    texts = {p["id"]: p["prediction_text"] for p in predictions}
    nulls = {p["id"]: p["null_score"] - p["score"] for p in predictions}
    raw, has = (
        {r["id"]: text_scores(texts[r["id"]], r["answers"]["text"]) for r in references},
        {r["id"]: bool(r["answers"]["text"]) for r in references},
    )
    out = {}
    for prefix, ids in (
        ("", list(has)),
        ("HasAns_", [i for i in has if has[i]]),
        ("NoAns_", [i for i in has if not has[i]]),
    ):
        if not ids:
            continue
        for k, name in enumerate(("exact", "f1")):
            out[prefix + name] = (
                100
                * math.fsum(float(not has[i]) if nulls[i] > threshold else raw[i][k] for i in ids)
                / len(ids)
            )
        out[prefix + "total"] = len(ids)
    for k, name in enumerate(("exact", "f1")):
        total = best = sum(not h for h in has.values())
        cut = None  # nothing is answered
        for i in sorted(has, key=nulls.get):
            total += raw[i][k] if has[i] else -1 if texts[i] else 0
            if total > best + 1e-9:
                best, cut = total, nulls[i]
        out[f"best_{name}"], out[f"best_{name}_thresh"] = 100 * best / len(has), cut
    return out


def assert_same(got, want, differences):
    assert set(got) == set(want)
    for name, value in want.items():
        if value is None:
            assert got[name] < min(
                differences
            )  # any threshold below all: the official 0.0 may not be one
        else:
            assert got[name] == pytest.approx(value, abs=1e-9), name


# Examples

REAL = ["red", "lamp", "Sea!", "1771"]
WORDS = [*REAL, "the", "a"]


def make_examples(rng, n, p_answer=0.5, p_nothing=0.0):
    "Predictions with real-valued scores, and their references"

    def some():
        return " ".join([*rng.choice(WORDS, int(rng.integers(0, 4))), rng.choice(REAL)])

    predictions, references = [], []
    for i in range(n):
        golds = [some() for _ in range(int(rng.integers(1, 4)))] if rng.random() < p_answer else []
        text = golds[0] if golds and rng.random() < 0.5 else some()
        nothing = rng.random() < p_nothing
        score = -np.inf if nothing else float(rng.normal() * 4)
        predictions.append(
            {
                "id": str(i),
                "prediction_text": "" if nothing else text,
                "start": 0,
                "end": 0 if nothing else len(text),
                "score": score,
                "null_score": float(rng.normal() * 4 - 3 * bool(golds)),
            }
        )
        references.append(
            {"id": str(i), "answers": {"text": golds, "answer_start": [0] * len(golds)}}
        )
    return predictions, references


def mean_at(threshold, predictions, references, k):
    "The mean score of metric k, with every text that is above the threshold taken away"
    texts = {
        p["id"]: "" if p["null_score"] - p["score"] > threshold else p["prediction_text"]
        for p in predictions
    }
    return 100 * np.mean([text_scores(texts[r["id"]], r["answers"]["text"])[k] for r in references])


def all_thresholds(predictions):
    """One of each kind of threshold there is: below all differences, on each, between each two,
    above all"""
    values = sorted({d for d in score_differences(predictions).tolist() if d < np.inf}) or [0.0]
    return [
        values[0] - 1,
        *values,
        *((a + b) / 2 for a, b in zip(values, values[1:])),
        values[-1] + 1,
    ]


# Scores


@pytest.mark.parametrize("seed", range(40))
def test_scores_equal_a_second_implementation(seed):
    rng = np.random.default_rng(seed)
    predictions, references = make_examples(
        rng, int(rng.integers(30, 90)), p_answer=rng.uniform(0.2, 0.8)
    )
    differences = score_differences(predictions)
    assert len(set(differences.tolist())) == len(differences)
    rng.shuffle(predictions)  # they are matched by id
    for threshold in (0.0, float(np.median(differences)), float(differences[0]), -100.0, 100.0):
        got = v2_scores(predictions, references, threshold)
        assert set(got) == ALL_KEYS
        assert_same(got, official(predictions, references, threshold), differences)
    assert_same(
        v2_scores(predictions, references), official(predictions, references, np.inf), differences
    )


def test_scores_at_a_threshold_are_those_of_the_texts_that_are_left():
    predictions, references = make_examples(np.random.default_rng(0), 60, p_nothing=0.1)
    means = [name for name in ALL_KEYS if not name.startswith("best_")]
    for threshold in (-3.0, 0.0, 2.5):
        at, left = (
            v2_scores(predictions, references, threshold),
            v2_scores(apply_threshold(predictions, threshold), references),
        )
        assert {n: at[n] for n in means} == {n: left[n] for n in means}
        assert (at["exact"], at["f1"]) == pytest.approx(
            [mean_at(threshold, predictions, references, k) for k in (0, 1)]
        )


def test_a_text_without_words_is_as_good_as_none():
    """Where there is no answer, 'the' scores 1 like '', and the search knows it. (The official one
    takes a point away, and so misses the best.)"""
    predictions = [
        {"id": str(i), "prediction_text": t, "start": 0, "end": 3, "score": 0.0, "null_score": 1.0}
        for i, t in enumerate(("the", "red"))
    ]
    references = [
        {"id": "0", "answers": {"text": [], "answer_start": []}},
        {"id": "1", "answers": {"text": ["red"], "answer_start": [0]}},
    ]
    assert (
        v2_scores(predictions, references)["exact"]
        == v2_scores(predictions, references)["best_exact"]
        == 100
    )
    assert (
        official(predictions, references, np.inf)["exact"]
        == 100
        > official(predictions, references, np.inf)["best_exact"]
        == 50
    )


def test_scores_on_squad(shared):
    """Half of SQuAD 2.0's validation set, with made-up scores that are all different: every figure,
    and both best thresholds."""
    examples = load_squad({"validation": shared / "squad" / "dev-v2.0-part.json"})["validation"]
    rows, rng, predictions = (
        [{"id": e["id"], "context": e["context"], "answers": e["answers"]} for e in examples],
        np.random.default_rng(0),
        [],
    )
    for row in rows:
        golds = row["answers"]["text"]
        start = int(rng.integers(0, max(1, len(row["context"]) - 20)))
        text = (
            golds[0] if golds and rng.random() < 0.7 else row["context"][start : start + 20].strip()
        )
        predictions.append(
            {
                "id": row["id"],
                "prediction_text": text,
                "start": start,
                "end": start + len(text),
                "score": float(rng.normal()),
                "null_score": float(rng.normal() - 1.5 * bool(golds)),
            }
        )
    differences = score_differences(predictions)
    assert len(set(differences.tolist())) == len(rows) == 6078
    got = v2_scores(predictions, rows, 0.25)
    assert_same(got, official(predictions, rows, 0.25), differences)
    assert got["HasAns_total"] == 2910 and got["NoAns_total"] == 3168
    for metric in ("exact", "f1"):  # what is found, applied, gives the best there is
        threshold = find_threshold(predictions, rows, metric)
        assert v2_scores(predictions, rows, threshold)[metric] == pytest.approx(
            got[f"best_{metric}"]
        )
        each = score_each(predictions, rows)
        brute = [
            100 * np.where(differences > t, ~each.answerable, getattr(each, metric)).mean()
            for t in [*differences, differences.min() - 1]
        ]
        assert (
            max(brute) == pytest.approx(got[f"best_{metric}"])
            and got[f"best_{metric}"] > got[metric]
        )
    found = evaluate_v2(predictions, examples, None)
    assert found["f1"] == pytest.approx(got["best_f1"]) and found["null_threshold"] == threshold


# The threshold

GRID = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 1.0])


@example(  # its sums differ in the last bit with the order of the rows
    [("red", -2.0, -np.inf, False)] * 5
    + [
        ("red", -0.5, -2.0, False),
        ("red", 0.0, -0.5, False),
        ("red", 0.0, -0.5, True),
        ("red lamp", -2.0, -2.0, True),
    ],
    "f1",
)
@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["red", "red lamp", "the"]),
            GRID,
            GRID | st.just(-np.inf),
            st.booleans(),
        ),
        min_size=1,
        max_size=9,
    ),
    st.sampled_from(["exact", "f1"]),
)
def test_the_found_threshold_is_the_best_of_all(rows, metric):
    """With ties, and contexts without a span: no threshold does better, and applying the found one
    gives its score."""
    predictions = [
        {
            "id": str(i),
            "prediction_text": "" if score == -np.inf else text,
            "start": 0,
            "end": 0,
            "score": score,
            "null_score": null,
        }
        for i, (text, null, score, _) in enumerate(rows)
    ]
    references = [
        {"id": str(i), "answers": {"text": ["red"] * has, "answer_start": [0] * has}}
        for i, (*_, has) in enumerate(rows)
    ]
    k = ("exact", "f1").index(metric)
    best = max(mean_at(t, predictions, references, k) for t in all_thresholds(predictions))
    threshold = find_threshold(predictions, references, metric)
    assert np.isfinite(threshold) and mean_at(
        threshold, predictions, references, k
    ) == pytest.approx(best)
    scores = v2_scores(predictions, references, threshold)
    assert scores[metric] == pytest.approx(best) == scores[f"best_{metric}"]
    assert mean_at(scores[f"best_{metric}_thresh"], predictions, references, k) == pytest.approx(
        best
    )
    assert (
        find_threshold(predictions[::-1], references[::-1], metric) == threshold
    )  # the order of rows decides nothing


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=8), st.data())
def test_between_parts_the_values_as_the_cut_does(values, data):
    "Also where neighbours are neighbouring numbers, or so large that 1 is nothing to them."
    values += [float(np.nextafter(values[0], np.inf)), np.inf]
    cut = data.draw(st.sampled_from([v for v in values if v < np.inf] + [-np.inf]))
    threshold = no_answer._between(np.array(values), cut)
    assert [v > threshold for v in values] == [v > cut for v in values] and np.isfinite(threshold)


@pytest.mark.parametrize("nulls, finite", [((1.0, 2.0), 2), ((), 0)])
def test_the_threshold_is_finite_where_all_may_speak(nulls, finite):
    "The best cut is infinite here, which squadqa.json could not hold."
    scores = [0.0] * finite + [-np.inf] * 3
    predictions = [
        {"id": str(i), "prediction_text": "red" if i < finite else "", "score": score}
        | {"null_score": nulls[i] if i < finite else 1.0}
        for i, score in enumerate(scores)
    ]
    golds = ["red" if i < finite else "!" for i in range(len(scores))]
    references = [
        {"id": str(i), "answers": {"text": [gold], "answer_start": [0]}}
        for i, gold in enumerate(golds)
    ]
    threshold = find_threshold(predictions, references)
    assert np.isfinite(threshold) and threshold > max(nulls, default=-1)
    kept = [p["prediction_text"] for p in apply_threshold(predictions, threshold)]
    assert kept == [p["prediction_text"] for p in predictions]


def test_the_threshold_keeps_its_distance():
    """Half-way between two questions, so that a score that is off in its last digit changes no
    answer."""
    predictions = [
        {
            "id": str(i),
            "prediction_text": "red",
            "start": 0,
            "end": 3,
            "score": 0.0,
            "null_score": null,
        }
        for i, null in enumerate((-1.0, 3.0))
    ]
    references = [
        {"id": str(i), "answers": {"text": ["red"] * (i == 0), "answer_start": [0] * (i == 0)}}
        for i in range(2)
    ]
    assert find_threshold(predictions, references) == 1.0
    assert [p["prediction_text"] for p in apply_threshold(predictions, 1.0)] == ["red", ""]
    assert [p["prediction_text"] for p in apply_threshold(predictions, 3.0)] == [
        "red",
        "red",
    ]  # not above: equal
    assert predictions[1]["prediction_text"] == "red"  # what came in stays as it was


# Unusual cases


def test_all_or_none_answerable():
    rng = np.random.default_rng(1)
    predictions, references = make_examples(rng, 40, p_answer=1.0)
    scores = evaluate_v2(predictions, references, None)
    assert (
        "NoAns_total" not in scores
        and scores["HasAns_total"] == scores["total"] == 40
        and scores["HasAns_f1"] == scores["f1"]
    )
    assert scores["f1"] == pytest.approx(
        v2_scores(predictions, references)["f1"]
    )  # the best is never to keep silent, where it costs
    predictions, references = make_examples(rng, 40, p_answer=0.0)
    scores = evaluate_v2(predictions, references, None)
    assert (
        "HasAns_total" not in scores
        and "pr_f1_ap" not in scores
        and scores["f1"] == scores["best_f1"] == 100.0
    )
    assert all(
        p["prediction_text"] == "" for p in apply_threshold(predictions, scores["null_threshold"])
    )
    with pytest.raises(ValueError, match="nothing to recall"):
        precision_recall(predictions, references)


def test_one_example():
    for has in (True, False):
        predictions = [
            {
                "id": "x",
                "prediction_text": "red",
                "start": 0,
                "end": 3,
                "score": 1.0,
                "null_score": 4.0,
            }
        ]
        references = [{"id": "x", "answers": {"text": ["red"] * has, "answer_start": [0] * has}}]
        scores = evaluate_v2(predictions, references, None)
        assert scores["exact"] == 100 and (3.0 > scores["null_threshold"]) == (not has)
        assert evaluate_v2(predictions, references)["exact"] == (0 if has else 100)  # at 0


def test_all_differences_equal():
    predictions = [
        {
            "id": str(i),
            "prediction_text": "red",
            "start": 0,
            "end": 3,
            "score": 2.0,
            "null_score": 2.0,
        }
        for i in range(5)
    ]
    references = [
        {"id": str(i), "answers": {"text": ["red"] * (i < 2), "answer_start": [0] * (i < 2)}}
        for i in range(5)
    ]
    scores = evaluate_v2(predictions, references, None)
    assert (
        scores["exact"] == scores["best_exact"] == 60 and scores["NoAns_exact"] == 100
    )  # all silent: all there is to win
    curve = precision_recall(predictions, references)
    assert (curve.precision.tolist(), curve.recall.tolist(), curve.average_precision) == (
        [0.4],
        [1.0],
        0.4,
    )


def test_no_span_anywhere():
    predictions = [
        {
            "id": str(i),
            "prediction_text": "",
            "start": 0,
            "end": 0,
            "score": -np.inf,
            "null_score": 1.0,
        }
        for i in range(3)
    ]
    references = [
        {"id": str(i), "answers": {"text": ["red"] * (i < 1), "answer_start": [0] * (i < 1)}}
        for i in range(3)
    ]
    scores = evaluate_v2(predictions, references, None)
    assert scores["exact"] == pytest.approx(200 / 3) and np.isfinite(scores["null_threshold"])
    assert precision_recall(predictions, references).average_precision == 0
    json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda p, r: p.pop(), "1 example without a prediction, the first is '5'"),
        (lambda p, r: r.pop(), "predicted but without a reference"),
        (lambda p, r: p.append(p[0]), "two predictions for example '0'"),
        (lambda p, r: p[2].pop("null_score"), "no 'null_score'"),
        (lambda p, r: p[3].update(null_score=np.nan), "example '3' has score"),
        (lambda p, r: p[3].update(score=np.nan), "example '3'"),
        (lambda p, r: p[1].update(score=-np.inf), "example '1'"),
        (lambda p, r: p[1].update(null_score=-np.inf), "example '1'"),
        (lambda p, r: (p.clear(), r.clear()), "nothing to score"),
    ],
)
def test_what_cannot_be_scored_is_told(change, words):
    predictions, references = make_examples(np.random.default_rng(2), 6)
    predictions[1]["prediction_text"] = "red"
    change(predictions, references)
    for f in (
        lambda: find_threshold(predictions, references),
        lambda: v2_scores(predictions, references, 0.0),
        lambda: evaluate_v2(predictions, references),
    ):
        with pytest.raises(ValueError, match=words):
            f()


def test_bad_options_are_told():
    predictions, references = make_examples(np.random.default_rng(2), 6)
    with pytest.raises(ValueError, match="none of 'exact'"):
        find_threshold(predictions, references, "em")
    with pytest.raises(ValueError, match="none of 'exact'"):
        precision_recall(predictions, references, "em")
    with pytest.raises(ValueError, match="NaN"):
        apply_threshold(predictions, np.nan)


# Precision and recall


@pytest.mark.parametrize("seed", range(10))
def test_precision_and_recall_by_hand(seed):
    "Every point from its definition, threshold by threshold; rounded differences bring ties."
    rng = np.random.default_rng(seed)
    predictions, references = make_examples(rng, 50, p_nothing=0.1)
    for p in predictions:
        p["score"], p["null_score"] = np.round(p["score"]), np.round(p["null_score"])
    for k, metric in enumerate(("exact", "f1")):
        curve = precision_recall(predictions, references, metric)
        thresholds = sorted(
            {p["null_score"] - p["score"] for p in predictions if p["prediction_text"]}
        )
        assert curve.thresholds.tolist() == thresholds and len(thresholds) < 45
        area, before = 0.0, 0.0
        for t, precision, recall in zip(thresholds, curve.precision, curve.recall):
            given_ = {
                p["id"]: p["prediction_text"]
                for p in apply_threshold(predictions, t)
                if p["prediction_text"]
            }
            total = sum(
                text_scores(given_[r["id"]], r["answers"]["text"])[k]
                for r in references
                if r["id"] in given_ and r["answers"]["text"]
            )
            assert precision == pytest.approx(total / len(given_)) and recall == pytest.approx(
                total / sum(bool(r["answers"]["text"]) for r in references)
            )
            area, before = area + precision * (recall - before), recall
        assert curve.average_precision == pytest.approx(area)
        again = precision_recall(predictions[::-1], references, metric)
        assert again.average_precision == pytest.approx(area)
    assert (
        draw_precision_recall({"F1": curve}).axes[0].get_legend().get_texts()[0].get_text()
        == f"F1 (AP {area:.2f})"
    )


# Confidence


@pytest.fixture(scope="module")
def tiny_run(tiny_folder):
    """Predictions of a tiny model on the v2 sample, many windows to a context; its logits scaled
    up, as if it were sure"""
    import torch

    from squadqa.batching import make_features, predict_logits
    from squadqa.models import load_model, load_tokenizer
    from squadqa.postprocessing import postprocess
    from squadqa.validation import prepare_validation_features

    model, tokenizer, examples = (
        load_model(tiny_folder),
        load_tokenizer(tiny_folder),
        load_squad("sample-v2")["validation"].select(range(30)),
    )
    with torch.no_grad():
        model.qa_outputs.weight *= 40
    features = make_features(
        examples, prepare_validation_features, tokenizer, max_length=96, stride=16, padding=False
    )
    logits = predict_logits(model, features, tokenizer)
    return model, tokenizer, examples, features, logits, postprocess(*logits, features, examples)


def test_confidence_is_the_score_of_the_answerer(tiny_run, tiny_folder):
    "With '' allowed at a threshold that silences about half; several windows each."
    from squadqa.inference import QuestionAnswerer

    model, tokenizer, examples, features, logits, predictions = tiny_run
    assert len(features) > 2 * len(examples)
    qa = QuestionAnswerer(model, tokenizer)
    qa.null_threshold = float(np.median(score_differences(predictions)))
    kept = apply_threshold(predictions, qa.null_threshold)
    answers = qa(
        examples["question"][:],
        examples["context"][:],
        max_seq_len=96,
        doc_stride=16,
        handle_impossible_answer=True,
    )
    assert [a["answer"] for a in answers] == [p["prediction_text"] for p in kept]
    assert 5 < sum(a["answer"] == "" for a in answers) < 25
    confidence = gather_evidence(*logits, features, kept).confidence()
    assert confidence == pytest.approx([a["score"] for a in answers], rel=1e-4)
    assert gather_evidence(*logits, list(features), kept).confidence() == pytest.approx(confidence)
    assert gather_evidence(*logits, features, kept[::-1]).confidence() == pytest.approx(
        confidence[::-1]
    )


def test_a_temperature_divides_the_logits(tiny_run):
    *_, features, logits, predictions = tiny_run
    evidence = gather_evidence(*logits, features, predictions)
    for temperature in (0.5, 3.0):
        scaled = [
            p | {"score": p["score"] / temperature, "null_score": p["null_score"] / temperature}
            for p in predictions
        ]
        assert evidence.confidence(temperature) == pytest.approx(
            gather_evidence(*(x / temperature for x in logits), features, scaled).confidence(),
            rel=1e-4,
        )
    assert (evidence.confidence(1e-3) <= 1).all() and evidence.confidence(1e3).max() < 0.01


def test_a_context_without_a_span_has_the_confidence_of_cls(tiny_run):
    model, tokenizer, examples, features, logits, predictions = tiny_run
    masked = [
        f | {"offset_mapping": [None] * len(f["offset_mapping"])} for f in features.select(range(1))
    ]
    one = [
        {
            "id": masked[0]["example_id"],
            "prediction_text": "",
            "start": 0,
            "end": 0,
            "score": -np.inf,
            "null_score": float(logits[0][0, 0] + logits[1][0, 0]),
        }
    ]
    assert gather_evidence(*(x[:1] for x in logits), masked, one).confidence() == pytest.approx(
        [1.0]
    )


@pytest.fixture(scope="module")
def made_up():
    "Evidence of 4,000 answers, and which are right if the logits are divided by 2.5"
    from squadqa.no_answer import Evidence

    rng = np.random.default_rng(0)
    starts, ends = (x - x.max(1, keepdims=True) for x in rng.normal(size=(2, 4000, 12)) * 6)
    evidence = Evidence(np.zeros(4000), starts.ravel(), ends.ravel(), np.arange(0, 48000, 12))
    return evidence, rng.random(4000) < evidence.confidence(2.5)


def test_the_temperature_that_made_the_answers_is_found(made_up):
    evidence, right = made_up
    temperature = fit_temperature(evidence, right)
    assert temperature == pytest.approx(2.5, rel=0.1)
    losses = [
        confidence_loss(evidence.log_confidence(t), right) for t in np.geomspace(0.05, 20, 400)
    ]  # brute force
    assert confidence_loss(evidence.log_confidence(temperature), right) <= min(losses) + 1e-9
    before, after = (
        expected_calibration_error(evidence.confidence(t), right) for t in (1.0, temperature)
    )
    assert before > 0.15 and after < 0.03


def test_confidence_loss_equals_the_textbook(made_up):
    evidence, right = made_up
    p = np.clip(evidence.confidence(3.0), 1e-12, 1 - 1e-12)
    assert confidence_loss(np.log(p), right) == pytest.approx(
        -np.mean(right * np.log(p) + ~right * np.log(1 - p))
    )
    assert np.isfinite(
        confidence_loss(np.zeros(3), np.array([True, False, False]))
    )  # sure and wrong


def test_nothing_to_fit_is_told(made_up):
    evidence, right = made_up
    for values in (np.ones(4000, bool), np.zeros(4000, bool)):
        with pytest.raises(ValueError, match="all answers are right, or all are wrong"):
            fit_temperature(evidence, values)
    with pytest.raises(ValueError, match="4000 answers"):
        fit_temperature(evidence, right[:5])
    for low, high in ((0, 1), (-1, 1), (2, 1), (np.nan, 1), (1, np.inf)):
        with pytest.raises(ValueError, match="temperatures are positive"):
            fit_temperature(evidence, right, low, high)
    for temperature in (0, -1, np.nan):
        with pytest.raises(ValueError, match="a positive number"):
            evidence.confidence(temperature)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]), st.booleans()),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 12),
)
def test_reliability_by_hand(rows, bins):
    confidences, right = zip(*rows)
    table, error = reliability(confidences, right, bins), 0.0
    assert table.counts.sum() == len(rows)
    for b in range(bins):
        last = b == bins - 1
        inside = [
            (c, r) for c, r in rows if table.edges[b] <= c and (c < table.edges[b + 1] or last)
        ]
        assert table.counts[b] == len(inside)
        if not inside:
            assert np.isnan(table.accuracy[b])
            continue
        c, r = np.mean([c for c, _ in inside]), np.mean([r for _, r in inside])
        assert table.confidence[b] == pytest.approx(c) and table.accuracy[b] == pytest.approx(r)
        error += len(inside) / len(rows) * abs(c - r)
    assert expected_calibration_error(confidences, right, bins) == pytest.approx(error)
    assert 0 <= error <= 1 and expected_calibration_error(right, right, bins) == 0


def test_reliability_refuses_what_is_no_probability():
    for confidences, right, words in (
        ([1.2], [1], "between 0 and 1"),
        ([np.nan], [1], "between 0 and 1"),
        ([0.5], [1, 0], "one each"),
        ([], [], "one each"),
    ):
        with pytest.raises(ValueError, match=words):
            reliability(confidences, right)
    figure = draw_reliability(
        {
            "before": reliability([0.9, 0.9, 0.2], [1, 0, 0]),
            "after": reliability([0.5, 0.5, 0.2], [1, 0, 0]),
        }
    )
    assert [a.get_title() for a in figure.axes] == ["before", "after"] and len(
        figure.axes[0].patches
    ) == 2


# Settings


@pytest.fixture
def folder(tiny_folder, tmp_path):
    "A model's folder to change"
    shutil.copytree(tiny_folder, tmp_path / "model")
    return tmp_path / "model"


def test_settings_are_stored_beside_others(folder):
    from squadqa.models import read_settings

    assert read_settings(folder) == {}
    assert (
        save_settings(folder, null_threshold=1.5)
        == read_settings(folder)
        == {"null_threshold": 1.5}
    )
    save_settings(folder, trained_on="Grünes Heft", config={"hidden_dropout_prob": 0.0})
    save_settings(folder, null_threshold=-2.25)
    assert read_settings(folder) == {
        "null_threshold": -2.25,
        "trained_on": "Grünes Heft",
        "config": {"hidden_dropout_prob": 0.0},
    }
    assert (
        save_settings(folder, null_threshold=None)
        == read_settings(folder)
        == {"trained_on": "Grünes Heft", "config": {"hidden_dropout_prob": 0.0}}
    )
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_a_failed_write_leaves_the_old_settings(folder, monkeypatch):
    save_settings(folder, null_threshold=1.0)
    old = (folder / "squadqa.json").read_bytes()
    for value in (float("nan"), float("inf"), object()):
        with pytest.raises(ValueError, match="cannot be stored"):
            save_settings(folder, null_threshold=value)
    with monkeypatch.context() as patch:

        def fail(*args):
            raise OSError("no space left")

        patch.setattr("squadqa.files.os.replace", fail)
        with pytest.raises(ValueError, match="no space left"):
            save_settings(folder, null_threshold=2.0)
    assert (folder / "squadqa.json").read_bytes() == old and not [
        p.name for p in folder.iterdir() if p.name.startswith(".")
    ]
    with pytest.raises(ValueError, match="there is no folder"):
        save_settings(folder / "missing", null_threshold=1.0)


def test_the_answerer_keeps_silent_at_the_stored_threshold(folder):
    """Fitted on evaluation's predictions, stored, and used by an answerer that is loaded from the
    folder: the same texts."""
    from squadqa.evaluation import evaluate_model
    from squadqa.inference import QuestionAnswerer
    from squadqa.models import load_model, load_tokenizer

    examples = load_squad("sample-v2")["validation"].select(range(24))
    result = evaluate_model(load_model(folder), load_tokenizer(folder), examples, progress=False)
    differences = score_differences(result.predictions)
    for threshold in (
        evaluate_v2(result.predictions, examples, None)["null_threshold"],
        no_answer._between(differences, float(np.median(differences))),
    ):
        save_settings(folder, null_threshold=threshold)
        qa = QuestionAnswerer(str(folder))
        assert qa.null_threshold == threshold
        answers = qa(examples["question"][:], examples["context"][:], handle_impossible_answer=True)
        want = [p["prediction_text"] for p in apply_threshold(result.predictions, threshold)]
        assert [a["answer"] for a in answers] == want
        assert all(
            a["answer"] for a in qa(examples["question"][:4], examples["context"][:4])
        )  # unless '' is allowed
    assert 0 < sum(text == "" for text in want) < 24


def test_answers_that_are_null_are_told_by_id():
    prediction = {"id": "lost", "prediction_text": "x", "score": 1.0, "null_score": 0.0}
    with pytest.raises(ValueError, match="the answers of 'lost' are None"):
        score_each([prediction], [{"id": "lost", "answers": None}])
