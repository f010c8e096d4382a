"""Fine-tuning a tiny model: what it writes, that it resumes exactly, and that nothing is lost."""

import errno
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import tiny_config
from datasets import Dataset, DatasetDict
from processes import alone, holder
from transformers import (
    AutoModelForQuestionAnswering,
    BertForQuestionAnswering,
    BertModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    set_seed,
)

from squadqa import results, training
from squadqa.batching import LengthGroupedSampler, WindowCollator
from squadqa.capstone import FILES
from squadqa.checkpoints import (
    CheckpointError,
    StopOnInterrupt,
    TrainingInterrupted,
    checkpoints,
    read_seal,
    seal_checkpoint,
)
from squadqa.data import load_squad, to_dataset
from squadqa.evaluation import evaluate_model
from squadqa.generative import fine_tune_generative
from squadqa.hub import push_run
from squadqa.labeling import prepare_train_features
from squadqa.loop import train_loop
from squadqa.models import load_model, load_tokenizer
from squadqa.processes import choose_precision
from squadqa.trainer import QATrainer, fine_tune

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
BRIEF = RUN | dict(max_steps=2, evaluate_every="no")


@pytest.fixture(scope="session")
def small_data():
    "20 training and 10 validation examples of the sample: a run takes a second or two."
    data = load_squad()
    data["train"] = data["train"].select(range(20))
    data["validation"] = data["validation"].select(range(10))
    return data


def weights(folder) -> dict:
    return AutoModelForQuestionAnswering.from_pretrained(folder).state_dict()


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def content(folder) -> dict:
    "Every file with its time of change and size."
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.stat().st_size) for p in found}


@pytest.fixture(scope="module")
def finished(tiny_folder, small_data, tmp_path_factory):
    "One uninterrupted run."
    folder = tmp_path_factory.mktemp("runs") / "finished"
    return fine_tune(str(tiny_folder), small_data, folder, **RUN), folder


@pytest.fixture
def again(finished, tmp_path):
    "A copy of it."
    shutil.copytree(finished[1], tmp_path / "run")
    return tmp_path / "run"


# --- what a run gives


def test_what_a_run_gives(finished, small_data, tiny_folder):
    result, folder = finished
    evaluations = [row for row in result.history if "f1" in row]
    assert len(evaluations) == 2
    assert all({"eval_loss", "exact_match", "f1", "step"} <= row.keys() for row in evaluations)
    assert result.scores["f1"] == max(row["f1"] for row in evaluations)
    assert result.best_step in [row["step"] for row in evaluations]
    assert result.steps >= 10 and result.train_loss > 0 and result.windows_per_second > 0
    names = {p.name for p in folder.iterdir() if not p.name.startswith("checkpoint-")}
    assert names == {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "all_results.json",
        "learning_curve.png",
        "README.md",
    }
    assert len(checkpoints(folder)) == 2
    saved = json.loads((folder / "all_results.json").read_text())
    assert saved["scores"] == result.scores and saved["history"] == result.history
    assert (folder / "learning_curve.png").stat().st_size > 5000
    scores = evaluate_model(
        load_model(folder),
        load_tokenizer(folder),
        small_data["validation"],
        max_length=128,
        stride=32,
    ).scores
    assert scores == pytest.approx({k: result.scores[k] for k in ("exact_match", "f1")})


def test_the_card_tells_every_argument(tiny_folder, small_data, tmp_path):
    "Also those that came under a name of transformers; no token and no folder of this machine."
    names = {"num_train_epochs": 7, "adam_beta2": 0.98, "per_device_train_batch_size": 4}
    run = {name: value for name, value in BRIEF.items() if name not in ("epochs", "batch_size")}
    fine_tune(str(tiny_folder), small_data, tmp_path / "run", **run, **names, hub_token="hf_secret")
    card = (tmp_path / "run" / "README.md").read_text()
    for line in (
        "epochs: 7",
        "batch_size: 4",
        "adam_beta2: 0.98",
        "max_steps: 2",
        "stride: 32",
        "mixed_precision: no",
        "gradient_accumulation_steps: 1",
    ):
        assert f"\n- {line}\n" in card, line
    assert "not evaluated" in card and str(tmp_path) not in card and str(tiny_folder) not in card
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or b"hf_secret" not in path.read_bytes(), path


