"""Files of questions become files of answers: whole, in order, the same after a kill."""

import csv
import json
import os
import resource
import shutil
import signal
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import tiny_config
from processes import alone, processes

from squadqa import bulk
from squadqa.bulk import check_questions, predict_file, read_questions
from squadqa.data import load_squad
from squadqa.inference import AskOptions, QuestionAnswerer

OPTIONS = AskOptions(max_seq_len=96, doc_stride=24, top_k=2)


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    "60 questions of the sample, long contexts among them, in all formats."
    folder = tmp_path_factory.mktemp("questions")
    rows = [
        {k: r[k] for k in ("id", "question", "context")}
        for r in load_squad()["validation"].select(range(60))
    ]
    (folder / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    with (folder / "q.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "q.parquet")
    squad = {
        "data": [
            {
                "paragraphs": [
                    {"context": r["context"], "qas": [{"id": r["id"], "question": r["question"]}]}
                    for r in rows
                ]
            }
        ]
    }
    (folder / "q.json").write_text(json.dumps(squad))
    (folder / "flat.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def expected(questions, tiny_folder, tmp_path_factory):
    "The answers of a run that nothing interrupts."
    output = tmp_path_factory.mktemp("expected") / "a.jsonl"
    assert (
        alone(
            lambda: predict_file(
                QuestionAnswerer(tiny_folder),
                questions / "q.jsonl",
                output,
                options=OPTIONS,
                chunk=8,
            )
        )
        == 60
    )
    return output.read_bytes()


def test_all_formats_hold_the_same_questions(questions):
    rows = list(read_questions(questions / "q.jsonl"))
    assert len(rows) == 60 and set(rows[0]) == {"id", "question", "context"}
    for name in ("q.csv", "q.parquet", "q.json", "flat.json"):
        assert list(read_questions(questions / name)) == rows, name


def test_answers_are_those_of_the_question_answerer(questions, tiny_folder, expected):
    rows = [json.loads(line) for line in expected.splitlines()]
    asked = list(read_questions(questions / "q.jsonl"))
    found = QuestionAnswerer(tiny_folder)(
        [q["question"] for q in asked],
        [q["context"] for q in asked],
        max_seq_len=96,
        doc_stride=24,
        top_k=2,
    )
    assert [r["id"] for r in rows] == [q["id"] for q in asked]
    for row, answers in zip(rows, found):
        assert [a["answer"] for a in row["n_best"]] == [a["answer"] for a in answers] and row[
            "answer"
        ] == answers[0]["answer"]


def test_a_chunk_holds_a_question(questions, tiny_folder, tmp_path):
    with pytest.raises(ValueError, match="chunk=0 must be a whole number of at least 1"):
        predict_file(
            QuestionAnswerer(tiny_folder), questions / "q.jsonl", tmp_path / "a.jsonl", chunk=0
        )


def test_parquet_has_the_same_answers(questions, tiny_folder, expected, tmp_path):
    alone(
        lambda: predict_file(
            QuestionAnswerer(tiny_folder),
            questions / "q.jsonl",
            tmp_path / "a.parquet",
            options=OPTIONS,
            chunk=8,
        )
    )
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == [
        json.loads(line) for line in expected.splitlines()
    ]
    assert os.listdir(tmp_path) == ["a.parquet"]


def die_at_chunk(number: int):
    "The process dies while it answers this chunk."
    real, calls = bulk.answer_rows, []

    def answer_rows(*args):
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    bulk.answer_rows = answer_rows


@pytest.mark.parametrize("number", [1, 2, 5, 8])
@pytest.mark.parametrize("half", [False, True], ids=["between chunks", "in a line"])
def test_killed_and_resumed(number, half, questions, tiny_folder, expected, tmp_path):
    "Byte for byte the file of a run that was never killed."
    output = tmp_path / "a.jsonl"

    def run(**more):
        return predict_file(
            QuestionAnswerer(tiny_folder),
            questions / "q.jsonl",
            output,
            options=OPTIONS,
            chunk=8,
            **more,
        )

    def dies():
        die_at_chunk(number)
        run()

    assert alone(dies) == -signal.SIGKILL and not output.exists()
    part = tmp_path / "a.jsonl.part0"
    assert len(part.read_bytes().splitlines()) == number
    if half:
        with part.open("ab") as file:
            file.write(b'{"chunk": 7, "rows": [{"id": "x", "ans')
    with pytest.raises(ValueError, match="(?s)interrupted run left.*--resume.*--overwrite"):
        run()

    def count():
        real, calls = bulk.answer_rows, []
        bulk.answer_rows = lambda *args: calls.append(1) or real(*args)
        run(resume=True)
        return len(calls)

    assert alone(count) == 8 - (number - 1)  # nothing is answered twice
    assert output.read_bytes() == expected and os.listdir(tmp_path) == ["a.jsonl"]


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_write_the_same_file(world, questions, tiny_folder, expected, tmp_path):
    output = tmp_path / "a.jsonl"
    processes(
        lambda: predict_file(
            QuestionAnswerer(tiny_folder), questions / "q.jsonl", output, options=OPTIONS, chunk=8
        ),
        world,
    )
    assert output.read_bytes() == expected and os.listdir(tmp_path) == ["a.jsonl"]


def test_a_process_that_fails_leaves_the_others_their_parts(
    questions, tiny_folder, tmp_path, monkeypatch
):
    "They write there as long as the launcher does not stop them."
    output, other = tmp_path / "a.jsonl", tmp_path / "a.jsonl.part1"

    def fails(*_):
        other.touch()  # another process has opened its part, and answered nothing yet
        raise MemoryError

    monkeypatch.setattr(bulk, "_answer_chunks", fails)
    with pytest.raises(MemoryError):
        predict_file(QuestionAnswerer(tiny_folder), questions / "q.jsonl", output, options=OPTIONS)
    assert os.listdir(tmp_path) == ["a.jsonl.part1"]


def test_answers_are_on_the_disk_before_their_parts_go(
    questions, tiny_folder, tmp_path, monkeypatch
):
    "A power cut then loses neither."
    output, synced, real = tmp_path / "a.jsonl", [], os.fsync

    def seen(number):
        synced.append(len(list(tmp_path.glob("a.jsonl.part*"))))
        real(number)

    monkeypatch.setattr(os, "fsync", seen)
    predict_file(QuestionAnswerer(tiny_folder), questions / "q.jsonl", output, options=OPTIONS)
    assert synced[-1:] == [1] and os.listdir(tmp_path) == ["a.jsonl"]


def test_begun_on_two_processes_finished_on_one(questions, tiny_folder, expected, tmp_path):
    output = tmp_path / "a.jsonl"

    def run(**more):
        return predict_file(
            QuestionAnswerer(tiny_folder),
            questions / "q.jsonl",
            output,
            options=OPTIONS,
            chunk=8,
            **more,
        )

    def dies():
        die_at_chunk(3)
        run()

    processes(dies)
    assert len(list(tmp_path.glob("a.jsonl.part*"))) == 2
    alone(lambda: run(resume=True))
    assert output.read_bytes() == expected and os.listdir(tmp_path) == ["a.jsonl"]


def test_nothing_is_lost_by_accident(questions, tiny_folder, tmp_path):
    answerer, output = QuestionAnswerer(tiny_folder), tmp_path / "a.jsonl"
    output.write_text("precious")
    with pytest.raises(ValueError, match="exists.*--overwrite"):
        predict_file(answerer, questions / "q.jsonl", output)
    with pytest.raises(ValueError, match="stride=500"):
        predict_file(
            answerer,
            questions / "q.jsonl",
            output,
            options=AskOptions(doc_stride=500),
            overwrite=True,
        )
    assert output.read_text() == "precious" and os.listdir(tmp_path) == [
        "a.jsonl"
    ]  # the old answers, and nothing else
    predict_file(answerer, questions / "q.jsonl", output, overwrite=True, progress=False)
    assert len(output.read_text().splitlines()) == 60
    part = tmp_path / "b.jsonl.part0"
    part.write_text(
        json.dumps({"made_by": bulk.MADE_BY, "questions": "others.jsonl"})
        + "\n"
        + json.dumps({"chunk": 0, "rows": []})
        + "\n"
    )
    with pytest.raises(ValueError, match="other settings.*others.jsonl"):
        predict_file(answerer, questions / "q.jsonl", tmp_path / "b.jsonl", resume=True)


@pytest.mark.parametrize(
    "other", ["q.jsonl", "./q.jsonl", "link.jsonl", "folder/q.jsonl", "hard.jsonl"]
)
def test_questions_are_not_overwritten(other, questions, tiny_folder, tmp_path, monkeypatch):
    text = (questions / "q.jsonl").read_bytes()
    (tmp_path / "q.jsonl").write_bytes(text)
    (tmp_path / "link.jsonl").symlink_to("q.jsonl")
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    os.link(tmp_path / "q.jsonl", tmp_path / "hard.jsonl")
    monkeypatch.chdir(tmp_path)
    for pair in (("q.jsonl", other), (other, "q.jsonl")):
        with pytest.raises(ValueError, match="is the file of the questions"):
            predict_file(QuestionAnswerer(tiny_folder), *pair, overwrite=True)
    assert (tmp_path / "q.jsonl").read_bytes() == text and sorted(os.listdir()) == [
        "folder",
        "hard.jsonl",
        "link.jsonl",
        "q.jsonl",
    ]


def test_two_runs_do_not_write_to_one_file(questions, tiny_folder, expected, tmp_path):
    "The second is refused while the first is at it, whatever it asks for."
    qa, output = QuestionAnswerer(tiny_folder), tmp_path / "a.jsonl"
    ask, tried = qa.answer_all, []

    def meanwhile(*words):
        for option in ("resume", "overwrite") if not tried else ():
            with pytest.raises(ValueError, match="another run .* is writing"):
                predict_file(qa, questions / "q.jsonl", output, **{option: True})
            tried.append(option)
        return ask(*words)

    qa.answer_all = meanwhile
    predict_file(qa, questions / "q.jsonl", output, options=OPTIONS, chunk=8)
    assert sorted(set(tried)) == ["overwrite", "resume"] and output.read_bytes() == expected
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_questions_that_change_meanwhile(questions, tiny_folder, tmp_path):
    qa, mine = QuestionAnswerer(tiny_folder), tmp_path / "q.jsonl"
    mine.write_bytes((questions / "q.jsonl").read_bytes())
    ask = qa.answer_all

    def meanwhile(*words):
        with mine.open("a") as file:
            file.write("\n")
        return ask(*words)

    qa.answer_all = meanwhile
    with pytest.raises(ValueError, match="q.jsonl was changed while it was answered.*overwrite"):
        predict_file(qa, mine, tmp_path / "a.jsonl", options=OPTIONS, chunk=8)
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.slow
def test_another_precision_of_an_export_is_noticed(questions, tiny_folder, tmp_path):
    "It has the same fingerprint: that of the weights before they were rounded."
    pytest.importorskip("onnxruntime")
    from squadqa.export import export_model

    own, settings = shutil.copytree(tiny_folder, tmp_path / "own"), []
    for dtype in ("float32", "int8"):
        folder = export_model(own, tmp_path / "out", dtype=dtype, overwrite=True)
        qa = QuestionAnswerer(folder, backend="onnx")
        settings.append(bulk.run_settings(qa, questions / "q.jsonl", None, 8, OPTIONS))
    one, two = settings
    assert one["weights"] == two["weights"] and one["engine"] != two["engine"]


def test_answers_that_are_missing_are_not_joined(questions, tiny_folder, tmp_path, monkeypatch):
    output, real = tmp_path / "a.jsonl", bulk._answer_chunks

    def lossy(qa, rows, part, *more):
        total = real(qa, rows, part, *more)
        lines = part.read_text().splitlines(keepends=True)
        part.write_text("".join(lines[:-1]))
        return total

    monkeypatch.setattr(bulk, "_answer_chunks", lossy)
    with pytest.raises(ValueError, match="56 answers to 60 questions.*resume=True"):
        predict_file(QuestionAnswerer(tiny_folder), questions / "q.jsonl", output, chunk=8)
    assert not output.exists() and len(os.listdir(tmp_path)) == 1


def test_files_with_similar_names_are_kept(questions, tiny_folder, expected, tmp_path):
    "Only parts of our own are touched, with every flag."
    names = ("a.jsonl.part", "a.jsonl.partial", "a.jsonl.part1.jsonl", ".a.jsonl", "b.jsonl.part0")
    for name in names:
        (tmp_path / name).write_text(name)

    def run(**more):
        answerer = QuestionAnswerer(tiny_folder)
        source, output = questions / "q.jsonl", tmp_path / "a.jsonl"
        alone(lambda: predict_file(answerer, source, output, options=OPTIONS, chunk=8, **more))

    for more in ({}, {"overwrite": True}):
        run(**more)
        assert (tmp_path / "a.jsonl").read_bytes() == expected
        assert sorted(os.listdir(tmp_path)) == sorted([*names, "a.jsonl"])
    assert all((tmp_path / name).read_text() == name for name in names)


@pytest.mark.parametrize("more", [{}, {"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("content", ["a diary", "", '{"chunk": 0}\n', "[" * 100_000])
def test_a_file_with_the_name_of_a_part_is_kept(more, content, questions, tiny_folder, tmp_path):
    part = tmp_path / "a.jsonl.part3"
    part.write_text(content)
    with pytest.raises(ValueError, match="a.jsonl.part3 is in the way"):
        predict_file(
            QuestionAnswerer(tiny_folder), questions / "q.jsonl", tmp_path / "a.jsonl", **more
        )
    assert part.read_text() == content and os.listdir(tmp_path) == ["a.jsonl.part3"]


@pytest.mark.parametrize("line", ["garbage", '{"chunk": 1}', "[" * 100_000, "5", "{}"])
def test_a_damaged_part_is_named(line, questions, tiny_folder, tmp_path):
    answerer, output = QuestionAnswerer(tiny_folder), tmp_path / "a.jsonl"
    source, part = questions / "q.jsonl", tmp_path / "a.jsonl.part0"
    settings = bulk.run_settings(answerer, source, None, 256, AskOptions())
    first = {"chunk": 0, "rows": []}
    part.write_text(f"{json.dumps(settings)}\n{json.dumps(first)}\n{line}\n")
    with pytest.raises(ValueError, match="a.jsonl.part0, line 3 is damaged.*--overwrite"):
        predict_file(answerer, source, output, resume=True)
    assert part.read_text().count("\n") == 3


def test_other_weights_under_the_same_name_are_noticed(questions, minilm, tiny_folder, tmp_path):
    from transformers import BertForQuestionAnswering, set_seed

    folder, output = tmp_path / "model", tmp_path / "a.jsonl"
    shutil.copytree(tiny_folder, folder)

    def dies():
        die_at_chunk(3)
        predict_file(
            QuestionAnswerer(folder), questions / "q.jsonl", output, options=OPTIONS, chunk=8
        )

    assert alone(dies) == -signal.SIGKILL
    kept = (tmp_path / "a.jsonl.part0").read_bytes()
    set_seed(1)
    BertForQuestionAnswering(tiny_config(minilm)).save_pretrained(folder)
    with pytest.raises(ValueError, match="other settings.*weights="):
        predict_file(
            QuestionAnswerer(folder),
            questions / "q.jsonl",
            output,
            options=OPTIONS,
            chunk=8,
            resume=True,
        )
    assert (tmp_path / "a.jsonl.part0").read_bytes() == kept


def test_a_full_disk_keeps_the_answers(questions, tiny_folder, expected, tmp_path):
    "The run stops with a sentence, and goes on when there is room."
    output = tmp_path / "a.jsonl"

    def run(size=None, **more):
        if size:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            predict_file(
                QuestionAnswerer(tiny_folder),
                questions / "q.jsonl",
                output,
                options=OPTIONS,
                chunk=8,
                **more,
            )
        except ValueError as e:
            return str(e)

    said = alone(lambda: run(5_000))
    assert "a.jsonl.part0 cannot be written: File too large" in said and "--resume" in said
    part = tmp_path / "a.jsonl.part0"
    assert part.stat().st_size == 5_000 and part.read_bytes().count(b"\n") > 1
    assert os.listdir(tmp_path) == ["a.jsonl.part0"]
    assert alone(lambda: run(resume=True)) is None
    assert output.read_bytes() == expected and os.listdir(tmp_path) == ["a.jsonl"]


def test_an_output_that_does_not_fit_keeps_the_parts(questions, tiny_folder, tmp_path, monkeypatch):
    def full(path, found):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(bulk.ANSWER_WRITERS, ".jsonl", full)
    with pytest.raises(ValueError, match="a.jsonl cannot be written: No space.*--resume"):
        predict_file(QuestionAnswerer(tiny_folder), questions / "q.jsonl", tmp_path / "a.jsonl")
    assert os.listdir(tmp_path) == ["a.jsonl.part0"]


def test_ids(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"question": "Who?", "context": "Ann."} for _ in range(50)]
    rows[7]["id"], rows[40]["id"] = "seven", 41
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match="a.jsonl, line 42 has the id '41' of .*a.jsonl, line 41"):
        check_questions(path)
    rows[40]["id"] = 7.0
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert check_questions(path) == 50
    ids = [row["id"] for row in read_questions(path)]
    assert ids[:9] == ["0", "1", "2", "3", "4", "5", "6", "seven", "8"] and ids[40] == "7"


def test_the_row_that_cannot_be_answered_is_named(questions, tiny_folder, tmp_path):
    rows = (questions / "q.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    rows[30] = json.dumps({"id": "long", "question": "why " * 200, "context": "otters " * 300})
    rows[30] += "\n"
    path = tmp_path / "q.jsonl"
    path.write_text("".join(rows), encoding="utf-8")
    with pytest.raises(ValueError, match=r"q.jsonl, line 31 \(id 'long'\): .*200 tokens"):
        predict_file(QuestionAnswerer(tiny_folder), path, tmp_path / "a.jsonl", options=OPTIONS)


def test_titles_and_ids_are_texts_only(tiny_folder, tmp_path):
    "Whatever stands in the data, only the output is written."
    from squadqa.own_data import convert_file

    (tmp_path / "work").mkdir()
    source = tmp_path / "work" / "q.jsonl"
    row = {"id": "../../x", "title": "../y", "question": "Who?", "context": "Ann.", "answer": "Ann"}
    source.write_text(json.dumps(row) + "\n")
    predict_file(QuestionAnswerer(tiny_folder), source, tmp_path / "work" / "a.jsonl")
    convert_file(source, tmp_path / "work" / "b.json")
    assert os.listdir(tmp_path) == ["work"]
    assert sorted(os.listdir(tmp_path / "work")) == ["a.jsonl", "b.json", "q.jsonl"]


@pytest.mark.parametrize(
    "options, row",
    [(AskOptions(max_seq_len=96, doc_stride=96), 0), (OPTIONS, 0), (OPTIONS, 3)],
    ids=["wrong options", "a bad first row", "a bad fourth row"],
)
def test_a_run_that_fails_at_once_leaves_nothing(
    options, row, questions, tiny_folder, expected, tmp_path
):
    "The corrected command runs, without --resume and without --overwrite."
    rows = (questions / "q.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    if options == OPTIONS:
        rows[row] = (
            json.dumps({"id": "x", "question": "why " * 200, "context": "otters " * 300}) + "\n"
        )
    source, output = tmp_path / "q.jsonl", tmp_path / "a.jsonl"
    source.write_text("".join(rows), encoding="utf-8")

    def fails():
        try:
            predict_file(QuestionAnswerer(tiny_folder), source, output, options=options, chunk=60)
        except ValueError as e:
            return str(e)

    assert "200 tokens" in (said := alone(fails)) or "stride=96" in said
    assert os.listdir(tmp_path) == ["q.jsonl"]
    source.write_bytes((questions / "q.jsonl").read_bytes())
    alone(
        lambda: predict_file(
            QuestionAnswerer(tiny_folder), source, output, options=OPTIONS, chunk=8
        )
    )
    assert output.read_bytes() == expected


def test_the_same_file_under_another_path(questions, tiny_folder, expected, tmp_path, monkeypatch):
    "What was begun with a short path and a precision in quotes is what it is."
    monkeypatch.chdir(questions)
    answerer = QuestionAnswerer(tiny_folder, dtype="bfloat16")
    begun = bulk.run_settings(answerer, Path("q.jsonl"), None, 8, OPTIONS)
    bulk.open_part(tmp_path / "a.jsonl.part0", begun)
    answerer.dtype = torch.bfloat16
    resumed = bulk.run_settings(answerer, questions / "q.jsonl", {}, 8, OPTIONS)
    assert begun == resumed == json.loads((tmp_path / "a.jsonl.part0").read_text())
    assert bulk.open_part(tmp_path / "a.jsonl.part0", resumed) == set()


def test_an_edited_file_is_noticed(questions, tiny_folder, expected, tmp_path):
    "Even one that kept its size."
    source, output = tmp_path / "q.jsonl", tmp_path / "a.jsonl"
    source.write_bytes((questions / "q.jsonl").read_bytes())

    def run(**more):
        return predict_file(
            QuestionAnswerer(tiny_folder), source, output, options=OPTIONS, chunk=8, **more
        )

    def dies():
        die_at_chunk(3)
        run()

    assert alone(dies) == -signal.SIGKILL
    kept, size = source.read_bytes(), source.stat().st_size
    source.write_bytes(kept.replace(b"the", b"teh", 1))
    assert source.stat().st_size == size
    with pytest.raises(ValueError, match="other settings.*sha256="):
        run(resume=True)
    source.write_bytes(kept)
    alone(lambda: run(resume=True))
    assert output.read_bytes() == expected


@pytest.mark.parametrize(
    "name, text, said",
    [
        (
            "a.jsonl",
            '{"question": "Who?", "context": "He."}\n{"question": "Who?"}\n',
            "line 2 .*the context is None",
        ),
        ("a.jsonl", '{"question": "Who?", "context": "He."}\n{broken\n', "line 2 is not JSON"),
        (
            "a.jsonl",
            '{"question": " ", "context": "He.", "id": "q7"}\n',
            "'q7'.*the question is empty",
        ),
        ("a.jsonl", "[1]\n", "line 1 is list, not an object"),
        ("a.csv", "Question,Text\nWho?,He.\n", "columns: Question, Text"),
        ("a.txt", "x", "known are .json, .jsonl"),
        ("a.json", '{"x": 1}', "no 'data'"),
    ],
)
def test_bad_files(name, text, said, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        list(read_questions(tmp_path / name))
    with pytest.raises(ValueError, match="no file"):
        list(read_questions(tmp_path / "gone.jsonl"))


def test_output_formats(questions, tiny_folder, tmp_path):
    with pytest.raises(ValueError, match=r"\.jsonl or \.parquet"):
        predict_file(QuestionAnswerer(tiny_folder), questions / "q.jsonl", tmp_path / "a.csv")


def test_memory_does_not_grow(tiny_folder, tmp_path):
    "Ten times as many questions: the same memory, within a tenth."

    def peak(n):
        predict_file(
            QuestionAnswerer(tiny_folder),
            tmp_path / f"{n}.jsonl",
            tmp_path / f"{n}.parquet",
            progress=False,
        )
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    peaks = []
    for n in (1_000, 10_000):
        with (tmp_path / f"{n}.jsonl").open("w") as file:
            for i in range(n):
                row = {"question": f"Who waited {i} hours?", "context": f"Cat {i} waited here."}
                file.write(json.dumps(row) + "\n")
        peaks.append(alone(partial(peak, n)))
        assert pq.read_metadata(tmp_path / f"{n}.parquet").num_rows == n
    assert peaks[1] < 1.1 * peaks[0], peaks
