"""Windows cut from a context's tokens are those that the tokenizer cuts itself, in every column."""

import gc
import sys

import numpy as np
import pytest
from datasets import Dataset

from squadqa import labeling, validation
from squadqa.batching import make_features
from squadqa.data import load_squad
from squadqa.labeling import label_windows, model_inputs, prepare_train_features
from squadqa.models import load_tokenizer
from squadqa.pairs import ContextTokens, collector_paused, cut_pairs, pad_windows
from squadqa.validation import locate_windows, prepare_validation_features, trim_context
from squadqa.windows import tokenize_windows

KINDS = ("bert-base-cased", "roberta-style", "xlnet-base-cased")


@pytest.fixture(scope="module")
def examples() -> dict[str, list]:
    "Texts short and long, one without an answer, one that is empty, with spaces at the edges."
    sample = load_squad("sample")["validation"]
    batch = sample.remove_columns("title")[:12]
    nothing = {"text": [], "answer_start": []}
    extra = [
        ("none", "  Where does it sail? ", "The ferry  sails\tin spring. ", nothing),
        ("empty", "Why?", "", nothing),
        ("spaces", "When?", " At  nine.", {"text": [" nine"], "answer_start": [4]}),
    ]
    for name, question, context, answers in extra:
        row = {"id": name, "question": question, "context": context, "answers": answers}
        for column, value in row.items():
            batch[column].append(value)
    return batch


def plain_features(examples, tokenizer, **options) -> dict[str, list]:
    "The tokenizer's own call for each pair."
    texts = examples["question"], examples["context"]
    windows = tokenize_windows(tokenizer, *texts, ids=examples["id"], **options)
    labels = label_windows(windows, examples["answers"], tokenizer)
    places = locate_windows(windows, examples["id"], tokenizer, examples["context"])
    return model_inputs(windows) | labels | places


def check(tokenizer, examples):
    for lengths in ({}, {"max_length": 64, "stride": 20}):
        for padding in ("max_length", "longest", False):
            options = lengths | {"padding": padding}
            expected = plain_features(examples, tokenizer, **options)
            found = prepare_train_features(examples, tokenizer, **options)
            found |= prepare_validation_features(examples, tokenizer, **options)
            assert list(found) == list(expected)
            for name, column in expected.items():
                assert found[name] == column, (name, options)


def check_mapped(tokenizer, examples):
    "Through `Dataset.map`, arrays and lists become the same rows."
    data = Dataset.from_dict(examples)
    for prepare in (prepare_train_features, prepare_validation_features):
        found = prepare(examples, tokenizer)
        assert all(isinstance(column, list) for column in found.values())
        assert type(found["input_ids"][0][0]) is int
        expected = make_features(data, prepare, tokenizer, return_tensors=None)
        assert expected.to_dict() == Dataset.from_dict(found).to_dict()
        arrays = prepare(examples, tokenizer, return_tensors="np")
        assert isinstance(arrays["input_ids"], np.ndarray)
        mapped = make_features(data, prepare, tokenizer)
        assert mapped.to_dict() == expected.to_dict()
        assert mapped.features == expected.features
        with pytest.raises(ValueError, match="return_tensors='pt' is neither"):
            prepare(examples, tokenizer, return_tensors="pt")


def test_all_columns_are_those_of_the_tokenizer(minilm, examples):
    check(minilm, examples)
    check_mapped(minilm, examples)


@pytest.mark.parametrize("kind", KINDS)
def test_all_columns_for_other_tokenizers(kind, shared, examples):
    check(load_tokenizer(shared / "tokenizers" / kind), examples)


def test_padding_on_the_left_moves_labels_and_offsets(minilm, examples, tmp_path):
    minilm.save_pretrained(tmp_path)
    left = load_tokenizer(tmp_path)
    left.padding_side = "left"
    check(left, examples)
    check_mapped(left, examples)


