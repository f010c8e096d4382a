"""The open loop: the Trainer's run bit for bit, many processes as one, nothing lost by a kill."""

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny_config
from datasets import DatasetDict
from hub_server import HubServer
from processes import alone, launch, processes
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    BertForQuestionAnswering,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)

from squadqa import cli, loop as module
from squadqa.adapters import add_adapter
from squadqa.batching import (
    gather_logits,
    longest_first,
    make_features,
    make_loader,
    predict_logits,
)
from squadqa.checkpoints import CheckpointError, StopOnInterrupt, TrainingInterrupted, checkpoints
from squadqa.data import load_squad
from squadqa.evaluation import evaluate_model, prepare_evaluation_features
from squadqa.loop import train_loop
from squadqa.loop_steps import decay_groups
from squadqa.models import load_model, load_tokenizer
from squadqa.processes import make_accelerator
from squadqa.trainer import fine_tune
from squadqa.training import compile_model

RUN = dict(
    epochs=2,
    batch_size=8,
    learning_rate=1e-3,
    max_length=128,
    stride=32,
    mixed_precision="no",
    disable_tqdm=True,
    logging_steps=2,
)
ENGINES = {"trainer": fine_tune, "accelerate": train_loop}
WORDS = ["--max-length", "128", "--stride", "32"]
TRAIN = ["-m", "squadqa.cli", "train", "--engine", "accelerate", "--data", "sample", *WORDS]
slow = pytest.mark.slow


@pytest.fixture(scope="session")
def small_data():
    "24 training and 12 validation examples of the sample: a run takes a second or two."
    data = load_squad()
    data["train"] = data["train"].select(range(24))
    data["validation"] = data["validation"].select(range(12))
    return data


def weights(folder) -> dict:
    return AutoModelForQuestionAnswering.from_pretrained(folder).state_dict()


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def finished(tiny_folder, small_data, tmp_path_factory):
    "One run of each engine that nothing interrupts, with a checkpoint every five steps."
    home, results = tmp_path_factory.mktemp("whole"), {}

    def both():
        return {
            name: train(str(tiny_folder), small_data, home / name, **RUN, evaluate_every=5)
            for name, train in ENGINES.items()
        }

    results = alone(both)
    return home, results


# --- the same run as the Trainer's


def test_same_signature_as_fine_tune():
    described = []
    for engine in (train_loop, fine_tune):
        found = inspect.signature(engine).parameters.values()
        described.append([(p.name, p.default, p.annotation, p.kind) for p in found])
    assert described[0] == described[1]


def assert_same_run(folders, results):
    "Bit for bit; the mean loss of a short last group of batches differs in the last bit."
    (trainer, loop), (theirs, ours) = folders, results
    assert same(weights(trainer), weights(loop))
    assert len(ours.history) == len(theirs.history) > 0
    for mine, other in zip(ours.history, theirs.history):
        assert mine == pytest.approx(other, rel=1e-6)
    assert (ours.scores, ours.best_step, ours.steps) == (
        theirs.scores,
        theirs.best_step,
        theirs.steps,
    )
    assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-6)
    assert ours.windows_per_second > 0
    files = [
        {p.name for p in folder.iterdir() if not p.name.startswith("checkpoint-")}
        for folder in folders
    ]
    assert files[0] == files[1]


def test_same_losses_scores_and_weights_as_the_trainer(finished):
    home, results = finished
    assert_same_run([home / name for name in ENGINES], [results[name] for name in ENGINES])


@pytest.mark.parametrize(
    "extra",
    [
        {
            "gradient_accumulation_steps": 3,
            "warmup_steps": 0.2,
            "eval_on_start": True,
            "epochs": 1.5,
            "max_grad_norm": 0.5,
        },
        pytest.param({"evaluate_every": 4, "max_steps": 10, "max_grad_norm": 0.5}, marks=slow),
        pytest.param({"evaluate_every": "no", "max_steps": 4, "warmup_steps": 2}, marks=slow),
        pytest.param({"eval_on_start": True, "epochs": 1.5}, marks=slow),
    ],
    ids=str,
)
def test_same_run_with_other_settings(extra, tiny_folder, small_data, tmp_path):
    def both():
        return [
            train(str(tiny_folder), small_data, tmp_path / name, **RUN | extra)
            for name, train in ENGINES.items()
        ]

    assert_same_run([tmp_path / name for name in ENGINES], alone(both))


