"""Every figure of the course that needs no published weights, on the real data with the real
tokenizers."""

import json
from collections import Counter

import pytest

from squadqa.labeling import label_windows, prepare_train_features
from squadqa.metrics import SquadMetric, normalize_answer, squad_scores
from squadqa.models import load_tokenizer
from squadqa.validation import prepare_validation_features
from squadqa.windows import context_index, find_cls, tokenize_windows


@pytest.fixture(scope="module")
def bert(shared):
    return load_tokenizer(shared / "tokenizers" / "bert-base-cased")


def test_first_examples(figures, train_part, dev):
    want = figures["dataset"]
    assert train_part[0]["answers"]["answer_start"] == want["train_0_answer_start"]
    assert dev[0]["answers"]["answer_start"] == want["validation_0_answer_starts"]
    assert dev[2]["answers"]["answer_start"] == want["validation_2_answer_starts"]
    assert len(dev) == want["validation_examples"]
    assert all(len(a["text"]) == 1 for a in train_part["answers"])


def test_windows_of_the_first_example(figures, train_part, bert):
    windows = tokenize_windows(
        bert, [train_part[0]["question"]], [train_part[0]["context"]], max_length=100, stride=50
    )
    assert len(windows["input_ids"]) == figures["windows"]["train_0_windows"]


def test_labels_of_examples_2_to_5(figures, train_part, bert):
    want, some = figures["windows"], train_part[2:6]
    windows = tokenize_windows(bert, some["question"], some["context"], max_length=100, stride=50)
    labels = label_windows(windows, some["answers"], bert)
    assert len(windows["input_ids"]) == want["train_2_to_5_features"]
    assert windows["overflow_to_sample_mapping"] == want["train_2_to_5_overflow_to_sample_mapping"]
    assert labels == {
        "start_positions": want["train_2_to_5_start_positions"],
        "end_positions": want["train_2_to_5_end_positions"],
    }


@pytest.mark.parametrize(
    "split, prepare, key",
    [
        ("train", prepare_train_features, "train_part_features"),
        ("validation", prepare_validation_features, "validation_features"),
    ],
)
def test_number_of_features(split, prepare, key, figures, train_part, dev, bert):
    data = {"train": train_part, "validation": dev}[split]
    features = data.map(
        prepare, batched=True, remove_columns=data.column_names, fn_kwargs={"tokenizer": bert}
    )
    whole = len(data) == figures["dataset"]["train_examples"]
    key = "train_features" if whole else key
    assert len(features) == figures["features"][key]
    assert set(map(len, features["input_ids"][:50])) == {384}


@pytest.mark.parametrize("name", ["r-net+ (ensemble)", "Match-LSTM (ensemble)"])
def test_published_predictions(name, figures, shared, dev):
    want = figures["metric_reference"][name]
    texts = json.loads((shared / "squad" / want["file"]).read_text())
    scores = squad_scores(texts, dev)
    assert {k: round(v, 4) for k, v in scores.items()} == {
        k: want[k] for k in ("exact_match", "f1")
    }
    rows = [{"id": i, "prediction_text": t} for i, t in texts.items()]
    references = [{"id": e["id"], "answers": e["answers"]} for e in dev]
    assert SquadMetric().compute(predictions=rows, references=references) == pytest.approx(scores)


def course_label(offsets, sequence_ids, context, start_char, end_char):
    """The course's rule for one window, written down as a scan; None where the window does not hold
    the answer."""
    tokens = [i for i, s in enumerate(sequence_ids) if s == context]
    if offsets[tokens[0]][0] > start_char or offsets[tokens[-1]][1] < end_char:
        return None
    start = tokens[0]
    while start <= tokens[-1] and offsets[start][0] <= start_char:
        start += 1
    end = tokens[-1]
    while end >= tokens[0] and offsets[end][1] >= end_char:
        end -= 1
    return start - 1, end + 1


@pytest.mark.parametrize(
    "name, inverted",
    [
        ("bert-base-cased", 0),
        pytest.param("xlnet-base-cased", 1, marks=pytest.mark.slow),
        ("roberta-style", 0),
    ],
)
def test_labels_against_the_course_rule(name, inverted, shared, train_part):
    """The same labels on every feature of the part, but where the course's rule inverts; 99 %
    decode to the gold answer."""
    tokenizer, answers, contexts = (
        load_tokenizer(shared / "tokenizers" / name),
        train_part["answers"][:],
        train_part["context"][:],
    )
    windows = tokenize_windows(tokenizer, train_part["question"][:], contexts, padding=False)
    labels, seen = label_windows(windows, answers, tokenizer), Counter()
    for i, (start, end) in enumerate(zip(labels["start_positions"], labels["end_positions"])):
        example, offsets, sequence_ids = (
            windows["overflow_to_sample_mapping"][i],
            windows["offset_mapping"][i],
            windows.sequence_ids(i),
        )
        gold, first = answers[example]["text"][0], answers[example]["answer_start"][0]
        course = course_label(
            offsets, sequence_ids, context_index(tokenizer), first, first + len(gold)
        )
        if course is None:
            assert start == end == find_cls(windows["input_ids"][i], sequence_ids, tokenizer)
            continue
        assert start <= end and sequence_ids[start] == sequence_ids[end] == context_index(tokenizer)
        if course[0] > course[1]:
            seen["inverted"] += 1
        else:
            assert (start, end) == course
        seen["labelled"] += 1
        seen["decoded"] += normalize_answer(
            contexts[example][offsets[start][0] : offsets[end][1]]
        ) == normalize_answer(gold)
    assert seen["inverted"] == inverted and seen["labelled"] > 11_800
    assert seen["decoded"] >= 0.99 * seen["labelled"]
