"""Models from names: no code of a folder runs, and what is damaged or does not fit is told in one sentence."""

import json
import logging
import math
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from conftest import ROOT, tiny_config
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForQuestionAnswering,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    set_seed,
)

from squadqa import models
from squadqa.models import (
    MINILM_SHA256,
    PRESETS,
    check_fit,
    check_settings,
    check_weights,
    file_sha256,
    load_model,
    load_tokenizer,
    max_tokens,
    model_folder,
    offline_minilm,
    read_adapter,
    read_config,
    read_settings,
    require_fast,
    require_qa_head,
    resolve_model,
    save_settings,
)


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    "A whole model that a test may damage."
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@pytest.fixture
def starter(tmp_path) -> Path:
    "An adapter that a test may damage."
    pytest.importorskip("peft", reason="peft is not installed: pip install 'squadqa[offline]'")
    return Path(shutil.copytree(resolve_model("starter"), tmp_path / "starter"))


def change(path: Path, **values):
    "Change fields of a JSON file; None takes one away."
    changed = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in changed.items() if v is not None}))


def refused(match: str, function, *args, **options) -> str:
    "A ValueError of one sentence."
    with pytest.raises(ValueError, match=match) as caught:
        function(*args, **options)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 700, said
    return said


# No code of a folder runs

EVIL = """
from pathlib import Path
Path({mark!r}).write_text("ran")
from transformers import BertConfig, BertForQuestionAnswering, BertTokenizerFast
class Config(BertConfig): model_type = "evil"
class Model(BertForQuestionAnswering): config_class = Config
class Tokenizer(BertTokenizerFast): pass
"""

LOAD = """
import os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
from squadqa.models import load_model, load_tokenizer
for name in sys.argv[1:]:
    for load in (load_tokenizer, lambda name: load_model(name, new_head=True)):
        try:
            load(name)
            print("loaded")
        except ValueError as e:
            print("refused:", e)
"""


def with_code(folder: Path, mark: Path, model_type: str):
    "Let a model's files ask for the folder's Python files, in every place that transformers knows."
    for name in ("modeling", "megatron_like"):
        (folder / f"{name}.py").write_text(EVIL.format(mark=str(mark)))
    places = {
        "AutoConfig": "modeling.Config",
        "AutoModelForQuestionAnswering": "modeling.Model",
        "AutoModel": "modeling.Model",
    }
    change(folder / "config.json", model_type=model_type, auto_map=places)
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="Tokenizer",
        auto_map={"AutoTokenizer": ["modeling.Tokenizer", "modeling.Tokenizer"]},
    )


@pytest.mark.parametrize("answer", ["", "y\n" * 20], ids=["silence", "yes"])
def test_no_code_of_a_folder_runs(folder, starter, tmp_path, answer):
    "Not even for somebody who would answer the question of transformers with yes."
    known = Path(shutil.copytree(folder, tmp_path / "known"))
    mark = tmp_path / "it-ran"
    with_code(folder, mark, "evil")
    with_code(known, mark, "bert")
    change(starter / "adapter_config.json", base_model_name_or_path=str(folder))
    change(starter / "squadqa.json", base_sha256=None)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, (folder, starter, known))],
        input=answer,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_MODULES_CACHE": str(tmp_path / "cache")},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not mark.exists(), done.stdout
    assert "[y/N]" not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("refused: no tokenizer") for line in (lines[0], lines[2]))
    assert all("code of a model is never run" in line for line in (lines[1], lines[3]))
    assert lines[4:] == ["loaded", "loaded"]  # as the BERT that transformers knows


def test_the_folder_does_run_when_transformers_is_told_to(folder, tmp_path):
    "The test above looks at something: the same folder runs once the permission is given."
    mark = tmp_path / "it-ran"
    with_code(folder, mark, "evil")
    code = (
        "import sys; from transformers import AutoModelForQuestionAnswering as A; "
        "A.from_pretrained(sys.argv[1], trust_remote_code=True)"
    )
    env = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, env=env)
    assert mark.exists(), done.stderr.decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"trust_remote_code": True},
        {"code_revision": "main"},
        {"_attn_implementation": "someone/attention"},
        {"attn_implementation": "someone/attention"},
        {"config": {}},
        {"num_hidden_layers": 1},
        {"attention_probs_dropout_prob": 1.0},
        {"attention_probs_dropout_prob": True},
        {"attention_probs_dropout_prob": "0"},
        {"hidden_dropout_prob": None},
    ],
)
def test_settings_change_dropout_only(folder, changes):
    with_code(folder, folder.parent / "it-ran", "evil")
    (folder / "squadqa.json").write_text(json.dumps({"config": changes}))
    said = refused("squadqa.json: config", load_model, folder, new_head=True)
    assert next(iter(changes)) in said
    assert not (folder.parent / "it-ran").exists()
    (folder / "squadqa.json").unlink()
    refused("config", save_settings, folder, config=changes)


def test_attention_that_is_code_of_the_hub_is_refused(folder):
    for key in ("_attn_implementation", "attn_implementation"):
        change(folder / "config.json", **{key: "someone/attention"})
        refused("asks for code from the Hub", load_model, folder)
        change(folder / "config.json", **{key: None})
    change(folder / "config.json", text_config={"_attn_implementation": "someone/attention"})
    refused("asks for code from the Hub", load_model, folder)


def test_pickles_are_not_read(folder, monkeypatch):
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("a pickle was opened"))
    refused("no model.safetensors .*pickle files are not read", load_model, folder)


def test_an_adapter_imports_no_module_and_reads_no_pickle(starter):
    "peft would import the module that megatron_core names."
    change(starter / "adapter_config.json", megatron_config={"a": 1}, megatron_core="megatron_like")
    refused("megatron_config, which goes beyond plain LoRA", load_model, starter)
    change(starter / "adapter_config.json", megatron_config=None)
    assert load_model(starter)
    (starter / "adapter_model.safetensors").rename(starter / "adapter_model.bin")
    refused("no adapter_model.safetensors", load_model, starter)
