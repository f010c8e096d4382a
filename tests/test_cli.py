"""The command line: exit codes, messages, files. Most commands run in this process."""

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from absurd_options import ABSURD
from conftest import ROOT
from processes import launch

from squadqa import cli
from squadqa.arguments import RECIPES, Hyperparameters, choose_hyperparameters
from squadqa.capstone import FILES
from squadqa.data import load_squad
from squadqa.models import save_settings

SMALL = ["--max-length", "128", "--stride", "32"]
CONTEXT = "His cat had waited on the quay 🐈 since noon, and the lamp was lit at eight."


@dataclass
class Done:
    "What a command left: exit code, standard output and standard error."

    code: int
    out: str
    err: str

    @property
    def values(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def squadqa(capsys, monkeypatch, tmp_path):
    "Run a command in this process, in a folder of its own; `said` is its standard input."
    monkeypatch.chdir(tmp_path)

    def run(*words, said=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        capsys.readouterr()
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        return Done(code, *capsys.readouterr())

    return run


def start(*words, **options):
    "Run a command in a process of its own."
    command = [sys.executable, "-m", "squadqa.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, **{"text": True} | options)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def sample_rows(count):
    return load_squad()["validation"].select(range(count)).to_list()


# Faults of the command line


@pytest.fixture
def messy(tmp_path):
    "The folder of `ABSURD`, and a picture of it"
    write_rows(tmp_path / "v.jsonl", sample_rows(2))
    write_rows(tmp_path / "q.jsonl", [{"question": "Who?", "context": CONTEXT}] * 2)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "taken").touch()
    return lambda: sorted(str(path) for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("line, said", ABSURD, ids=[line for line, _ in ABSURD])
def test_absurd_commands_are_refused_in_a_sentence(line, said, squadqa, messy, tiny_folder):
    before, words = messy(), shlex.split(line.replace("TINY", shlex.quote(str(tiny_folder))))
    done = squadqa(*words)
    assert done.code == 2 and said in done.err and done.out == "", done
    assert "Traceback" not in done.err and "usage:" not in done.err
    assert messy() == before


def test_absurd_commands_cover_every_command():
    commands = {line.split()[0] for line, _ in ABSURD if line}
    assert {"check", "convert", "train", "evaluate", "answer", "predict", "demo"} <= commands
    assert len(ABSURD) > 60


# Help and start


def test_help_of_every_command(squadqa):
    commands = ("check", "convert", "train", "evaluate", "answer", "predict", "demo")
    done = squadqa("--help")
    assert done.code == 0 and all(f"    {command} " in done.out for command in commands)
    assert all(code in done.out for code in ("130", "143", "129", "141"))
    for command in commands:
        done = squadqa(command, "--help")
        assert done.code == 0 and f"usage: squadqa {command}" in done.out


def test_help_is_quick():
    "No heavy package is imported for it."
    program = (
        "import sys; from squadqa.cli import make_parser; make_parser().format_help(); "
        "print([m for m in ('torch', 'transformers', 'datasets', 'numpy') if m in sys.modules])"
    )
    words = [sys.executable, "-c", program]
    best = 60
    for _ in range(3):
        begin = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        best = min(best, time.perf_counter() - begin)
    assert done.stdout == "[]\n" and best < 1.5


def test_script_is_installed():
    script = os.path.join(os.path.dirname(sys.executable), "squadqa")
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("squadqa 0.")


# Data


def test_check_good_data(squadqa):
    done = squadqa("check", "sample")
    assert done.code == 0 and "424 examples over 40 contexts" in done.out
    assert "no problem found" in done.out
    values = squadqa("check", "sample-v2", "--json").values
    assert values["ok"] and values["unanswerable"] == 60


def test_check_bad_data(squadqa, tmp_path):
    rows = sample_rows(3)
    rows[1]["answers"]["answer_start"][0] += 1
    write_rows(tmp_path / "bad.jsonl", rows)
    done = squadqa("check", "bad.jsonl")
    assert done.code == 1 and rows[1]["id"] in done.out and "off by -1" in done.out
    assert not squadqa("check", "bad.jsonl", "--json").values["ok"]


def test_two_files_as_data(squadqa, tmp_path, tiny_folder):
    write_rows(tmp_path / "a.jsonl", sample_rows(3))
    write_rows(tmp_path / "b.jsonl", sample_rows(2))
    assert "5 examples" in squadqa("check", "train=a.jsonl,validation=b.jsonl").out
    words = ["evaluate", "--data", "train=a.jsonl,dev=b.jsonl", "--model", tiny_folder]
    done = squadqa(*words, "--output", "out")
    assert done.code == 2 and "--split" in done.err
    done = squadqa(*words, "--output", "out", "--split", "dev", "--json")
    assert done.code == 0 and done.values["questions"] == 2


def test_convert_then_check(squadqa, tmp_path):
    text = "Frage,Text,Antwort\nWhen?,It opens at nine. By nine all is sold.,nine\n"
    (tmp_path / "faq.csv").write_text(text, encoding="utf-8")
    names = {"question": "Frage", "context": "Text", "answer": "Antwort"}
    columns = [word for name, of in names.items() for word in (f"--{name}-column", of)]
    words = ["convert", "faq.csv", "faq.json", *columns]
    doubt = squadqa(*words)
    assert doubt.code == 2 and "--unclear first" in doubt.err
    assert not (tmp_path / "faq.json").exists()
    assert squadqa(*words, "--unclear", "first").code == 0
    assert "1 example over 1 context," in squadqa("check", "faq.json").out
    assert squadqa(*words, "--unclear", "first").code == 2  # nothing is written over
    assert squadqa(*words, "--unclear", "first", "--overwrite", "--json").values["output"]


def test_convert_asks_which_tag_showed_the_context(squadqa, tmp_path):
    values = [("q", 0, 5), ("t", 14, 18)]
    results = [
        {"to_name": name, "value": {"start": start, "end": end, "labels": ["Mark"]}}
        for name, start, end in values
    ]
    data = {"text": "Ann met Bo in Rome.", "question": "Where did Bo go?"}
    task = {"id": 1, "data": data, "annotations": [{"result": results}]}
    (tmp_path / "a.json").write_text(json.dumps([task]))
    words = ["convert", "a.json", "squad.json", "--layout", "label-studio"]
    asked = squadqa(*words)
    assert (
        asked.code == 2 and "say which of the tags" in asked.err and "(--object-name)" in asked.err
    )
    assert squadqa(*words, "--object-name", "t").code == 0
    assert '"Rome"' in (tmp_path / "squad.json").read_text()


# Training


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory):
    "A run from the shell on little data, in a folder with a space in its name."
    home = tmp_path_factory.mktemp("shell")
    write_rows(home / "train.jsonl", load_squad()["train"].select(range(8)).to_list())
    write_rows(home / "validation.jsonl", sample_rows(4))
    words = ["--data", home, "--model", tiny_folder, "--output", home / "my run", "--epochs", 1]
    done = start("train", *words, "--evaluate-first", *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    return home / "my run", done


def test_train_tells_before_and_after(trained):
    folder, done = trained
    assert "Before training: EM" in done.stdout and "After training: EM" in done.stdout
    assert "squadqa evaluate" in done.stdout
    assert (folder / "model.safetensors").exists() and (folder / "learning_curve.png").exists()


def test_options_of_train_come_from_the_dataclass():
    "One source of names, defaults and help."
    parser = cli.make_parser()
    train = parser._subparsers._group_actions[0].choices["train"]
    options = {action.dest: action for action in train._actions}
    for one in fields(Hyperparameters):
        if one.name in cli.NO_OPTION:
            continue
        option = options[one.name]
        assert option.default is None
        if one.name != "padding":
            assert one.metadata["help"] in option.help
    for preset, recipe in RECIPES.items():
        for name, value in recipe.items():
            told = value if isinstance(value, str) else f"{preset}: {value:g}"
            assert told in options[name].help
    assert "the model's own" in options["recipe"].help


def test_recipes_from_the_command_line_and_from_python(monkeypatch):
    from squadqa import trainer
    from squadqa.results import FineTuneResult

    asked = []

    def remember(model, data, output, **settings):
        asked.append((model, data, output, settings))
        return FineTuneResult(str(output))

    monkeypatch.setattr(trainer, "fine_tune", remember)
    assert cli.main("train --data sample --model minilm --output x".split()) == 0
    model, data, output, settings = asked.pop()
    assert (model, data, output) == ("minilm", "sample", "x")
    flags = ("resume", "overwrite", "push_to_hub", "disable_tqdm")
    assert not any(settings.pop(name) for name in flags)
    assert set(settings.values()) == {None}
    words = "--epochs 2 --warmup-steps 0.1 --evaluate-every 20 --pad-to-max-length --use-cpu"
    more = "--evaluate-first --mixed-precision no --eval-batch-size 4 --resume --push-to-hub me/x"
    words = f"train --data sample --output x {words} {more}".split()
    assert cli.main(words) == 0
    settings = {name: value for name, value in asked.pop()[3].items() if value not in (None, False)}
    assert settings == {
        "epochs": 2.0,
        "warmup_steps": 0.1,
        "evaluate_every": 20,
        "padding": "max_length",
        "use_cpu": True,
        "eval_on_start": True,
        "mixed_precision": "no",
        "eval_batch_size": 4,
        "resume": True,
        "push_to_hub": "me/x",
    }


def test_what_a_recipe_turns_on_can_be_turned_off(monkeypatch):
    from squadqa import trainer
    from squadqa.results import FineTuneResult

    asked = []
    done = FineTuneResult("x")
    monkeypatch.setattr(trainer, "fine_tune", lambda *a, **more: asked.append(more) or done)
    for words, compiled in (("", None), ("--compile", True), ("--no-compile", False)):
        line = f"train --data sample --output x --recipe fast {words}"
        assert cli.main(line.split()) == 0
        settings = asked.pop()
        assert settings["compile"] is compiled
        chosen = choose_hyperparameters("minilm", "fast", compile=settings["compile"])
        assert chosen.compile == ("auto" if compiled is None else compiled)


def test_json_of_a_run_without_numbers_is_json(monkeypatch, capsys):
    from squadqa import trainer
    from squadqa.results import FineTuneResult

    monkeypatch.setattr(trainer, "fine_tune", lambda *a, **k: FineTuneResult("x"))
    assert cli.main("train --data sample --output x --json".split()) == 0
    values = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert values["train_loss"] is None


# Evaluation


def test_evaluate_writes_what_scoring_scripts_read(trained, squadqa, tmp_path):
    folder, _ = trained
    words = ["evaluate", "--data", "sample", "--model", folder, *SMALL]
    done = squadqa(*words, "--output", "scores", "--show", 3)
    assert done.code == 0 and done.out.count("Q: ") == 3 and "EM " in done.out, done.err
    examples = load_squad()["validation"]
    texts = json.loads((tmp_path / "scores" / "predictions.json").read_text())
    lists = json.loads((tmp_path / "scores" / "nbest.json").read_text())
    assert list(texts) == examples["id"][:] and set(lists) == set(texts)
    for example in examples:
        answers = lists[example["id"]]
        assert answers[0]["text"] == texts[example["id"]]
        assert all(a["text"] == example["context"][a["start"] : a["end"]] for a in answers)
        assert len({(a["start"], a["end"]) for a in answers}) == len(answers) <= 20
    again = squadqa(*words, "--output", "b", "--json", "--device", "cpu").values
    saved = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {k: again[k] for k in saved} == pytest.approx(saved) and again["questions"] == 120


def null_answers(rows):
    rows[1]["answers"] = {"text": None, "answer_start": None}


def null_text(rows):
    rows[1]["answers"]["text"][0] = None


def same_id(rows):
    rows[1]["id"] = rows[0]["id"]


@pytest.mark.parametrize("spoil", [null_answers, null_text, same_id])
def test_references_that_cannot_be_scored(spoil, squadqa, tmp_path, tiny_folder):
    rows = sample_rows(3)
    spoil(rows)
    write_rows(tmp_path / "v.jsonl", rows)
    done = squadqa("evaluate", "--data", "v.jsonl", "--model", tiny_folder, "--output", "out")
    assert done.code == 2 and rows[1]["id"] in done.err and "Traceback" not in done.err, done
    assert not (tmp_path / "out").exists()


def test_show_keeps_terminals_in_peace(squadqa, tmp_path, tiny_folder):
    rows = sample_rows(2)
    for row in rows:
        row["question"] = f"\x1b]0;mine\x07{row['question']}\x1b[2J\r"
        row["context"] = row["context"].replace(" ", "\x1b[31m ")
        row["answers"] = {"text": [], "answer_start": []}
    write_rows(tmp_path / "v.jsonl", rows)
    words = ["evaluate", "--data", "v.jsonl", "--model", tiny_folder, "--output", "out"]
    done = squadqa(*words, "--show", 2)
    assert done.code == 0 and "\\x1b]0;mine\\x07" in done.out
    assert not set(done.out + done.err) & {"\x1b", "\x07", "\r"}


@pytest.fixture
def copy_of_tiny(tiny_folder, tmp_path):
    "A folder of the tiny model that may be written into."
    return shutil.copytree(tiny_folder, tmp_path / "tiny")


def test_threshold_is_fitted_stored_and_used(copy_of_tiny, squadqa):
    words = ["evaluate", "--data", "sample-v2", "--model", copy_of_tiny, *SMALL, "--json"]
    done = squadqa(*words)
    assert done.code == 0, done.err
    before = done.values
    fitted = squadqa(*words, "--fit-threshold").values
    after = squadqa(*words).values
    assert before["null_threshold"] == 0 and before["HasAns_total"] == before["NoAns_total"] == 60
    stored = json.loads((copy_of_tiny / "squadqa.json").read_text())["null_threshold"]
    assert stored == fitted["null_threshold"] == after["null_threshold"] != 0
    assert fitted["f1"] == after["f1"] == pytest.approx(fitted["best_f1"])
    assert fitted["f1"] > before["f1"]
    texts = json.loads((copy_of_tiny / "predictions.json").read_text())
    assert len(texts) == 120 and "" in texts.values()


def test_threshold_is_finite(copy_of_tiny, squadqa, tmp_path):
    "Whatever suits the questions: infinity is no JSON."
    rows = sample_rows(3)
    for row, gold in zip(rows, (["!"], ["!"], [])):
        row["context"] += " !"
        places = [row["context"].rindex("!")] * len(gold)
        row["answers"] = {"text": gold, "answer_start": places}
    write_rows(tmp_path / "v.jsonl", rows)
    words = ["evaluate", "--data", "v.jsonl", "--model", copy_of_tiny, "--fit-threshold", "--json"]
    done = squadqa(*words)
    assert done.code == 0, done.err
    settings = (copy_of_tiny / "squadqa.json").read_text()
    stored = json.loads(settings, parse_constant=pytest.fail)["null_threshold"]
    assert abs(stored) < 1e6 and done.values["null_threshold"] == stored


@pytest.mark.parametrize("silent", [True, False])
def test_a_threshold_needs_both_kinds(silent, copy_of_tiny, squadqa, tmp_path):
    "Fitted on one kind, it would silence the model for good, or never."
    rows = sample_rows(3)
    for row in rows if silent else ():
        row["answers"] = {"text": [], "answer_start": []}
    write_rows(tmp_path / "v.jsonl", rows)
    words = ["evaluate", "--data", "v.jsonl", "--model", copy_of_tiny, *SMALL, "--fit-threshold"]
    done = squadqa(*words)
    assert done.code == 2 and "and the data has one kind only" in done.err
    assert not (copy_of_tiny / "squadqa.json").exists()


def test_a_threshold_is_of_the_weights_that_were_scored(copy_of_tiny, squadqa, monkeypatch):
    import squadqa.no_answer as no_answer

    find = no_answer.find_threshold

    def meanwhile(*words):
        weights = copy_of_tiny / "model.safetensors"
        weights.write_bytes(weights.read_bytes())
        os.utime(weights, (1, 1))
        return find(*words)

    monkeypatch.setattr(no_answer, "find_threshold", meanwhile)
    words = ["evaluate", "--data", "sample-v2", "--model", copy_of_tiny, *SMALL]
    done = squadqa(*words, "--fit-threshold")
    assert done.code == 2 and "were replaced while they were scored" in done.err
    assert not {"squadqa.json", "scores.json"} & set(os.listdir(copy_of_tiny))


def test_a_language_keeps_the_stored_threshold(copy_of_tiny, squadqa, tmp_path):
    "What is withheld does not depend on the rules by which the rest is scored."
    rows = sample_rows(6)
    for row in rows[::2]:
        row["answers"] = {"text": [], "answer_start": []}
    write_rows(tmp_path / "v.jsonl", rows)
    words = ["evaluate", "--data", "v.jsonl", "--model", copy_of_tiny, *SMALL]
    for threshold, silent in ((-1e6, 6), (1e6, 0)):
        save_settings(copy_of_tiny, null_threshold=threshold)
        plain = squadqa(*words, "--output", "en", "--json").values
        told = squadqa(*words, "--output", "de", "--language", "de")
        assert told.code == 0 and f"null_score - score > {threshold:.3f}" in told.out, told.err
        texts = [json.loads((tmp_path / o / "predictions.json").read_text()) for o in ("en", "de")]
        assert texts[0] == texts[1] and list(texts[0].values()).count("") == silent
        scores = json.loads((tmp_path / "de" / "scores.json").read_text())
        assert scores["null_threshold"] == plain["null_threshold"] == threshold
        if silent:
            assert scores["exact_match"] == plain["exact_match"] == 50


def test_a_folder_that_may_not_be_written_to(copy_of_tiny, squadqa, tmp_path, monkeypatch):
    "Whoever gave no --output is not told that its value is wrong."
    write_rows(tmp_path / "v.jsonl", sample_rows(2))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    done = squadqa("evaluate", "--data", "v.jsonl", "--model", copy_of_tiny)
    assert done.code == 2 and "choose another folder with --output" in done.err
    assert f"--output {copy_of_tiny}" not in done.err


def test_report_and_language(copy_of_tiny, squadqa, tmp_path):
    write_rows(tmp_path / "v.jsonl", sample_rows(8))
    words = ["evaluate", "--data", "v.jsonl", "--model", copy_of_tiny, *SMALL]
    done = squadqa(*words, "--language", "de", "--report")
    assert done.code == 0 and "report.html" in done.out, done.err
    page = (copy_of_tiny / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and 'src="http' not in page


def test_evaluate_needs_a_place_for_its_files(squadqa, tmp_path, tiny_folder):
    words = ("--model", tiny_folder, "--output", "scored")
    (tmp_path / "scored" / "predictions.json").mkdir(parents=True)
    done = squadqa("evaluate", "--data", "sample", *words)
    assert done.code == 2 and "predictions.json is a folder, and a file was to be" in done.err


@pytest.mark.parametrize("folder", [False, True], ids=["a preset", "and a folder of its name"])
def test_evaluate_writes_into_folders_of_ones_own_only(folder, squadqa, tmp_path):
    "Without --output a preset's files go beside, not into a folder that would hide the preset."
    write_rows(tmp_path / "v.jsonl", sample_rows(2))
    if folder:
        (tmp_path / "starter").mkdir()
    done = squadqa("evaluate", "--data", "v.jsonl", "--model", "starter", "--json")
    assert done.code == 0 and done.values["output"] == "starter-evaluation", done.err
    written = sorted(file.name for file in (tmp_path / "starter-evaluation").iterdir())
    assert written == ["nbest.json", "predictions.json", "scores.json"]
    assert (tmp_path / "starter").exists() == folder and not list(tmp_path.glob("starter/*"))


@pytest.mark.parametrize("data", ["predictions.json", "validation=./scores.json"])
def test_evaluate_spares_its_data(data, squadqa, tiny_folder, tmp_path):
    file = tmp_path / data.rpartition("=")[2]
    write_rows(file, sample_rows(2))
    before = file.read_bytes()
    done = squadqa("evaluate", "--data", data, "--model", tiny_folder, "--output", ".", *SMALL)
    assert done.code == 2 and "would be written over" in done.err, done
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("named", [False, True])
def test_evaluate_spares_a_project(named, squadqa, copy_of_tiny, tmp_path):
    "The capstone's answers have the name of what evaluate writes."
    write_rows(tmp_path / "v.jsonl", sample_rows(2))
    project = tmp_path / "project" if named else copy_of_tiny
    project.mkdir(exist_ok=True)
    for name in FILES:
        (project / name).write_text("{}")
    before = sorted(project.iterdir())
    words = ["evaluate", "--data", "v.jsonl", "--model", copy_of_tiny, *SMALL]
    done = squadqa(*words, *(["--output", project] if named else []))
    assert done.code == 2 and "is a project, whose predictions.json" in done.err, done
    assert "choose another folder (--output)" in done.err
    assert (project / "predictions.json").read_text() == "{}" and sorted(
        project.iterdir()
    ) == before


def test_the_tilde_behind_an_equals_sign(squadqa, tiny_folder, tmp_path, monkeypatch):
    "A shell expands `--model ~/mine`, but not `--model=~/mine`."
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").symlink_to(tiny_folder)
    write_rows(tmp_path / "v.jsonl", sample_rows(2))
    words = ["--model=~/mine", "--output=~/out", "--json", *SMALL]
    done = squadqa("evaluate", "--data", "v.jsonl", *words)
    assert done.code == 0 and (tmp_path / "out" / "scores.json").is_file(), done.err


def test_where_evaluate_writes(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = cli.output_folder
    assert str(place("me/mine")) == "me-mine-evaluation"
    assert str(place("minilm")) == "minilm-evaluation"
    assert str(place("me/mine", "here")) == "here"
    assert place(str(tiny_folder)) == tiny_folder
    (tmp_path / "me" / "mine").mkdir(parents=True)
    assert str(place("me/mine")) == os.path.join("me", "mine")  # now it names a folder


# Asking

QUESTIONS = ["Where did the cat wait?", "When was the lamp lit?"]


def test_answer_from_flags_files_and_standard_input(squadqa, tmp_path):
    (tmp_path / "context.txt").write_text(CONTEXT, encoding="utf-8")
    (tmp_path / "questions.txt").write_text("\n\n".join(QUESTIONS))
    flags = squadqa(
        "answer", "--question", QUESTIONS[0], "--question", QUESTIONS[1], "--text", CONTEXT
    )
    assert flags.code == 0, flags.err
    rows = [json.loads(line) for line in flags.out.splitlines()]
    assert [row["question"] for row in rows] == QUESTIONS
    for row in rows:
        assert set(row) == {"question", "score", "start", "end", "answer"}
        assert CONTEXT[row["start"] : row["end"]] == row["answer"] and 0 < row["score"] <= 1
    assert "quay" in rows[0]["answer"] and "starter" in flags.err
    files = squadqa("answer", "--questions", "questions.txt", "--context", "context.txt")
    piped = squadqa("answer", "--questions", "questions.txt", "--context", "-", said=CONTEXT)
    words = ["answer", "--questions", "-", "--context", "context.txt"]
    asked = squadqa(*words, said="\n".join(QUESTIONS))
    assert files.out == piped.out == asked.out == flags.out
    words = ["answer", "--question", "When?", "--text", CONTEXT, "--top-k", "3", "--no-answer"]
    assert len(squadqa(*words).values["answers"]) == 3


def test_questions_are_cut_at_line_ends_only(squadqa, tiny_folder, tmp_path):
    text = "Where did\u2028the cat wait?\r\n\r\nWhen was the\x0clamp lit?"
    (tmp_path / "questions.txt").write_bytes(text.encode())
    words = ["--questions", "questions.txt", "--text", CONTEXT, "--model", tiny_folder]
    done = squadqa("answer", *words)
    asked = [json.loads(line)["question"] for line in done.out.split("\n") if line]
    assert asked == ["Where did\u2028the cat wait?", "When was the\x0clamp lit?"]
    (tmp_path / "questions.txt").write_bytes(text.replace("\r\n", "\r").encode())  # old Macs
    assert squadqa("answer", *words).out == done.out


def test_predict(squadqa, tiny_folder, tmp_path):
    rows = sample_rows(8)
    write_rows(
        tmp_path / "q.jsonl", [{k: r[k] for k in ("id", "question", "context")} for r in rows]
    )
    words = ["predict", "--model", tiny_folder, *SMALL, "--input", "q.jsonl", "--output", "a.jsonl"]
    done = squadqa(*words, "--n-best", "3")
    assert done.code == 0 and "8 questions in" in done.out and "per second" in done.out, done.err
    answers = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [a["id"] for a in answers] == [r["id"] for r in rows]
    assert all(len(a["n_best"]) == 3 for a in answers)
    again = squadqa(*words)
    assert again.code == 2 and "--overwrite" in again.err
    values = squadqa(*words, "--overwrite", "--json").values
    assert values["questions"] == 8 and values["output"] == "a.jsonl"


def test_predict_with_columns_of_other_names(squadqa, tiny_folder, tmp_path):
    text = "nr,ask,passage\n7,Who wrote the notes?,Ada wrote the notes.\n"
    (tmp_path / "q.csv").write_text(text)
    words = ["predict", "--model", tiny_folder, "--input", "q.csv", "--output", "b.jsonl"]
    columns = ["--question-column", "ask", "--context-column", "passage", "--id-column", "nr"]
    done = squadqa(*words, *columns)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "b.jsonl").read_text())["id"] == "7"


def test_options_go_by_their_names_on_the_command_line(squadqa, tiny_folder, tmp_path):
    write_rows(tmp_path / "q.jsonl", [{"question": "why " * 400, "context": CONTEXT * 30}])
    words = ["--input", "q.jsonl", "--output", "a.jsonl", "--model", tiny_folder]
    done = squadqa("predict", *words)
    assert done.code == 2 and "max_question_len is --max-question-length" in done.err
    assert os.listdir(tmp_path) == ["q.jsonl"]  # nothing stands in the way of the next try


@pytest.mark.slow
def test_predict_under_a_launcher_writes_the_same_file(tiny_folder, tmp_path):
    words = ["-m", "squadqa.cli", "predict", "--model", tiny_folder, *SMALL]
    words += ["--input", ROOT / "squadqa" / "sample" / "train-v1.1.json"]
    two, _ = launch([*words, "--output", tmp_path / "two.jsonl"])
    assert two.returncode == 0 and two.stdout.count("questions in") == 1, two.stderr[-3000:]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, words), "--output", tmp_path / "one.jsonl"]
    subprocess.run(command, check=True, capture_output=True, env=env)
    one = (tmp_path / "one.jsonl").read_bytes()
    assert one == (tmp_path / "two.jsonl").read_bytes() and len(one.splitlines()) == 304


# How it ends


def failing(error):
    def run(args):
        raise error

    return Namespace(run=run, json=False)


@pytest.mark.parametrize(
    "error, said",
    [
        (ValueError("odd"), "squadqa: odd\n"),
        (ValueError("\x1b[2Jodd"), "squadqa: \\x1b[2Jodd\n"),
        (FileNotFoundError(2, "No such file", "a.txt"), "squadqa: a.txt: No such file\n"),
        (MemoryError(), "squadqa: there is not enough memory"),
        (RecursionError("maximum"), "nested too deeply"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "there is not enough memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA is full"), "CUDA is full"),
    ],
)
def test_faults_become_sentences(error, said, capsys):
    assert cli._run(failing(error)) == 2
    told = capsys.readouterr()
    assert said in told.err and "Traceback" not in told.err and told.out == ""


