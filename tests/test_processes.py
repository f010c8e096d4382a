"""Devices, precision and shares: chosen one by one, and told where they cannot be had."""

import math
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from processes import alone, processes
from transformers import BertConfig, BertModel

from squadqa import processes as own
from squadqa.arguments import choose_hyperparameters
from squadqa.processes import (
    StepPlan,
    cast,
    choose_precision,
    has_bf16,
    likely_device,
    make_accelerator,
    merge_shards,
    open_processes,
    own_share,
    pick_device,
    plan_steps,
    processes_of,
    quiet_others,
)
from squadqa.training import training_arguments


@pytest.mark.parametrize("name", ["xpu", "xla", "hpu", "mtia", "meta", "vulkan", "ipu", "maia"])
def test_devices_that_cannot_compute_here(name):
    with pytest.raises(ValueError, match=f"device='{name}'") as caught:
        pick_device(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 120


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", "cuda:-2", 1.5, ["cpu"]])
def test_devices_that_are_none(name):
    with pytest.raises(ValueError, match="is no place to compute"):
        pick_device(name)


def test_gpus_are_counted():
    n = torch.cuda.device_count()
    for name in (f"cuda:{n}", n, 99):
        with pytest.raises(ValueError, match=f"PyTorch sees {n} such GPUs"):
            pick_device(name)


def test_devices_that_are_there(monkeypatch):
    assert pick_device("cpu") == pick_device(-1) == pick_device(torch.device("cpu"))
    if not torch.cuda.is_available():
        assert pick_device().type in ("cpu", "mps")


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch, "ones", lambda *a, device: torch.zeros(1))
    for rank, want in (("2", 2), ("9", 0), ("-1", 0), ("", 0)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert pick_device() == torch.device("cuda", want)


def test_launched_for_cpus_a_gpu_is_left_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *a, device: ones(1))
    for said, want in (("true", "cpu"), ("false", "cuda"), ("", "cuda")):
        monkeypatch.setenv("ACCELERATE_USE_CPU", said)
        assert pick_device().type == likely_device() == want
        assert pick_device("cuda:1").index == 1  # who names one gets it


def test_precision():
    assert choose_precision("fp16") == "fp16" and choose_precision("auto") in ("no", "fp16", "bf16")
    with pytest.raises(ValueError, match="none of 'auto', 'no', 'fp16', 'bf16'"):
        choose_precision("half")


@pytest.mark.parametrize("supported, want", [(True, "bf16"), (False, "fp16")])
def test_precision_is_that_of_the_device(monkeypatch, supported, want):
    "A GPU that stands beside does not decide for the CPU, nor the CPU for the GPU."
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    monkeypatch.setattr(own, "has_bf16", lambda: False)
    assert choose_precision() == choose_precision(device="cuda:0") == want
    assert choose_precision(device="cpu") == "no"
    monkeypatch.setattr(own, "has_bf16", lambda: True)
    assert choose_precision(device=torch.device("cpu")) == "bf16"
    assert choose_precision(device="mps") == "no"


@pytest.mark.parametrize(
    "known, want", [({}, False), ({"amx_bf16": True}, True), ({"avx512_bf16": True}, True)]
)
def test_bf16_of_a_cpu(monkeypatch, known, want):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert has_bf16() is want


