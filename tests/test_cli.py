"""The command line as people call it: real processes, exit codes, messages, files."""

import io
import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace

import pytest
from conftest import ROOT
from processes import launch

from squadqa import cli
from squadqa.data import load_squad

SMALL = ["--max-length", "128", "--stride", "32"]


def squadqa(*words, cwd=None, said=None):
    "Run one command in a process of its own; `said` is its standard input."
    return subprocess.run(
        [sys.executable, "-m", "squadqa.cli", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        input=said,
    )


def test_help_of_every_command():
    commands = [
        [],
        ["check"],
        ["convert"],
        ["train"],
        ["evaluate"],
        ["answer"],
        ["predict"],
        ["demo"],
    ]
    texts = [squadqa(*c, "--help") for c in commands]
    assert all(t.returncode == 0 and "usage: squadqa" in t.stdout for t in texts)
    assert all(
        c in texts[0].stdout
        for c in ("check", "convert", "train", "evaluate", "answer", "predict", "demo")
    )
    assert (
        squadqa().returncode == 2
        and squadqa("check").returncode == 2
        and squadqa("train", "--data", "sample").returncode == 2
    )


def test_check_good_data():
    done = squadqa("check", "sample")
    assert (
        done.returncode == 0
        and "424 examples over 40 contexts" in done.stdout
        and "no problem found" in done.stdout
    )
    values = json.loads(squadqa("check", "sample-v2", "--json").stdout)
    assert values["ok"] and values["unanswerable"] == 60


def test_check_bad_data(tmp_path):
    rows = load_squad()["train"].select(range(3)).to_list()
    rows[1]["answers"]["answer_start"][0] += 1
    (tmp_path / "bad.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = squadqa("check", "bad.jsonl", cwd=tmp_path)
    assert (
        done.returncode == 1
        and rows[1]["id"] in done.stdout
        and "off by -1" in done.stdout
        and "Traceback" not in done.stderr
    )
    assert not json.loads(squadqa("check", "bad.jsonl", "--json", cwd=tmp_path).stdout)["ok"]


@pytest.mark.parametrize(
    "words, said",
    [
        (["check", "gone.json"], "no file gone.json"),
        (["check", "broken.json"], "broken.json is not JSON"),
        (["evaluate", "--data", "sample", "--model", "nowhere/at-all"], "nowhere/at-all"),
        (
            ["evaluate", "--data", "sample", "--model", "minilm"],
            "no trained question-answering head",
        ),
        (["train", "--data", "broken.json", "--output", "out"], "broken.json is not JSON"),
        (["train", "--data", "sample", "--output", "full"], "full is not empty"),
    ],
)
def test_faults_are_told_in_a_sentence(words, said, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    done = squadqa(*words, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, (
        done.stderr
    )


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory):
    "A run from the shell, in a folder with a space in its name."
    folder = tmp_path_factory.mktemp("shell") / "my run"
    done = squadqa(
        "train",
        "--data",
        "sample",
        "--model",
        tiny_folder,
        "--output",
        folder,
        "--epochs",
        1,
        "--evaluate-first",
        *SMALL,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done


def test_train_tells_before_and_after(trained):
    folder, done = trained
    assert (
        "Before training: EM" in done.stdout
        and "After training: EM" in done.stdout
        and "squadqa evaluate" in done.stdout
    )
    assert (folder / "model.safetensors").exists() and (folder / "learning_curve.png").exists()


def test_evaluate_writes_what_scoring_scripts_read(trained, tmp_path):
    folder, _ = trained
    done = squadqa(
        "evaluate",
        "--data",
        "sample",
        "--model",
        folder,
        "--output",
        tmp_path / "scores",
        "--show",
        3,
        *SMALL,
    )
    assert done.returncode == 0 and done.stdout.count("Q: ") == 3 and "EM " in done.stdout, (
        done.stderr[-3000:]
    )
    examples = load_squad()["validation"]
    texts = json.loads((tmp_path / "scores" / "predictions.json").read_text())
    lists = json.loads((tmp_path / "scores" / "nbest.json").read_text())
    assert list(texts) == examples["id"][:] and set(lists) == set(texts)
    for example in examples:
        answers = lists[example["id"]]
        assert answers[0]["text"] == texts[example["id"]]
        assert all(a["text"] == example["context"][a["start"] : a["end"]] for a in answers)
        assert len({(a["start"], a["end"]) for a in answers}) == len(answers) <= 20
    again = json.loads(
        squadqa(
            "evaluate",
            "--data",
            "sample",
            "--model",
            folder,
            "--output",
            tmp_path / "b",
            "--json",
            *SMALL,
        ).stdout
    )
    saved = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {k: again[k] for k in saved} == pytest.approx(saved) and again["questions"] == 120


def test_two_files_as_data(trained, tmp_path):
    folder, _ = trained
    from squadqa.data import _sample_files

    files = {k: str(v) for k, v in _sample_files().items()}
    done = squadqa("check", ",".join(f"{k}={v}" for k, v in files.items()))
    assert done.returncode == 0 and "424 examples" in done.stdout
    done = squadqa(
        "evaluate",
        "--data",
        f"train={files['train']},dev={files['validation']}",
        "--model",
        folder,
        "--output",
        tmp_path,
    )
    assert done.returncode == 1 and "--split" in done.stderr


def test_console_script_is_installed():
    script = os.path.join(os.path.dirname(sys.executable), "squadqa")
    assert (
        subprocess.run([script, "check", "sample"], capture_output=True, text=True).returncode == 0
    )


# Asking

CONTEXT = "His cat had waited on the quay 🐈 since noon, and the lamp was lit at eight."


def test_answer_from_flags_files_and_standard_input(tmp_path):
    (tmp_path / "context.txt").write_text(CONTEXT, encoding="utf-8")
    (tmp_path / "questions.txt").write_text("Where did the cat wait?\n\nWhen was the lamp lit?\n")
    flags = squadqa(
        "answer",
        "--question",
        "Where did the cat wait?",
        "--question",
        "When was the lamp lit?",
        "--text",
        CONTEXT,
    )
    assert flags.returncode == 0, flags.stderr
    rows = [json.loads(line) for line in flags.stdout.splitlines()]
    assert [r["question"] for r in rows] == ["Where did the cat wait?", "When was the lamp lit?"]
    for r in rows:
        assert (
            set(r) == {"question", "score", "start", "end", "answer"}
            and CONTEXT[r["start"] : r["end"]] == r["answer"]
            and 0 < r["score"] <= 1
        )
    assert "quay" in rows[0]["answer"] and "starter" in flags.stderr
    files = squadqa(
        "answer", "--questions", "questions.txt", "--context", "context.txt", cwd=tmp_path
    )
    stdin = squadqa(
        "answer", "--questions", tmp_path / "questions.txt", "--context", "-", said=CONTEXT
    )
    asked = squadqa(
        "answer",
        "--questions",
        "-",
        "--context",
        "context.txt",
        cwd=tmp_path,
        said="Where did the cat wait?\nWhen was the lamp lit?",
    )
    assert files.stdout == stdin.stdout == asked.stdout == flags.stdout
    several = json.loads(
        squadqa(
            "answer", "--question", "When?", "--text", CONTEXT, "--top-k", "3", "--no-answer"
        ).stdout
    )
    assert len(several["answers"]) == 3


@pytest.mark.parametrize(
    "words, said",
    [
        (["--question", "Who?", "--context", "gone.txt"], "no file gone.txt"),
        (["--text", "He."], "there is no question"),
        (["--questions", "-", "--context", "-"], "only one of"),
        (["--question", " ", "--text", "He."], "the question is empty"),
        (["--question", "Who?", "--text", " "], "the context is empty"),
        (["--question", "Who?", "--text", "He.", "--top-k", "0"], "top_k=0"),
        (
            ["--question", "Who?", "--text", "He.", "--model", "minilm"],
            "no trained question-answering head",
        ),
    ],
)
def test_faults_of_answer(words, said, tmp_path):
    done = squadqa("answer", *words, cwd=tmp_path, said="")
    assert (
        done.returncode == 1
        and said in done.stderr
        and "Traceback" not in done.stderr
        and done.stdout == ""
    )


def test_predict(tiny_folder, tmp_path):
    common = ["predict", "--model", tiny_folder, *SMALL]
    rows = load_squad()["validation"].select(range(8)).to_list()
    (tmp_path / "q.jsonl").write_text(
        "".join(json.dumps({k: r[k] for k in ("id", "question", "context")}) + "\n" for r in rows)
    )
    done = squadqa(
        *common, "--input", "q.jsonl", "--output", "a.jsonl", "--n-best", "3", cwd=tmp_path
    )
    assert (
        done.returncode == 0 and "8 questions in" in done.stdout and "per second" in done.stdout
    ), done.stderr
    answers = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [a["id"] for a in answers] == [r["id"] for r in rows] and all(
        len(a["n_best"]) == 3 for a in answers
    )
    again = squadqa(*common, "--input", "q.jsonl", "--output", "a.jsonl", cwd=tmp_path)
    assert again.returncode == 1 and "--overwrite" in again.stderr
    values = json.loads(
        squadqa(
            *common,
            "--input",
            "q.jsonl",
            "--output",
            "a.jsonl",
            "--overwrite",
            "--json",
            cwd=tmp_path,
        ).stdout
    )
    assert values["questions"] == 8 and values["output"] == "a.jsonl"
    (tmp_path / "q.csv").write_text("nr,ask,passage\n7,Who wrote the notes?,Ada wrote the notes.\n")
    named = squadqa(
        *common,
        "--input",
        "q.csv",
        "--output",
        "b.jsonl",
        "--question-column",
        "ask",
        "--context-column",
        "passage",
        "--id-column",
        "nr",
        cwd=tmp_path,
    )
    assert named.returncode == 0 and json.loads((tmp_path / "b.jsonl").read_text())["id"] == "7", (
        named.stderr
    )
    cut, long = (
        squadqa(
            *common,
            "--input",
            "q.csv",
            "--output",
            f"{n}.jsonl",
            "--question-column",
            "ask",
            "--context-column",
            "passage",
            *more,
            cwd=tmp_path,
        )
        for n, more in (("c", ["--max-question-length", "0"]), ("d", []))
    )
    assert (
        cut.returncode == 1
        and "max_question_len=0 must be a number of at least 1" in cut.stderr
        and long.returncode == 0
    )


def test_predict_under_a_launcher_writes_the_same_file(tiny_folder, tmp_path):
    words = [
        "-m",
        "squadqa.cli",
        "predict",
        "--model",
        tiny_folder,
        *SMALL,
        "--input",
        ROOT / "squadqa" / "sample" / "train-v1.1.json",
    ]
    two, _ = launch([*words, "--output", tmp_path / "two.jsonl"])
    assert two.returncode == 0 and two.stdout.count("questions in") == 1, two.stderr[-3000:]
    subprocess.run(
        [sys.executable, *map(str, words), "--output", tmp_path / "one.jsonl"],
        check=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes() and len(
        (tmp_path / "one.jsonl").read_bytes().splitlines()
    ) == 304


@pytest.fixture
def copy_of_tiny(tiny_folder, tmp_path):
    "A folder of the tiny model that may be written into."
    return shutil.copytree(tiny_folder, tmp_path / "tiny")


def test_threshold_is_fitted_stored_and_used(copy_of_tiny):
    words = ["evaluate", "--data", "sample-v2", "--model", copy_of_tiny, *SMALL, "--json"]
    before, fitted, after = (
        json.loads(squadqa(*words, *more).stdout) for more in ([], ["--fit-threshold"], [])
    )
    assert before["null_threshold"] == 0 and before["HasAns_total"] == before["NoAns_total"] == 60
    stored = json.loads((copy_of_tiny / "squadqa.json").read_text())["null_threshold"]
    assert stored == fitted["null_threshold"] == after["null_threshold"] != 0
    assert (
        fitted["f1"] == after["f1"] == pytest.approx(fitted["best_f1"])
        and fitted["f1"] > before["f1"]
    )
    texts = json.loads((copy_of_tiny / "predictions.json").read_text())
    assert len(texts) == 120 and "" in texts.values()


def test_report_and_language(copy_of_tiny):
    done = squadqa(
        "evaluate",
        "--data",
        "sample",
        "--model",
        copy_of_tiny,
        *SMALL,
        "--language",
        "de",
        "--report",
    )
    assert done.returncode == 0, done.stderr
    page = (copy_of_tiny / "report.html").read_text()
    assert (
        page.startswith("<!DOCTYPE html>")
        and 'src="http' not in page
        and "report.html" in done.stdout
    )


@pytest.mark.parametrize(
    "words, said",
    [
        (["--language", "tlh"], "tlh"),
        (["--fit-threshold"], "is no folder"),
        (["--data", "faq.csv", "--question-column", "Frage"], "no column Frage"),
    ],
)
def test_evaluate_refuses_before_the_work(words, said, tmp_path):
    (tmp_path / "faq.csv").write_text(
        "question,context,answer\nWhen?,It opens at nine.,nine\n", encoding="utf-8"
    )
    done = squadqa("evaluate", "--data", "sample", "--model", "starter", *words, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, (
        done.stderr
    )


def test_convert_then_check(tmp_path):
    (tmp_path / "faq.csv").write_text(
        "Frage,Text,Antwort\nWhen?,It opens at nine. By nine all is sold.,nine\n", encoding="utf-8"
    )
    words = [
        "convert",
        "faq.csv",
        "faq.json",
        "--question-column",
        "Frage",
        "--context-column",
        "Text",
        "--answer-column",
        "Antwort",
    ]
    doubt = squadqa(*words, cwd=tmp_path)
    assert (
        doubt.returncode == 1
        and "--unclear first" in doubt.stderr
        and not (tmp_path / "faq.json").exists()
    )
    assert squadqa(*words, "--unclear", "first", cwd=tmp_path).returncode == 0
    assert "1 examples over 1 contexts" in squadqa("check", "faq.json", cwd=tmp_path).stdout
    assert (
        squadqa(*words, "--unclear", "first", cwd=tmp_path).returncode == 1
    )  # nothing is written over


@pytest.mark.parametrize(
    "folder", [False, True], ids=["a preset", "a preset, and a folder of its name"]
)
def test_evaluate_writes_into_folders_of_ones_own_only(folder, tmp_path):
    "Without --output a preset's files go beside, not into a folder that would then hide the preset."
    rows = load_squad()["validation"].select(range(2)).to_list()
    (tmp_path / "v.jsonl").write_text("\n".join(map(json.dumps, rows)))
    if folder:
        (tmp_path / "starter").mkdir()
    done = squadqa("evaluate", "--data", "v.jsonl", "--model", "starter", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["output"] == "starter-evaluation", (
        done.stderr
    )
    assert sorted(f.name for f in (tmp_path / "starter-evaluation").iterdir()) == [
        "nbest.json",
        "predictions.json",
        "scores.json",
    ]
    assert (tmp_path / "starter").exists() == folder and not list(tmp_path.glob("starter/*"))
    refused = squadqa(
        "evaluate", "--data", "v.jsonl", "--model", "starter", "--fit-threshold", cwd=tmp_path
    )
    assert refused.returncode == 1 and "is no folder" in refused.stderr


def test_where_evaluate_writes(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = lambda model, output=None: str(
        cli._output_folder(Namespace(model=model, output=output))
    )
    assert (
        place("me/mine") == "me-mine-evaluation"
        and place("minilm") == "minilm-evaluation"
        and place("me/mine", "here") == "here"
    )
    assert place(str(tiny_folder)) == str(tiny_folder)
    (tmp_path / "me" / "mine").mkdir(parents=True)
    assert place("me/mine") == os.path.join("me", "mine")  # now it names a folder
    assert "NAME-evaluation" in " ".join(squadqa("evaluate", "--help").stdout.split())


# Streams


def test_a_closed_pipe_is_no_fault(tmp_path):
    "Nobody reads what is printed: exit code 1, and not a word of it."
    (tmp_path / "questions.txt").write_text("Where did the cat wait?\n" * 3, encoding="utf-8")
    words = [
        sys.executable,
        "-m",
        "squadqa.cli",
        "answer",
        "--questions",
        "questions.txt",
        "--text",
        CONTEXT,
    ]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as done:
        done.stdout.close()
        said = done.stderr.read()
    assert (
        done.returncode == 1
        and said.startswith("Answers come from starter")
        and len(said.splitlines()) == 1
    ), said


def test_pipes_are_utf8_wherever(tmp_path):
    "As on Windows, where Python takes another encoding for pipes; a byte order mark is no part of the text."
    run = lambda said: subprocess.run(
        [sys.executable, "-m", "squadqa.cli", "answer", "--question", "Où?", "--context", "-"],
        capture_output=True,
        input=said,
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    )
    plain, marked, wrong = (
        run(CONTEXT.encode()),
        run(b"\xef\xbb\xbf" + CONTEXT.encode()),
        run("Il attendait à midi.".encode("latin-1")),
    )
    row = json.loads(plain.stdout.decode("utf-8"))
    assert (
        plain.returncode == 0
        and row["question"] == "Où?"
        and CONTEXT[row["start"] : row["end"]] == row["answer"]
    ), plain.stderr
    assert marked.stdout == plain.stdout
    assert (
        wrong.returncode == 1
        and b"standard input is not UTF-8 (byte 13): save it as UTF-8" in wrong.stderr
        and b"Traceback" not in wrong.stderr
    )


def test_main_leaves_other_streams_alone(monkeypatch, capsys):
    "In a notebook, and where there are none at all."
    for stream in (io.StringIO("x"), None):
        for name in ("stdin", "stdout", "stderr"):
            monkeypatch.setattr(sys, name, stream)
        assert cli.main(["check", "sample"]) == 0
    monkeypatch.undo()
    stream = io.TextIOWrapper(io.BytesIO(b"one\ntwo\n"), encoding="cp1252")
    monkeypatch.setattr(sys, "stdin", stream)
    assert (
        stream.readline() == "one\n"
        and cli.main(["check", "sample"]) == 0
        and stream.readline() == "two\n"
    )  # too late to change it


def test_questions_are_cut_at_line_ends_only(tiny_folder, tmp_path, capsys):
    (tmp_path / "questions.txt").write_bytes(
        "Where did\u2028the cat wait?\r\n\r\nWhen was the\x0clamp lit?".encode()
    )
    assert (
        cli.main(
            [
                "answer",
                "--questions",
                str(tmp_path / "questions.txt"),
                "--text",
                CONTEXT,
                "--model",
                str(tiny_folder),
            ]
        )
        == 0
    )
    asked = [json.loads(line)["question"] for line in capsys.readouterr().out.split("\n") if line]
    assert asked == ["Where did\u2028the cat wait?", "When was the\x0clamp lit?"]


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["answer", "--question", "When?", "--text", "He.", "--top-k", "0"],
            "top_k=0 must be a number of at least 1 (top_k is --top-k)",
        ),
        (
            ["predict", "--input", "q.jsonl", "--output", "a.jsonl", "--n-best", "0"],
            "top_k=0 must be a number of at least 1 (top_k is --n-best)",
        ),
        (
            ["predict", "--input", "q.jsonl", "--output", "a.jsonl"],
            "(max_seq_len is --max-length, max_question_len is --max-question-length)",
        ),
        (
            ["predict", "--input", "q.jsonl", "--output", "a.jsonl", "--device", "gpu"],
            "device='gpu' is no place to compute",
        ),
        (
            ["predict", "--input", "q.jsonl", "--output", "./q.jsonl", "--overwrite"],
            "q.jsonl is the file of the questions",
        ),
    ],
)
def test_options_go_by_their_names_on_the_command_line(
    words, said, tiny_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.jsonl").write_text(
        json.dumps({"question": "why " * 400, "context": CONTEXT * 30}) + "\n", encoding="utf-8"
    )
    assert cli.main([*words, "--model", str(tiny_folder)]) == 1 and said in capsys.readouterr().err
    assert os.listdir(tmp_path) == [
        "q.jsonl"
    ]  # nothing that stands in the way of the corrected command
