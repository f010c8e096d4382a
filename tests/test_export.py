"""Export: what a folder holds, that it answers as the model did, and that it is whole or absent."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import alone

from squadqa import export
from squadqa.backends import OnnxEngine, OpenVinoEngine, exported_engine
from squadqa.checkpoints import only_one
from squadqa.cli import main
from squadqa.export import FORMATS, PACKAGES, export_model, round_weights
from squadqa.inference import QuestionAnswerer
from squadqa.models import is_own_folder, save_settings

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

CONTEXT = "The ferry 🛥️ leaves Gråvik at nine, and the keeper's cat, Pixel, waits on the quay. " * 12
QUESTIONS = ["When does the ferry leave?", "What is the cat called?", "Who waits?"]
WHOLE = {"README.md", "squadqa.json", "config.json", "tokenizer.json", "tokenizer_config.json"}
SERVICE = WHOLE | {"handler.py", "app.py", "requirements.txt"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SQUADQA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def own(tiny_folder, tmp_path_factory):
    "A tiny model of one's own, with a threshold."
    folder = shutil.copytree(tiny_folder, tmp_path_factory.mktemp("own") / "model")
    save_settings(folder, null_threshold=1.25)
    return folder


@pytest.fixture(scope="module")
def exported(cache, own, tmp_path_factory):
    return export_model(
        own, tmp_path_factory.mktemp("out") / "onnx", max_seq_len=128, doc_stride=32
    )


def load(path, name: str):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(qa) -> list[dict]:
    return qa(QUESTIONS, CONTEXT, top_k=3, max_seq_len=128, doc_stride=32)


def assert_same(found: list, expected: list, tolerance: float = 1e-4):
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a["start"], a["end"], a["answer"]) == (b["start"], b["end"], b["answer"])
            assert a["score"] == pytest.approx(b["score"], abs=tolerance)


# --- what is in the folder


def test_the_folder_is_whole(exported):
    names = {path.name for path in exported.iterdir()}
    assert names == SERVICE | {"model.onnx", "squadqa.mjs"}
    settings = json.loads((exported / "squadqa.json").read_text())
    assert settings["null_threshold"] == 1.25
    assert [settings[n] for n in ("max_seq_len", "doc_stride", "max_answer_len")] == [128, 32, 30]
    assert not [path for path in exported.parent.iterdir() if path != exported]


def test_the_card_has_no_gap_and_no_machine_path(exported):
    card = (exported / "README.md").read_text()
    assert not re.search(r"[{]\w+[}]", card) and str(exported.parent) not in card
    for said in ("pipeline_tag: question-answering", "app_file: app.py", "squadqa.mjs", "1.25"):
        assert said in card
    needed = (exported / "requirements.txt").read_text()
    assert re.fullmatch(r"squadqa\[onnx,demo\] @ git\+https://\S+\n", needed)


@pytest.mark.parametrize("name", ["a: b", "yes", "[x", "somebody/1.0", 'say "é"', "#x"])
def test_the_title_is_text_whatever_it_is(name):
    yaml = pytest.importorskip("yaml")
    title = yaml.safe_load(export._metadata("web", name))["title"]
    assert title == name.rpartition("/")[2]


def test_python_of_the_card_runs(exported):
    code = re.search(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.S)[1]
    space = {}
    exec(code.replace("path/to/this/folder", str(exported)), space)
    assert space["qa"].backend == "onnx"


# --- it answers as the model did


def test_the_folder_answers_as_the_model(own, exported):
    qa = QuestionAnswerer(exported, backend="onnx")
    assert_same(answers(qa), answers(QuestionAnswerer(own)))
    assert qa.null_threshold == 1.25 and qa.model.device.type == "meta"
    assert qa.fingerprint == QuestionAnswerer(own).fingerprint


def test_openvino_reads_it_too(own, exported):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    qa = QuestionAnswerer(exported, backend="openvino")
    assert_same(answers(qa), answers(QuestionAnswerer(own)))


def test_openvinos_own_format(cache, own, tmp_path):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    for dtype in FORMATS["openvino"]:
        folder = export_model(own, tmp_path / dtype, format="openvino", dtype=dtype)
        names = {path.name for path in folder.iterdir()}
        assert names == SERVICE | {"model.xml", "model.bin"}
        found = answers(QuestionAnswerer(folder, backend="openvino"))
        assert_same(found, answers(QuestionAnswerer(own)), 1e-3)
    sizes = [(tmp_path / d / "model.bin").stat().st_size for d in ("float16", "float32")]
    assert sizes[0] < 0.6 * sizes[1]


def test_both_engines_compute_alike_with_rounded_weights(cache, own, minilm, tmp_path):
    "OpenVINO would compute in eight bits where weights have eight."
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    file = export_model(own, tmp_path / "out", dtype="int8-weights") / "model.onnx"
    batch = minilm([QUESTIONS[0]], [CONTEXT], return_tensors="pt")
    first, second = (engine(file).logits(batch) for engine in (OnnxEngine, OpenVinoEngine))
    assert np.abs(first - second).max() < 1e-5


@pytest.mark.slow  # exports the starter
def test_both_engines_answer_alike_with_rounded_weights(cache, tmp_path):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    folder = export_model("starter", tmp_path / "out", dtype="int8-weights")
    first, second = (QuestionAnswerer(folder, backend=backend) for backend in ("onnx", "openvino"))
    brynja = "Old Brynja mends the nets on the pier. Her nephew Tor paints boats in Havnvik."
    for question, context in (
        ("Who mends the nets?", brynja),
        ("Where does Tor paint boats?", brynja),
        (QUESTIONS[1], CONTEXT),
    ):
        assert_same([second(question, context, top_k=3)], [first(question, context, top_k=3)])


def test_a_tokenizer_without_token_types_is_refused(exported):
    "The folder's engine needs them."
    other = QuestionAnswerer(exported, backend="onnx").tokenizer
    other.model_input_names = ["input_ids", "attention_mask"]
    with pytest.raises(ValueError, match="model.onnx needs token_type_ids, .* leave out tokenizer"):
        QuestionAnswerer(exported, other, backend="onnx")


def test_no_engine_is_used_in_silence(exported):
    "The session that answers is the one of the folder's file."
    qa = QuestionAnswerer(exported, backend="onnx")
    assert qa.engine.session.get_providers() == ["CPUExecutionProvider"]
    calls = []
    run = qa.engine.logits
    qa.engine.logits = lambda batch: calls.append(len(batch["input_ids"])) or run(batch)
    answers(qa)
    assert sum(calls) >= len(QUESTIONS)


@pytest.mark.parametrize(
    "options, said",
    [({}, "backend='onnx'"), ({"backend": "onnx", "dtype": "int8"}, "computes? in float32")],
)
def test_another_engine_is_refused(exported, options, said):
    with pytest.raises(ValueError, match=said):
        QuestionAnswerer(exported, **options)


def test_a_changed_file_is_refused(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "changed")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="not as it was exported"):
        QuestionAnswerer(folder, backend="onnx")


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "onnx"},
        {"engine": {"backend": "onnx"}},
        {"engine": {"file": "../model.onnx"}},
        {"engine": {"sha256": 5}},
        {"engine": {"sha256": "0", "weights": {"../model.bin": "0"}}},
        {"engine": {"sha256": "0", "files": ["../../mine.txt"]}},
    ],
)
def test_settings_that_no_export_wrote_are_refused(exported, tmp_path, change):
    folder = shutil.copytree(exported, tmp_path / "changed")
    settings = json.loads((folder / "squadqa.json").read_text())
    if "file" in change["engine"] or "sha256" in change["engine"]:
        change = {"engine": settings["engine"] | change["engine"]}
    (folder / "squadqa.json").write_text(json.dumps(settings | change))
    with pytest.raises(ValueError, match="squadqa.json: engine is .* squadqa export writes"):
        QuestionAnswerer(folder, backend="onnx")


def test_rounded_weights_are_rounded_and_the_rest_is_exact(cache, own, tmp_path):
    "Every engine computes with the same tables, and they are those that were written down."
    import onnx
    from onnx import numpy_helper

    folder = export_model(own, tmp_path / "small", dtype="int8-weights")
    whole = export_model(own, tmp_path / "whole")
    tables = {t.name: numpy_helper.to_array(t) for t in load_onnx(onnx, folder)}
    before = {t.name: numpy_helper.to_array(t) for t in load_onnx(onnx, whole)}
    rounded = [name.removesuffix(".q") for name in tables if name.endswith(".q")]
    assert len(rounded) > 3
    for name in rounded:
        back = tables[f"{name}.q"].astype(np.float32) * tables[f"{name}.scale"]
        assert np.abs(back - before[name]).max() <= tables[f"{name}.scale"].max() / 2 + 1e-7
    assert (folder / "model.onnx").stat().st_size < 0.4 * (whole / "model.onnx").stat().st_size
    qa = QuestionAnswerer(folder, backend="onnx")
    together = answers(qa)
    qa.batch_size = 1
    assert_same(answers(qa), together, 1e-5)  # the batch does not matter


def load_onnx(onnx, folder):
    return onnx.load(folder / "model.onnx").graph.initializer


def test_a_table_of_two_uses_keeps_its_bits(tmp_path):
    "A table that is looked up and multiplied, or is small, is left alone."
    from onnx import TensorProto, helper, load, numpy_helper, save

    values = np.random.default_rng(0).normal(size=(128, 64)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["both", "ids"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["turned"]),
        helper.make_node("MatMul", ["turned", "both"], ["out"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [128])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [64, 64])
    table = numpy_helper.from_array(values, "both")
    save(helper.make_model(helper.make_graph(nodes, "g", [ids], [out], [table])), tmp_path / "a")
    round_weights(tmp_path / "a", tmp_path / "b")
    assert [t.name for t in load(tmp_path / "b").graph.initializer] == ["both"]


# --- endpoint and Space


def test_the_endpoint_answers(exported):
    handler = load(exported / "handler.py", "handler").EndpointHandler(str(exported))
    asked = {"question": QUESTIONS[0], "context": CONTEXT}
    one = handler({"inputs": asked})
    assert set(one) == {"score", "start", "end", "answer"}
    assert CONTEXT[one["start"] : one["end"]] == one["answer"]
    several = handler({"inputs": asked, "parameters": {"top_k": 3}})
    assert len(several) == 3 and several[0] == one
    assert handler({"inputs": [asked, asked]}) == [one, one]
    assert json.loads(json.dumps(several)) == several
    with pytest.raises(ValueError, match="question is empty"):
        handler({"inputs": {"question": " ", "context": CONTEXT}})


def test_the_endpoint_takes_the_windows_of_the_folder(exported):
    handler = load(exported / "handler.py", "handler").EndpointHandler()
    assert handler.options == {"max_seq_len": 128, "doc_stride": 32, "max_answer_len": 30}


@pytest.mark.parametrize(
    "parameters, count",
    [
        ({"top_k": None, "max_seq_len": None}, 1),
        ({"topk": 2}, 2),
        ({"padding": "do_not_pad", "top_k": 2}, 2),
    ],
)
def test_the_endpoint_takes_the_old_options(exported, parameters, count):
    handler = load(exported / "handler.py", "handler").EndpointHandler()
    inputs = {"question": QUESTIONS[0], "context": CONTEXT}
    kept = dict(parameters)
    found = handler({"inputs": inputs, "parameters": parameters})
    assert found == handler({"inputs": inputs, "parameters": {"top_k": count}})
    assert parameters == kept


def test_the_endpoint_takes_lists(exported):
    handler = load(exported / "handler.py", "handler").EndpointHandler()
    expected = [handler({"inputs": {"question": q, "context": CONTEXT}}) for q in QUESTIONS]
    for context in (CONTEXT, [CONTEXT] * len(QUESTIONS)):
        found = handler({"inputs": {"question": QUESTIONS, "context": context}})
        assert_same([[one] for one in found], [[one] for one in expected])
    with pytest.raises(ValueError, match="3 questions but 1 contexts"):
        handler({"inputs": {"question": QUESTIONS, "context": [CONTEXT]}})


@pytest.mark.parametrize(
    "parameters, said",
    [
        ({"topp": 2}, "no option is called topp: there are .*top_k"),
        ([2], r"parameters=\[2\] must be an object"),
        ({"top_k": "two"}, "top_k='two' must be a whole number"),
    ],
)
def test_the_endpoint_refuses_what_is_no_option(exported, parameters, said):
    handler = load(exported / "handler.py", "handler").EndpointHandler()
    inputs = {"question": QUESTIONS[0], "context": CONTEXT}
    with pytest.raises(ValueError, match=said):
        handler({"inputs": inputs, "parameters": parameters})


@pytest.mark.parametrize("payload", [[{"question": "Who?", "context": "Ann."}], "x", None, {}])
def test_the_endpoint_refuses_what_is_no_request(exported, payload):
    handler = load(exported / "handler.py", "handler").EndpointHandler()
    with pytest.raises(ValueError):
        handler(payload)


def test_the_card_tells_how_the_engine_reaches_the_endpoint(exported):
    card = " ".join((exported / "README.md").read_text().split())
    assert "HF_FRAMEWORK=custom" in card and "transformers 5" in card


@pytest.mark.parametrize("installed, written", [("6.31.0", "6.31.0"), (None, "6.25.0")])
def test_the_space_names_its_versions(exported, monkeypatch, installed, written):
    def version(package):
        if installed is None:
            raise export.PackageNotFoundError(package)
        return installed

    monkeypatch.setattr(export, "version", version)
    lines = export._metadata("onnx", "owner/name").splitlines()
    assert f"sdk_version: {written}" in lines and 'python_version: "3.11"' in lines
    assert "_version" not in export._metadata("web", "owner/name")
    front = (exported / "README.md").read_text().split("---")[1]
    assert re.search(r"^sdk_version: \d+\.\d+\.\S+$", front, re.M)


def test_the_space_builds_its_page(exported):
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    app = load(exported / "app.py", "app")
    assert app.qa.backend == "onnx"
    assert any(type(block).__name__ == "Textbox" for block in app.demo.blocks.values())


# --- whole or absent


def test_an_earlier_export_is_replaced_only_when_meant(cache, own, tmp_path):
    output = tmp_path / "out"
    export_model(own, output)
    (output / "notes.txt").write_text("mine")
    before = (output / "README.md").read_text()
    with pytest.raises(ValueError, match="--overwrite"):
        export_model(own, output, dtype="int8-weights")
    assert (output / "README.md").read_text() == before
    export_model(own, output, dtype="int8-weights", overwrite=True)
    assert "int8-weights" in (output / "README.md").read_text()
    assert (output / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_home_of_the_user(cache, own, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert export_model(own, "~/out") == tmp_path / "out"
    assert exported_engine("~/out")["backend"] == "onnx" and is_own_folder("~/out")
    qa = QuestionAnswerer("~/out", backend="onnx")
    assert qa("Who waited?", "The cat waited.")["answer"]


def test_a_path_is_no_preset(cache, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(own, "starter")
    export_model(Path("starter"), "mine")
    export_model(own, "other")
    mine, other = (exported_engine(tmp_path / name) for name in ("mine", "other"))
    assert mine["fingerprint"] == other["fingerprint"]


def test_a_foreign_folder_is_never_replaced(own, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("friend")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="no earlier export"):
            export_model(own, tmp_path / "letters", overwrite=overwrite)
    with pytest.raises(ValueError, match="is a file"):
        export_model(own, tmp_path / "letters" / "dear.txt")


def test_a_link_stays_a_link(cache, own, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for overwrite in (False, True):
        export_model(own, tmp_path / "link", overwrite=overwrite)
        assert (tmp_path / "real" / "model.onnx").is_file() and (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_what_cannot_be_exchanged_is_refused(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").symlink_to(".")
    for output in (".", tmp_path, tmp_path / "here"):
        with pytest.raises(ValueError, match="name a folder in it"):
            export_model(own, output)
    monkeypatch.chdir("/")
    monkeypatch.setattr(export.os.path, "ismount", lambda path: path == tmp_path)
    with pytest.raises(ValueError, match="mounted there"):
        export_model(own, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_disk_mounted_below_an_export_is_left_alone(cache, own, tmp_path, monkeypatch):
    output = export_model(own, tmp_path / "out")
    (output / "mine" / "disk").mkdir(parents=True)
    (output / "mine" / "disk" / "letters.txt").write_text("Dear Ada")
    before = sorted(output.rglob("*"))
    monkeypatch.setattr(export.os.path, "ismount", lambda path: Path(path).name == "disk")
    with pytest.raises(ValueError, match="a disk is mounted below it, at .*disk"):
        export_model(own, output, overwrite=True)
    assert sorted(output.rglob("*")) == before


@pytest.mark.parametrize("earlier", [False, True])
def test_a_failure_leaves_what_was_there(cache, own, tmp_path, monkeypatch, earlier):
    output = tmp_path / "out"
    if earlier:
        export_model(own, output)
    files = sorted(path.name for path in tmp_path.rglob("*"))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_write_card", full)
    with pytest.raises(ValueError, match="cannot be written: No space left on device"):
        export_model(own, output, overwrite=earlier)
    assert sorted(path.name for path in tmp_path.rglob("*")) == files


def test_a_failed_exchange_is_undone(cache, own, tmp_path, monkeypatch):
    output = export_model(own, tmp_path / "out")
    rename, calls = export.os.rename, []

    def second_fails(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(export.os, "rename", second_fails)
    with pytest.raises(ValueError, match="Input/output error"):
        export_model(own, output, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (output / "model.onnx").is_file()


def test_a_folder_for_one_person_stays_so(cache, own, tmp_path):
    output = export_model(own, tmp_path / "out")
    usual = tmp_path / "usual"
    usual.mkdir()
    assert output.stat().st_mode == usual.stat().st_mode
    output.chmod(0o700)
    export_model(own, output, overwrite=True)
    assert output.stat().st_mode & 0o777 == 0o700


def test_an_interrupted_exchange_is_undone(cache, own, tmp_path, monkeypatch):
    output = export_model(own, tmp_path / "out")
    (output / "mine.txt").write_text("mine")
    rename, calls = export.os.rename, []

    def stopped(source, target):
        rename(source, target)
        calls.append(target)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(export.os, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        export_model(own, output, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (output / "model.onnx").is_file() and (output / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("step", [1, 2, 3])
def test_after_a_kill_the_next_export_puts_it_right(cache, own, tmp_path, step):
    "Killed before one of the two renames of the exchange, or after it."
    output = export_model(own, tmp_path / "out")
    (output / "notes.txt").write_text("mine")
    beside = tmp_path / ".out-original"  # somebody's own
    beside.mkdir()

    def killed():
        rename, calls = os.rename, []

        def counted(source, target):
            calls.append(target)
            if len(calls) == step:
                os._exit(9)
            rename(source, target)

        export.os.rename = counted
        export_model(own, output, overwrite=True)

    assert alone(killed) == 9
    assert output.exists() == (step != 2) and list(tmp_path.glob(".out-*-export*"))
    with pytest.raises(ValueError, match="holds an earlier export: replace it with overwrite=True"):
        export_model(own, output)
    export_model(own, output, overwrite=True)
    assert (output / "notes.txt").read_text() == "mine" and (output / "model.onnx").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out-original", "out"]


def test_of_two_exports_at_once_one_is_refused(own, tmp_path):
    "What the other is writing is not taken for a left-over."
    staging = tmp_path / ".out-abcd1234-export"
    with only_one(tmp_path / ".out.lock", "export", tmp_path / "out"):
        for left_over in (False, True):
            if left_over:
                staging.mkdir()
            with pytest.raises(ValueError, match="another export .* is writing to .*out"):
                export_model(own, tmp_path / "out")
    assert staging.is_dir() and not (tmp_path / "out").exists()


def test_what_no_export_wrote_is_kept(cache, own, tmp_path):
    "Also what is called as if one had."
    output = export_model(own, tmp_path / "out")
    (output / "notes").mkdir()
    mine = ("vocab-notes.txt", "tokenizer-notes.md", "page.pdf", "notes/a.txt")
    for name in mine:
        (output / name).write_text(name)
    export_model(own, output, format="openvino", overwrite=True)
    assert all((output / name).read_text() == name for name in mine)
    assert (output / "model.xml").is_file() and not (output / "model.onnx").exists()


def test_a_file_that_is_in_the_way_is_not_lost(cache, own, tmp_path):
    output = export_model(own, tmp_path / "out")
    (output / "model.xml").write_text("mine")
    with pytest.raises(ValueError, match="model.xml is from no export, .* move it"):
        export_model(own, output, format="openvino", overwrite=True)
    assert (output / "model.xml").read_text() == "mine" and (output / "model.onnx").is_file()
    assert os.listdir(tmp_path) == ["out"]


def test_a_place_that_is_taken_between_the_exchanges(cache, own, tmp_path, monkeypatch):
    "Nothing is thrown away then: what was there lies beside it."
    output = export_model(own, tmp_path / "out")
    rename, calls = export.os.rename, []

    def taken(source, target):
        if calls:
            output.mkdir()
            (output / "of-somebody-else").write_text("x")
        calls.append(target)
        rename(source, target)

    monkeypatch.setattr(export.os, "rename", taken)
    with pytest.raises(ValueError, match="out cannot be written"):
        export_model(own, output, overwrite=True)
    assert os.listdir(output) == ["of-somebody-else"]
    (aside,) = tmp_path.glob(".out-*-replaced")
    assert (aside / "model.onnx").is_file()


def test_a_folder_that_filled_up_meanwhile_is_left_alone(cache, own, tmp_path, monkeypatch):
    output, write = tmp_path / "out", export._write_card

    def meanwhile(*words):
        write(*words)
        output.mkdir()
        (output / "config.json").write_text("of somebody else")

    monkeypatch.setattr(export, "_write_card", meanwhile)
    with pytest.raises(ValueError, match="is not empty, and no earlier export"):
        export_model(own, output)
    assert os.listdir(tmp_path) == ["out"] and os.listdir(output) == ["config.json"]


def test_other_weights_beside_the_file_are_refused(cache, own, tmp_path):
    "OpenVINO keeps its weights in a second file."
    folder = export_model(own, tmp_path / "out", format="openvino")
    weights = (folder / "model.bin").read_bytes()
    for other in (bytes(len(weights)), weights[:-100]):
        (folder / "model.bin").write_bytes(other)
        with pytest.raises(ValueError, match="model.bin is missing, or not as it was exported"):
            QuestionAnswerer(folder, backend="openvino")
    (folder / "model.bin").unlink()
    with pytest.raises(ValueError, match="model.bin is missing"):
        QuestionAnswerer(folder, backend="openvino")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_a_name_that_is_not_utf8(own, tmp_path):
    odd = os.fsdecode(os.fsencode(str(tmp_path / "out")) + b"\xff")
    with pytest.raises(ValueError, match="out.udcff.* is not UTF-8: take another"):
        export_model(own, odd)
    shutil.copytree(own, odd)
    with pytest.raises(ValueError, match="is not UTF-8: take another"):
        QuestionAnswerer(odd)


# --- what is refused


@pytest.mark.parametrize(
    "options, said",
    [
        ({"format": "tflite"}, "format='tflite' is not known: choose onnx, openvino, web"),
        ({"format": "openvino", "dtype": "int8"}, "float32 or float16"),
        ({"max_seq_len": 5000}, "more than the 512 tokens"),
        ({"doc_stride": -1}, "doc_stride"),
    ],
)
def test_what_does_not_go_together_is_refused(own, tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        export_model(own, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_page_refuses_other_tokenizers(own, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "reads_like_bert", lambda tokenizer: False)
    with pytest.raises(ValueError, match="another kind of tokenizer"):
        export_model(own, tmp_path / "out", format="web")


def stand_in_for_npm(folder, script: str) -> str:
    "A folder for PATH whose `npm` does what the script says."
    folder.mkdir()
    (folder / "script.py").write_text(script, encoding="utf-8")
    words = shlex.join([sys.executable, str(folder / "script.py")])
    (folder / "npm").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    (folder / "npm").chmod(0o755)
    return str(folder)


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
@pytest.mark.parametrize(
    "script, said",
    [
        ("open('a.tgz', 'w').write('another thing')", "npm gave another archive of @huggingface"),
        ("import sys; sys.exit('npm error code E404')", "npm error code E404"),
        ("pass", "it gave no file"),
        (None, "there is no npm here: install Node.js"),
    ],
)
def test_a_wrong_archive_is_refused(script, said, tmp_path, monkeypatch):
    "In the cache and from npm; what cannot be had is told, with the place to put it."
    monkeypatch.setenv("SQUADQA_CACHE", str(tmp_path / "cache"))
    kept = tmp_path / "cache" / "npm" / PACKAGES[1].file
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"something else")
    path = stand_in_for_npm(tmp_path / "bin", script) if script else str(tmp_path)
    monkeypatch.setenv("PATH", path)
    with pytest.raises(ValueError, match=said) as told:
        export.npm_archive(PACKAGES[1])
    assert "another archive" in said or f"put it there: {kept}" in str(told.value)
    assert kept.read_bytes() == b"something else"


# --- the command


def test_the_command(cache, own, tmp_path, capsys):
    output = str(tmp_path / "out")
    assert main(["export", str(own), "--output", output, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["output"] == output and told["bytes"] > 100_000
    assert main(["export", str(own), "--output", output]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", str(own), "--output", output, "--overwrite"]) == 0
    assert "README.md" in capsys.readouterr().out
    asked = ["answer", "--model", output, "--text", CONTEXT, "--question", "Who?"]
    assert main(asked) == 2
    assert "--backend onnx" in capsys.readouterr().err
    assert main([*asked, "--backend", "onnx"]) == 0


# --- the Hub's question-answering task


def test_the_hubs_own_client_reads_the_answers(exported):
    "What the endpoint sends over the wire is what huggingface_hub expects of the task."
    from dataclasses import asdict

    from huggingface_hub import QuestionAnsweringInput, QuestionAnsweringOutputElement

    handler = load(exported / "handler.py", "handler").EndpointHandler()
    inputs = {"question": QUESTIONS[0], "context": CONTEXT}
    for top_k in (1, 3):
        request = {"inputs": inputs, "parameters": {"top_k": top_k}}
        assert asdict(QuestionAnsweringInput.parse_obj(request))["inputs"] == inputs
        answer = json.loads(json.dumps(handler(request)))
        found = QuestionAnsweringOutputElement.parse_obj(answer)
        for one in found if top_k > 1 else [found]:
            kinds = (one.answer, one.score, one.start, one.end)
            assert [type(value) for value in kinds] == [str, float, int, int]
            assert CONTEXT[one.start : one.end] == one.answer and 0 <= one.score <= 1
