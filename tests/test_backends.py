"""Engines: what they compute is what PyTorch computes, and they are what computes it."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from processes import alone
from transformers import set_seed

from squadqa import backends, cli
from squadqa.backends import (
    BACKENDS,
    OnnxEngine,
    check_backend,
    engine_file,
    export_onnx,
    fingerprint,
    open_engine,
    openvino_core,
)
from squadqa.batching import TorchEngine, predict_logits
from squadqa.bulk import open_part, run_settings
from squadqa.checkpoints import SEAL
from squadqa.data import load_squad
from squadqa.evaluation import evaluate_model
from squadqa.export import export_model
from squadqa.inference import AskOptions, QuestionAnswerer
from squadqa.models import load_model, load_tokenizer

for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason='pip install "squadqa[onnx,openvino]"')

ENGINES = ("onnx", "openvino")
CONTEXT = "Ann rowed to Gråvik in the rain, and Bo slept. The cat, Pixel, waited on the quay."


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    "No test writes into the cache of whoever runs it."
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SQUADQA_CACHE", str(place))
        yield place


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory) -> Path:
    "A tiny model in a folder that is ours, so that its engine's file lies beside it."
    return shutil.copytree(tiny_folder, tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def asked(folder) -> dict[str, QuestionAnswerer]:
    "The tiny model with each engine."
    return {backend: QuestionAnswerer(folder, backend=backend) for backend in BACKENDS}


@pytest.fixture(scope="module")
def exported(asked, folder, tmp_path_factory) -> Path:
    file = next(folder.glob("engines/float32-*/model.onnx"))
    return Path(shutil.copy(file, tmp_path_factory.mktemp("exported")))


@pytest.fixture
def ready_made(exported, tmp_path, monkeypatch) -> list:
    "Exports that take no time: they copy a file. Each is noted. The cache is empty."
    monkeypatch.setenv("SQUADQA_CACHE", str(tmp_path / "cache"))
    made = []

    def export(model, tokenizer, file):
        made.append(file)
        return Path(shutil.copy(exported, file))

    monkeypatch.setattr(backends, "export_onnx", export)
    return made


def random_batch(tokenizer, names, rows: int, width: int, padding: int) -> dict:
    "Windows of made-up words, the first of them shorter than the others."
    dice = torch.Generator().manual_seed(rows * width)
    ids = torch.randint(5, len(tokenizer), (rows, width), generator=dice)
    mask = torch.ones_like(ids)
    if padding:
        ids[0, -padding:], mask[0, -padding:] = tokenizer.pad_token_id, 0
    types = (torch.arange(width) > width // 2).long().expand(rows, width).contiguous()
    batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return {name: batch[name] for name in names}


SHAPES = [(1, 8, 0), (1, 40, 0), (3, 24, 9), (5, 64, 30), (2, 384, 100), (16, 16, 1)]


def furthest(engine, model, tokenizer) -> float:
    "The largest difference between an engine's logits and PyTorch's, over many shapes."
    found = []
    for rows, width, padding in SHAPES:
        batch = random_batch(tokenizer, engine.inputs, rows, width, padding)
        real = batch["attention_mask"].bool().numpy()
        difference = engine.logits(batch) - TorchEngine(model).logits(batch)
        found.append(np.abs(difference)[:, real].max())
    return max(found)


# The same numbers

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
DEBERTA = {
    "relative_attention": True,
    "position_buckets": 32,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "type_vocab_size": 0,
    "position_biased_input": False,
}
ARCHITECTURES = {
    "Bert": SMALL,
    "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "Roberta": SMALL | {"max_position_embeddings": 514, "type_vocab_size": 1},
    "Electra": SMALL | {"embedding_size": 16},
    "DebertaV2": SMALL | DEBERTA,
    "MPNet": SMALL | {"max_position_embeddings": 514},
    "ModernBert": SMALL | {"local_attention": 16, "global_attn_every_n_layers": 2},
}


def made(name: str, tokenizer, **settings):
    "A random model of an architecture, and the tokenizer as that architecture has it."
    config = getattr(transformers, f"{name}Config")(vocab_size=len(tokenizer), **settings)
    simple = "Simple" if name == "XLNet" else ""
    set_seed(0)
    model = getattr(transformers, f"{name}ForQuestionAnswering{simple}")(config).eval()
    if getattr(config, "type_vocab_size", 2) < 2:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return model, tokenizer


@pytest.mark.slow  # each export takes seconds
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_of_an_architecture(name, minilm):
    "Two engines, one file, many shapes."
    model, tokenizer = made(name, minilm, **ARCHITECTURES[name])
    before = fingerprint(model, tokenizer)
    for backend in ENGINES:
        engine = open_engine(model, tokenizer, backend)
        assert furthest(engine, model, tokenizer) < 1e-4
    assert fingerprint(model, tokenizer) == before


@pytest.mark.parametrize("backend", ENGINES)
def test_logits_of_the_tiny_model(backend, asked, minilm):
    assert furthest(asked[backend].engine, asked["torch"].model, minilm) < 1e-4


@pytest.mark.slow
def test_what_does_not_export_says_so(minilm, tmp_path):
    model, tokenizer = made("XLNet", minilm, d_model=32, n_layer=1, n_head=2, d_inner=64)
    file = tmp_path / "new" / "xlnet.onnx"
    with pytest.raises(ValueError, match="cannot export XLNet.*use backend='torch'"):
        export_onnx(model.train(), tokenizer, file)
    assert list(file.parent.iterdir()) == [] and model.training


@pytest.mark.parametrize("backend", ENGINES)
def test_answers_of_the_tiny_model(backend, asked):
    questions = ["Who rowed?", "Who slept?", "Where did the cat wait?", "?"]
    for context in (CONTEXT, "Ann.", CONTEXT * 40):
        expected = asked["torch"](questions, context, top_k=3)
        for one, other in zip(expected, asked[backend](questions, context, top_k=3)):
            for a, b in zip(one, other):
                assert (a["start"], a["end"]) == (b["start"], b["end"])
                assert abs(a["score"] - b["score"]) < 1e-5


@pytest.fixture(scope="module")
def starters() -> dict:
    keys = [("torch", None), ("onnx", None), ("openvino", None), ("onnx", "int8")]
    return {(b, d): QuestionAnswerer(backend=b, dtype=d) for b, d in keys}


@pytest.mark.slow
def test_answers_of_the_starter(starters):
    "Equal in float32; near in eight bits."
    data = load_squad()["validation"].select(range(0, 120, 5))
    answers = {
        key: [a["answer"] for a in qa(data["question"], data["context"])]
        for key, qa in starters.items()
    }
    expected = answers["torch", None]
    assert answers["onnx", None] == answers["openvino", None] == expected
    same = sum(a == b for a, b in zip(answers["onnx", "int8"], expected))
    assert 0.8 * len(expected) <= same


@pytest.mark.slow
def test_scores_of_the_starter(starters):
    "The same scores in float32, about the same in eight bits and bfloat16 (one of 24 is 4 points)."
    data = load_squad()["validation"].select(range(0, 120, 5))
    starters = dict(starters)
    if bfloat16_here():
        starters["openvino", "bfloat16"] = QuestionAnswerer(backend="openvino", dtype="bfloat16")
    f1 = {}
    for key, qa in starters.items():
        model = load_model("starter")
        f1[key] = evaluate_model(
            model, qa.tokenizer, data, engine=qa.engine, progress=False
        ).scores["f1"]
    expected = f1.pop(("torch", None))
    for (_, dtype), found in f1.items():
        assert abs(found - expected) < (0.01 if dtype is None else 10)


# The engine is what computes


def library_calls(backend: str, monkeypatch) -> list:
    "Notes each time that the engine's library computes."
    import onnxruntime
    import openvino

    kind, name = {
        "onnx": (onnxruntime.InferenceSession, "run"),
        "openvino": (openvino.CompiledModel, "infer_new_request"),
    }[backend]
    whole, calls = getattr(kind, name), []

    def counted(*args, **options):
        calls.append(name)
        return whole(*args, **options)

    monkeypatch.setattr(kind, name, counted)
    return calls


@pytest.mark.parametrize("backend", ENGINES)
def test_the_engine_computes_and_pytorch_does_not(backend, asked, folder, monkeypatch):
    "PyTorch's forward raises, the library is called, and its answer is the one that is given."
    expected = asked["torch"]("Who rowed?", CONTEXT)
    monkeypatch.setenv("SQUADQA_CACHE", str(folder))
    model = load_model(folder)
    qa = QuestionAnswerer(model, load_tokenizer(folder), backend=backend)
    calls = library_calls(backend, monkeypatch)

    def refuse(*args, **options):
        raise AssertionError("PyTorch computed")

    monkeypatch.setattr(type(model), "forward", refuse)
    found = qa("Who rowed?", CONTEXT)
    assert (found["start"], found["end"]) == (expected["start"], expected["end"])
    assert len(calls) == 1
    with pytest.raises(AssertionError, match="PyTorch computed"):  # this very test can fail
        asked["torch"]("Who rowed?", CONTEXT)
    assert len(calls) == 1


@pytest.mark.parametrize("backend", ENGINES)
def test_weights_of_pytorch_are_let_go(backend, asked, folder, monkeypatch):
    "The engine has its own; a model that was passed in keeps them."
    monkeypatch.setenv("SQUADQA_CACHE", str(folder))
    qa = asked[backend]
    assert qa.model.device.type == "meta"
    assert qa.fingerprint == asked["torch"].fingerprint
    model = load_model(folder)
    again = QuestionAnswerer(model, load_tokenizer(folder), backend=backend)
    assert again.model is model and model.device.type == "cpu"


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_answerer_goes_to_other_processes(backend, asked):
    qa = asked[backend]
    for other in (copy.deepcopy(qa), pickle.loads(pickle.dumps(qa))):
        assert other.engine is not qa.engine
        assert other("Who slept?", CONTEXT) == qa("Who slept?", CONTEXT)


ENGINES_THAT_GO = """
import signal, sys
from squadqa.inference import QuestionAnswerer