def test_a_text_that_comes_twice_is_tokenized_once(minilm, monkeypatch):
    seen = []
    encode = type(minilm).__call__

    def counted(self, *texts, **options):
        if isinstance(texts[0], list):
            seen.append(len(texts[0]))
        return encode(self, *texts, **options)

    monkeypatch.setattr(type(minilm), "__call__", counted)
    pairs = cut_pairs(minilm, ["Who?", "When?", "Where?"], ["At nine.", "At nine.", "Here."])
    assert seen == [2, 3]  # two contexts, three questions
    assert pairs[0].context is pairs[1].context


def test_a_text_of_many_windows_is_looked_at_once(minilm, monkeypatch):
    "What the tokenizer drops of a text is found once, not once in each of its windows."
    looked = []

    def counted(function):
        return lambda *given: looked.append(function.__name__) or function(*given)

    for module, function in ((labeling, "held_chars"), (validation, "dropped_marks")):
        monkeypatch.setattr(module, function, counted(getattr(module, function)))
    text = "The fair opens at nine. " * 20
    windows = tokenize_windows(minilm, ["When?"], [text], max_length=32, stride=8, padding=False)
    assert len(windows["input_ids"]) > 5
    label_windows(windows, [{"text": ["nine"], "answer_start": [18]}], minilm)
    locate_windows(windows, ["a"], minilm, [text])
    assert looked == ["held_chars", "dropped_marks"]


@pytest.mark.parametrize("padding", [False, "max_length"])
def test_rows_are_lists_of_their_own(minilm, padding):
    "Windows share the tokens of their question and context; who changes a row changes no other."
    pairs = cut_pairs(minilm, ["Who?", "Who?"], ["A boy.", "A boy."])
    kept = pairs[0].context.ids.copy(), pairs[0].windows[0].features
    columns, _ = pad_windows(pairs, minilm, padding, 384)
    second = {name: rows[1].copy() for name, rows in columns.items()}
    for rows in columns.values():
        rows[0][:] = [-1] * len(rows[0])
    assert {name: rows[1] for name, rows in columns.items()} == second
    assert kept == (pairs[0].context.ids, pairs[0].windows[0].features)


def test_every_white_character_is_trimmed():
    for white in filter(str.isspace, map(chr, range(sys.maxunicode + 1))):
        tokens = ContextTokens(f"{white}ab{white}", [1, 2], np.array([[0, 2], [2, 4]]))
        assert trim_context(tokens).offsets.tolist() == [[1, 2], [2, 3]], repr(white)
    empty = ContextTokens("", [1], np.array([[0, 0]]))
    assert trim_context(empty).offsets.tolist() == [[0, 0]]


def test_the_garbage_collector_waits_and_goes_on(minilm, examples):
    @collector_paused
    def outer(fails=False):
        inner = collector_paused(gc.isenabled)()
        if fails:
            raise KeyError("a reason")
        return inner, gc.isenabled()

    assert gc.isenabled() and outer() == (False, False) and gc.isenabled()
    with pytest.raises(KeyError, match="a reason"):
        outer(fails=True)
    for prepare in (prepare_train_features, prepare_validation_features):
        with pytest.raises(ValueError, match="no column"):
            prepare({}, minilm)
        prepare(examples, minilm)
        assert gc.isenabled()
    gc.disable()
    try:
        outer()
        assert not gc.isenabled()  # as its owner wanted it
    finally:
        gc.enable()


def test_what_cannot_be_padded_is_told(minilm, tmp_path):
    pairs = cut_pairs(minilm, ["Who?"], ["A boy."])
    with pytest.raises(ValueError, match="padding='both' is none of"):
        pad_windows(pairs, minilm, "both", 384)
    minilm.save_pretrained(tmp_path)
    bare = load_tokenizer(tmp_path)
    bare.pad_token = None
    with pytest.raises(ValueError, match="no padding token"):
        pad_windows(pairs, bare, "max_length", 384)
    assert pad_windows(pairs, bare, False, 384)[1] == [0]