def test_the_same_seed_gives_the_same_weights(finished, tiny_folder, small_data, tmp_path):
    fine_tune(str(tiny_folder), small_data, tmp_path / "again", **RUN)
    assert same(weights(finished[1]), weights(tmp_path / "again"))
    fine_tune(str(tiny_folder), small_data, tmp_path / "other", **BRIEF, seed=7)
    fine_tune(str(tiny_folder), small_data, tmp_path / "third", **BRIEF)
    assert not same(weights(tmp_path / "third"), weights(tmp_path / "other"))


def test_no_private_methods_are_overridden():
    "What transformers calls its own may change in any release."
    ours = {name for name in vars(QATrainer) if name.startswith("_") and not name.endswith("__")}
    assert not ours and {"get_train_dataloader"} <= vars(QATrainer).keys() & vars(Trainer).keys()


def test_without_validation(tiny_folder, small_data, tmp_path):
    train = DatasetDict(train=small_data["train"])
    result = fine_tune(str(tiny_folder), train, tmp_path / "run", **RUN | {"max_steps": 2})
    assert result.scores == {} and result.best_step is None
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_examples_without_answers_train_and_score(tiny_folder, tmp_path):
    v2 = load_squad("sample-v2")["validation"]
    without = [i for i, answer in enumerate(v2["answers"]) if not answer["text"]]
    some = [i for i in range(len(v2)) if i not in without]
    v2 = v2.select(some[:8] + without[:8])
    assert len(without) > 8
    data = DatasetDict(train=v2, validation=v2)
    result = fine_tune(str(tiny_folder), data, tmp_path / "run", **RUN | {"epochs": 1})
    assert np.isfinite(result.scores["loss"])


def as_objects(answers):
    return [
        {"text": t, "answer_start": s} for t, s in zip(answers["text"], answers["answer_start"])
    ]


@pytest.mark.parametrize(
    "form", [as_objects, json.dumps, lambda answers: json.dumps(as_objects(answers))]
)
def test_answers_in_every_form_are_trained_on(form, small_data):
    "What passes the check of the data is in SQuAD's form afterwards, splits of your own too."
    rows = [row | {"answers": form(row["answers"])} for row in small_data["train"].to_list()]
    data = training.load_training_data(DatasetDict(train=Dataset.from_list(rows)))
    assert data["train"].to_list() == small_data["train"].to_list()


def test_left_padding_architecture(shared, small_data, tmp_path):
    "XLNet: the context comes first, <cls> last; training, evaluation and scoring all the same."
    from transformers import XLNetConfig, XLNetForQuestionAnsweringSimple

    tokenizer = load_tokenizer(shared / "tokenizers" / "xlnet-base-cased")
    set_seed(0)
    config = XLNetConfig(vocab_size=len(tokenizer), d_model=32, n_layer=2, n_head=2, d_inner=64)
    model = XLNetForQuestionAnsweringSimple(config)
    run = RUN | {"epochs": 1}
    result = fine_tune(model, small_data, tmp_path / "run", **run, tokenizer=tokenizer)
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


def test_what_was_stored_in_16_bits_learns_in_32(tiny_folder, small_data, minilm, tmp_path):
    half = AutoModelForQuestionAnswering.from_pretrained(tiny_folder).half()
    half.save_pretrained(tmp_path / "half")
    minilm.save_pretrained(tmp_path / "half")
    assert load_model(tmp_path / "half").dtype == torch.float16  # as it is, to answer
    fine_tune(str(tmp_path / "half"), small_data, tmp_path / "run", **BRIEF)
    assert {w.dtype for w in weights(tmp_path / "run").values()} == {torch.float32}


def test_bfloat16_on_a_cpu(tiny_folder, small_data, tmp_path):
    run = BRIEF | {"mixed_precision": "bf16"}
    assert np.isfinite(fine_tune(str(tiny_folder), small_data, tmp_path / "run", **run).train_loss)


@pytest.mark.parametrize(
    "more",
    [
        dict(load_best_model_at_end=False),
        dict(metric_for_best_model="eval_loss", greater_is_better=True),
    ],
    ids=["the last", "the highest loss"],
)
def test_scores_are_those_of_the_weights(more, tiny_folder, small_data, tmp_path):
    "Whatever chooses the weights: what the run tells is what they score."
    run = RUN | dict(max_steps=9, evaluate_every=3)
    result = fine_tune(str(tiny_folder), small_data, tmp_path / "run", **run, **more)
    kept = weights(tmp_path / "run")
    at = [folder for folder in checkpoints(tmp_path / "run") if same(kept, weights(folder))]
    assert [folder.name for folder in at] == [f"checkpoint-{result.best_step}"]
    row = next(row for row in result.history if row["step"] == result.best_step and "f1" in row)
    expected = {"exact_match": row["exact_match"], "f1": row["f1"], "loss": row["eval_loss"]}
    assert result.scores == expected