def test_bugs_stay_visible():
    for bug in (KeyError("a bug"), RuntimeError("a bug")):
        with pytest.raises(type(bug)):
            cli._run(failing(bug))


@pytest.mark.parametrize(
    "world, rank, told",
    [(None, "1", True), ("", "1", True), ("x", None, True), ("2", "1", False), ("2", "0", True)],
)
def test_what_a_launcher_left_behind(world, rank, told, squadqa, monkeypatch):
    "A rank without a number of processes is of a launch that is over."
    for name, value in (("WORLD_SIZE", world), ("RANK", rank)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    done = squadqa("check", "sample")
    assert done.code == 0 and ("424 examples" in done.out) == told
    assert "gone.json" in squadqa("check", "gone.json").err


@pytest.mark.parametrize(
    "number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_end_a_command(number, code, capsys):
    "They end it as Ctrl-C does, so that what must be done at the end is done."
    cleaned = []

    def run(args):
        try:
            signal.raise_signal(number)
            time.sleep(5)
        finally:
            cleaned.append(True)

    assert cli._run(Namespace(run=run)) == code and cleaned == [True]
    assert "stopped" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_ignored_signals_stay_ignored(monkeypatch):
    "As under nohup."
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli._run(Namespace(run=lambda args: signal.raise_signal(signal.SIGHUP) or 0)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_pipe_is_no_fault(tmp_path):
    "Nobody reads what is printed: exit code 141, and not a word of it."
    command = [sys.executable, "-m", "squadqa.cli", "check", "sample"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **streams, text=True) as done:
        done.stdout.close()
        said = done.stderr.read()
    assert done.returncode == 141 and said == ""


def test_pipes_are_utf8_wherever():
    "As on Windows, where Python takes another encoding; a byte order mark is no part of a text."
    env = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    words = ["answer", "--question", "Où?", "--context", "-"]
    text = b"\xef\xbb\xbf" + CONTEXT.encode()
    plain = start(*words, input=text, env=env, text=False)
    row = json.loads(plain.stdout.decode("utf-8"))
    assert plain.returncode == 0 and row["question"] == "Où?", plain.stderr
    assert CONTEXT[row["start"] : row["end"]] == row["answer"]
    wrong = start(*words, input="Il attendait à midi.".encode("latin-1"), env=env, text=False)
    assert wrong.returncode == 2 and b"Traceback" not in wrong.stderr
    assert b"standard input is not UTF-8 (byte 13): save it as UTF-8" in wrong.stderr


def test_main_leaves_other_streams_alone(monkeypatch):
    "In a notebook, and where there are none at all."
    for stream in (io.StringIO("x"), None):
        for name in ("stdin", "stdout", "stderr"):
            monkeypatch.setattr(sys, name, stream)
        assert cli.main(["check", "sample"]) == 0
    monkeypatch.undo()
    stream = io.TextIOWrapper(io.BytesIO(b"one\ntwo\n"), encoding="cp1252")
    monkeypatch.setattr(sys, "stdin", stream)
    assert stream.readline() == "one\n" and cli.main(["check", "sample"]) == 0
    assert stream.readline() == "two\n"  # too late to change it


@pytest.mark.parametrize("way", ["a link to the data", "a link as the data", "a folder"])
def test_an_evaluation_spares_its_data(way, squadqa, tiny_folder, tmp_path):
    rows = load_squad()["validation"].select(range(3)).to_list()
    Path("out").mkdir()
    data = {"a link to the data": "mine.json", "a link as the data": "link.json", "a folder": "out"}
    file = Path("mine.json" if way == "a link to the data" else "out/scores.json")
    file.write_text(json.dumps(rows))
    if way == "a link to the data":
        Path("out/scores.json").symlink_to("../mine.json")
    if way == "a link as the data":
        Path("link.json").symlink_to(file)
    done = squadqa("evaluate", "--data", data[way], "--model", tiny_folder, "--output", "out")
    assert done.code == 2 and "would be written over" in done.err, done
    assert json.loads(file.read_text()) == rows


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_context_from_a_pipe(squadqa, tiny_folder):
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text("Ann met Bo in Rome."))
    writer.start()
    done = squadqa("answer", "--question", "Who?", "--context", "pipe", "--model", tiny_folder)
    writer.join()
    assert done.code == 0 and json.loads(done.out)["answer"] in "Ann met Bo in Rome."
    done = squadqa("answer", "--question", "Who?", "--context", ".", "--model", tiny_folder)
    assert done.code == 2 and ". is a folder" in done.err


def shell(words: str) -> Done:
    "Python with these words, as a shell starts it."
    line = f"{shlex.quote(sys.executable)} {words}"
    found = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=ROOT)
    return Done(found.returncode, found.stdout, found.stderr)


full_stream = pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="there is no /dev/full here"
)