def test_an_older_torch_does_not_know(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert has_bf16() is False


def test_casting():
    model = BertModel(BertConfig(num_hidden_layers=0, vocab_size=9))
    assert cast(model, None).dtype == torch.float32
    assert cast(model, "bfloat16").dtype == torch.bfloat16
    assert cast(model, torch.float32).dtype == torch.float32
    for dtype in ("int8", "half-ish", torch.int8, 5):
        with pytest.raises(ValueError, match="is none of 'float32', 'bfloat16', 'float16'"):
            cast(model, dtype)


def test_a_run_chooses_anew():
    "Also after another one in the same process, and with another precision."

    def runs():
        found = []
        for precision in ("no", "bf16", "auto"):
            accelerator = make_accelerator(mixed_precision=precision, use_cpu=True)
            found.append((accelerator.mixed_precision, accelerator.device.type))
        with pytest.raises(ValueError, match="not every tracker is installed"):
            make_accelerator(report_to="comet_ml", use_cpu=True)
        return found

    best = "bf16" if has_bf16() else "no"
    assert alone(runs) == [("no", "cpu"), ("bf16", "cpu"), (best, "cpu")]


def test_a_run_forgets_the_device_of_the_one_before():
    "After a run with use_cpu the next one may have the GPU; nobody else resets what is shared."

    def marks():
        open_processes(use_cpu=True).marked = True
        kept = getattr(open_processes(), "marked", False)
        make_accelerator(mixed_precision="no")
        return kept, getattr(open_processes(), "marked", False)

    assert alone(marks) == (True, False)


def test_what_a_cpu_answers_leaves_the_gpu_alone(monkeypatch):
    "In a launch on a machine with a GPU; alone, the process may still want it for a training."
    asked = []
    fake = SimpleNamespace(num_processes=2)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(own, "PartialState", lambda cpu: asked.append(cpu) or fake)
    for size, kinds in ((2, ("cpu", "meta", "cuda")), (1, ("cpu",))):
        fake.num_processes = size
        monkeypatch.setattr(own, "launched", lambda size=size: (size, 0))
        for kind in kinds:
            processes_of(SimpleNamespace(device=torch.device(kind)))
    assert asked == [True, True, False, False]
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # `accelerate launch --cpu`
    open_processes()
    assert asked[-1] is True


def test_a_launch_on_the_cpu_trains_in_its_precision(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(own, "has_bf16", lambda: True)
    assert choose_precision() == "fp16"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert choose_precision() == "bf16"
    args = training_arguments(tmp_path, choose_hyperparameters(mixed_precision="no"))
    assert args.device.type == "cpu" and not args.dataloader_pin_memory


def test_accelerate_still_keeps_its_precision():
    "When this fails, `_forget_accelerator` has become needless: remove it."

    def second():
        Accelerator(cpu=True, mixed_precision="no")
        try:
            return Accelerator(cpu=True, mixed_precision="bf16").mixed_precision
        except ValueError as e:
            return str(e)

    assert "already been initialized" in alone(second)


def test_what_the_launcher_was_told_counts(monkeypatch):
    def precision():
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
        return (
            make_accelerator(use_cpu=True).mixed_precision,
            make_accelerator(use_cpu=True, mixed_precision="no").mixed_precision,
        )

    assert alone(precision) == ("bf16", "no")


def test_processes_find_each_other(monkeypatch):
    def who():
        quiet_others()
        state = open_processes()
        mine = [(n, n * n) for n in range(state.process_index, 7, state.num_processes)]
        return state.num_processes, merge_shards(mine)

    squares = [0, 1, 4, 9, 16, 25, 36]
    assert alone(who) == (1, squares)
    assert processes(who) == [(2, squares), (2, squares)]


def test_processes_that_do_not_find_each_other(monkeypatch):
    open_processes()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="do not find each other"):
        open_processes()


@pytest.mark.parametrize(
    "name, value, call",
    [
        ("LOCAL_RANK", "7", "open_processes"),
        ("ACCELERATE_TORCH_DEVICE", "xyz", "open_processes"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "make_accelerator"),
    ],
)
def test_what_the_environment_asks_for_in_vain(name, value, call):
    code = f"from squadqa.processes import {call} as call; call()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {name: value}, capture_output=True, text=True
    )
    said = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert re.match(rf"ValueError: .+ \(the environment sets .*{name}.*: unset what no", said), said


def test_the_environment_is_not_blamed_for_an_argument(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(ValueError, match="mixed_precision='bf13' is none of [^(]*$"):
        make_accelerator(mixed_precision="bf13")


@pytest.mark.parametrize("told", ["", "two", "-1"])
def test_an_odd_number_of_processes(told, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", told)
    with pytest.raises(ValueError, match=f"WORLD_SIZE='{told}' in the env.* is no number"):
        open_processes()


def test_merging_by_row():
    assert merge_shards([(2, "c"), (0, "a"), (1, "b")]) == ["a", "b", "c"]


def test_steps_are_counted_as_the_trainer_counts():
    assert plan_steps(88_729, 8).total == 33_276  # the Hugging Face course's three epochs
    two = plan_steps(88_729, 8, processes=2)
    assert two == StepPlan(88_729, 8, 2, 1, batches=5546, steps_per_epoch=5546, total=16_638)
    assert plan_steps(10, 4, accumulation=2, epochs=1).total == 2
    assert plan_steps(10, 4, max_steps=7).total == 7


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


def test_the_last_batch_is_weighed_by_its_windows():
    plan = plan_steps(7, 2, processes=2)
    assert [[own_share(plan, n, rank)[0] for rank in (0, 1)] for n in (0, 1)] == [[2, 2], [2, 1]]
    loss = np.arange(7.0)
    means = [loss[4:6].mean(), loss[6:7].mean()]
    weighed = np.mean([mean * own_share(plan, 1, rank)[1] for rank, mean in enumerate(means)])
    assert math.isclose(weighed, loss[4:].mean())
    assert own_share(plan_steps(1, 2, processes=2), 0, 1) == (0, 0.0)  # nothing left for it