@pytest.mark.parametrize("name, best", [("loss", min), ("eval_loss", min), ("f1", max)])
def test_the_best_weights_are_the_best(name, best, tiny_folder, small_data, tmp_path):
    run = RUN | dict(max_steps=9, evaluate_every=3, learning_rate=1e-3)
    result = fine_tune(
        str(tiny_folder), small_data, tmp_path / "run", **run, metric_for_best_model=name
    )
    key = {"f1": "f1"}.get(name, "eval_loss")
    scores = {row["step"]: row[key] for row in result.history if "f1" in row}
    assert len(scores) == 3 and scores[result.best_step] == best(scores.values())


def test_checkpoints_besides_the_evaluations(tiny_folder, small_data, tmp_path):
    run = BRIEF | dict(max_steps=7, save_steps=2, save_total_limit=3)
    fine_tune(str(tiny_folder), small_data, tmp_path / "run", **run)
    names = [folder.name for folder in checkpoints(tmp_path / "run")]
    assert names == ["checkpoint-4", "checkpoint-6", "checkpoint-7"]


def test_dynamic_batches_and_padded_ones_give_the_same_logits(minilm, tiny_folder, small_data):
    "Padding on the right changes nothing for the real tokens."
    model = load_model(tiny_folder).eval()
    batches = []
    for padding in (False, "max_length"):
        rows = prepare_train_features(
            small_data["train"][:6], minilm, max_length=160, stride=32, padding=padding
        )
        batches.append(WindowCollator(minilm)([dict(zip(rows, v)) for v in zip(*rows.values())]))
    with torch.inference_mode():
        short, long = (model(**b).start_logits for b in batches)
    real = batches[0]["attention_mask"].bool()
    assert torch.allclose(short[real], long[:, : short.shape[1]][real], atol=1e-5)


def test_sampler_groups_lengths_and_repeats_itself():
    lengths = np.random.default_rng(0).integers(10, 384, 1003)
    sampler = LengthGroupedSampler(lengths, 8, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(1003)) and first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)

    def padded(order):
        batches = [order[i : i + 8] for i in range(0, 1003, 8)]
        return sum(max(lengths[batch]) * len(batch) for batch in batches)

    by_chance = padded(np.random.default_rng(1).permutation(1003))
    assert padded(first) < 1.05 * lengths.sum() < 1.2 * lengths.sum() < by_chance


def test_precision_follows_the_hardware(monkeypatch):
    assert choose_precision("fp16") == "fp16"
    with pytest.raises(ValueError, match="mixed_precision='half'"):
        choose_precision("half")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for has_bf16, want in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has_bf16, **kwargs: has)
        assert choose_precision() == want


# --- interrupted and resumed


def stops_at(patch, step):
    "A request to stop arrives while this step is computed."
    real = StopOnInterrupt.on_step_end

    def asks(self, args, state, control, **kwargs):
        self.asked = state.global_step == step
        real(self, args, state, control, **kwargs)

    patch.setattr(StopOnInterrupt, "on_step_end", asks)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow), "epoch", -1])
