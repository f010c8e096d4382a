"""The command line as people call it: real processes, exit codes, messages, files."""
import json, os, subprocess, sys

import pytest

from squadqa.data import load_squad

SMALL = ["--max-length", "128", "--stride", "32"]


def squadqa(*words, cwd=None):
    "Run one command in a process of its own."
    return subprocess.run([sys.executable, "-m", "squadqa.cli", *map(str, words)], capture_output=True, text=True, cwd=cwd)


def test_help_of_every_command():
    commands = [[], ["check"], ["train"], ["evaluate"]]
    texts = [squadqa(*c, "--help") for c in commands]
    assert all(t.returncode == 0 and "usage: squadqa" in t.stdout for t in texts)
    assert all(c in texts[0].stdout for c in ("check", "train", "evaluate"))
    assert squadqa().returncode == 2 and squadqa("check").returncode == 2 and squadqa("train", "--data", "sample").returncode == 2


def test_check_good_data():
    done = squadqa("check", "sample")
    assert done.returncode == 0 and "424 examples over 40 contexts" in done.stdout and "no problem found" in done.stdout
    values = json.loads(squadqa("check", "sample-v2", "--json").stdout)
    assert values["ok"] and values["unanswerable"] == 60


def test_check_bad_data(tmp_path):
    rows = load_squad()["train"].select(range(3)).to_list()
    rows[1]["answers"]["answer_start"][0] += 1
    (tmp_path / "bad.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = squadqa("check", "bad.jsonl", cwd=tmp_path)
    assert done.returncode == 1 and rows[1]["id"] in done.stdout and "off by -1" in done.stdout and "Traceback" not in done.stderr
    assert not json.loads(squadqa("check", "bad.jsonl", "--json", cwd=tmp_path).stdout)["ok"]


@pytest.mark.parametrize("words, said", [
    (["check", "gone.json"], "no file gone.json"),
    (["check", "broken.json"], "broken.json is not JSON"),
    (["evaluate", "--data", "sample", "--model", "nowhere/at-all"], "nowhere/at-all"),
    (["evaluate", "--data", "sample", "--model", "minilm"], "no trained question-answering head"),
    (["train", "--data", "broken.json", "--output", "out"], "broken.json is not JSON"),
    (["train", "--data", "sample", "--output", "full"], "full is not empty"),
])
def test_faults_are_told_in_a_sentence(words, said, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    done = squadqa(*words, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory):
    "A run from the shell, in a folder with a space in its name."
    folder = tmp_path_factory.mktemp("shell") / "my run"
    done = squadqa("train", "--data", "sample", "--model", tiny_folder, "--output", folder, "--epochs", 1, "--evaluate-first", *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done


def test_train_tells_before_and_after(trained):
    folder, done = trained
    assert "Before training: EM" in done.stdout and "After training: EM" in done.stdout and "squadqa evaluate" in done.stdout
    assert (folder / "model.safetensors").exists() and (folder / "learning_curve.png").exists()


def test_evaluate_writes_what_scoring_scripts_read(trained, tmp_path):
    folder, _ = trained
    done = squadqa("evaluate", "--data", "sample", "--model", folder, "--output", tmp_path / "scores", "--show", 3, *SMALL)
    assert done.returncode == 0 and done.stdout.count("Q: ") == 3 and "EM " in done.stdout, done.stderr[-3000:]
    examples = load_squad()["validation"]
    texts = json.loads((tmp_path / "scores" / "predictions.json").read_text())
    lists = json.loads((tmp_path / "scores" / "nbest.json").read_text())
    assert list(texts) == examples["id"][:] and set(lists) == set(texts)
    for example in examples:
        answers = lists[example["id"]]
        assert answers[0]["text"] == texts[example["id"]]
        assert all(a["text"] == example["context"][a["start"]:a["end"]] for a in answers)
        assert len({(a["start"], a["end"]) for a in answers}) == len(answers) <= 20
    again = json.loads(squadqa("evaluate", "--data", "sample", "--model", folder, "--output", tmp_path / "b", "--json", *SMALL).stdout)
    saved = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {k: again[k] for k in saved} == pytest.approx(saved) and again["questions"] == 120


def test_two_files_as_data(trained, tmp_path):
    folder, _ = trained
    from squadqa.data import _sample_files
    files = {k: str(v) for k, v in _sample_files().items()}
    done = squadqa("check", ",".join(f"{k}={v}" for k, v in files.items()))
    assert done.returncode == 0 and "424 examples" in done.stdout
    done = squadqa("evaluate", "--data", f"train={files['train']},dev={files['validation']}", "--model", folder, "--output", tmp_path)
    assert done.returncode == 1 and "--split" in done.stderr


def test_console_script_is_installed():
    script = os.path.join(os.path.dirname(sys.executable), "squadqa")
    assert subprocess.run([script, "check", "sample"], capture_output=True, text=True).returncode == 0
