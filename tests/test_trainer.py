"""Fine-tuning with a tiny model: what it writes, that it resumes exactly, and that nothing is lost when something goes wrong."""

import errno
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import tiny_config
from datasets import DatasetDict
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    BertForQuestionAnswering,
    BertModel,
    set_seed,
)

from squadqa import runs
from squadqa.batching import LengthGroupedSampler, WindowCollator
from squadqa.checkpoints import CheckpointError, StopOnInterrupt, TrainingInterrupted, checkpoints
from squadqa.data import _sample_files, load_squad
from squadqa.evaluation import evaluate_model
from squadqa.hub import push_run
from squadqa.labeling import prepare_train_features
from squadqa.models import load_model, load_tokenizer
from squadqa.processes import choose_precision
from squadqa.trainer import fine_tune

RUN = dict(
    epochs=2,
    batch_size=8,
    learning_rate=1e-3,
    max_length=128,
    stride=32,
    mixed_precision="no",
    disable_tqdm=True,
    logging_steps=5,
)


def weights(folder) -> dict:
    return AutoModelForQuestionAnswering.from_pretrained(folder).state_dict()


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def finished(tiny_folder, small_data, tmp_path_factory):
    "One uninterrupted run."
    folder = tmp_path_factory.mktemp("runs") / "finished"
    return fine_tune(str(tiny_folder), small_data, folder, **RUN), folder


def test_what_a_run_gives(finished, small_data, tiny_folder):
    result, folder = finished
    evaluations = [row for row in result.history if "f1" in row]
    assert len(evaluations) == 2 and all(
        {"eval_loss", "exact_match", "f1", "step"} <= row.keys() for row in evaluations
    )
    assert result.scores["f1"] == max(row["f1"] for row in evaluations) and result.best_step in [
        row["step"] for row in evaluations
    ]
    assert result.steps > 10 and result.train_loss > 0 and result.windows_per_second > 0
    names = {p.name for p in folder.iterdir()}
    assert {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "trainer_state.json",
        "all_results.json",
        "learning_curve.png",
        "README.md",
    } <= names
    assert not {"pytorch_model.bin", ".saving"} & names and len(checkpoints(folder)) == 2
    saved = json.loads((folder / "all_results.json").read_text())
    assert saved["scores"] == result.scores and saved["history"] == result.history
    assert (folder / "learning_curve.png").stat().st_size > 5000
    card = (folder / "README.md").read_text()
    assert (
        f"{result.scores['f1']:.2f}" in card
        and str(folder) not in card
        and str(tiny_folder) not in card
    )
    scores = evaluate_model(
        load_model(folder),
        load_tokenizer(folder),
        small_data["validation"],
        max_length=128,
        stride=32,
    ).scores
    assert scores == pytest.approx({k: result.scores[k] for k in ("exact_match", "f1")})


def test_the_same_seed_gives_the_same_weights(finished, tiny_folder, small_data, tmp_path):
    fine_tune(str(tiny_folder), small_data, tmp_path / "again", **RUN)
    assert same(weights(finished[1]), weights(tmp_path / "again"))
    fine_tune(str(tiny_folder), small_data, tmp_path / "other", **RUN, seed=7)
    assert not same(weights(finished[1]), weights(tmp_path / "other"))