def test_an_interrupted_run_resumes_exactly(
    step, finished, tiny_folder, small_data, tmp_path, monkeypatch
):
    "In an epoch, at its end, or one step before the end: the same weights bit for bit."
    result, folder = finished
    stop_at = {"epoch": result.steps // 2, -1: result.steps - 1}.get(step, step)
    with monkeypatch.context() as patch:
        stops_at(patch, stop_at)
        words = f"stopped at step {stop_at} of {result.steps}.*--resume"
        with pytest.raises(TrainingInterrupted, match=words):
            fine_tune(str(tiny_folder), small_data, tmp_path / "run", **RUN)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    resumed = fine_tune(str(tiny_folder), small_data, tmp_path / "run", **RUN, resume=True)
    assert same(weights(folder), weights(tmp_path / "run"))
    assert resumed.scores == result.scores and resumed.best_step == result.best_step
    evaluations = [[row for row in one.history if "f1" in row] for one in (resumed, result)]
    assert evaluations[0] == evaluations[1]


def test_a_finished_run_is_finished_wherever_it_lies(again, finished, tiny_folder, small_data):
    "Resuming changes nothing, also in a folder of another name: the best weights are found."
    (again / "README.md").write_text("mine")
    (again / "squadqa.json").write_text('{"null_threshold": 1.5}')
    before = content(again)
    resumed = fine_tune(str(tiny_folder), small_data, again, **RUN, resume=True)
    assert same(weights(finished[1]), weights(again))
    assert replace(resumed, output_dir="") == replace(finished[0], output_dir="")
    assert content(again) == before


def test_a_run_that_ended_inside_an_epoch_is_finished(tiny_folder, small_data, tmp_path):
    run = RUN | {"max_steps": 3}
    result = fine_tune(str(tiny_folder), small_data, tmp_path / "run", **run)
    (tmp_path / "run" / "squadqa.json").write_text('{"null_threshold": 1.5}')
    before = content(tmp_path / "run")
    again = fine_tune(str(tiny_folder), small_data, tmp_path / "run", **run, resume=True)
    assert again == result and content(tmp_path / "run") == before


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_finished_run_that_lost_a_file_is_mended(lost, again, finished, tiny_folder, small_data):
    (again / lost).unlink()
    (again / "my_model_notes.safetensors").write_text("mine")
    fine_tune(str(tiny_folder), small_data, again, **RUN, resume=True)
    assert (again / lost).exists() and same(weights(finished[1]), weights(again))


def test_another_model_does_not_continue_a_run(again, tiny_folder, small_data, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "other")
    with pytest.raises(ValueError, match="written with model='tiny0', this run has 'other'"):
        fine_tune(tmp_path / "other", small_data, again, **RUN, resume=True)


def test_a_split_of_another_name(tiny_folder, small_data, tmp_path):
    data = DatasetDict({"train": small_data["train"], "dev": small_data["validation"]})
    with pytest.raises(ValueError, match="a split is called 'dev': call it validation"):
        fine_tune(tiny_folder, data, tmp_path / "run", **RUN)


@pytest.mark.parametrize("name", ["optimizer.pt", "trainer_state.json"])
def test_damage_is_passed_over(name, again, finished, tiny_folder, small_data, caplog):
    last = checkpoints(again)[-1]
    (last / name).write_bytes((last / name).read_bytes()[:40])
    fine_tune(str(tiny_folder), small_data, again, **RUN, resume=True)
    assert same(weights(finished[1]), weights(again))
    assert f"{last.name} is passed over: {name} has 40 bytes" in caplog.text


@pytest.mark.parametrize("train", [fine_tune, train_loop, fine_tune_generative])
def test_a_project_is_spared(train, tiny_folder, small_data, tmp_path):
    "The capstone's card and answers have the names of what a training replaces."
    for name in (*FILES, "config.json"):
        (tmp_path / name).write_text("{}")
    before = sorted(tmp_path.iterdir())
    for more in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(ValueError, match="is a project, .* choose another folder"):
            train(str(tiny_folder), small_data, tmp_path, **more)
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "README.md").read_text() == "{}"


def test_a_state_of_another_version_is_told(again, tiny_folder, small_data):
    "The checkpoint is whole, but this PyTorch cannot read what lies in it."
    last = checkpoints(again)[-1]
    torch.save({"of": "another version"}, last / "optimizer.pt")
    seal_checkpoint(last, read_seal(last)["identity"])
    before = content(again)
    words = f"cannot be continued from .*{last.name}: KeyError.*--overwrite"
    with pytest.raises(ValueError, match=words):
        fine_tune(str(tiny_folder), small_data, again, **RUN, resume=True)
    assert content(again) == before


def edited(data):
    "The same number of windows, one letter changed."
    rows = data["train"].to_list()
    rows[3]["question"] = rows[3]["question"].replace("e", "a", 1)
    return DatasetDict(train=to_dataset(rows), validation=data["validation"])


OTHER_RUNS = {
    "seed": (dict(seed=7), "seed=42, this run has 7"),
    "batch": (dict(batch_size=4), "windows_per_step=8, this run has 4"),
    "accumulation": (dict(gradient_accumulation_steps=2), "windows_per_step=8, this run has 16"),
    "rate": (dict(learning_rate=1e-4), "learning_rate=0.001, this run has 0.0001"),
    "windows": (dict(stride=16), "stride=32, this run has 16"),
    "text": (edited, "written with other data"),
    "fewer": (
        lambda data: DatasetDict(train=data["train"].select(range(12))),
        "written with other data|windows=",
    ),
}


