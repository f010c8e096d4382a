"""Batches: padding, order and halves never show in the result."""

import inspect
import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import tiny_config
from transformers import (
    AutoModelForQuestionAnswering,
    BertConfig,
    BertForQuestionAnswering,
    RobertaConfig,
    XLNetConfig,
    XLNetForQuestionAnsweringSimple,
    set_seed,
)

from squadqa.batching import (
    IN_FLIGHT,
    LengthGroupedSampler,
    TorchEngine,
    WindowCollator,
    WindowTable,
    count_workers,
    fit_batch,
    gather_logits,
    length_batches,
    length_chunks,
    longest_first,
    make_features,
    make_loader,
    predict_logits,
    width_step,
    window_lengths,
    window_loss,
    without_labels,
)
from squadqa.evaluation import prepare_evaluation_features
from squadqa.inference import QuestionAnswerer
from squadqa.labeling import prepare_train_features
from squadqa.models import load_model, load_tokenizer
from squadqa.processes import own_share, plan_steps
from squadqa.validation import prepare_validation_features

SHORT = dict(max_length=96, stride=24, padding=False)


@pytest.fixture(scope="module")
def windows(small_data, minilm):
    return make_features(small_data["validation"], prepare_validation_features, minilm, **SHORT)


@pytest.fixture(scope="module")
def training(small_data, minilm):
    return make_features(small_data["train"], prepare_train_features, minilm, **SHORT)


@pytest.fixture
def model(tiny_folder):
    return load_model(tiny_folder)


def close(one, two, atol=1e-5):
    "The same shape, the same places without a token, the same logits."
    for a, b in zip(one, two):
        real = np.isfinite(a)
        assert a.shape == b.shape and (real == np.isfinite(b)).all()
        np.testing.assert_allclose(a[real], b[real], atol=atol)


# Features