for _ in range(2):  # the second is there before the first goes
    qa = QuestionAnswerer(sys.argv[1], backend=sys.argv[2])
del qa
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append("heard"))
signal.raise_signal(signal.SIGINT)
print(*heard)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_signals_are_heard_when_engines_have_gone(backend, asked, folder, monkeypatch):
    "OpenVINO gives a process another stack for signals; it must not go with an engine."
    monkeypatch.setenv("SQUADQA_CACHE", str(folder))
    command = [sys.executable, "-c", ENGINES_THAT_GO, str(folder), backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr[-2000:]


def test_the_fingerprint_of_an_export_tells_how_it_reads(folder, tmp_path):
    "A changed tokenizer is another model, as it is for a folder of PyTorch's."
    out = export_model(folder, tmp_path / "out")
    before = QuestionAnswerer(out, backend="onnx").fingerprint
    assert before == QuestionAnswerer(out, backend="onnx").fingerprint
    path = out / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": False}))
    assert QuestionAnswerer(out, backend="onnx").fingerprint != before


def test_what_the_libraries_say_of_themselves(asked):
    "Provider, precision, threads."
    session = asked["onnx"].engine.session
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == torch.get_num_threads()
    compiled = asked["openvino"].engine.compiled
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == torch.get_num_threads()


@pytest.mark.parametrize("chosen", [None, "0"])
def test_onnx_runtime_does_not_call_its_maker(chosen, exported, tmp_path):
    own = {} if chosen is None else {"ORT_DISABLE_TELEMETRY": chosen}

    def opens():
        os.environ.pop("ORT_DISABLE_TELEMETRY", None)
        os.environ.update(HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"), **own)
        assert "onnxruntime" not in sys.modules
        OnnxEngine(exported)
        return os.environ["ORT_DISABLE_TELEMETRY"]

    assert alone(opens) == (chosen or "1")
    if chosen is None:
        assert not list(tmp_path.rglob("*Microsoft*"))


def test_eight_bits(folder, asked, exported, monkeypatch):
    "Weights in eight bits, products of whole numbers, and a smaller file that lies beside."
    import onnx

    qa = QuestionAnswerer(folder, backend="onnx", dtype="int8")
    file = next(folder.glob("engines/int8-*/model.onnx"))
    assert file.stat().st_size < 0.5 * exported.stat().st_size
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert kinds.count("MatMulInteger") >= 12
    assert qa("Who rowed?", CONTEXT)["answer"] in CONTEXT
    batch = random_batch(qa.tokenizer, qa.engine.inputs, 2, 32, 5)
    exact, found = asked["torch"].engine.logits(batch), qa.engine.logits(batch)
    assert 0 < np.abs(found - exact).max() < 0.5 * np.ptp(exact)


def bfloat16_here() -> bool:
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_bfloat16(folder, monkeypatch):
    "Where the processor has it; elsewhere it is refused."
    import openvino

    if bfloat16_here():
        engine = QuestionAnswerer(folder, backend="openvino", dtype=torch.bfloat16).engine
        assert engine.compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "bf16"
    monkeypatch.setattr(openvino.Core, "get_property", lambda *names: ["FP32"], raising=True)
    with pytest.raises(ValueError, match="no bfloat16 arithmetic"):
        check_backend("openvino", "bfloat16")


# What is refused


@pytest.mark.parametrize(
    "options, said",
    [
        ({"backend": "tensorrt"}, "'tensorrt' is not known: choose one of 'torch', 'onnx', 'open"),
        ({"backend": "onnx", "dtype": "bfloat16"}, "no bfloat16 arithmetic for CPUs"),
        ({"backend": "openvino", "dtype": torch.float16}, "not in dtype='float16'"),
        ({"backend": "openvino", "dtype": "int8"}, "NNCF"),
        ({"backend": "onnx", "device": "meta"}, "backend='onnx' computes on the CPU|cannot comp"),
        ({"backend": "torch", "device": "cuda:99"}, "such GPUs here"),
    ],
)
def test_what_an_engine_cannot_do(options, said):
    with pytest.raises(ValueError, match=said):
        QuestionAnswerer("no such folder", **options)


def test_another_device_is_refused(monkeypatch):
    monkeypatch.setattr(backends, "pick_device", torch.device)
    with pytest.raises(ValueError, match="computes on the CPU: leave out device='cuda'"):
        check_backend("openvino", device="cuda")
    check_backend("openvino", device="cpu")


@pytest.mark.parametrize("backend", ENGINES)
def test_a_missing_package(backend, monkeypatch):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf'pip install "squadqa\[{backend}\]"'):
        QuestionAnswerer(backend=backend)


def test_a_wrong_engine_is_noticed(own, ready_made, monkeypatch):
    "Logits that are not PyTorch's: the file is made again, and if that does not help, it is told."
    whole = OnnxEngine.logits
    monkeypatch.setattr(OnnxEngine, "logits", lambda *args: whole(*args) + 1)
    with pytest.raises(ValueError, match="backend='onnx' cannot be used: .*from PyTorch's"):
        QuestionAnswerer(own, backend="onnx")
    assert len(ready_made) == 2


@pytest.mark.parametrize("has", [True, False])
def test_the_hint(has, tiny_folder, caplog, monkeypatch):
    "Told once, where it is true."
    monkeypatch.setattr(backends, "has_bf16", lambda: has)
    backends._tell_faster.cache_clear()
    with caplog.at_level("INFO", "squadqa"):
        for _ in range(2):
            QuestionAnswerer(tiny_folder, device="cpu")
    assert caplog.text.count("backend='openvino', dtype='bfloat16' answers") == has


# The file is made once, and whole


@pytest.fixture
def own(folder, tmp_path, ready_made) -> Path:
    "A folder of a model without an engine's file."
    return shutil.copytree(folder, tmp_path / "own", ignore=lambda *a: ["engines"])


def test_made_once_for_both_engines(own, ready_made):
    for backend in ENGINES * 2:
        QuestionAnswerer(own, backend=backend)
    assert len(ready_made) == 1
    (made,) = own.glob("engines/*")
    assert sorted(f.name for f in made.iterdir()) == ["model.onnx", SEAL]
    assert made.name == f"float32-{QuestionAnswerer(own).fingerprint[:32]}"


def test_other_weights_have_another_file(own, ready_made):
    tokenizer = load_tokenizer(own)
    first = engine_file(load_model(own), tokenizer, name=own)
    model = load_model(own)
    with torch.no_grad():
        model.qa_outputs.bias[0] += 1
    model.save_pretrained(own)
    second = engine_file(load_model(own), tokenizer, name=own)
    assert len(ready_made) == 2 and first.parent != second.parent
    assert second.is_file() and not first.exists()


def test_a_preset_keeps_its_file_in_the_cache(own, ready_made, tmp_path):
    model, tokenizer = load_model(own), load_tokenizer(own)
    for name in (None, "starter", "somebody/model"):
        assert engine_file(model, tokenizer, name=name).parents[2] == tmp_path / "cache"
    assert len(ready_made) == 1


def test_a_folder_that_may_not_be_written_to(own, ready_made, tmp_path, monkeypatch):
    (own / "engines").write_text("in the way")
    model, tokenizer = load_model(own), load_tokenizer(own)
    assert engine_file(model, tokenizer, name=own).parents[2] == tmp_path / "cache"
    monkeypatch.setenv("SQUADQA_CACHE", str(own / "engines"))
    with pytest.raises(ValueError, match="environment variable SQUADQA_CACHE"):
        engine_file(model, tokenizer, name=own)


def test_a_home_that_is_not_there(monkeypatch):
    monkeypatch.setenv("SQUADQA_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(ValueError, match="~nobody-of-this-name/x: .* SQUADQA_CACHE"):
        backends.engine_places()


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_export_leaves_nothing(fault, own, monkeypatch):
    def torn(model, tokenizer, file):
        file.write_bytes(b"half")
        raise fault

    monkeypatch.setattr(backends, "export_onnx", torn)
    with pytest.raises((KeyboardInterrupt, OSError)):
        engine_file(load_model(own), load_tokenizer(own), name=own)
    assert list((own / "engines").iterdir()) == []


def test_a_full_disk_is_told(own, tmp_path, minilm, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backends.torch.onnx, "export", full)
    with pytest.raises(ValueError, match="model.onnx cannot be written: No space left"):
        export_onnx(load_model(own), minilm, tmp_path / "model.onnx")


def test_another_process_was_faster(own, exported, monkeypatch):
    "Two make the file at once: the first one stays, and nobody fails."

    def slow(model, tokenizer, file):
        monkeypatch.setattr(backends, "export_onnx", lambda m, t, f: shutil.copy(exported, f))
        engine_file(model, tokenizer, name=own)
        shutil.copy(exported, file)

    monkeypatch.setattr(backends, "export_onnx", slow)
    file = engine_file(load_model(own), load_tokenizer(own), name=own)
    assert file.is_file() and len(list((own / "engines").iterdir())) == 1


def test_another_process_was_faster_by_a_moment(own, ready_made, monkeypatch):
    "The folder appears after we looked, and before ours is moved in."

    def late(source, target):
        shutil.copytree(source, target)
        real(source, target)

    real = backends.os.rename
    monkeypatch.setattr(backends.os, "rename", late)
    file = engine_file(load_model(own), load_tokenizer(own), name=own)
    assert file.is_file() and len(list((own / "engines").iterdir())) == 1

    def full(source, target):
        raise OSError(28, "No space left on device")

    shutil.rmtree(own / "engines")
    monkeypatch.setattr(backends.os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        engine_file(load_model(own), load_tokenizer(own), name=own)


@pytest.mark.parametrize("keeps_size", [False, True])
def test_a_damaged_file_is_not_rounded(keeps_size, own, ready_made, caplog):
    "Eight bits are made of the file in float32: that one is made again first."
    file = engine_file(load_model(own), load_tokenizer(own), name=own)
    good = file.read_bytes()
    rest = bytes(len(good) // 2) if keeps_size else b""
    file.write_bytes(good[: len(good) - len(good) // 2] + rest)
    answerer = QuestionAnswerer(own, backend="onnx", dtype="int8")
    assert answerer("Who rowed?", CONTEXT)["answer"] in CONTEXT
    assert file.read_bytes() == good and len(ready_made) == 2
    assert "it is made again" in caplog.text


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_damaged_file_is_made_again(damage, backend, own, ready_made, caplog):
    expected = QuestionAnswerer(own)("Who rowed?", CONTEXT)
    file = engine_file(load_model(own), load_tokenizer(own), name=own)
    good = file.read_bytes()
    middle = len(good) // 2
    noise = np.random.default_rng(0).standard_normal(20_000).astype("f4").tobytes()
    file.write_bytes(
        {
            "empty": b"",
            "cut": good[:middle],
            "noise": good[:middle] + noise + good[middle + len(noise) :],
        }[damage]
    )
    found = QuestionAnswerer(own, backend=backend)("Who rowed?", CONTEXT)
    assert found["answer"] == expected["answer"] and file.read_bytes() == good
    assert len(ready_made) == 2 and "it is made again" in caplog.text


# Bulk answers, evaluation, command line


def test_a_part_of_another_engine_is_refused(asked, folder, tmp_path):
    "What an interrupted run left is not continued with another engine or precision."
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": "Who rowed?", "context": CONTEXT}) + "\n")
    settings = {b: run_settings(qa, questions, None, 8, AskOptions()) for b, qa in asked.items()}
    part = tmp_path / "answers.jsonl.part0"
    open_part(part, settings["torch"])
    for backend in ENGINES:
        said = rf"backend='torch', now '{backend}'\): throw it away"
        with pytest.raises(ValueError, match=said):
            open_part(part, settings[backend])


def test_an_evaluation_with_an_engine(asked, folder, minilm, small_data, monkeypatch):
    data = small_data["validation"].select(range(6))
    model = load_model(folder)
    expected = evaluate_model(model, minilm, data, progress=False)
    calls = library_calls("onnx", monkeypatch)
    found = evaluate_model(model, minilm, data, engine=asked["onnx"].engine, progress=False)
    assert calls and found.scores == expected.scores
    same = [(a["start"], a["end"]) for a in expected.predictions]
    assert [(a["start"], a["end"]) for a in found.predictions] == same


def test_an_engine_takes_the_place_of_a_model(asked, folder, minilm):
    features = [minilm(q, CONTEXT) for q in ("Who?", "Who slept, and where did she row?")]
    expected = predict_logits(load_model(folder), features, minilm, progress=False)
    for backend in BACKENDS:
        found = predict_logits(asked[backend].engine, features, minilm, progress=False)
        assert np.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("backend", ENGINES)
def test_commands(backend, folder, small_data, tmp_path, capsys, monkeypatch):
    "answer, predict and evaluate compute where they are told to."
    calls = library_calls(backend, monkeypatch)
    model = ["--model", str(folder), "--backend", backend]
    assert cli.main(["answer", *model, "--question", "Who rowed?", "--text", CONTEXT]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["answer"] in CONTEXT and f"computed by {backend}" in told.err
    assert len(calls) >= 1
    rows = [{"question": "Who rowed?", "context": CONTEXT}] * 2
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    before = len(calls)
    assert cli.main(["predict", *model, *files]) == 0 and len(calls) > before
    before = len(calls)
    data = tmp_path / "data.jsonl"
    small_data["validation"].select(range(4)).to_json(data)
    words = ["evaluate", *model, "--data", str(data), "--output", str(tmp_path)]
    assert cli.main(words) == 0 and len(calls) > before


def test_a_command_that_cannot_be(folder, capsys):
    words = ["answer", "--model", str(folder), "--question", "Who?", "--text", "Ann."]
    assert cli.main([*words, "--backend", "onnx", "--dtype", "float16"]) == 2
    assert "backend='onnx' computes in 'float32' or 'int8'" in capsys.readouterr().err
