"""The open loop: the Trainer's run bit for bit, many processes as one, and nothing lost when a process is killed or raises."""

import errno
import inspect
import json
import os
import re
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
    Trainer,
    TrainingArguments,
    set_seed,
)

from squadqa import loop as module
from squadqa.adapters import add_adapter
from squadqa.arguments import LOOP_ARGUMENTS
from squadqa.batching import longest_first, make_features, make_loader, predict_logits
from squadqa.checkpoints import CheckpointError, TrainingInterrupted, checkpoints
from squadqa.evaluation import evaluate_model, evaluate_sharded, prepare_evaluation_features
from squadqa.loop import train_loop
from squadqa.loop_steps import decay_groups
from squadqa.models import load_model, load_tokenizer
from squadqa.processes import gather_logits, make_accelerator, merge_shards, own_share, plan_steps
from squadqa.trainer import fine_tune

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


def weights(folder) -> dict:
    return AutoModelForQuestionAnswering.from_pretrained(folder).state_dict()


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def finished(tiny_folder, small_data, tmp_path_factory):
    "One run of each engine that nothing interrupts, with a checkpoint every five steps."
    home, results = tmp_path_factory.mktemp("whole"), {}
    for name, train in ENGINES.items():
        results[name] = alone(
            lambda: train(str(tiny_folder), small_data, home / name, **RUN, evaluate_every=5)
        )
    return home, results


# The same run as the Trainer's


def test_same_signature_as_fine_tune():
    ours, theirs = (inspect.signature(f).parameters for f in (train_loop, fine_tune))
    assert list(ours) == list(theirs) and [
        (p.default, p.annotation, p.kind) for p in ours.values()
    ] == [(p.default, p.annotation, p.kind) for p in theirs.values()]


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"gradient_accumulation_steps": 3, "warmup_steps": 0.2},
        {"evaluate_every": 4, "max_steps": 10, "max_grad_norm": 0.5},
        {"evaluate_every": "no", "max_steps": 4, "warmup_steps": 2},
        {"eval_on_start": True, "epochs": 1.5},
    ],
    ids=str,
)
def test_same_losses_scores_and_weights_as_the_trainer(extra, tiny_folder, small_data, tmp_path):
    "Same data, seed and steps: the weights are equal bit for bit, losses and scores too (the mean of a short last group differs in the last bit)."
    trainer, loop = (
        alone(lambda: train(str(tiny_folder), small_data, tmp_path / name, **RUN | extra))
        for name, train in ENGINES.items()
    )
    assert same(weights(tmp_path / "trainer"), weights(tmp_path / "accelerate"))
    assert len(loop.history) == len(trainer.history) > 0
    for ours, theirs in zip(loop.history, trainer.history):
        assert ours == pytest.approx(theirs, rel=1e-6)
    assert (
        loop.scores == trainer.scores
        and loop.best_step == trainer.best_step
        and loop.steps == trainer.steps
    )
    assert (
        loop.train_loss == pytest.approx(trainer.train_loss, rel=1e-6)
        and loop.windows_per_second > 0
    )
    files = [
        {p.name for p in (tmp_path / name).iterdir() if not p.name.startswith("checkpoint-")}
        for name in ENGINES
    ]
    assert files[0] - {"training_args.bin"} == files[1]


def test_scores_of_the_written_model(finished, small_data):
    home, results = finished
    result = results["accelerate"]
    assert {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "trainer_state.json",
        "all_results.json",
        "learning_curve.png",
        "README.md",
    } <= {p.name for p in (home / "accelerate").iterdir()}
    assert (
        json.loads((home / "accelerate" / "all_results.json").read_text())["history"]
        == result.history
    )
    scores = evaluate_model(
        load_model(home / "accelerate"),
        load_tokenizer(home / "accelerate"),
        small_data["validation"],
        max_length=128,
        stride=32,
    ).scores
    assert scores == pytest.approx({k: result.scores[k] for k in ("exact_match", "f1")})
    card = (home / "accelerate" / "README.md").read_text()
    assert f"{result.scores['f1']:.2f}" in card and str(home) not in card


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
    with pytest.raises(
        ValueError,
        match="the loop has no lr_scheduler_type, optim; it takes gradient_accumulation_steps.*--engine trainer",
    ):
        train_loop(
            str(tiny_folder),
            small_data,
            tmp_path / "run",
            optim="adafactor",
            lr_scheduler_type="cosine",
        )
    with pytest.raises(ValueError, match="evaluate_every='often'"):
        train_loop(str(tiny_folder), small_data, tmp_path / "run", evaluate_every="often")
    with pytest.raises(ValueError, match="mixed_precision='half'"):
        train_loop(str(tiny_folder), small_data, tmp_path / "run", mixed_precision="half")
    assert not (tmp_path / "run").exists() and len(LOOP_ARGUMENTS) > 10


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