def test_features_of_a_split(small_data, training, minilm):
    examples = small_data["train"]
    assert len(training) > len(examples) and "question" not in training.column_names
    assert training[:] == prepare_train_features(examples[:], minilm, **SHORT)
    ordered = longest_first(training)
    sizes = [len(ids) for ids in ordered["input_ids"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sorted(ordered["input_ids"]) == sorted(training["input_ids"])
    longest = [row for row in training["input_ids"] if len(row) == sizes[0]]
    assert ordered["input_ids"][: len(longest)] == longest  # equally long ones keep their order


# Padding


def test_padding_stands_on_the_right(minilm):
    rows = [minilm("Who?", "Bo."), minilm("Who rowed home?", "The keeper rowed home.")]
    rows = [dict(row) | {"start_positions": 3} for row in rows]
    batch = WindowCollator(minilm)(rows)
    n, width = len(rows[0]["input_ids"]), len(rows[1]["input_ids"])
    assert batch["input_ids"].shape == (2, width)
    assert batch["input_ids"][0].tolist() == rows[0]["input_ids"] + [0] * (width - n)
    assert not batch["attention_mask"][0, n:].any()
    assert batch["start_positions"].tolist() == [3, 3]


@pytest.mark.parametrize("limit, width", [(None, 16), (16, 16), (15, 15), (8, 9)])
def test_widths_are_rounded_up_to_the_limit(minilm, limit, width):
    rows = [{"input_ids": [5] * 9, "attention_mask": [1] * 9}]
    batch = WindowCollator(minilm, multiple=8, limit=limit)(rows)
    assert batch["input_ids"].shape == (1, width)
    assert batch["attention_mask"].sum() == 9


def test_without_a_mask_nothing_is_rounded(minilm):
    "The model would read the padding."
    assert WindowCollator(minilm, multiple=8)([{"input_ids": [5] * 9}])["input_ids"].shape[1] == 9


# Order


def test_the_order_of_training():
    lengths = np.random.default_rng(0).integers(5, 400, 1003)
    sampler = LengthGroupedSampler(lengths, 8, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(1003)) and first == list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first and sorted(sampler) == sorted(first)
    assert list(LengthGroupedSampler(lengths, 8, seed=4)) != first
    batches = lengths[first[:1000]].reshape(-1, 8)
    assert 1 - batches.sum() / (batches.max(1) * 8).sum() < 0.05  # hardly any padding
    assert len(sampler) == 1003


def test_the_order_stays_what_it_was():
    "A run that is resumed with a later version sees the same batches."
    order = list(LengthGroupedSampler([5, 3, 9, 1, 7, 7, 2, 8, 4, 6, 5], 2, seed=1, pool=2))
    assert order == [4, 10, 9, 6, 7, 5, 2, 0, 8, 1, 3]


def test_batches_are_cut_longest_first():
    batches = length_batches([5, 100, 60, 100, 30, 7], batch_size=3, tokens=200)
    assert [b.tolist() for b in batches] == [[1, 3], [2, 4, 5], [0]]
    assert [len(b) for b in length_batches([384] * 4, 32, 1024)] == [2, 2]
    assert [len(b) for b in length_batches([500, 400], 32, tokens=100)] == [1, 1]
    assert len(length_batches([10] * 10, 32)) == 1 and length_batches([], 32) == []
    with pytest.raises(ValueError, match="must be at least 1"):
        length_batches([5, 4], 0)


def test_chunks_of_examples():
    chunks = length_chunks([5, 100, 60, 100, 30, 7], size=2)
    assert [chunk.tolist() for chunk in chunks] == [[1, 3], [2, 4], [5, 0]]
    assert length_chunks([]) == []


# Prediction


def test_logits_are_those_of_one_window_at_a_time(model, windows, minilm):
    found = predict_logits(model, windows, minilm, progress=False)
    lengths = [len(ids) for ids in windows["input_ids"]]
    assert found[0].shape == (len(windows), max(lengths)) and found[0].dtype == np.float32
    names = [name for name in windows.column_names if name in minilm.model_input_names]
    for i, row in enumerate(windows):
        with torch.inference_mode():
            alone = model(**{name: torch.tensor([row[name]]) for name in names})
        for logits, side in zip((alone.start_logits, alone.end_logits), found):
            np.testing.assert_allclose(logits[0], side[i, : lengths[i]], atol=1e-5)
            assert np.isneginf(side[i, lengths[i] :]).all()


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"batch_tokens": 200}, {"batch_size": 1}])
def test_batches_do_not_show(model, windows, minilm, options):
    whole = predict_logits(model, windows, minilm, progress=False)
    close(whole, predict_logits(model, windows, minilm, progress=False, **options))


def test_a_list_of_windows_will_do(model, windows, minilm):
    rows = windows.to_list()
    whole = predict_logits(model, windows, minilm, progress=False)
    close(whole, predict_logits(model, rows, minilm, progress=False), atol=0)


def test_nothing_to_predict(model, windows, minilm):
    for nothing in ([], windows.select([])):
        starts, ends = predict_logits(model, nothing, minilm)
        assert starts.shape == ends.shape == (0, 0)
    assert QuestionAnswerer(model, minilm).answer_all([]) == []


def test_few_shapes(model, windows, minilm, monkeypatch):
    widths, forward = set(), BertForQuestionAnswering.forward

    def watched(self, input_ids=None, attention_mask=None, token_type_ids=None):
        widths.add(input_ids.shape[1])
        return forward(self, input_ids, attention_mask, token_type_ids)

    monkeypatch.setattr(BertForQuestionAnswering, "forward", watched)
    predict_logits(model, windows, minilm, batch_size=2, progress=False)
    assert widths and all(width % 8 == 0 for width in widths)


def test_no_window_is_rounded_beyond_what_the_model_reads(minilm):
    set_seed(0)
    model = BertForQuestionAnswering(tiny_config(minilm, max_position_embeddings=30)).eval()
    row = {"input_ids": [5] * 30, "attention_mask": [1] * 30}
    assert predict_logits(model, [row], minilm, progress=False)[0].shape == (1, 30)