@full_stream
def test_an_output_that_cannot_be_written_is_told(tiny_folder):
    words = f"-m squadqa.cli answer --question Who? --text Ann. --model {tiny_folder}"
    full = shell(f"{words} > /dev/full")
    assert full.code == 2 and "standard output cannot be written: No space left" in full.err
    silent = shell("-m squadqa.cli check nowhere.json 2>&-")
    assert silent.code == 2 and silent.out == ""


@pytest.mark.slow
@full_stream
@pytest.mark.parametrize("where", [">&-", "2> /dev/full", "2>&-"])
def test_streams_that_nobody_can_write(where, tiny_folder):
    "Answers are not lost without a word, and what is said beside them is no reason to stop."
    words = f"-m squadqa.cli answer --question Who? --text Ann. --model {tiny_folder}"
    done = shell(f"{words} {where}")
    if where == ">&-":
        assert done.code == 2 and "standard output is closed" in done.err
    else:
        assert json.loads(done.out)["answer"] in "Ann."


def test_options_that_would_do_nothing(squadqa, tiny_folder):
    done = squadqa("evaluate", "--data", "sample", "--model", tiny_folder, "--language", "")
    assert done.code == 2 and done.err
    words = ["--data", "sample", "--model", tiny_folder, "--output", "run", "--hub-private-repo"]
    done = squadqa("train", *words)
    assert done.code == 2 and "no effect without push_to_hub" in done.err


