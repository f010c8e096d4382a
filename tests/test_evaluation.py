"""One evaluation: the same on one process and on many, and written whole or not at all."""

import json
import os

import numpy as np
import pytest
import torch
from datasets import DatasetDict
from processes import alone, processes

from squadqa import evaluation as module
from squadqa.batching import make_features, predict_logits
from squadqa.data import load_squad
from squadqa.evaluation import evaluate_model, prepare_evaluation_features, write_answers
from squadqa.labeling import prepare_train_features
from squadqa.metrics import squad_scores
from squadqa.models import load_model, load_tokenizer
from squadqa.postprocessing import n_best_answers, postprocess
from squadqa.validation import prepare_validation_features

SHORT = dict(max_length=64, stride=16)


@pytest.fixture(scope="module")
def examples():
    "The longest contexts of the sample, so that most have several windows."
    rows = load_squad()["validation"]
    order = np.argsort([-len(context) for context in rows["context"]], kind="stable")
    return rows.select(order[:40])


def written(found) -> str:
    return json.dumps([found.predictions, found.n_best, found.scores])


def test_features_with_labels_and_places(examples, minilm):
    batch = examples[:5]
    both = prepare_evaluation_features(batch, minilm, **SHORT)
    train = prepare_train_features(batch, minilm, **SHORT)
    places = prepare_validation_features(batch, minilm, **SHORT)
    assert both == train | places


def test_it_is_what_the_lessons_do_step_by_step(examples, minilm, tiny_folder):
    model = load_model(tiny_folder)
    found = evaluate_model(model, minilm, examples, n_best=5, progress=False, **SHORT)
    features = make_features(examples, prepare_validation_features, minilm, **SHORT, padding=False)
    logits = predict_logits(model, features, minilm, progress=False)
    expected = postprocess(*logits, features, examples)
    keys = ("id", "prediction_text", "start", "end")
    assert [[p[k] for k in keys] for p in found.predictions] == [
        [p[k] for k in keys] for p in expected
    ]
    for key in ("score", "null_score"):
        np.testing.assert_allclose(
            [p[key] for p in found.predictions], [p[key] for p in expected], atol=1e-4
        )
    best = n_best_answers(*logits, features, examples, n_best=5)
    assert found.n_best.keys() == best.keys()
    assert all(found.n_best[i][0]["text"] == best[i][0]["text"] for i in best)
    assert found.scores == squad_scores(found.predictions, examples) and found.seconds > 0


def test_options_reach_the_search(examples, minilm, tiny_folder):
    model, few = load_model(tiny_folder), examples.select(range(6))
    short = evaluate_model(model, minilm, few, max_answer_length=1, progress=False, **SHORT)
    long = evaluate_model(model, minilm, few, max_answer_length=60, progress=False, **SHORT)
    words = [
        sum(len(p["prediction_text"].split()) for p in found.predictions) for found in (short, long)
    ]
    assert words[0] < words[1]
    course = evaluate_model(model, minilm, few, search="n_best", progress=False, **SHORT)
    assert len(course.predictions) == 6
    with pytest.raises(ValueError, match="search"):
        evaluate_model(model, minilm, few, search="no-such", progress=False, **SHORT)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_two_processes_answer_as_one(n, examples, tiny_folder, minilm):
    "Byte for byte the same, also where a process gets nothing."
    model, some = load_model(tiny_folder), examples.select(range(n))

    def answers():
        from squadqa import evaluation

        evaluation.CHUNK = 1
        return evaluation.evaluate_model(model, minilm, some, progress=False, **SHORT)

    one, two = alone(answers), processes(answers)
    assert written(one) == written(two[0]) == written(two[1]) and len(one.predictions) == n
    plain = evaluate_model(model, minilm, some, progress=False, **SHORT)
    texts = [[p["prediction_text"] for p in found.predictions] for found in (plain, one)]
    assert texts[0] == texts[1] and plain.scores == one.scores


def test_chunks_show_in_no_answer(examples, tiny_folder, minilm, monkeypatch):
    model = load_model(tiny_folder)
    texts = []
    for size in (1, 7, 64):
        monkeypatch.setattr(module, "CHUNK", size)
        found = evaluate_model(model, minilm, examples, progress=False, **SHORT)
        texts.append([p["prediction_text"] for p in found.predictions])
        assert [p["id"] for p in found.predictions] == examples["id"][:]
    assert texts[0] == texts[1] == texts[2]


def test_it_uses_the_device(examples, tiny_folder, minilm, monkeypatch):
    asked = []

    def device(name):
        asked.append(name)
        return torch.device("cpu")

    monkeypatch.setattr(module, "pick_device", device)
    model, few = load_model(tiny_folder), examples.select(range(2))
    evaluate_model(model, minilm, few, progress=False, **SHORT)
    evaluate_model(model, minilm, few, device="cuda:1", progress=False, **SHORT)
    assert asked == [None, "cuda:1"]


def test_what_does_not_fit_is_refused(examples, tiny_folder, minilm):
    model = load_model(tiny_folder)
    with pytest.raises(ValueError, match="more than the 512 tokens"):
        evaluate_model(model, minilm, examples, max_length=600)
    with pytest.raises(ValueError, match="no examples"):
        evaluate_model(model, minilm, examples.select([]))
    with pytest.raises(ValueError, match="device='meta'"):
        evaluate_model(model, minilm, examples, device="meta")
    broken = examples.select(range(3)).to_list()
    broken[1]["context"] = None
    broken = type(examples).from_list(broken)
    with pytest.raises(ValueError, match="the context is None"):
        evaluate_model(model, minilm, broken, progress=False, **SHORT)


def test_the_starter_answers_the_sample():
    "Oracle: what the sample's questions are worth to the model that comes with the package."
    rows = load_squad()["validation"].select(range(40))
    found = evaluate_model(load_model("starter"), load_tokenizer("starter"), rows, progress=False)
    assert found.scores["f1"] == pytest.approx(62.751, abs=0.01)
    assert found.scores["exact_match"] == pytest.approx(55.0)


def test_answers_are_written(examples, tiny_folder, minilm, tmp_path, monkeypatch):
    few = examples.select(range(4))
    found = evaluate_model(load_model(tiny_folder), minilm, few, n_best=3, progress=False, **SHORT)
    folder = tmp_path / "new" / "folder"
    write_answers(folder, found)
    read = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in folder.iterdir()}
    assert read == {
        "predictions": {p["id"]: p["prediction_text"] for p in found.predictions},
        "scores": found.scores,
        "nbest": found.n_best,
    }
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ValueError, match="No space left"):
        write_answers(folder, found)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_examples_are_a_data_set_of_any_format(examples, tiny_folder, minilm):
    model = load_model(tiny_folder)
    few = examples.select(range(3))
    plain = evaluate_model(model, minilm, few, device="cpu", progress=False)
    for kind in ("numpy", "torch", "pandas"):
        rows = few.with_format(kind)
        found = evaluate_model(model, minilm, rows, device="cpu", progress=False)
        assert (found.scores, found.predictions) == (plain.scores, plain.predictions)
    for wrong, words in (
        (few.to_list(), "the examples are a list, not a Dataset: pass one split"),
        (DatasetDict(a=few), "the examples are a DatasetDict, not a Dataset"),
        (few.remove_columns("answers"), "the data has no column answers"),
    ):
        with pytest.raises(ValueError, match=words):
            evaluate_model(model, minilm, wrong)