@pytest.mark.parametrize("name", OTHER_RUNS)
def test_another_run_is_not_continued(name, again, tiny_folder, small_data):
    change, words = OTHER_RUNS[name]
    before = content(again)
    data = change(small_data) if callable(change) else small_data
    more = {} if callable(change) else change
    with pytest.raises(ValueError, match=words):
        fine_tune(str(tiny_folder), data, again, **RUN | more, resume=True)
    assert content(again) == before


@pytest.mark.parametrize(
    "engine, name, code", [("trainer", "SIGTERM", 143), ("accelerate", "SIGHUP", 129)]
)
def test_a_signal_saves_and_tells(engine, name, code, tiny_folder, tmp_path):
    "A process of its own, and a real signal."

    def asked():
        real, calls = torch.optim.AdamW.step, []

        def step(self, *args, **kwargs):
            calls.append(1)
            if len(calls) == 7:
                os.kill(os.getpid(), getattr(signal, name))
            return real(self, *args, **kwargs)

        torch.optim.AdamW.step = step
        train = {"trainer": fine_tune, "accelerate": train_loop}[engine]
        try:
            train(str(tiny_folder), "sample", tmp_path / "run", **RUN)
        except TrainingInterrupted as e:
            return str(e), e.exit_code

    said, exit_code = alone(asked)
    assert exit_code == code and "stopped at step 7 of" in said
    assert [folder.name for folder in checkpoints(tmp_path / "run")] == ["checkpoint-7"]


# --- nothing is lost