def test_a_tracker_that_is_missing_is_named(tiny_folder, small_data, tmp_path):
    with pytest.raises(ValueError, match="comet_ml"):
        train_loop(str(tiny_folder), small_data, tmp_path / "run", report_to="comet_ml")


# Killed and resumed


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


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "kill, number",
    [(kill_at_step, n) for n in sorted({3, *np.random.default_rng(0).integers(4, 32, 4).tolist()})]
    + [(kill_while_saving, n) for n in (1, 2, 4)],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_killed_and_resumed_ends_with_the_same_weights(
    engine, kill, number, finished, tiny_folder, small_data, tmp_path
):
    home, results = finished
    train = lambda **more: ENGINES[engine](
        str(tiny_folder), small_data, tmp_path / "run", **RUN, evaluate_every=5, **more
    )

    def dies():
        kill(number)
        train()

    assert alone(dies) == -signal.SIGKILL
    whole = checkpoints(tmp_path / "run")
    last = (
        number - 1 if kill is kill_while_saving else (number - 1) // 5
    )  # checkpoints that were finished before
    assert (whole[-1].name if whole else None) == (f"checkpoint-{5 * last}" if last else None)
    resumed = alone(lambda: train(resume=True))
    assert same(weights(home / engine), weights(tmp_path / "run"))
    assert (
        resumed.scores == results[engine].scores and resumed.best_step == results[engine].best_step
    )
    if engine == "accelerate":
        assert resumed.history == results[engine].history
    left = {p.name for p in (tmp_path / "run").iterdir()} - {
        p.name for p in (home / engine).iterdir()
    }
    assert not left and {p.name for p in (tmp_path / "run").glob("checkpoint-*")} == {
        p.name for p in (home / engine).glob("checkpoint-*")
    }


def test_killed_in_the_middle_of_accumulation(tiny_folder, small_data, tmp_path):
    train = lambda name, **more: train_loop(
        str(tiny_folder),
        small_data,
        tmp_path / name,
        **RUN,
        gradient_accumulation_steps=3,
        evaluate_every="no",
        save_steps=2,
        **more,
    )

    def dies():
        kill_at_step(5)
        train("run")

    alone(lambda: train("whole"))
    assert (
        alone(dies) == -signal.SIGKILL and checkpoints(tmp_path / "run")[-1].name == "checkpoint-4"
    )
    alone(lambda: train("run", resume=True))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_ctrl_c_saves_and_resumes(finished, tiny_folder, small_data, tmp_path):
    "Between two checkpoints and at an evaluation: a checkpoint, a message, and the same end."
    home, results = finished
    for stop_at in (7, 10):
        folder = tmp_path / str(stop_at)
        train = lambda **more: train_loop(
            str(tiny_folder), small_data, folder, **RUN, evaluate_every=5, **more
        )

        def asks():
            real = module.train_batch

            def batch(run, *args):
                done = real(run, *args)
                if run.progress.global_step == stop_at:
                    signal.raise_signal(signal.SIGINT)
                return done

            module.train_batch = batch
            try:
                train()
            except TrainingInterrupted as e:
                return str(e)

        assert re.search(
            f"stopped at step {stop_at} of {results['accelerate'].steps}.*--resume", alone(asks)
        )
        assert (
            checkpoints(folder)[-1].name == f"checkpoint-{stop_at}"
            and not (folder / "model.safetensors").exists()
        )
        resumed = alone(lambda: train(resume=True))
        assert (
            same(weights(home / "accelerate"), weights(folder))
            and resumed.history == results["accelerate"].history
        )


def test_resuming_a_finished_run_changes_nothing(finished, tiny_folder, small_data):
    home, results = finished
    before = weights(home / "accelerate")
    again = alone(
        lambda: train_loop(
            str(tiny_folder), small_data, home / "accelerate", **RUN, evaluate_every=5, resume=True
        )
    )
    assert (
        same(before, weights(home / "accelerate"))
        and again.history == results["accelerate"].history
    )


