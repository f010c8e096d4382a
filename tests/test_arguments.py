"""Hyperparameters: what makes no sense is refused in one sentence; one set of names for all."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import Seq2SeqTrainingArguments, TrainingArguments

from squadqa.answering import AskOptions
from squadqa.arguments import OLD, OWN, SAME_AS, Hyperparameters, choose_hyperparameters
from squadqa.training import pick_precision, run_identity, should_compile, training_arguments

NAN, INF = float("nan"), float("inf")
NUMBERS = [one.name for one in fields(Hyperparameters) if one.type in (int, float, int | None)]

WRONG = {
    "epochs": (0, -1, INF, NAN, "3", True, None),
    "learning_rate": (0, -1e-3, NAN, INF, "2e-5", None),
    "weight_decay": (-1, NAN, INF),
    "batch_size": (0, -8, 2.5, True, "8"),
    "max_length": (0, -1, 128.0),
    "stride": (-1, NAN),
    "recipe": ("slow", None, True),
    "padding": (True, "longest", None),
    "pad_to_multiple_of": (0, -8, 2.5, True),
    "compile": ("always", 1, None),
    "workers": (-1, 1.5, True, 100_000),
    "mixed_precision": ("half", True, None),
    "evaluate_every": ("often", 0, -5, 2.5, True, None),
    "eval_on_start": (1, "yes"),
    "seed": (-1, 2**32, 4.2, NAN),
    "gradient_accumulation_steps": (0, -1, 1.5),
    "warmup_steps": (-1, NAN, INF, 10.5),
    "max_steps": (0, -2, 3.5),
    "max_grad_norm": (-1, NAN, INF),
    "eval_batch_size": (0, -1),
    "logging_steps": (0, -1, 2.5),
    "save_steps": (-1, 2.5),
    "save_total_limit": (0, -1, None),
    "report_to": ("clipboard", ["tensorboard", "clipboard"], 5),
    "use_cpu": ("yes", 1),
    "disable_tqdm": (2,),
    "hub_private_repo": ("no",),
}


def test_numbers_of_numpy_are_taken():
    settings = Hyperparameters(use_cpu=np.True_, epochs=np.int64(2), seed=np.int32(7))
    assert settings.use_cpu is True and settings.epochs == 2 and type(settings.seed) is int


@pytest.mark.parametrize("name, value", [(n, v) for n, values in WRONG.items() for v in values])
def test_a_value_that_makes_no_sense_is_named(name, value):
    with pytest.raises(ValueError) as error:
        Hyperparameters(**{name: value})
    said = str(error.value)
    assert name in said and "\n" not in said and len(said) > len(name) + 15
    told = value if name != "report_to" or isinstance(value, int) else "clipboard"
    assert repr(told) in said or str(told) in said


def test_every_number_is_tried():
    assert set(NUMBERS) <= WRONG.keys()


def test_windows_must_advance():
    with pytest.raises(ValueError, match="stride=128 must be less than max_length=128: lower"):
        Hyperparameters(max_length=128)
    assert Hyperparameters(max_length=129).windows == {
        "max_length": 129,
        "stride": 128,
        "padding": False,
    }


def test_a_tracker_must_be_installed(monkeypatch):
    monkeypatch.setattr(
        "transformers.integrations.get_available_reporting_integrations", lambda: ["wandb"]
    )
    with pytest.raises(ValueError, match="report_to='tensorboard' is not installed.*'wandb'"):
        Hyperparameters(report_to="tensorboard")
    assert Hyperparameters(report_to=["wandb"]).report_to == ["wandb"]


def test_what_is_right_is_taken():
    settings = Hyperparameters(epochs=0.5, max_grad_norm=0, warmup_steps=10, evaluate_every=7)
    assert replace(settings, max_steps=3, save_steps=0, seed=0).max_steps == 3
    with pytest.raises(ValueError, match="batch_size=0"):
        replace(settings, batch_size=0)


def test_every_field_is_explained():
    "The command line's help is made of this."
    for one in fields(Hyperparameters):
        assert len(one.metadata["help"]) > 10, one.name


def test_recipes():
    course = choose_hyperparameters("bert")
    assert (course.epochs, course.learning_rate) == (3, 2e-5)
    assert (course.weight_decay, course.batch_size) == (0.01, 8)
    assert (
        course == Hyperparameters() == choose_hyperparameters("me/any") == choose_hyperparameters()
    )
    small = choose_hyperparameters("minilm")
    assert (small.learning_rate, small.batch_size, small.warmup_steps) == (2e-4, 16, 0.1)
    start = choose_hyperparameters("starter", batch_size=None, learning_rate=1e-3)
    assert (start.learning_rate, start.batch_size, start.warmup_steps) == (1e-3, 16, 0.1)
    with pytest.raises(ValueError, match="recipe='slow' is none of 'bert', 'minilm'"):
        choose_hyperparameters("minilm", "slow")


def test_the_fast_recipe():
    "Larger batches over the model's own recipe; the rate grows with their cube root."
    rates = {"bert": 4e-5, "minilm": 3e-4, "starter": 8e-5, "me/any": 4e-5}
    for model, rate in rates.items():
        fast = choose_hyperparameters(model, "fast")
        assert (fast.learning_rate, fast.batch_size, fast.warmup_steps) == (rate, 64, 0.1)
        assert fast.compile == "auto" and fast.epochs == 3
        assert fast.used()["recipe"] == "fast" and fast.used()["learning_rate"] == rate
    mine = choose_hyperparameters("bert", "fast", batch_size=32, compile=False)
    assert (mine.batch_size, mine.learning_rate, mine.compile) == (32, 4e-5, False)
    assert choose_hyperparameters("me/any", "minilm").learning_rate == 2e-4
    assert choose_hyperparameters("starter").used()["recipe"] == "starter"
    assert choose_hyperparameters("fast").recipe == "bert"  # a model of that name


@pytest.mark.parametrize(
    "asked, device, windows, expected",
    [
        ("auto", "cuda", 100_000, True),
        ("auto", "cuda", 99_999, False),
        ("auto", "cpu", 10**9, False),
        (True, "cpu", 1, True),
        (False, "cuda", 10**9, False),
    ],
)
def test_compiling_where_it_pays(asked, device, windows, expected):
    assert should_compile(Hyperparameters(compile=asked), device, windows) is expected


def test_names_of_transformers_are_folded():
    settings = choose_hyperparameters(
        num_train_epochs=2,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=5,
        warmup_ratio=0.2,
        adam_beta2=0.98,
        dataloader_num_workers=3,
    )
    assert settings.workers == 3
    assert (settings.epochs, settings.batch_size, settings.eval_batch_size) == (2, 4, 5)
    assert settings.warmup_steps == 0.2 and settings.training_args == {"adam_beta2": 0.98}
    assert settings.used()["epochs"] == 2 and settings.used()["adam_beta2"] == 0.98
    assert choose_hyperparameters(num_train_epochs=2, epochs=2).epochs == 2
    with pytest.raises(ValueError, match="num_train_epochs=0 must|epochs=0 must"):
        choose_hyperparameters(num_train_epochs=0)
    with pytest.raises(ValueError, match="num_train_epochs=2 contradicts epochs=3: pass one"):
        choose_hyperparameters(epochs=3, num_train_epochs=2)


def test_what_stands_under_training_args_is_folded_too():
    "The field of that name is read by the same rules as the keywords."
    settings = choose_hyperparameters(
        adam_beta1=0.8, training_args={"num_train_epochs": 2, "adam_beta2": 0.98, "seed": None}
    )
    assert settings.epochs == 2 and settings.seed == 42
    assert settings.training_args == {"adam_beta1": 0.8, "adam_beta2": 0.98}
    for given, said in (
        (
            dict(learning_rate=1e-4, training_args={"learning_rate": 1e-3}),
            "contradicts learning_rate",
        ),
        (dict(adam_beta1=0.8, training_args={"adam_beta1": 0.9}), "contradicts adam_beta1=0.9"),
        (dict(training_args={"output_dir": "x"}), "output_dir='x' is not taken"),
        (dict(training_args={"lerning_rate": 1}), "did you mean learning_rate"),
        (dict(training_args=["seed"]), "training_args is a list, not a dict"),
    ):
        with pytest.raises(ValueError, match=said):
            choose_hyperparameters(**given)


@pytest.mark.parametrize("name", OWN)
def test_what_is_chosen_here_is_not_taken(name):
    with pytest.raises(ValueError, match=f"^{name}=True is not taken: "):
        choose_hyperparameters(**{name: True})


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match="batchsize=4 is no setting.*did you mean batch_size"):
        choose_hyperparameters(batchsize=4)


def test_names_of_transformers_exist():
    "Who renames a field of TrainingArguments is noticed."
    theirs = {one.name for one in fields(TrainingArguments)}
    if os.environ.get("SQUADQA_BOUNDS", "").startswith(
        "lowest"
    ):  # the oldest transformers has not all of them yet
        theirs |= {"dataloader_in_order", "dataloader_multiprocessing_context"}
    assert set(SAME_AS) - {"warmup_ratio"} <= theirs and set(OWN) <= theirs


def test_the_token_stays_here(tmp_path):
    settings = choose_hyperparameters(hub_token="hf_secret", hub_model_id="me/mine")
    assert "hf_secret" not in repr(settings) and "hf_secret" not in str(settings.used())
    args = training_arguments(tmp_path, settings)
    assert "hf_secret" not in str(vars(args)) and args.hub_token is None and not args.push_to_hub


def test_training_arguments(tmp_path):
    settings = choose_hyperparameters(
        "minilm", evaluate_every=7, max_steps=9, max_grad_norm=0.5, lr_scheduler_type="cosine"
    )
    args = training_arguments(tmp_path, settings)
    assert (args.learning_rate, args.per_device_train_batch_size) == (2e-4, 16)
    assert (args.eval_steps, args.save_steps, args.max_steps) == (7, 7, 9)
    assert (args.warmup_steps, args.max_grad_norm) == (0.1, 0.5)
    assert args.lr_scheduler_type == "cosine" and args.per_device_eval_batch_size == 64
    assert args.load_best_model_at_end and args.metric_for_best_model == "f1"
    assert args.optim == "adamw_torch_fused" and args.dataloader_pin_memory is False
    assert args.data_seed == args.seed == 42 and args.save_total_limit is None
    assert args.dataloader_num_workers == 0 and not args.accelerator_config.non_blocking
    by_loss = choose_hyperparameters("minilm", metric_for_best_model="eval_loss")
    assert args.greater_is_better and not training_arguments(tmp_path, by_loss).greater_is_better
    for name in ("rouge", ["f1"]):
        with pytest.raises(ValueError, match="metric_for_best_model=.* is not measured: choose"):
            choose_hyperparameters("minilm", metric_for_best_model=name)
    assert training_arguments(
        tmp_path, Hyperparameters(training_args={"metric_for_best_model": None})
    ).greater_is_better
    plain = training_arguments(tmp_path, settings, has_validation=False)
    assert plain.eval_strategy == "no" and not plain.load_best_model_at_end
    assert isinstance(
        training_arguments(tmp_path, settings, kind=Seq2SeqTrainingArguments),
        Seq2SeqTrainingArguments,
    )


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16", "auto"])
def test_precision_never_chooses_the_device(precision, asked, monkeypatch):
    "Only who asks for the CPU leaves an accelerator alone."
    settings = Hyperparameters(mixed_precision=precision, use_cpu=asked)
    for there in (True, False):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda there=there: there)
        chosen = training_arguments(
            "runs/x", settings, kind=lambda where, **given: SimpleNamespace(**given)
        )
        assert chosen.use_cpu == (asked or not there)


def test_asked_for_the_cpu_beside_a_gpu(monkeypatch):
    "'auto' follows the device that computes."
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **kwargs: False)
    assert pick_precision(Hyperparameters()) == "fp16"
    assert pick_precision(Hyperparameters(use_cpu=True)) in ("no", "bf16")
    assert pick_precision(Hyperparameters(use_cpu=True, mixed_precision="no")) == "no"


def test_what_must_be_the_same_to_resume(small_data):
    "Batches, rate and data count; how often one looks at them does not."

    def identity(data=small_data, together=8, base="minilm", **given):
        settings = choose_hyperparameters(**given)
        return run_identity("trainer", data, 100, together, settings, "no", base)

    now = identity()
    for other in (
        dict(learning_rate=1e-4),
        dict(seed=1),
        dict(max_length=300),
        dict(weight_decay=0),
        dict(warmup_steps=5),
        dict(lr_scheduler_type="cosine"),
        dict(pad_to_multiple_of=64),
        dict(together=16),
        dict(base="starter"),
    ):
        assert identity(**other) != now, other
    same = dict(
        logging_steps=3, evaluate_every=9, dataloader_num_workers=2, hub_token="x", epochs=9
    )
    assert identity(**same) == now
    edited = small_data["train"].to_list()
    edited[5]["context"] = edited[5]["context"].replace("e", "a", 1)
    changed = dict(small_data) | {"train": small_data["train"].from_list(edited)}
    assert identity(data=changed) != now
    shuffled = dict(small_data) | {"validation": small_data["validation"].shuffle(seed=0)}
    assert identity(data=shuffled) != now


def test_reading_the_settings_is_light():
    "The command line reads names, defaults and help texts before it loads torch."
    code = "import sys, squadqa.arguments; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_numbers_of_numpy_become_plain_ones():
    "Metadata, checkpoints and the model card are JSON, which knows no other."
    whole = ("seed", "batch_size", "max_steps", "logging_steps", "evaluate_every", "workers")
    given = {name: np.int64(3) for name in whole}
    given |= {"epochs": np.float32(0.5), "learning_rate": np.float64(1e-4), "warmup_steps": 2}
    settings = choose_hyperparameters("minilm", adam_beta1=np.float32(0.5), **given)
    told = json.loads(json.dumps(settings.used()))
    assert told["seed"] == 3 and told["evaluate_every"] == 3 and told["epochs"] == 0.5
    assert {type(getattr(settings, name)) for name in whole} == {int}
    options = AskOptions(top_k=np.int32(2), max_question_len=np.int64(9), align_to_words=np.True_)
    assert json.dumps(asdict(options)) == json.dumps(
        asdict(AskOptions(top_k=2, max_question_len=9, align_to_words=True))
    )


HUGE = 10**400


@pytest.mark.parametrize(
    "name, value",
    [(name, 2**31) for name in ("batch_size", "eval_batch_size", "gradient_accumulation_steps")]
    + [("logging_steps", 10**30), ("max_steps", HUGE), ("epochs", 1e308), ("learning_rate", HUGE)],
)
def test_numbers_are_not_larger_than_machines_count(name, value):
    with pytest.raises(ValueError, match=f"{name}=.* must be a .*number"):
        Hyperparameters(**{name: value})


@pytest.mark.parametrize("name, way", OLD.items())
def test_names_of_other_times(name, way):
    with pytest.raises(ValueError, match=f"^{name}=5 is not taken: {re.escape(way)}"):
        choose_hyperparameters(**{name: 5})


def test_a_recipe_is_a_name():
    with pytest.raises(ValueError, match=r"recipe=\['fast'\] is none of"):
        choose_hyperparameters("minilm", recipe=["fast"])