BAD = {
    "no epochs": (dict(epochs=-1), "epochs=-1"),
    "endless": (dict(epochs=float("inf")), "epochs=inf"),
    "rate": (dict(learning_rate=float("nan")), "learning_rate=nan"),
    "decay": (dict(weight_decay=-1), "weight_decay=-1"),
    "batch": (dict(batch_size=0), "batch_size=0"),
    "accumulation": (dict(gradient_accumulation_steps=0), "gradient_accumulation_steps=0"),
    "norm": (dict(max_grad_norm=-1), "max_grad_norm=-1"),
    "warmup": (dict(warmup_steps=-1), "warmup_steps=-1"),
    "seed": (dict(seed=-1), "seed=-1"),
    "stride": (dict(stride=128), "stride=128"),
    "stride by little": (dict(stride=120), "stride"),
    "length": (dict(max_length=600), "max_length=600"),
    "precision": (dict(mixed_precision="half"), "mixed_precision='half'"),
    "evaluation": (dict(evaluate_every="often"), "evaluate_every='often'"),
    "tracker": (dict(report_to="clipboard"), "report_to='clipboard'"),
    "name": (dict(epoch=3), "did you mean epochs"),
    "both": (dict(resume=True), "pass one"),
    "hub": (dict(push_to_hub=True), "the Hub did not give the repository run.*hf auth login"),
    "schedule": (dict(lr_scheduler_type="zigzag"), "zigzag"),
    "smoothing": (dict(label_smoothing_factor=0.1), "label_smoothing_factor=0.1 has no effect on"),
    "two repositories": (
        dict(push_to_hub="me/a", hub_model_id="me/b"),
        "push_to_hub='me/a' contradicts hub_model_id='me/b': pass one",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_lose_nothing(name, again, tiny_folder, small_data):
    more, words = BAD[name]
    before = content(again)
    with pytest.raises(ValueError, match=words):
        fine_tune(str(tiny_folder), small_data, again, **RUN | {"overwrite": True} | more)
    assert content(again) == before


def bad_inputs(minilm, folder, data):
    "Model, data, other arguments, and what is said."
    rows = data["train"].to_list()
    rows[3]["answers"]["answer_start"][0] += 1
    shifted = DatasetDict(train=to_dataset(rows))
    rows = data["train"].to_list()
    rows[7]["question"] = "why " * 500
    long = DatasetDict(train=to_dataset(rows))
    small = BertForQuestionAnswering(tiny_config(minilm, vocab_size=99))
    return {
        "answers": (folder, shifted, {}, "(?s)not fit for training.*off by"),
        "question": (folder, long, {}, repr(rows[7]["id"])),
        "no evaluation": (
            folder,
            DatasetDict(train=data["train"]),
            {"eval_on_start": True},
            "no validation split to evaluate on",
        ),
        "no train": (folder, DatasetDict(validation=data["validation"]), {}, "no train split"),
        "no file": (folder, "nowhere.json", {}, "nowhere.json"),
        "no model": ("./no-such-model", data, {}, "no-such-model"),
        "no head": (BertModel(tiny_config(minilm)), data, {"tokenizer": minilm}, "no question-ans"),
        "no tokenizer": (small, data, {}, "pass tokenizer="),
        "strangers": (small, data, {"tokenizer": minilm}, "do not belong together"),
    }


@pytest.mark.parametrize(
    "name", "answers,question,no train,no file,no model,no head,no tokenizer,strangers".split(",")
)
def test_bad_input_loses_nothing(name, again, tiny_folder, small_data, minilm, tmp_path):
    model, data, more, words = bad_inputs(minilm, str(tiny_folder), small_data)[name]
    before = content(again)
    with pytest.raises(ValueError, match=words):
        fine_tune(model, data, again, **RUN, **more, overwrite=True)
    assert content(again) == before
    with pytest.raises(ValueError, match=words):
        fine_tune(model, data, tmp_path / "new", **RUN, **more)
    assert not (tmp_path / "new").exists()


def test_overwrite_replaces_the_earlier_run_only(again, tiny_folder, small_data):
    (again / "notes.txt").write_text("mine")
    (again / "squadqa.json").write_text('{"null_threshold": 3}')
    with pytest.raises(ValueError, match="not empty.*--resume.*--overwrite"):
        fine_tune(str(tiny_folder), small_data, again, **BRIEF)
    fine_tune(str(tiny_folder), small_data, again, **BRIEF, overwrite=True)
    assert (again / "notes.txt").exists() and not (again / "squadqa.json").exists()
    assert [folder.name for folder in checkpoints(again)] == ["checkpoint-2"]
    assert not [p for p in again.iterdir() if p.name.startswith(".")]


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_for_tokenizers(self, *args, **kwargs):
    raise Exception("No space left on device (os error 28)")


@pytest.mark.parametrize(
    "where, name, error",
    [(torch, "save", full_disk), (PreTrainedTokenizerBase, "save_pretrained", full_for_tokenizers)],
    ids=["optimizer", "tokenizer"],
)
def test_full_disk_while_saving_a_checkpoint(
    where, name, error, tiny_folder, small_data, tmp_path, monkeypatch
):
    "The second checkpoint fails: the first survives, and no half is left."
    real = getattr(where, name)

    def fails_later(*args, **kwargs):
        write = error if checkpoints(tmp_path / "run") else real
        return write(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, fails_later)
        words = "(?s)(?i:no space left).*last good checkpoint is .*checkpoint-.*--resume"
        with pytest.raises(CheckpointError, match=words):
            run = RUN | dict(evaluate_every=2, max_steps=6)
            fine_tune(str(tiny_folder), small_data, tmp_path / "run", **run)
    assert list((tmp_path / "run").iterdir()) == checkpoints(tmp_path / "run")


def test_full_disk_while_saving_the_result(again, tiny_folder, small_data, monkeypatch):
    "The model that was there stays whole."
    (again / "all_results.json").write_text("{}")  # as if it were of another run
    before = {name: value for name, value in content(again).items() if "checkpoint" not in name}
    monkeypatch.setattr(results, "learning_curve", full_disk)
    with pytest.raises(CheckpointError, match="(?i:no space left)"):
        fine_tune(str(tiny_folder), small_data, again, **RUN, resume=True)
    after = {name: value for name, value in content(again).items() if "checkpoint" not in name}
    assert after == before and len(checkpoints(again)) == 2


@pytest.mark.slow
def test_a_really_full_disk(tiny_folder, tmp_path):
    "A file system of a few megabytes fills up: a sentence, and whole checkpoints only."
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = "mount -t tmpfs -o size=18m tmpfs".split()
    done = subprocess.run([*mount, str(disk)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    try:
        run = RUN | dict(max_steps=9, evaluate_every=3, batch_size=4)
        with pytest.raises(CheckpointError, match="no space left"):
            fine_tune(str(tiny_folder), "sample", disk / "run", **run)
        found = list((disk / "run").iterdir())
        assert found and found == checkpoints(disk / "run")
    finally:
        gc.collect()  # the traceback of the error holds a half-written file open
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("evaluate_every", ["no", 3])
def test_divergence_is_told_and_replaces_nothing(evaluate_every, again, tiny_folder, small_data):
    before = content(again)
    run = RUN | dict(learning_rate=1e30, max_steps=4, evaluate_every=evaluate_every)
    with pytest.raises(ValueError, match="training diverged.*Lower the learning rate .*=1e.30"):
        fine_tune(str(tiny_folder), small_data, again, **run, overwrite=True)
    assert content(again) == before


def test_a_run_that_diverged_while_it_saved_is_not_its_own_cause(tmp_path):
    "Who follows the causes of an error comes to an end, and half a checkpoint is gone."
    half = tmp_path / "checkpoint-3"
    half.mkdir()

    def train(resume_from_checkpoint):
        raise training.Diverged(3, 1e-3)

    trainer = SimpleNamespace(
        args=SimpleNamespace(output_dir=tmp_path), state=SimpleNamespace(global_step=3), train=train
    )
    with pytest.raises(training.Diverged) as caught:
        training._train(trainer, None, SimpleNamespace(begun=True))
    assert caught.value.__cause__ is None and not half.exists()


def test_two_trainings_in_one_folder(tiny_folder, small_data, tmp_path, monkeypatch):
    "The second is refused while the first one trains, and the first one is not disturbed."
    said = []

    class Second(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            with pytest.raises(ValueError, match=f"training .process {holder(os.getpid())}."):
                fine_tune(str(tiny_folder), small_data, args.output_dir, **BRIEF, resume=True)
            said.append(1)

    real = training.KeepWhole
    monkeypatch.setattr(training, "KeepWhole", lambda *a: type("Both", (Second, real), {})(*a))
    result = fine_tune(str(tiny_folder), small_data, tmp_path / "run", **BRIEF)
    assert said == [1] and result.steps == 2 and (tmp_path / "run" / "config.json").exists()


def test_nobody_reads_what_is_printed(tiny_folder, tmp_path):
    "`python train.py | head -1`: the run goes on and says so."

    def trains():
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), open(tmp_path / "said", "w")
        run = RUN | dict(max_steps=3, evaluate_every="no", disable_tqdm=False, logging_steps=1)
        fine_tune(str(tiny_folder), "sample", tmp_path / "run", **run)
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the end of the process may print again

    alone(trains)
    said = (tmp_path / "said").read_text()
    assert "The training goes on" in said and "Traceback" not in said, said[-2000:]
    assert (tmp_path / "run" / "config.json").exists()


# --- models and the Hub


def test_a_model_without_a_trained_head_is_not_scored(minilm, tmp_path):
    BertModel(tiny_config(minilm)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no trained question-answering head.*qa_outputs"):
        load_model(tmp_path)
    assert isinstance(load_model(tmp_path, new_head=True), BertForQuestionAnswering)


def test_a_failed_push_says_that_the_model_is_saved(finished):
    with pytest.raises(ValueError, match="model is saved in .*hf auth login"):
        push_run(finished[1], "me/model", endpoint="http://127.0.0.1:9", token="hf_x")


def test_the_upload_hears_the_hub_arguments(tiny_folder, small_data, tmp_path, monkeypatch):
    "The repository is asked for before the work, with the same name, privacy and token."
    heard = []

    class Api:
        endpoint = "https://hub"

        def __init__(self, token=None, endpoint=None):
            self.token = token

        def create_repo(self, name, private=None, exist_ok=False):
            heard.append((name, private, self.token, (tmp_path / "run" / "config.json").exists()))
            return type("Repo", (), {"repo_id": name})

        def upload_folder(self, repo_id, folder_path, **options):
            heard.append((repo_id, str(folder_path)))
            return type("Commit", (), {"commit_url": "https://hub/commit"})

    monkeypatch.setattr("squadqa.hub.HfApi", Api)
    fine_tune(
        str(tiny_folder),
        small_data,
        tmp_path / "run",
        push_to_hub=True,
        hub_model_id="me/secret",
        hub_private_repo=True,
        hub_token="hf_none",
        **BRIEF,
    )
    assert heard == [
        ("me/secret", True, "hf_none", False),
        ("me/secret", None, "hf_none", True),
        ("me/secret", str(tmp_path / "run")),
    ]