def test_the_hint_after_a_training_reads_the_same_table(squadqa, tiny_folder):
    rows = "asked,passage,reply\nWho met Bo?,Ann met Bo.,Ann\nWhom did Ann meet?,Ann met Bo.,Bo\n"
    for name in ("train", "validation"):
        Path(f"{name}.csv").write_text(rows)
    names = "--question-column asked --context-column passage --answer-column reply".split()
    words = ["--data", ".", *names, "--model", tiny_folder, "--output", "run", "--max-steps", "1"]
    done = squadqa("train", *words)
    assert done.code == 0, done.err
    hint = done.out.split("Score it with: squadqa ")[1].split()
    assert squadqa(*hint).code == 0


def test_the_hint_after_a_training_without_validation_asks_for_other_questions(
    squadqa, tiny_folder
):
    row = {"id": "a", "question": "Who met Bo?", "context": "Ann met Bo."}
    row["answers"] = {"text": ["Ann"], "answer_start": [0]}
    Path("train.jsonl").write_text(json.dumps(row) + "\n")
    words = ["--data", "train.jsonl", "--model", tiny_folder, "--output", "run", "--max-steps", "1"]
    done = squadqa("train", *words)
    assert done.code == 0, done.err
    assert "Score it on other questions with: squadqa evaluate --data validation=FILE" in done.out


def test_another_engine_leaves_gpus_alone(monkeypatch):
    "It computes on a CPU, so two of its processes must not open one GPU."
    exported = "squadqa.backends.exported_engine"
    for device, backend, about, expected in (
        (None, "torch", None, False),
        ("cuda", "torch", None, False),
        ("cpu", "torch", None, True),
        (None, "onnx", None, True),
        (None, "torch", {"backend": "openvino"}, True),
    ):
        monkeypatch.setattr(exported, lambda name, about=about: about)
        given = Namespace(device=device, backend=backend, model="m")
        assert cli._leaves_gpus(given) is expected