def test_dropout_is_off_and_comes_back(windows, minilm):
    model = BertForQuestionAnswering(tiny_config(minilm, hidden_dropout_prob=0.5)).train()
    first = predict_logits(model, windows, minilm, progress=False)
    assert model.training
    close(first, predict_logits(model, windows, minilm, progress=False), atol=0)
    assert not hasattr(model, "row_multiple")
    model.eval()
    predict_logits(model, windows, minilm, progress=False)
    assert not model.training


@pytest.mark.parametrize("training", [True, False])
def test_gathering_leaves_the_mode_as_it_was(training, small_data, model, minilm):
    class Alone:
        device = torch.device("cpu")

        def pad_across_processes(self, rows, **options):
            return rows

        def gather_for_metrics(self, rows):
            return rows

    few = small_data["validation"].select(range(2))
    features = make_features(few, prepare_evaluation_features, minilm, **SHORT)
    loader = make_loader(features, model.train(training), minilm, 8)
    starts, ends, loss = gather_logits(Alone(), model, loader)
    assert len(starts) == len(ends) == len(features) and math.isfinite(loss)
    assert model.training is training


def memory(monkeypatch, most: int, error: Exception) -> list[int]:
    "Let no more than so many windows fit into the memory."
    sizes, forward = [], BertForQuestionAnswering.forward

    def narrow(self, input_ids=None, attention_mask=None, token_type_ids=None):
        if len(input_ids) > most:
            raise error
        sizes.append(len(input_ids))
        return forward(self, input_ids, attention_mask, token_type_ids)

    monkeypatch.setattr(BertForQuestionAnswering, "forward", narrow)
    return sizes


FULL = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(FULL)], ids=["gpu", "cpu"]
)
def test_a_batch_that_does_not_fit_is_halved(error, model, windows, minilm, monkeypatch, caplog):
    whole = predict_logits(model, windows, minilm, progress=False)
    sizes = memory(monkeypatch, 5, error)
    with caplog.at_level(logging.WARNING, logger="squadqa.batching"):
        found = predict_logits(model, windows, minilm, batch_size=16, progress=False)
    close(whole, found)
    assert max(sizes) <= 5 and sum(sizes) == len(windows)
    assert "A batch of 16 windows does not fit into the memory: it is halved." in caplog.messages


