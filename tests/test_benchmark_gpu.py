"""The benchmark of a GPU: it says so where there is none, and its script works on a CPU."""

import json

import pytest
import torch

from benchmarks import gpu


def test_without_a_gpu_nothing_is_measured(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(["--results", str(tmp_path)])
    assert capsys.readouterr().out.startswith("not measured")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # some trainings and a few dozen questions, half a minute in all
def test_it_runs_on_a_cpu(tmp_path):
    gpu.main(["--quick", "--results", str(tmp_path)])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["left_out"] == [] and len(found["equal"]) == 3 and len(found["rows"]) >= 13
    assert found["quick"] and found["gpu"] == "not measured"
