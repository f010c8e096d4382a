"""Windows that share a row: the same loss and gradients as windows that are padded."""

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    ModernBertConfig,
    ModernBertForQuestionAnswering,
    RobertaConfig,
    RobertaForQuestionAnswering,
    set_seed,
)

from benchmarks.packing import PackedCollator, first_position, inputs_of, packed_loss, rows_of
from squadqa.batching import WindowCollator, window_loss, without_labels
from squadqa.data import load_squad
from squadqa.labeling import prepare_train_features
from squadqa.models import load_tokenizer

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.2,  # with smaller weights attention is even, whatever the mask
}


def make(kind, tokenizer):
    set_seed(0)
    sizes = SIZES | {"vocab_size": len(tokenizer)}
    if kind == "bert":
        return BertForQuestionAnswering(BertConfig(**sizes)), None
    if kind == "roberta":  # positions begin behind the padding token's
        config = RobertaConfig(**sizes, pad_token_id=1, max_position_embeddings=300)
        return RobertaForQuestionAnswering(config), None
    special = {"pad_token_id": 0, "cls_token_id": 101, "sep_token_id": 102}
    config = ModernBertConfig(**sizes, local_attention=16, global_attn_every_n_layers=2, **special)
    return ModernBertForQuestionAnswering(config), config.sliding_window


@pytest.fixture(scope="module")
def windows():
    "Of many lengths."
    tokenizer = load_tokenizer("minilm")
    some = load_squad("sample")["train"].select(range(9))[:]
    options = {"max_length": 120, "stride": 40, "padding": False}
    features = prepare_train_features(some, tokenizer, **options)
    rows = [dict(zip(features, row)) for row in zip(*features.values())]
    assert len({len(row["input_ids"]) for row in rows}) > 5
    return tokenizer, rows


def loss_and_gradients(model, loss):
    model.zero_grad()
    loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return loss.item(), found


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_the_same_loss_and_gradients(kind, windows):
    tokenizer, rows = windows
    model, sliding = make(kind, tokenizer)
    model.eval()
    first = first_position(model, tokenizer)
    assert first == {"bert": 0, "roberta": 2, "modernbert": 0}[kind]
    if kind != "bert":
        rows = [{k: v for k, v in row.items() if k != "token_type_ids"} for row in rows]
    padded = WindowCollator(tokenizer)(rows)
    packed = PackedCollator(tokenizer, 256, first, sliding)(rows)
    assert len(packed["input_ids"]) < len(rows)
    one = loss_and_gradients(model, window_loss(model(**without_labels(padded)), padded))
    other = loss_and_gradients(model, packed_loss(model(**inputs_of(packed)), packed))
    assert other[0] == pytest.approx(one[0], abs=1e-5)
    assert one[1].keys() == other[1].keys() and any(g.abs().max() > 1e-3 for g in one[1].values())
    for name, gradient in one[1].items():
        torch.testing.assert_close(other[1][name], gradient, atol=2e-5, rtol=1e-3, msg=name)


def test_a_mask_that_lets_windows_see_each_other_is_noticed(windows):
    tokenizer, rows = windows
    model, _ = make("bert", tokenizer)
    model.eval()
    packed = PackedCollator(tokenizer, 256)(rows)
    right = packed_loss(model(**inputs_of(packed)), packed)
    packed["attention_mask"] = torch.ones_like(packed["attention_mask"])
    assert abs(packed_loss(model(**inputs_of(packed)), packed) - right) > 1e-4


def test_every_window_is_in_one_row_and_rows_are_not_too_long():
    rng = np.random.default_rng(0)
    for _ in range(50):
        lengths = rng.integers(1, 100, size=30).tolist()
        rows = rows_of(lengths, 100)
        assert sorted(i for row in rows for i in row) == list(range(30))
        assert all(sum(lengths[i] for i in row) <= 100 for row in rows)