@pytest.mark.parametrize("step", [1, 4, "epoch", -1])
def test_an_interrupted_run_resumes_exactly(
    step, finished, tiny_folder, small_data, tmp_path, monkeypatch
):
    "Stopped in the middle of an epoch, at its end, or one step before the end: the same weights bit for bit."
    result, folder = finished
    stop_at = {"epoch": result.steps // 2, -1: result.steps - 1}.get(step, step)
    real = StopOnInterrupt.on_step_end

    def asks(self, args, state, control, **kwargs):
        self.asked = state.global_step == stop_at
        real(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(StopOnInterrupt, "on_step_end", asks)
        with pytest.raises(
            TrainingInterrupted, match=f"stopped at step {stop_at} of {result.steps}.*--resume"
        ):
            fine_tune(str(tiny_folder), small_data, tmp_path / "run", **RUN)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    resumed = fine_tune(str(tiny_folder), small_data, tmp_path / "run", **RUN, resume=True)
    assert same(weights(folder), weights(tmp_path / "run"))
    assert resumed.scores == result.scores and resumed.best_step == result.best_step
    evaluations = lambda r: [row for row in r.history if "f1" in row]
    assert evaluations(resumed) == evaluations(result)


def test_resuming_a_finished_run_changes_nothing(finished, tiny_folder, small_data):
    before = weights(finished[1])
    again = fine_tune(str(tiny_folder), small_data, finished[1], **RUN, resume=True)
    assert same(before, weights(finished[1])) and again.scores == finished[0].scores


def test_half_a_checkpoint_is_not_resumed_from(finished, tiny_folder, small_data, tmp_path):
    "A run that was killed while it wrote: the half is thrown away, the one before is used."
    import shutil

    run = tmp_path / "run"
    shutil.copytree(finished[1], run)
    last = checkpoints(run)[-1]
    (last / "trainer_state.json").write_text('{"half')
    assert checkpoints(run)[-1] != last
    fine_tune(str(tiny_folder), small_data, run, **RUN, resume=True)
    assert same(weights(finished[1]), weights(run))


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_while_saving_a_checkpoint(
    finished, tiny_folder, small_data, tmp_path, monkeypatch
):
    "The second checkpoint fails: the first survives, nothing half-written is left, and the run can go on from it."
    real, calls = torch.save, []

    def fails_later(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs) if not checkpoints(tmp_path / "run") else full_disk()

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fails_later)
        with pytest.raises(
            CheckpointError,
            match="(?s)(?i:no space left).*last good checkpoint is .*checkpoint-.*--resume",
        ):
            fine_tune(str(tiny_folder), small_data, tmp_path / "run", **RUN)
    assert (
        calls
        and len(list((tmp_path / "run").glob("checkpoint-*")))
        == len(checkpoints(tmp_path / "run"))
        == 1
    )
    fine_tune(str(tiny_folder), small_data, tmp_path / "run", **RUN, resume=True)
    assert same(weights(finished[1]), weights(tmp_path / "run"))


def test_full_disk_while_saving_the_result(
    finished, tiny_folder, small_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(runs, "learning_curve", full_disk)
    with pytest.raises(CheckpointError, match="(?i:no space left)"):
        fine_tune(str(tiny_folder), small_data, tmp_path / "run", **RUN)
    assert (
        len(checkpoints(tmp_path / "run")) == 2
        and not (tmp_path / "run" / "model.safetensors").exists()
    )


def test_a_really_full_disk(tiny_folder, tmp_path):
    "A file system of a few megabytes fills up: a sentence, exit code 1, whole checkpoints only."
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=18m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a small file system here: {mount.stderr.strip()}")
    try:
        command = [
            sys.executable,
            "-m",
            "squadqa.cli",
            "train",
            "--data",
            "sample",
            "--model",
            str(tiny_folder),
            "--output",
            str(disk / "run"),
            "--evaluate-every",
            "3",
            "--max-steps",
            "9",
            "--batch-size",
            "4",
            "--max-length",
            "128",
            "--stride",
            "32",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (
            done.returncode == 1
            and "no space left" in done.stderr
            and "Traceback" not in done.stderr
        ), done.stderr[-2000:]
        found = list((disk / "run").glob("checkpoint-*"))
        assert found and found == checkpoints(disk / "run")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_ctrl_c_saves_says_how_to_resume_and_exits_with_130(tiny_folder, tmp_path):
    "A real process gets a real SIGINT in the middle of training."
    data = f"train={_sample_files()['train']}"
    command = [
        sys.executable,
        "-m",
        "squadqa.cli",
        "train",
        "--data",
        data,
        "--model",
        str(tiny_folder),
        "--output",
        str(tmp_path / "run"),
        "--epochs",
        "500",
        "--max-length",
        "128",
        "--stride",
        "32",
        "--evaluate-every",
        "10",
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 200
    while not checkpoints(tmp_path / "run"):
        assert running.poll() is None and time.monotonic() < deadline, running.communicate(
            timeout=5
        )[0][-2000:]
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=120)
    assert running.returncode == 130, said[-1500:]
    assert "Press Ctrl-C again" in said and "--resume" in said and "Traceback" not in said
    step = int(re.search(r"stopped at step (\d+) of", said)[1])
    assert checkpoints(tmp_path / "run")[-1].name == f"checkpoint-{step}" and step >= 10


def test_without_validation(tiny_folder, small_data, tmp_path):
    result = fine_tune(
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
    assert "not evaluated" in (tmp_path / "run" / "README.md").read_text()


def test_examples_without_answers_train_and_score(tiny_folder, tmp_path):
    v2 = load_squad("sample-v2")["validation"].select(range(40))
    assert any(not a["text"] for a in v2["answers"])
    result = fine_tune(
        str(tiny_folder),
        DatasetDict(train=v2, validation=v2),
        tmp_path / "run",
        **RUN | {"epochs": 1},
    )
    assert np.isfinite(result.scores["loss"])


def test_dynamic_batches_and_padded_ones_give_the_same_logits(minilm, tiny_folder, small_data):
    "Padding on the right changes nothing for the real tokens."
    model = load_model(tiny_folder).eval()
    rows = {
        pad: prepare_train_features(
            small_data["train"][:6], minilm, max_length=160, stride=32, padding=pad
        )
        for pad in (False, "max_length")
    }
    batches = [
        WindowCollator(minilm)([dict(zip(r, values)) for values in zip(*r.values())])
        for r in rows.values()
    ]
    with torch.inference_mode():
        short, long = (model(**b).start_logits for b in batches)
    real = batches[0]["attention_mask"].bool()
    assert torch.allclose(short[real], long[:, : short.shape[1]][real], atol=1e-5)


def test_left_padding_architecture(shared, small_data, tmp_path):
    "XLNet: the context comes first, <cls> last; training, evaluation and scoring all the same."
    from transformers import XLNetConfig, XLNetForQuestionAnsweringSimple

    tokenizer = load_tokenizer(shared / "tokenizers" / "xlnet-base-cased")
    set_seed(0)
    model = XLNetForQuestionAnsweringSimple(
        XLNetConfig(vocab_size=len(tokenizer), d_model=32, n_layer=2, n_head=2, d_inner=64)
    )
    result = fine_tune(
        model, small_data, tmp_path / "run", **RUN | {"epochs": 1}, tokenizer=tokenizer
    )
    again = evaluate_model(
        load_model(tmp_path / "run"),
        load_tokenizer(tmp_path / "run"),
        small_data["validation"],
        max_length=128,
        stride=32,
    )
    assert again.scores == pytest.approx({k: result.scores[k] for k in ("exact_match", "f1")})
    for p, example in zip(again.predictions, small_data["validation"]):
        assert p["prediction_text"] == example["context"][p["start"] : p["end"]] != ""


def test_sampler_groups_lengths_and_repeats_itself():
    lengths = np.random.default_rng(0).integers(10, 384, 1003)
    sampler = LengthGroupedSampler(lengths, 8, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(1003)) and first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)
    padded = lambda order: sum(
        max(lengths[order[i : i + 8]]) * len(order[i : i + 8]) for i in range(0, 1003, 8)
    )
    assert (
        padded(first)
        < 1.05 * lengths.sum()
        < 1.2 * lengths.sum()
        < padded(np.random.default_rng(1).permutation(1003))
    )


def test_precision_follows_the_hardware(monkeypatch):
    assert choose_precision("fp16") == "fp16"
    with pytest.raises(ValueError, match="mixed_precision='half'"):
        choose_precision("half")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for has_bf16, want in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=False: has_bf16
        )
        assert choose_precision() == want


def refused(words, *args, **kwargs):
    with pytest.raises(ValueError, match=words):
        fine_tune(*args, **RUN | kwargs)


def test_bad_input_is_told_before_the_work(tiny_folder, small_data, minilm, tmp_path):
    folder, bad = str(tiny_folder), small_data["train"].to_list()
    bad[3]["answers"]["answer_start"][0] += 1
    from squadqa.data import to_dataset

    refused(
        "(?s)not fit for training.*off by",
        folder,
        DatasetDict(train=to_dataset(bad)),
        tmp_path / "a",
    )
    refused(
        "no train split", folder, DatasetDict(validation=small_data["validation"]), tmp_path / "b"
    )
    refused(
        "BertModel has no question-answering head",
        BertModel(tiny_config(minilm)),
        small_data,
        tmp_path / "c",
        tokenizer=minilm,
    )
    refused(
        "do not belong together",
        BertForQuestionAnswering(tiny_config(minilm, vocab_size=99)),
        small_data,
        tmp_path / "d",
        tokenizer=minilm,
    )
    refused(
        "max_length=600",
        BertForQuestionAnswering(tiny_config(minilm)),
        small_data,
        tmp_path / "e",
        tokenizer=minilm,
        max_length=600,
    )
    refused("evaluate_every='often'", folder, small_data, tmp_path / "f", evaluate_every="often")
    refused("no-such-model", "./no-such-model", small_data, tmp_path / "g")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    refused("not empty.*--resume.*--overwrite", folder, small_data, tmp_path / "full")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_overwrite_removes_checkpoints_of_the_earlier_run_only(tiny_folder, small_data, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoint-99999").mkdir(parents=True)
    (run / "notes.txt").write_text("mine")
    fine_tune(str(tiny_folder), small_data, run, **RUN | {"epochs": 1}, overwrite=True)
    assert (
        (run / "notes.txt").exists()
        and not (run / "checkpoint-99999").exists()
        and (run / "model.safetensors").exists()
    )


def test_a_model_without_a_trained_head_is_not_scored(minilm, tmp_path):
    BertModel(tiny_config(minilm)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no trained question-answering head.*qa_outputs"):
        load_model(tmp_path)
    assert isinstance(load_model(tmp_path, new_head=True), BertForQuestionAnswering)
    assert isinstance(AutoModel.from_pretrained(tmp_path), BertModel)


def test_a_failed_push_says_that_the_model_is_saved(finished):
    with pytest.raises(ValueError, match="model is saved in .*hf auth login"):
        push_run(finished[1], "me/model", endpoint="http://127.0.0.1:9", token="hf_x")


def test_what_was_stored_in_16_bits_learns_in_32(tiny_folder, small_data, minilm, tmp_path):
    AutoModelForQuestionAnswering.from_pretrained(tiny_folder).half().save_pretrained(
        tmp_path / "half"
    )
    minilm.save_pretrained(tmp_path / "half")
    assert load_model(tmp_path / "half").dtype == torch.float16  # as it is, to answer
    fine_tune(
        str(tmp_path / "half"),
        small_data,
        tmp_path / "run",
        **RUN | dict(max_steps=2, evaluate_every="no"),
    )
    assert {w.dtype for w in weights(tmp_path / "run").values()} == {torch.float32}


@pytest.mark.parametrize(
    "more",
    [
        dict(load_best_model_at_end=False),
        dict(metric_for_best_model="eval_loss", greater_is_better=True),
    ],
)
def test_scores_are_those_of_the_weights(more, tiny_folder, small_data, tmp_path):
    "Whatever chooses the weights: what the run tells is what they score."
    result = fine_tune(
        str(tiny_folder), small_data, tmp_path / "run", **RUN | dict(epochs=3), **more
    )
    kept = weights(tmp_path / "run")
    at = [folder for folder in checkpoints(tmp_path / "run") if same(kept, weights(folder))]
    assert [folder.name for folder in at] == [f"checkpoint-{result.best_step}"]
    row = next(row for row in result.history if row["step"] == result.best_step and "f1" in row)
    assert result.scores == {
        "exact_match": row["exact_match"],
        "f1": row["f1"],
        "loss": row["eval_loss"],
    }


def test_the_upload_hears_the_hub_arguments(tiny_folder, small_data, tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(
        "squadqa.trainer.push_run", lambda *args, **options: heard.append((args, options))
    )
    fine_tune(
        str(tiny_folder),
        small_data,
        tmp_path / "run",
        push_to_hub=True,
        hub_model_id="me/secret",
        hub_private_repo=True,
        hub_token="hf_none",
        **RUN | dict(max_steps=1, evaluate_every="no"),
    )
    assert heard == [((str(tmp_path / "run"), "me/secret"), {"private": True, "token": "hf_none"})]
