"""The training code that readers copy: the loop of lesson 8, the Trainer of lesson 7."""

import ast
import os
import re
import socket
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from types import SimpleNamespace

import pytest
from notebooks import NBS, cells, source
from processes import processes

TRAINER = NBS / "course" / "07_trainer.ipynb"
LOOP = NBS / "course" / "08_accelerate.ipynb"
ALLOWED = {
    "load_squad",
    "load_model",
    "load_tokenizer",
    "prepare_train_features",
    "prepare_validation_features",
    "compute_metrics",
}


def code_of(path, name: str) -> str:
    found = [source(cell) for cell in cells(path) if cell["id"] == name]
    assert found, f"{path.name} has no cell {name}"
    return found[0]


def loop_script() -> str:
    first, script = code_of(LOOP, "loop").split("\n", 1)
    assert first == "%%writefile train_qa.py"
    return script


def replace(script: str, **constants) -> str:
    "The script with other constants; a constant that is not there is an error."
    tree, lines = ast.parse(script), script.split("\n")
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        target = node.targets[0]
        names = [one.id for one in getattr(target, "elts", [target])]
        if not constants.keys() & set(names):
            continue
        values = ast.literal_eval(node.value)
        values = list(values) if len(names) > 1 else [values]
        values = [constants.pop(name, value) for name, value in zip(names, values)]
        lines[node.lineno - 1] = f"{', '.join(names)} = {', '.join(map(repr, values))}"
    assert not constants, f"not in the script: {constants}"
    return "\n".join(lines)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    "Files with a few questions; 5 to validate on, so that two processes cannot share them evenly."
    from squadqa.data import load_squad

    folder, data = tmp_path_factory.mktemp("few"), load_squad()
    data["train"].select(range(6)).to_json(folder / "train.jsonl")
    data["validation"].select([0, 8, 16, 40, 60]).to_json(folder / "validation.jsonl")
    return {split: str(folder / f"{split}.jsonl") for split in ("train", "validation")}