def test_resuming_something_else_is_refused(finished, tiny_folder, small_data, tmp_path):
    import shutil

    for name in ENGINES:
        shutil.copytree(finished[0] / name, tmp_path / name)
    with pytest.raises(ValueError, match="windows_together=8, this run has 4"):
        train_loop(
            str(tiny_folder),
            small_data,
            tmp_path / "accelerate",
            **RUN | {"batch_size": 4},
            resume=True,
        )
    with pytest.raises(ValueError, match="written by the Trainer"):
        train_loop(str(tiny_folder), small_data, tmp_path / "trainer", **RUN, resume=True)
    with pytest.raises(ValueError, match="not written by the Trainer"):
        fine_tune(str(tiny_folder), small_data, tmp_path / "accelerate", **RUN, resume=True)
    assert len(checkpoints(tmp_path / "accelerate")) == len(checkpoints(finished[0] / "accelerate"))


def test_full_disk_while_saving_a_checkpoint(
    finished, tiny_folder, small_data, tmp_path, monkeypatch
):
    def full_disk(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    real, threads = torch.save, torch.get_num_threads()
    with monkeypatch.context() as patch:
        torch.set_num_threads(
            1
        )  # as in the processes of the other runs: sums come out the same bit for bit
        patch.setattr(
            torch,
            "save",
            lambda *args, **kwargs: (
                real(*args, **kwargs) if not checkpoints(tmp_path / "run") else full_disk()
            ),
        )
        with pytest.raises(
            CheckpointError,
            match="(?s)No space left.*last good checkpoint is .*checkpoint-5.*--resume",
        ):
            train_loop(str(tiny_folder), small_data, tmp_path / "run", **RUN, evaluate_every=5)
    torch.set_num_threads(threads)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["checkpoint-5"]
    alone(
        lambda: train_loop(
            str(tiny_folder), small_data, tmp_path / "run", **RUN, evaluate_every=5, resume=True
        )
    )
    assert same(weights(finished[0] / "accelerate"), weights(tmp_path / "run"))


# Two processes


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


@pytest.mark.parametrize("examples", [48, 45])
@pytest.mark.parametrize("extra", [{}, {"gradient_accumulation_steps": 2}], ids=str)
def test_two_processes_train_as_one_with_twice_the_batch(
    examples, extra, still_folder, small_data, tmp_path
):
    "Also where the windows do not divide evenly: what fills up the last batch counts nothing."
    data = DatasetDict(
        train=small_data["train"].select(range(examples)), validation=small_data["validation"]
    )
    run = lambda name, size: train_loop(
        str(still_folder), data, tmp_path / name, **RUN | {"batch_size": size} | extra
    )
    one, two = alone(lambda: run("one", 8)), processes(lambda: run("two", 4))
    losses = lambda result: [row["loss"] for row in result.history if "loss" in row]
    assert (
        losses(two[0]) == pytest.approx(losses(one), rel=1e-5) and two[0].history == two[1].history
    )
    for name in ("exact_match", "f1"):
        assert two[0].scores[name] == one.scores[name]
    a, b = weights(tmp_path / "one"), weights(tmp_path / "two")
    # a softmax does not feel what is added to all logits: these gradients are rounding noise, which Adam scales up
    no_gradient = {"qa_outputs.bias", "bert.encoder.layer.1.output.LayerNorm.bias"}
    assert all(torch.allclose(a[k], b[k], atol=1e-5) for k in a.keys() - no_gradient)


def test_two_killed_processes_resume(tiny_folder, small_data, tmp_path):
    train = lambda name, **more: train_loop(
        str(tiny_folder), small_data, tmp_path / name, **RUN, evaluate_every=3, **more
    )

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


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_two_processes_answer_as_one(n, long_examples, tiny_folder, minilm):
    "By example, as the command line does: byte for byte the same, also where a process gets nothing."
    model, some = load_model(tiny_folder), long_examples.select(range(n))
    answers = lambda: evaluate_sharded(
        model, minilm, some, max_length=64, stride=16, chunk=1, progress=False
    )
    written = lambda e: json.dumps([e.predictions, e.n_best, e.scores])
    one, two = alone(answers), processes(answers)
    assert written(one) == written(two[0]) == written(two[1]) and len(one.predictions) == n
    plain = evaluate_model(model, minilm, some, max_length=64, stride=16, progress=False)
    assert [p["prediction_text"] for p in plain.predictions] == [
        p["prediction_text"] for p in one.predictions
    ] and plain.scores == one.scores


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_two_processes_gather_the_logits_of_one(n, long_examples, tiny_folder, minilm):
    "By window, as the training does: an example's windows fall on both processes, and none comes twice."
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


def test_shares_cover_every_window_once():
    for windows in (1, 2, 7, 45, 48):
        for size, world, accumulation in ((4, 2, 1), (4, 3, 2), (8, 1, 3)):
            plan = plan_steps(windows, size, world, accumulation)
            shares = [
                [own_share(plan, number, rank) for rank in range(world)]
                for number in range(plan.batches)
            ]
            assert sum(own for batch in shares for own, _ in batch) == windows
            assert all(sum(factor for _, factor in batch) >= world for batch in shares)


def test_merging_by_row():
    assert merge_shards([(2, "c"), (0, "a"), (1, "b")]) == ["a", "b", "c"]


# One process that raises

FAULTY = """
import os, sys, time
os.environ["TQDM_DISABLE"] = "1"
from pathlib import Path
from squadqa import cli, loop, step
where, rank, clock = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
home = loop if hasattr(loop, where) else step  # the module that calls it
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
    [("train_batch", 1), ("gather_logits", 1), ("save_weights", 1), ("compute_metrics", 0)],
)
def test_a_process_that_raises_ends_the_launch(where, rank, tiny_folder, tmp_path):
    (tmp_path / "faulty.py").write_text(FAULTY)
    done, _ = launch(
        [
            str(tmp_path / "faulty.py"),
            where,
            str(rank),
            str(tmp_path / "clock"),
            "train",
            "--engine",
            "accelerate",
            "--data",
            "sample",
            "--model",
            str(tiny_folder),
            "--output",
            str(tmp_path / "run"),
            "--max-length",
            "128",
            "--stride",
            "32",
            "--evaluate-every",
            "3",
        ]
    )
    seconds = time.time() - float((tmp_path / "clock").read_text())
    assert done.returncode not in (0, None) and seconds < 45, (
        seconds
    )  # about 5 on a machine with nothing else to do; a hang would be minutes
    assert (
        f"process {rank} found a fault in {where}" in done.stderr
        and "Traceback" in done.stderr
        and "faulty.py" in done.stderr
    )
    found = list((tmp_path / "run").glob("checkpoint-*"))
    assert (
        sorted(found) == sorted(checkpoints(tmp_path / "run"))
        and not (tmp_path / "run" / "model.safetensors").exists()
    )
    assert [p.name for p in found] == ([] if where == "train_batch" else ["checkpoint-3"])


def test_bad_input_ends_the_launch(tmp_path):
    done, _ = launch(
        [
            "-m",
            "squadqa.cli",
            "train",
            "--engine",
            "accelerate",
            "--data",
            "nowhere.json",
            "--output",
            str(tmp_path / "run"),
        ]
    )
    assert done.returncode != 0 and "nowhere.json" in done.stderr


# The command line


def test_commands_alone_and_launched(tiny_folder, tmp_path):
    "Training under a launcher speaks once; the files of an evaluation are those of a single process, byte for byte."
    common = ["--data", "sample", "--max-length", "128", "--stride", "32"]
    done, _ = launch(
        [
            "-m",
            "squadqa.cli",
            "train",
            "--engine",
            "accelerate",
            *common,
            "--model",
            str(tiny_folder),
            "--output",
            str(tmp_path / "run"),
            "--max-steps",
            "6",
            "--json",
            "--gradient-accumulation-steps",
            "2",
            "--warmup-steps",
            "2",
            "--max-grad-norm",
            "0.5",
            "--evaluate-every",
            "3",
            "--mixed-precision",
            "bf16",
        ]
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\n") == 1 and json.loads(done.stdout)["steps"] == 6
    done, _ = launch(
        [
            "-m",
            "squadqa.cli",
            "evaluate",
            *common,
            "--model",
            str(tmp_path / "run"),
            "--output",
            str(tmp_path / "two"),
        ]
    )
    assert done.returncode == 0 and done.stdout.count("EM ") == 1, done.stderr[-3000:]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "squadqa.cli",
            "evaluate",
            *common,
            "--model",
            str(tmp_path / "run"),
            "--output",
            str(tmp_path / "one"),
        ],
        check=True,
        capture_output=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    for name in ("predictions", "nbest", "scores"):
        assert (tmp_path / "one" / f"{name}.json").read_bytes() == (
            tmp_path / "two" / f"{name}.json"
        ).read_bytes()


# Pushing to the Hub


def push(tiny_folder, output, server):
    command = [
        sys.executable,
        "-m",
        "squadqa.cli",
        "train",
        "--engine",
        "accelerate",
        "--data",
        "sample",
        "--model",
        str(tiny_folder),
        "--output",
        str(output),
        "--epochs",
        "3",
        "--batch-size",
        "64",
        "--max-length",
        "128",
        "--stride",
        "32",
        "--push-to-hub",
        "mine",
    ]
    environment = {
        "HF_ENDPOINT": server.url,
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "hf_not_real",
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, cwd=ROOT, timeout=180
    )


def test_each_epoch_is_one_commit_and_the_files_are_the_models(tiny_folder, tmp_path):
    with HubServer() as server:
        done = push(tiny_folder, tmp_path / "run", server)
    assert done.returncode == 0, done.stderr[-3000:]
    assert server.created == ["mine"] * 2 and [c.message.split(",")[0] for c in server.commits] == [
        "Epoch 1",
        "Epoch 2",
        "Upload the fine-tuned model",
    ]
    for commit in server.commits:
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= commit.files.keys()
    last = server.commits[-1].files
    assert not [name for name in last if name.startswith(("checkpoint-", "."))]
    for name, content in last.items():
        assert content == (tmp_path / "run" / name).read_bytes(), name
    assert (
        len({c.files["model.safetensors"] for c in server.commits}) >= 2
        and not (tmp_path / "run" / ".pushing").exists()
    )
    assert {"README.md", "all_results.json", "learning_curve.png"} <= last.keys()


def test_a_failed_push_does_not_stop_the_training(tiny_folder, tmp_path):
    with HubServer(refuse={1}) as server:
        done = push(tiny_folder, tmp_path / "run", server)
    assert (
        done.returncode == 0
        and len(server.commits) == 2
        and server.commits[-1].message == "Upload the fine-tuned model"
    )
    assert (
        "1 of 2 uploads during training failed" in done.stderr and "After training" in done.stdout
    )


def test_a_hub_that_takes_nothing_is_told_at_the_end(tiny_folder, tmp_path):
    with HubServer(refuse={1, 2, 3}) as server:
        done = push(tiny_folder, tmp_path / "run", server)
    assert (
        done.returncode == 1
        and "the Hub did not take it" in done.stderr
        and "Traceback" not in done.stderr
        and server.commits == []
    )
    assert (
        json.loads((tmp_path / "run" / "all_results.json").read_text())["steps"] > 3
        and (tmp_path / "run" / "model.safetensors").exists()
    )


# Ready configurations

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


def test_the_cpu_configuration_trains(tiny_folder, tmp_path):
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(ROOT / "configs" / "cpu.yaml"),
        "-m",
        "squadqa.cli",
        "train",
        "--engine",
        "accelerate",
        "--data",
        "sample",
        "--model",
        str(tiny_folder),
        "--output",
        str(tmp_path / "run"),
        "--max-steps",
        "2",
        "--evaluate-every",
        "no",
        "--max-length",
        "128",
        "--stride",
        "32",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=180)
    assert done.returncode == 0 and (tmp_path / "run" / "model.safetensors").exists(), done.stderr[
        -3000:
    ]


def test_what_would_fail_at_the_end_is_refused_first(tiny_folder, small_data, tmp_path):
    pytest.importorskip("peft", reason="peft is not installed: pip install 'squadqa[offline]'")
    adapted = add_adapter(load_model(tiny_folder), rank=2)
    for model, options, words in (
        (adapted, {}, "train an adapter with fine_tune"),
        (str(tiny_folder), {"epochs": 0}, "epochs=0"),
        (str(tiny_folder), {"save_total_limit": None}, "save_total_limit=None"),
        (str(tiny_folder), {"logging_steps": 0}, "logging_steps=0"),
    ):
        with pytest.raises(ValueError, match=words):
            train_loop(model, small_data, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


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