def test_scores_of_the_written_model(finished, small_data):
    home, results = finished
    result = results["accelerate"]
    saved = json.loads((home / "accelerate" / "all_results.json").read_text())
    assert saved["history"] == result.history
    scores = evaluate_model(
        load_model(home / "accelerate"),
        load_tokenizer(home / "accelerate"),
        small_data["validation"],
        max_length=128,
        stride=32,
    ).scores
    assert scores == pytest.approx({k: result.scores[k] for k in ("exact_match", "f1")})
    cards = [(home / name / "README.md").read_text() for name in ENGINES]
    assert cards[0].replace("trainer", "accelerate") == cards[1]
    assert f"{result.scores['f1']:.2f}" in cards[1] and str(home) not in cards[1]


CONFIGS = {
    "bert": dict(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=99,
    ),
    "distilbert": dict(dim=16, n_layers=1, n_heads=2, hidden_dim=16, vocab_size=99),
    "albert": dict(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=99,
        embedding_size=8,
    ),
    "roberta": dict(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=99,
    ),
    "xlnet": dict(d_model=16, n_layer=1, n_head=2, d_inner=16, vocab_size=99),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_biases_and_norms_do_not_decay(kind, tmp_path):
    "The two groups are those of the Trainer, name by name."
    model = AutoModelForQuestionAnswering.from_config(AutoConfig.for_model(kind, **CONFIGS[kind]))
    names = {id(p): n for n, p in model.named_parameters()}
    decay, free = ({names[id(p)] for p in group["params"]} for group in decay_groups(model, 0.01))
    assert decay == set(
        Trainer(
            model, TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
        ).get_decay_parameter_names(model)
    )
    assert decay | free == set(names.values()) and not decay & free
    assert (
        all("bias" not in n and "norm" not in n.lower() for n in decay)
        and any("norm" in n.lower() for n in free)
        and any("bias" in n for n in free)
    )
    assert [g["weight_decay"] for g in decay_groups(model, 0.01)] == [0.01, 0.0]


def test_arguments_that_the_loop_does_not_have(tiny_folder, small_data, tmp_path):
    more = dict(optim="adafactor", lr_scheduler_type="cosine")
    words = "the loop has no lr_scheduler_type, optim: use the Trainer .*--engine trainer"
    with pytest.raises(ValueError, match=words):
        train_loop(str(tiny_folder), small_data, tmp_path / "run", **more)
    with pytest.raises(ValueError, match="comet_ml"):
        train_loop(str(tiny_folder), small_data, tmp_path / "run", report_to="comet_ml")
    for name, value in {"epochs": 0, "save_total_limit": 0, "logging_steps": 0}.items():
        with pytest.raises(ValueError, match=f"{name}={value} must"):
            train_loop(str(tiny_folder), small_data, tmp_path / "run", **{name: value})
    assert not (tmp_path / "run").exists()


def test_adapters_are_for_the_trainer(tiny_folder, small_data, tmp_path):
    pytest.importorskip("peft", reason="peft is not installed: pip install 'squadqa[offline]'")
    for alpha in (0, -1):
        with pytest.raises(ValueError, match=f"alpha={alpha} must be above 0"):
            add_adapter(load_model(tiny_folder), rank=2, alpha=alpha)
    adapted = add_adapter(load_model(tiny_folder), rank=2)
    with pytest.raises(ValueError, match="train an adapter with fine_tune"):
        train_loop(adapted, small_data, tmp_path / "run")
    fine_tune(adapted, small_data, tmp_path / "run", **RUN | {"max_steps": 2})
    assert (tmp_path / "run" / "adapter_model.safetensors").exists()


def test_a_model_in_memory_ends_with_the_best_weights(minilm, small_data, tmp_path):
    set_seed(0)
    model = BertForQuestionAnswering(tiny_config(minilm))
    train_loop(
        model,
        small_data,
        tmp_path / "run",
        **RUN | {"epochs": 1},
        tokenizer=minilm,
        evaluate_every=4,
    )
    assert same(model.state_dict(), weights(tmp_path / "run"))


def test_without_validation(tiny_folder, small_data, tmp_path):
    result = train_loop(
        str(tiny_folder),
        DatasetDict(train=small_data["train"]),
        tmp_path / "run",
        **RUN | {"epochs": 1},
    )
    assert (
        result.scores == {}
        and result.best_step is None
        and (tmp_path / "run" / "model.safetensors").exists()
    )


def test_bfloat16(tiny_folder, small_data, tmp_path):
    result = alone(
        lambda: train_loop(
            str(tiny_folder),
            small_data,
            tmp_path / "run",
            **RUN | {"epochs": 1, "mixed_precision": "bf16"},
        )
    )
    assert np.isfinite(result.train_loss) and all(
        w.dtype == torch.float32 for w in weights(tmp_path / "run").values()
    )


def test_tensorboard_gets_losses_and_scores(tiny_folder, small_data, tmp_path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed",
    )
    result = alone(
        lambda: train_loop(
            str(tiny_folder),
            small_data,
            tmp_path / "run",
            **RUN | {"epochs": 1},
            report_to="tensorboard",
        )
    )
    log = events.EventAccumulator(str(tmp_path / "run" / "squadqa")).Reload()
    assert [e.value for e in log.Scalars("train/loss")] == pytest.approx(
        [r["loss"] for r in result.history if "loss" in r]
    )
    assert log.Scalars("eval/f1")[-1].value == pytest.approx(result.history[-1]["f1"])


# --- killed and resumed


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_step(number: int):
    "The process dies while it computes this optimizer step."
    real, calls = torch.optim.AdamW.step, []

    def step(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            die()
        return real(self, *args, **kwargs)

    torch.optim.AdamW.step = step


def kill_while_saving(number: int):
    "The process dies in a checkpoint, with half of a file on the disk."
    real, calls = torch.save, []

    def save(value, target, *args, **kwargs):
        if "optimizer" not in str(target):
            return real(value, target, *args, **kwargs)
        calls.append(1)
        if len(calls) == number:
            Path(target).write_bytes(b"half of it")
            die()
        return real(value, target, *args, **kwargs)

    torch.save = save


STEPS = sorted({3, *np.random.default_rng(0).integers(4, 16, 4).tolist()})
KILLS = [(kill_at_step, 13), (kill_while_saving, 2)]
KILLS += [pytest.param(kill_at_step, n, marks=slow) for n in STEPS if n != 13]
KILLS += [pytest.param(kill_while_saving, n, marks=slow) for n in (1, 3)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kill, number", KILLS, ids=lambda x: getattr(x, "__name__", str(x)))
def test_killed_and_resumed_ends_with_the_same_weights(
    engine, kill, number, finished, tiny_folder, small_data, tmp_path
):
    home, results = finished
    run = tmp_path / "run"

    def train(**more):
        return ENGINES[engine](str(tiny_folder), small_data, run, **RUN, evaluate_every=5, **more)

    def dies():
        kill(number)
        train()

    assert alone(dies) == -signal.SIGKILL
    saved = number - 1 if kill is kill_while_saving else (number - 1) // 5
    assert [c.name for c in checkpoints(run)][-1:] == [f"checkpoint-{5 * saved}"][: bool(saved)]
    resumed = alone(lambda: train(resume=True))
    assert same(weights(home / engine), weights(run))
    result = results[engine]
    assert (resumed.scores, resumed.best_step) == (result.scores, result.best_step)
    if engine == "accelerate":
        assert resumed.history == result.history
    assert {p.name for p in run.iterdir()} == {p.name for p in (home / engine).iterdir()}


@slow
def test_killed_in_the_middle_of_accumulation(tiny_folder, small_data, tmp_path):
    run = RUN | dict(gradient_accumulation_steps=3, evaluate_every="no", save_steps=2)

    def train(name, **more):
        return train_loop(str(tiny_folder), small_data, tmp_path / name, **run, **more)

    def dies():
        kill_at_step(5)
        train("run")

    alone(lambda: train("whole"))
    assert (
        alone(dies) == -signal.SIGKILL and checkpoints(tmp_path / "run")[-1].name == "checkpoint-4"
    )
    alone(lambda: train("run", resume=True))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


@pytest.mark.parametrize("stop_at", [7, pytest.param(10, marks=slow)])
def test_ctrl_c_saves_and_resumes(stop_at, finished, tiny_folder, small_data, tmp_path):
    "Between two checkpoints and at an evaluation: a checkpoint, a message, and the same end."
    home, results = finished
    run, result = tmp_path / "run", results["accelerate"]

    def train(**more):
        return train_loop(str(tiny_folder), small_data, run, **RUN, evaluate_every=5, **more)

    def asked():
        real = module.after_step

        def after_step(run, *args):
            if run.step == stop_at:
                signal.raise_signal(signal.SIGINT)
            real(run, *args)

        module.after_step = after_step
        try:
            train()
        except TrainingInterrupted as e:
            return str(e), e.exit_code

    said, code = alone(asked)
    assert f"stopped at step {stop_at} of {result.steps}" in said and "--resume" in said
    assert code == 130 and not (run / "model.safetensors").exists()
    assert checkpoints(run)[-1].name == f"checkpoint-{stop_at}"
    resumed = alone(lambda: train(resume=True))
    assert same(weights(home / "accelerate"), weights(run)) and resumed.history == result.history


def test_resuming_a_finished_run_changes_nothing(finished, tiny_folder, small_data):
    home, results = finished
    before = weights(home / "accelerate")
    more = dict(evaluate_every=5, resume=True)
    run = home / "accelerate"
    again = alone(lambda: train_loop(str(tiny_folder), small_data, run, **RUN, **more))
    assert same(before, weights(run)) and again == results["accelerate"]


def test_resuming_something_else_is_refused(finished, tiny_folder, small_data):
    home = finished[0]
    before = [len(checkpoints(home / name)) for name in ENGINES]
    for engine, name, more, words in (
        (train_loop, "accelerate", {"batch_size": 4}, "windows_per_step=8, this run has 4"),
        (train_loop, "accelerate", {"seed": 1}, "seed=42, this run has 1"),
        (train_loop, "trainer", {}, "another engine: continue it with fine_tune"),
        (fine_tune, "accelerate", {}, "another engine: continue it with train_loop"),
    ):
        with pytest.raises(ValueError, match=words):
            engine(str(tiny_folder), small_data, home / name, **RUN | more, resume=True)
    assert [len(checkpoints(home / name)) for name in ENGINES] == before


def full_disk(*args, **kwargs):
    raise Exception("No space left on device (os error 28)")


@pytest.mark.parametrize("name", ["optimizer", "tokenizer"])
def test_full_disk_while_saving_a_checkpoint(name, tiny_folder, small_data, tmp_path, monkeypatch):
    "The second checkpoint fails: the first survives, and no half is left."
    home = {"optimizer": torch, "tokenizer": PreTrainedTokenizerBase}[name]
    method = {"optimizer": "save", "tokenizer": "save_pretrained"}[name]
    real, run = getattr(home, method), tmp_path / "run"

    def fails_later(*args, **kwargs):
        return (full_disk if checkpoints(run) else real)(*args, **kwargs)

    monkeypatch.setattr(home, method, fails_later)
    words = "(?s)No space left.*last good checkpoint is .*checkpoint-5.*--resume"
    with pytest.raises(CheckpointError, match=words):
        train_loop(str(tiny_folder), small_data, run, **RUN, evaluate_every=5)
    assert [p.name for p in run.iterdir()] == ["checkpoint-5"]


def test_divergence_is_told(tiny_folder, small_data, tmp_path):
    for every in ("no", 3):
        run = RUN | dict(learning_rate=1e30, max_steps=4, evaluate_every=every)
        with pytest.raises(ValueError, match="training diverged.*Lower the learning rate"):
            train_loop(str(tiny_folder), small_data, tmp_path / "run", **run)
        assert not (tmp_path / "run").exists()


# --- two processes


@pytest.fixture(scope="module")
def still_folder(minilm, tmp_path_factory) -> Path:
    "A tiny model without dropout: two processes cannot drop out what one would."
    folder = tmp_path_factory.mktemp("still")
    set_seed(0)
    BertForQuestionAnswering(
        tiny_config(minilm, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ).save_pretrained(folder)
    minilm.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "examples, extra",
    [
        (21, {"gradient_accumulation_steps": 2}),
        pytest.param(24, {}, marks=slow),
        pytest.param(21, {}, marks=slow),
        pytest.param(24, {"gradient_accumulation_steps": 2}, marks=slow),
    ],
    ids=str,
)
def test_two_processes_train_as_one_with_twice_the_batch(
    examples, extra, still_folder, small_data, tmp_path
):
    "Also where the windows do not divide evenly: what fills up the last batch counts nothing."
    data = DatasetDict(
        train=small_data["train"].select(range(examples)), validation=small_data["validation"]
    )

    def run(name, size):
        more = RUN | {"batch_size": size} | extra
        return train_loop(str(still_folder), data, tmp_path / name, **more)

    one, two = alone(lambda: run("one", 8)), processes(lambda: run("two", 4))

    def losses(result):
        return [row["loss"] for row in result.history if "loss" in row]

    assert (
        losses(two[0]) == pytest.approx(losses(one), rel=1e-5) and two[0].history == two[1].history
    )
    for name in ("exact_match", "f1"):
        assert two[0].scores[name] == one.scores[name]
    a, b = weights(tmp_path / "one"), weights(tmp_path / "two")
    # adding one number to all logits changes no softmax: these gradients are rounding noise,
    # which Adam scales up
    no_gradient = {"qa_outputs.bias", "bert.encoder.layer.1.output.LayerNorm.bias"}
    assert all(torch.allclose(a[k], b[k], atol=1e-5) for k in a.keys() - no_gradient)


@slow
def test_two_killed_processes_resume(tiny_folder, small_data, tmp_path):
    def train(name, **more):
        run = RUN | {"evaluate_every": 3} | more
        return train_loop(str(tiny_folder), small_data, tmp_path / name, **run)

    def dies():
        if os.environ["RANK"] == "1":
            kill_at_step(8)
        train("run")

    processes(lambda: train("whole"))
    assert (
        -signal.SIGKILL in processes(dies)
        and checkpoints(tmp_path / "run")[-1].name == "checkpoint-6"
    )
    processes(lambda: train("run", resume=True))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


@pytest.mark.parametrize(
    "engine", [pytest.param("trainer"), pytest.param("accelerate", marks=slow)]
)
def test_one_of_two_processes_is_asked_to_stop(engine, tiny_folder, small_data, tmp_path):
    "Both save the same step and end; none waits for the other."
    run = tmp_path / "run"

    def asked():
        real = StopOnInterrupt.agreed

        def agreed(self, step, total):
            if step == 4 and os.environ["RANK"] == "1" and not self.asked:
                signal.raise_signal(signal.SIGTERM)
            return real(self, step, total)

        StopOnInterrupt.agreed = agreed
        try:
            ENGINES[engine](str(tiny_folder), small_data, run, **RUN | {"batch_size": 2})
        except TrainingInterrupted as e:
            return str(e)

    told = processes(asked)
    assert [words[:17] for words in told] == ["stopped at step 4"] * 2
    assert [folder.name for folder in checkpoints(run)] == ["checkpoint-4"]


@pytest.fixture(scope="module")
def long_examples(small_data, minilm):
    "Seven examples; the first has several windows of 64 tokens."
    some = small_data["validation"].select(range(7))
    counts = [
        len(
            make_features(
                some.select([i]), prepare_evaluation_features, minilm, max_length=64, stride=16
            )
        )
        for i in range(7)
    ]
    return some.select(
        [int(np.argmax(counts)), *(i for i in range(7) if i != int(np.argmax(counts)))]
    )


@pytest.mark.parametrize("n", [3, *(pytest.param(n, marks=slow) for n in (1, 2, 7))])
def test_two_processes_gather_the_logits_of_one(n, long_examples, tiny_folder, minilm):
    "By window: an example's windows fall on both processes, and none comes twice."
    some = long_examples.select(range(n))
    features = longest_first(
        make_features(some, prepare_evaluation_features, minilm, max_length=64, stride=16)
    )
    assert features["example_id"].count(some["id"][0]) > 1

    def logits():
        accelerator, model = (
            make_accelerator(mixed_precision="no", use_cpu=True),
            load_model(tiny_folder),
        )
        return gather_logits(
            accelerator, *accelerator.prepare(model, make_loader(features, model, minilm, 1))
        )

    one, two = alone(logits), processes(logits)
    assert one[0].shape == two[0][0].shape and len(one[0]) == len(features)
    for side in (0, 1):
        np.testing.assert_allclose(one[side], two[0][side], atol=1e-6)
    expected = predict_logits(load_model(tiny_folder), features, minilm, progress=False)
    for side in (0, 1):
        real = np.isfinite(expected[side])
        np.testing.assert_allclose(one[side][real], expected[side][real], atol=1e-5)


# --- torch.compile, the fast recipe, workers


def compile_with(monkeypatch, backend):
    "As `torch.compile`, without the minutes of a real compiler."
    real = torch.nn.Module.compile

    def compile(self, **options):
        return real(self, **{"backend": backend} | options)

    monkeypatch.setattr(torch.nn.Module, "compile", compile)


def no_compiler(graph, inputs):
    raise RuntimeError("there is no C compiler here\nand more lines")


def run_both(folder, model, data, **more):
    brief = RUN | dict(max_steps=3, evaluate_every="no") | more
    for name, train in ENGINES.items():
        train(str(model), data, folder / name, **brief)
    return [weights(folder / name) for name in ENGINES]


@pytest.fixture(scope="module")
def three_steps(tiny_folder, small_data, tmp_path_factory):
    "The weights after three steps, as they come."
    one, two = run_both(tmp_path_factory.mktemp("brief"), tiny_folder, small_data)
    assert same(one, two)
    return one


@slow  # tracing a model takes seconds, twice
def test_a_compiled_model_learns_the_same(
    three_steps, tiny_folder, small_data, tmp_path, monkeypatch
):
    graphs = []
    compile_with(monkeypatch, lambda graph, inputs: graphs.append(graph) or graph.forward)
    found = run_both(tmp_path, tiny_folder, small_data, compile=True)
    assert len(graphs) >= 2  # one for each engine
    for values in found:
        assert all(torch.allclose(values[k], three_steps[k], atol=1e-4) for k in three_steps)
    for name in ENGINES:
        assert "\n- compile: True\n" in (tmp_path / name / "README.md").read_text()


def test_without_a_compiler_the_run_goes_on(
    three_steps, tiny_folder, small_data, tmp_path, monkeypatch, caplog
):
    "Told in one sentence; the same weights to the last bit."

    def compile(self, disable=False, **options):
        if not disable:
            no_compiler(None, None)

    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    for values in run_both(tmp_path, tiny_folder, small_data, compile=True):
        assert same(values, three_steps)
    told = [r.getMessage() for r in caplog.records if "torch.compile" in r.getMessage()]
    assert len(told) == 2
    for sentence in told:
        assert "no C compiler" in sentence and "goes on without it" in sentence
        assert "\n" not in sentence
    for name in ENGINES:
        assert "\n- compile: False\n" in (tmp_path / name / "README.md").read_text()


@slow  # tracing a model takes seconds
def test_a_model_that_does_not_compile_is_as_it_was(minilm, monkeypatch, caplog):
    "The compiler is asked at the first batch only."
    compile_with(monkeypatch, no_compiler)
    set_seed(0)
    model = BertForQuestionAnswering(tiny_config(minilm))
    batch = {name: torch.ones(2, 8, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    batch |= {"start_positions": torch.ones(2, dtype=torch.long)}
    batch |= {"end_positions": batch["start_positions"]}
    state = torch.get_rng_state()
    assert compile_model(model, batch) is False and "no C compiler here" in caplog.text
    assert torch.equal(state, torch.get_rng_state())
    assert all(weight.grad is None for weight in model.parameters())
    assert model(input_ids=batch["input_ids"]).start_logits.shape == (2, 8)


def test_workers_change_nothing(three_steps, tiny_folder, small_data, tmp_path):
    for values in run_both(tmp_path, tiny_folder, small_data, workers=1):
        assert same(values, three_steps)


def test_the_fast_recipe_in_python_on_the_command_line_and_on_the_card(
    tiny_folder, small_data, tmp_path
):
    "Both engines and the command line train the same, and the card says what was used."
    file = tmp_path / "train.jsonl"
    small_data["train"].select(range(5)).to_json(file)
    brief = dict(max_steps=1, evaluate_every="no", disable_tqdm=True, mixed_precision="no")
    brief |= dict(max_length=128, stride=32)
    for name, train in ENGINES.items():
        train(str(tiny_folder), {"train": file}, tmp_path / name, recipe="fast", **brief)
    words = f"--recipe fast --max-steps 1 --evaluate-every no --mixed-precision no --data {file}"
    output = ["--model", str(tiny_folder), "--output", str(tmp_path / "cli"), "--json", *WORDS]
    assert cli.main(["train", *words.split(), *output]) == 0
    one, *others = [weights(tmp_path / name) for name in (*ENGINES, "cli")]
    assert all(same(one, other) for other in others)
    for name in (*ENGINES, "cli"):
        card = (tmp_path / name / "README.md").read_text()
        for line in ("recipe: fast", "batch_size: 64", "learning_rate: 4e-05", "compile: False"):
            assert f"\n- {line}\n" in card, (name, line)


# --- one process that raises

FAULTY = """
import os, sys, time
os.environ["TQDM_DISABLE"] = "1"
from pathlib import Path
from squadqa import cli, loop, loop_steps
where, rank, clock = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
home = loop_steps if hasattr(loop_steps, where) else loop  # the module that calls it
real, calls = getattr(home, where), []
def faulty(*args, **kwargs):
    calls.append(1)
    if os.environ["RANK"] == rank and len(calls) == 2:
        Path(clock).write_text(str(time.time()))
        raise RuntimeError(f"process {rank} found a fault in {where}")
    return real(*args, **kwargs)
setattr(home, where, faulty)
sys.exit(cli.main())
"""


@pytest.mark.parametrize(
    "where, rank",
    [
        pytest.param("fit_batch", 1, marks=slow),
        pytest.param("gather_logits", 1, marks=slow),
        pytest.param("save_weights", 1, marks=slow),
        pytest.param("compute_metrics", 0, marks=slow),
    ],
)
def test_a_process_that_raises_ends_the_launch(where, rank, tiny_folder, tmp_path):
    (tmp_path / "faulty.py").write_text(FAULTY)
    clock, run = tmp_path / "clock", tmp_path / "run"
    words = [tmp_path / "faulty.py", where, rank, clock, *TRAIN[2:], "--model", tiny_folder]
    done, _ = launch([*words, "--output", run, "--evaluate-every", "3"])
    seconds = time.time() - float(clock.read_text())
    assert done.returncode not in (0, None) and seconds < 60  # a hang would be minutes
    assert f"process {rank} found a fault in {where}" in done.stderr
    assert "Traceback" in done.stderr and "faulty.py" in done.stderr
    assert not (run / "model.safetensors").exists()
    assert [c.name for c in checkpoints(run)] == [] if where == "fit_batch" else ["checkpoint-3"]


@slow
def test_bad_input_ends_the_launch(tmp_path):
    words = ["-m", "squadqa.cli", "train", "--engine", "accelerate", "--data", "nowhere.json"]
    done, _ = launch([*words, "--output", tmp_path / "run"])
    assert done.returncode != 0 and "nowhere.json" in done.stderr


# --- the command line


@slow
def test_commands_alone_and_launched(tiny_folder, tmp_path):
    "Training under a launcher speaks once; an evaluation writes the files of a single process."
    run = tmp_path / "run"
    more = "--max-steps 6 --json --gradient-accumulation-steps 2 --warmup-steps 2".split()
    more += "--max-grad-norm 0.5 --evaluate-every 3 --mixed-precision bf16".split()
    done, _ = launch([*TRAIN, "--model", tiny_folder, "--output", run, *more])
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\n") == 1 and json.loads(done.stdout)["steps"] == 6
    words = ["-m", "squadqa.cli", "evaluate", "--data", "sample", *WORDS, "--model", str(run)]
    done, _ = launch([*words, "--output", tmp_path / "two"])
    assert done.returncode == 0 and done.stdout.count("EM ") == 1, done.stderr[-3000:]
    words = [sys.executable, *words, "--output", str(tmp_path / "one")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(words, check=True, capture_output=True, cwd=ROOT, env=environment)
    for name in ("predictions", "nbest", "scores"):
        one, two = (tmp_path / folder / f"{name}.json" for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


# --- pushing to the Hub


def push(tiny_folder, output, server):
    "Train in a process of its own, with an upload after each epoch."
    code = """
import sys
from squadqa.data import load_squad
from squadqa.loop import train_loop
data = load_squad()
del data["validation"]
data["train"] = data["train"].select(range(32))
run = dict(epochs=3, batch_size=32, max_length=128, stride=32, mixed_precision="no")
train_loop(sys.argv[1], data, sys.argv[2], **run, learning_rate=1e-3, push_to_hub="mine")
"""
    environment = {
        "HF_ENDPOINT": server.url,
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "hf_not_real",
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-c", code, str(tiny_folder), str(output)]
    environment = os.environ | environment
    return subprocess.run(
        words, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300
    )


def test_each_epoch_is_one_commit_and_the_files_are_the_models(tiny_folder, tmp_path):
    "Also of a base model whose folder has a name that no model on the Hub can have."
    base = shutil.copytree(tiny_folder, tmp_path / "my model (2)")
    with HubServer() as server:
        done = push(base, tmp_path / "run", server)
    assert done.returncode == 0, done.stderr[-3000:]
    messages = [commit.message.split(",")[0] for commit in server.commits]
    assert server.created == ["mine"] * 2
    assert messages == ["Epoch 1", "Epoch 2", "Upload the fine-tuned model"]
    for commit in server.commits:
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= commit.files.keys()
    last = server.commits[-1].files
    assert not [name for name in last if name.startswith(("checkpoint-", "."))]
    for name, content in last.items():
        assert content == (tmp_path / "run" / name).read_bytes(), name
    assert len({c.files["model.safetensors"] for c in server.commits}) >= 2
    assert not (tmp_path / "run" / ".pushing").exists()
    assert {"README.md", "all_results.json", "learning_curve.png"} <= last.keys()
    card = last["README.md"].decode()
    assert "base_model: " not in card.split("---")[1] and "`my model (2)`, fine-tuned" in card


@slow
def test_a_failed_push_does_not_stop_the_training(tiny_folder, tmp_path):
    with HubServer(refuse={1}) as server:
        done = push(tiny_folder, tmp_path / "run", server)
    assert done.returncode == 0 and len(server.commits) == 2
    assert server.commits[-1].message == "Upload the fine-tuned model"
    assert "1 of 2 uploads during training failed" in done.stderr


@slow
def test_a_hub_that_takes_nothing_is_told_at_the_end(tiny_folder, tmp_path):
    with HubServer(refuse={1, 2, 3}) as server:
        done = push(tiny_folder, tmp_path / "run", server)
    assert done.returncode == 1 and "the Hub did not take it" in done.stderr
    assert server.commits == [] and (tmp_path / "run" / "model.safetensors").exists()
    assert json.loads((tmp_path / "run" / "all_results.json").read_text())["steps"] > 3


# --- ready configurations

CONFIG_FILES = sorted((ROOT / "configs").glob("*.yaml"))


def test_all_configurations_are_there():
    assert {p.stem for p in CONFIG_FILES} == {
        "cpu",
        "one_gpu",
        "several_gpus",
        "fsdp",
        "deepspeed_zero2",
        "several_machines",
    }


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda p: p.stem)
def test_accelerate_reads_the_configuration(path):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    first = path.read_text().splitlines()[0]
    assert first.startswith("# ") and len(first) < 140
    config = load_config_from_file(str(path))
    assert config.num_processes >= 1
    args = launch_command_parser().parse_args(
        ["--config_file", str(path), "-m", "squadqa.cli", "train"]
    )
    args, given, _ = _validate_launch_command(args)
    assert (
        args.num_processes == config.num_processes
        and args.mixed_precision == config.mixed_precision
    )


@slow
def test_the_cpu_configuration_trains(tiny_folder, tmp_path):
    config = ["--config_file", str(ROOT / "configs" / "cpu.yaml")]
    words = [sys.executable, "-m", "accelerate.commands.launch", *config, *TRAIN]
    words += ["--model", str(tiny_folder), "--output", str(tmp_path / "run")]
    words += ["--max-steps", "2", "--evaluate-every", "no"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "model.safetensors").exists()


@slow
def test_weights_without_a_gradient_train_on_two_processes(shared, small_data, tmp_path):
    "XLNet has some that question answering does not reach; plain DDP stops at the second step."
    tokenizer = load_tokenizer(shared / "tokenizers" / "xlnet-base-cased")
    AutoModelForQuestionAnswering.from_config(
        AutoConfig.for_model(
            "xlnet", vocab_size=len(tokenizer), d_model=16, n_layer=2, n_head=2, d_inner=32
        )
    ).save_pretrained(tmp_path / "xlnet")
    tokenizer.save_pretrained(tmp_path / "xlnet")
    found = processes(
        lambda: train_loop(
            str(tmp_path / "xlnet"),
            small_data,
            tmp_path / "run",
            **RUN | dict(max_steps=3, evaluate_every="no"),
        )
    )
    assert [result.steps for result in found] == [3, 3]