def free_port() -> str:
    "One that nobody uses; Accelerate before 1.4 does not look for one itself."
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def launch(script: str, folder, world: int) -> str:
    "What `accelerate launch` prints."
    (folder / "train_qa.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    # with --cpu it starts one process, whatever --num_processes says
    command += ["--multi_gpu"] if world > 1 else ["--cpu"]
    command += ["--num_processes", str(world), "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", free_port(), "train_qa.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_loop_is_short_and_stands_alone():
    script = loop_script().strip().split("\n")
    code = [line for line in script if line]  # empty ones set the parts off
    assert len(code) <= 60 and len(script) <= 72 and max(map(len, script)) <= 100
    own = [
        alias.name
        for node in ast.walk(ast.parse("\n".join(script)))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("squadqa")
        for alias in node.names
    ]
    assert own and set(own) <= ALLOWED


def test_the_edits_stay_on_the_device_of_the_script():
    "Accelerate refuses `cpu=True` after the script has taken a GPU; Trainer's settings free it."
    code = {cell["id"]: source(cell) for cell in cells(LOOP) if cell["cell_type"] == "code"}
    order = list(code)
    edits = order[order.index("run-loop") + 1 : order.index("trainer-losses")]
    assert "accumulate-code" in edits and "resume-code" in edits
    assert [name for name in edits if "cpu=True" in code[name]] == []
    assert "use_cpu=True" in code["trainer-losses"]


@pytest.mark.timeout(600)
def test_the_loop_trains_under_accelerate_launch(few, tiny_folder, tmp_path):
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    small = dict(MODEL=str(tiny_folder), SOURCE=few, EPOCHS=2, MAX_LENGTH=128, STRIDE=32)
    script = replace(loop_script(), **small, BATCH_SIZE=4)
    steps = {}
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        said = launch(script, folder, world)
        ((count, number),) = re.findall(r"(\d+) process\(es\), (\d+) steps each", said)
        assert int(count) == world
        steps[world] = int(number)
        epochs = re.findall(r"epoch (\d): {'exact_match': [\d.]+, 'f1': [\d.]+}", said)
        assert epochs == ["0", "1"]
        AutoModelForQuestionAnswering.from_pretrained(folder / "my-qa-model")
        assert AutoTokenizer.from_pretrained(folder / "my-qa-model").is_fast
    assert steps[1] > steps[2] >= steps[1] / 2


@pytest.mark.slow
def test_two_processes_score_a_model_as_one_does(few, tmp_path):
    "With a learning rate of 0 the scores can only differ if windows are lost, doubled or swapped."
    small = dict(SOURCE=few, EPOCHS=1, MAX_LENGTH=192, STRIDE=48, BATCH_SIZE=3, LEARNING_RATE=0.0)
    script = compile(replace(loop_script(), **small), "train_qa.py", "exec")

    def said():
        os.chdir(tmp_path)
        with redirect_stdout(StringIO()) as printed:
            exec(script, {})
        return re.findall(r"epoch 0: ({.*})", printed.getvalue())

    one, two = (processes(said, world) for world in (1, 2))
    assert one[0] == two[0] and len(one[0]) == 1 and two[1] == []
    assert ast.literal_eval(one[0][0])["f1"] > 0


def test_the_loop_uploads_every_epoch(few, tiny_folder, tmp_path, monkeypatch):
    "The repository is made before the training, so that a missing token is not found out after it."
    calls = []

    def upload(repo_id, folder_path, run_as_future):
        calls.append(repo_id)
        assert {"model.safetensors", "tokenizer.json"} <= set(os.listdir(folder_path))
        assert run_as_future  # the next epoch does not wait; the end does
        return SimpleNamespace(result=lambda: calls.append("waited"))

    def create(name, exist_ok):
        assert exist_ok and not os.listdir(tmp_path)
        calls.append(f"made {name}")

    monkeypatch.setattr("huggingface_hub.upload_folder", upload)
    monkeypatch.setattr("huggingface_hub.create_repo", create)
    monkeypatch.chdir(tmp_path)
    small = dict(MODEL=str(tiny_folder), SOURCE=few, EPOCHS=2, MAX_LENGTH=128, STRIDE=32)
    exec(compile(replace(loop_script(), **small, PUSH="you/model"), "train_qa.py", "exec"), {})
    assert calls == ["made you/model", "you/model", "you/model", "waited"]


@pytest.mark.timeout(600)
def test_the_bare_trainer_trains_and_scores(few, tmp_path, monkeypatch, capsys):
    import matplotlib

    import squadqa.data
    from squadqa.evaluation import evaluate_model
    from squadqa.models import load_model, load_tokenizer

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    real = squadqa.data.load_squad
    monkeypatch.setattr(squadqa.data, "load_squad", lambda source=None: real(few))
    names = {}
    bare = [cell for cell in cells(TRAINER) if cell["cell_type"] == "code"]
    order = [cell["id"] for cell in bare]
    for cell in bare[order.index("export-imports") : order.index("fine-tune-run")]:
        text = source(cell).replace("EPOCHS = 3 if FULL else 2 ", "EPOCHS = 1 ")
        text = text.replace('"max_length": 384, "stride": 128', '"max_length": 128, "stride": 32')
        exec(compile(text, cell["id"], "exec"), names)
    assert names["output"].global_step >= 1 and names["output"].training_loss > 0
    for when in ("scores_before", "scores_after"):
        assert set(names[when]) == {"exact_match", "f1"}
    assert len(names["answers_after"]) == 5 and names["answer"]["answer"]
    starter, tokenizer = load_model("starter"), load_tokenizer("starter")
    validation = names["data"]["validation"]
    size = {"max_length": 128, "stride": 32}
    expected = evaluate_model(starter, tokenizer, validation, **size, progress=False)
    assert names["scores_before"] == pytest.approx(expected.scores)  # rows in their order
    said = capsys.readouterr().out
    assert "before" in said and "after" in said and "not uploaded" in said
    found = names["found"]  # of `trainer.evaluate()`, which calls the metric
    assert found["eval_loss"] > 0
    for name in ("exact_match", "f1"):
        assert found[f"eval_{name}"] == pytest.approx(names["scores_after"][name])