def test_one_window_that_does_not_fit_is_an_error(model, windows, minilm, monkeypatch):
    memory(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(torch.OutOfMemoryError):
        predict_logits(model.train(), windows, minilm, progress=False)
    assert model.training


def test_another_error_is_not_taken_for_it(model, windows, minilm, monkeypatch):
    memory(monkeypatch, 0, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        predict_logits(model, windows, minilm, progress=False)


# Training


def test_a_loader_leaves_behind_what_the_model_does_not_read(small_data, model, minilm):
    features = make_features(
        small_data["validation"].select(range(6)), prepare_evaluation_features, minilm, **SHORT
    )
    batch = next(iter(make_loader(features, model, minilm, 4)))
    assert "offset_mapping" in features.column_names and "offset_mapping" not in batch
    assert batch["input_ids"].shape[0] == 4 and batch["start_positions"].shape == (4,)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_make_the_same_batches(workers, training, model, minilm):
    order = LengthGroupedSampler(window_lengths(training), 8)
    loader = make_loader(training, model, minilm, 8, order, multiple=8, workers=workers)
    rows = [training[i] for i in list(order)[:8]]
    expected = WindowCollator(minilm, multiple=8)(rows)
    batch = next(iter(loader))
    assert {n: t.tolist() for n, t in batch.items()} == {n: t.tolist() for n, t in expected.items()}


def test_workers_by_device(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert count_workers(None, "cuda") == 2 and count_workers(None, "cpu") == 0
    assert count_workers(5, "cpu") == 5 and count_workers(0, "cuda") == 0
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert count_workers(None, "cuda") == 0


def test_rows_as_arrays(training):
    "Also after a selection, and of one row alone."
    names = ["input_ids", "attention_mask", "start_positions"]
    some = training.select([5, 2, 9])
    table = WindowTable(some, names)
    assert len(table) == 3
    for row, expected in zip(table.__getitems__([2, 0]), (some[2], some[0])):
        assert isinstance(row["input_ids"], np.ndarray) and list(row) == names
        assert {name: np.asarray(value).tolist() for name, value in row.items()} == {
            name: expected[name] for name in names
        }
    assert table[1]["input_ids"].tolist() == some[1]["input_ids"]
    assert window_lengths(some).tolist() == [len(ids) for ids in some["input_ids"]]
    assert window_lengths(some.to_list()).tolist() == window_lengths(some).tolist()


def gradients(model, batch, factor=1.0):
    model.zero_grad()
    (window_loss(model(**without_labels(batch)), batch) * factor).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_two_processes_learn_what_one_would(model, training, minilm):
    "Each cuts, pads and weighs its batch; the mean of the gradients is that of one process."
    plan = plan_steps(7, 2, processes=2)
    rows = training.select(range(7))
    dealt = ([[0, 1], [2, 3]], [[4, 5], [6, 0]])  # window 0 fills the last batch up
    for number, (whole, parts) in enumerate(zip(([0, 1, 2, 3], [4, 5, 6]), dealt)):
        expected = gradients(model, WindowCollator(minilm)(rows.select(whole).to_list()))
        found = []
        for rank, part in enumerate(parts):
            own, factor = own_share(plan, number, rank)
            collate = WindowCollator(minilm, multiple=(1, 32)[rank])
            batch = fit_batch(collate(rows.select(part).to_list()), own)
            found.append(gradients(model, batch, factor))
        for name, gradient in expected.items():
            mean = (found[0][name] + found[1][name]) / 2
            torch.testing.assert_close(mean, gradient, atol=1e-6, rtol=1e-4)


def test_nothing_of_its_own_in_a_batch(training, minilm):
    batch = WindowCollator(minilm)(training.select(range(4)).to_list())
    none = fit_batch(batch, own=0)
    assert none["start_positions"].tolist() == [0] and len(none["input_ids"]) == 1
    assert len(fit_batch(batch, own=3)["end_positions"]) == 3


# The loss


@pytest.fixture(scope="module", params=["bert", "roberta", "xlnet"])
def family(request, shared, small_data):
    "A tiny model of a family, its tokenizer, and labelled windows of its own."
    kind = request.param
    names = {"bert": "bert-base-cased", "roberta": "roberta-style", "xlnet": "xlnet-base-cased"}
    tokenizer = load_tokenizer(shared / "tokenizers" / names[kind])
    set_seed(0)
    if kind == "xlnet":
        config = XLNetConfig(vocab_size=len(tokenizer), d_model=32, n_layer=2, n_head=2, d_inner=64)
        model = XLNetForQuestionAnsweringSimple(config)
    else:
        size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        size |= {"num_attention_heads": 2, "vocab_size": len(tokenizer)}
        size |= {"max_position_embeddings": 514, "pad_token_id": tokenizer.pad_token_id}
        config = {"bert": BertConfig, "roberta": RobertaConfig}[kind](**size)
        model = AutoModelForQuestionAnswering.from_config(config)
    rows = prepare_train_features(small_data["train"][:6], tokenizer, **SHORT)
    known = inspect.signature(model.forward).parameters
    columns = {name: rows[name] for name in rows if name in known}
    return model.eval(), tokenizer, [dict(zip(columns, row)) for row in zip(*columns.values())]


def test_padding_changes_neither_loss_nor_gradients(family):
    model, tokenizer, rows = family
    widths = {}
    for multiple in (1, 8, 64, 200):
        batch = WindowCollator(tokenizer, multiple)(rows)
        with torch.no_grad():
            loss = window_loss(model(**without_labels(batch)), batch)
        widths[batch["input_ids"].shape[1]] = float(loss), gradients(model, batch)
    assert len(widths) > 2
    (first, expected), *others = widths.values()
    for loss, found in others:
        assert loss == pytest.approx(first, abs=2e-6)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=2e-6, rtol=1e-4)


def test_without_padding_it_is_the_loss_of_the_head(family):
    model, tokenizer, rows = family
    row = max(rows, key=lambda row: len(row["input_ids"]))
    batch = WindowCollator(tokenizer)([row])
    with torch.no_grad():
        own = window_loss(model(**without_labels(batch)), batch)
        assert float(own) == pytest.approx(float(model(**batch).loss), abs=1e-6)
        wide = WindowCollator(tokenizer, multiple=200)([row])
        assert model(**wide).loss > own + 0.01  # the head's grows with its padding


@pytest.mark.parametrize("device, most", [("cpu", 48), ("cuda", 12), ("mps", 12)])
@pytest.mark.parametrize("limit", [384, 100])
def test_few_widths_occur(device, most, limit, minilm):
    collate = WindowCollator(minilm, width_step(device), limit)
    rows = [[{"input_ids": range(n), "attention_mask": 1}] for n in range(1, limit + 1)]
    widths = [collate.width(row) for row in rows]
    assert len(set(widths)) <= most and max(widths) == limit
    assert all(width >= n for n, width in enumerate(widths, 1))


# A GPU's ways, on a CPU


def test_an_engine_is_where_its_model_is(model):
    "A model may be moved after the engine was made, as a training does."
    engine = TorchEngine(model)
    found = []
    for kind in ("cuda", "cpu", "mps"):
        engine.model = SimpleNamespace(device=torch.device(kind))
        found.append((engine.on_gpu, engine.queued))
    assert found == [(True, True), (False, False), (True, False)]


def test_few_shapes_on_a_gpu(windows, model, minilm, monkeypatch):
    expected = predict_logits(model, windows, minilm, progress=False)
    shapes = []
    model.register_forward_pre_hook(
        lambda module, args, inputs: shapes.append(tuple(inputs["input_ids"].shape)),
        with_kwargs=True,
    )
    monkeypatch.setattr(TorchEngine, "on_gpu", True)
    engine = TorchEngine(model.eval())
    n = len(windows)
    close(predict_logits(engine, windows, minilm, batch_size=24, progress=False), expected)
    assert n % 24 and {rows for rows, _ in shapes} <= {1, 2, 4, 8, 16, 24}
    assert {width for _, width in shapes} <= {32, 64, 96, 128}
    shapes.clear()
    predict_logits(engine, windows, minilm, batch_size=24, batch_tokens=500, progress=False)
    assert max(rows * width for rows, width in shapes if rows > 1) <= 500  # padding included


def test_logits_are_waited_for_once_in_a_while(windows, model, minilm, monkeypatch):
    expected = predict_logits(model, windows, minilm, progress=False)
    waits = []
    monkeypatch.setattr(TorchEngine, "wait", lambda self: waits.append(1))
    monkeypatch.setattr(TorchEngine, "queued", True)
    engine = TorchEngine(model.eval())
    close(predict_logits(engine, windows, minilm, batch_size=1, progress=False), expected)
    assert len(waits) == -(-len(windows) // IN_FLIGHT)


def test_batches_are_counted_as_they_are_dealt():
    from accelerate.data_loader import BatchSamplerShard

    for n in range(1, 20):
        sampler = torch.utils.data.BatchSampler(range(n), 2, drop_last=False)
        for rank in range(3):
            dealt = list(BatchSamplerShard(sampler, 3, rank))
            assert len(dealt) == plan_steps(n, 2, processes=3).batches == math.ceil(n / 6)
