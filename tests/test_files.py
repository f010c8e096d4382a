"""Files: rows in every format with their places, and a writer that never leaves half a file."""

import csv
import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import alone

from squadqa import checkpoints
from squadqa.bulk import prepare_output
from squadqa.checkpoints import open_run
from squadqa.data import load_squad
from squadqa.export import export_model
from squadqa.files import (
    READERS,
    Row,
    answer_lists,
    as_row,
    file_digest,
    id_text,
    input_file,
    parse_json,
    place_rows,
    read_rows,
    read_text,
    replace_file,
    shown,
    squad_rows,
    take,
    text_problem,
    user_path,
    walk_squad,
    whole_number,
    write_json,
)
from squadqa.own_data import save_squad_json

ROWS = [
    {"id": "a", "question": "Who?", "context": 'Ann, "the otter",\r\nleft.'},
    {"id": "b", "question": "Où?", "context": "In Rome 🥐\u2028again."},
]


def as_csv(end="\r\n") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(ROWS[0]), lineterminator=end)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


def as_parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out)
    return out.getvalue()


JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
MARK = b"\xef\xbb\xbf"
WRITTEN = {
    "a.csv": (as_csv(), ["line 2", "line 4"]),
    "lf.csv": (as_csv("\n"), ["line 2", "line 4"]),
    "mark.csv": (MARK + as_csv(), ["line 2", "line 4"]),
    "UPPER.CSV": (as_csv(), ["line 2", "line 4"]),
    "a.jsonl": (JSONL, ["line 1", "line 2"]),
    "crlf.jsonl": (JSONL.replace(b"\n", b"\r\n"), ["line 1", "line 2"]),
    "mark.jsonl": (MARK + JSONL, ["line 1", "line 2"]),
    "gaps.jsonl": (b"\n" + JSONL.replace(b"\n", b"\n\n"), ["line 2", "line 4"]),
    "no-end.jsonl": (JSONL[:-1], ["line 1", "line 2"]),
    "a.parquet": (as_parquet(), ["row 0", "row 1"]),
    "a.json": (json.dumps(ROWS).encode(), ["row 0", "row 1"]),
    "data.json": (MARK + json.dumps({"data": ROWS}).encode(), ["row 0", "row 1"]),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_format_gives_the_same_rows_with_places(name, tmp_path):
    content, places = WRITTEN[name]
    path = tmp_path / name
    path.write_bytes(content)
    rows = list(read_rows(path))
    assert [row.values for row in rows] == ROWS
    assert [row.at for row in rows] == [f"{path}, {place}" for place in places]
    assert {os.path.splitext(name)[1].lower() for name in WRITTEN} == set(READERS)


def test_rows_come_one_by_one(tmp_path):
    "What is wrong further down is not read before it is asked for."
    path = tmp_path / "a.jsonl"
    path.write_bytes(JSONL + b"{broken\n")
    rows = read_rows(path)
    assert next(rows).values == ROWS[0] and next(rows).values == ROWS[1]
    with pytest.raises(ValueError, match="a.jsonl, line 3 is not JSON"):
        next(rows)


def test_only_the_columns_that_are_wanted(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(as_parquet())
    (first, _) = read_rows(path, columns=["id", "unknown"])
    assert first.values == {"id": "a"}
    (first, _) = read_rows(path, columns=["unknown"])  # the caller tells what is missing
    assert first.values == ROWS[0]


def test_a_short_row_has_nulls(tmp_path):
    (tmp_path / "a.csv").write_text("id,question,context\n\na,Who?\n")
    (row,) = read_rows(tmp_path / "a.csv")
    assert row == (f"{tmp_path}/a.csv, line 3", {"id": "a", "question": "Who?", "context": None})


def test_empty_cells_behind_the_last_column(tmp_path):
    "Spreadsheets write them; a text in one of them belongs to no column."
    file = tmp_path / "a.csv"
    file.write_text("id,question,,\n1,Who?, ,\n2,When?\n")
    rows = [row.values for row in read_rows(file)]
    assert rows == [{"id": "1", "question": "Who?"}, {"id": "2", "question": "When?"}]
    for text, words in (
        ("id,question,,\n1,Who?,Ann,\n", "line 2 has more cells"),
        ("id,question\n1,Who?,\n", "line 2 has more cells"),
        (",id,,question\n", "several columns without a name"),
        (",,\n1,2,3\n", "the first line names no column"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=words):
            list(read_rows(file))


def test_rows_of_empty_cells(tmp_path):
    "Spreadsheets write them behind the last row."
    file = tmp_path / "a.csv"
    file.write_text('id,question\n1,Who?\n,\n2,\n"",""\n')
    assert [row.values["id"] for row in read_rows(file)] == ["1", "2"]


def test_a_line_break_without_quotes(tmp_path):
    "Some programs put none around a lone carriage return, which would end the row."
    file = tmp_path / "a.csv"
    for text in ("id,context\n1,Ann\rBo\n2,c\n", "id,context\r\n1,Ann\rBo\r\n"):
        file.write_bytes(text.encode())
        with pytest.raises(ValueError, match=r"line 2 ends with '\\r', .* needs quotes around it"):
            list(read_rows(file))
    file.write_bytes(b"id,context\r1,Ann\nBo\r")
    with pytest.raises(ValueError, match=r"line 2 ends with '\\n'"):
        list(read_rows(file))
    for text in (
        'id,context\n1,"Ann\rBo"\n',
        'id,context\r1,"Ann\rBo"\r',
        'id,context\r1,"Ann\rBo"',
    ):
        file.write_bytes(text.encode())
        assert [row.values["context"] for row in read_rows(file)] == ["Ann\rBo"]
    for text in (b"id\n1\r\n2\n", b"id\r\r\n1\r\r\n2\r\r\n"):  # the last as Windows may write it
        file.write_bytes(text)
        assert [row.values["id"] for row in read_rows(file)] == ["1", "2"]


def test_a_cell_of_any_length(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("id,context\n1," + "x" * 200_000 + "\n")
    assert [len(row.values["context"]) for row in read_rows(file)] == [200_000]


def test_squad_tree():
    qas = [
        {"id": 1, "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0, "x": 1}]},
        {"id": 2, "question": "Why?", "answers": [], "is_impossible": True},
    ]
    tree = {"version": "v2.0", "data": [{"paragraphs": [{"context": "Ann.", "qas": qas}]}]}
    assert list(squad_rows(tree)) == [
        {"id": 1, "title": "", "context": "Ann.", "question": "Who?"}
        | {"answers": {"text": ["Ann"], "answer_start": [0]}},
        {"id": 2, "title": "", "context": "Ann.", "question": "Why?"}
        | {"answers": {"text": [], "answer_start": []}},
    ]
    (place, article, paragraph, qa), _ = walk_squad(tree, "a.json")
    assert place == "a.json: data[0]: paragraphs[0]: qas[0]" and qa is qas[0]
    assert article is tree["data"][0] and paragraph is article["paragraphs"][0]


def test_questions_of_a_tree_may_have_no_answers(tmp_path):
    qas = [{"id": "1", "question": "Who?"}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "Ann.", "qas": qas}]}]}))
    (row,) = read_rows(path, answers=False)
    assert row.values["question"] == "Who?"
    with pytest.raises(ValueError, match=r"qas\[0\] has no 'answers'.*SQuAD layout"):
        list(read_rows(path))


def test_answers_in_their_forms():
    lists = {"text": ["Bo"], "answer_start": [8]}
    assert answer_lists([{"text": "Bo", "answer_start": 8}]) == lists
    assert answer_lists(lists) == answer_lists(json.dumps(lists)) == lists
    assert answer_lists([]) == {"text": [], "answer_start": []}
    assert answer_lists(None) is None
    null = {"text": None, "answer_start": None}
    assert answer_lists(null) == null
    for broken in ("[{", 5, [5], [None], {"text": ["Bo"]}, lists | {"text": "Bo"}):
        with pytest.raises(ValueError, match="qa 3"):
            answer_lists(broken, "qa 3")


def test_values():
    assert text_problem("Bo 🥐") == ""
    assert text_problem(None) == "None, not a text"
    assert "half of a surrogate pair" in text_problem("a\ud83d")
    assert [id_text(value) for value in ("x", 7, 7.0, -1)] == ["x", "7", "7", "-1"]
    wrong = ("", " ", None, True, 7.5, float("nan"), float("inf"), [], {}, "\udc00")
    assert {id_text(value) for value in wrong} == {None}
    assert [whole_number(value) for value in (0, 8.0, -1, 2**31 - 1)] == [0, 8, -1, 2**31 - 1]
    wrong = (True, 8.5, "8", None, float("nan"), float("inf"), 2**31, 2**63, 1e300, [])
    assert {whole_number(value) for value in wrong} == {None}


def test_messages_stay_short():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) < 100 and len(shown("x" * 10_000)) < 100
    assert len(shown({str(n): n for n in range(10_000)})) < 200
    assert len(shown(10**5000)) < 120


def test_taking_a_value_out_of_a_nested_file():
    assert take({"a": [1]}, "a", list, "here") == [1]
    assert take({"a": None}, "a", list, "here", default=[]) == []
    assert take({}, "a", dict, "here", default=None) is None
    for values, words in (
        ({}, "here has no 'a'"),
        ({"a": None}, "here: 'a' is None, not a list"),
        (5, "here is 5, not an object with 'a'"),
        (None, "here is None"),
    ):
        with pytest.raises(ValueError, match=words):
            take(values, "a", list, "here")
    with pytest.raises(TypeError):
        take({}, "a", list, "here", defualt=[])


def test_places_of_rows_that_a_program_made():
    kept = Row("a.csv, line 7", {"id": 1})
    assert place_rows([{"id": 0}, kept], "rows") == [Row("rows, row 0", {"id": 0}), kept]
    assert as_row(kept, "elsewhere") is kept
    for rows, words in (
        ([], "rows holds no example"),
        ({}, "rows is dict, not a list of rows"),
        ("ab", "rows is str"),
        (None, "rows is NoneType"),
        ([{}, None], "rows, row 1 is null, not an object"),
        ([[1]], "rows, row 0 is list"),
    ):
        with pytest.raises(ValueError, match=words):
            place_rows(rows, "rows")


def test_a_file_that_is_called_like_the_home_folder(tmp_path, monkeypatch):
    "Only what begins with ~ leads there; `pathlib` drops the ./ that says so."
    home = tmp_path / "home"
    for name in ("HOME", "USERPROFILE"):  # the second on Windows
        monkeypatch.setenv(name, str(home))
    monkeypatch.chdir(tmp_path)
    assert user_path("~/a") == home / "a"
    here = user_path("./~/a")
    assert here == user_path(here) == tmp_path / "~" / "a"
    assert user_path("./~nobody-here.json") == tmp_path / "~nobody-here.json"
    write_json("./~/a.json", [1])
    assert (tmp_path / "~" / "a.json").is_file() and not home.exists()


def test_text_keeps_its_line_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(MARK + "a\r\nb\rc\u2028d\n".encode())
    assert read_text(path) == "a\r\nb\rc\u2028d\n"
    assert parse_json('{"a": [1.5, null]}', "here") == {"a": [1.5, None]}


def test_what_the_system_refuses(tmp_path, monkeypatch):
    "Root may read everything, so the refusal is played."
    path = tmp_path / "a.json"
    path.write_text("[]")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(ValueError, match="a.json cannot be read: Permission denied"):
        read_text(path)


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="a.csv is no ordinary file"):
        input_file(tmp_path / "a.csv")
    for path in (None, 5, "", b"a.csv"):
        with pytest.raises(ValueError, match="is no path"):
            input_file(path)


def test_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.csv").write_text("id\n1\n")
    assert input_file("~/a.csv") == tmp_path / "a.csv"


# Writing


def test_a_file_is_replaced_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replace_file(path, sync=True) as beside:
        beside.write_text("one")
        assert not path.exists() and beside.parent == path.parent
    with replace_file(str(path)) as beside:
        beside.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two" and os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("no")])
def test_a_failure_leaves_the_old_file(error, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="a.txt cannot be written: No space left|^no$"):
        with replace_file(path) as beside:
            beside.write_text("half of the n")
            raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_json_is_written_whole(tmp_path):
    path = tmp_path / "made" / "a.json"
    write_json(path, {"ort": "Gråvik", "n": [1, 2]})
    assert path.read_text("utf-8") == '{\n "ort": "Gråvik",\n "n": [\n  1,\n  2\n ]\n}\n'
    with pytest.raises(TypeError):
        write_json(path, {"n": object()})
    assert json.loads(path.read_text("utf-8"))["n"] == [1, 2] and os.listdir(path.parent) == [
        "a.json"
    ]


def test_a_file_is_known_by_its_bytes(tmp_path):
    for size in (0, 5, 2**20, 2**20 + 1):
        data = bytes(range(256)) * (size // 256 + 1)
        (tmp_path / "a.bin").write_bytes(data[:size])
        assert file_digest(tmp_path / "a.bin") == hashlib.sha256(data[:size]).hexdigest()
    assert checkpoints.file_digest is file_digest  # where it was before


def test_an_interrupt_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        with replace_file(path) as beside:
            beside.write_text("new")
            raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_link_stays_a_link_and_permissions_stay(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to("real.txt")
    with replace_file(link) as beside:
        beside.write_text("new")
    assert link.is_symlink() and real.read_text() == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_places_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    for name in (".", "file/a.txt", "loop/a.txt", "a" * 300):
        with pytest.raises(ValueError, match="cannot be written|is a folder|too long"):
            with replace_file(tmp_path / name) as beside:
                beside.write_text("x")
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]


def limited(size: int):
    "From now on no file of this process grows beyond so many bytes, as on a full disk"
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_leaves_the_only_copy(tmp_path):
    "The input is the output: what was there must not be lost."
    from squadqa.data import load_squad
    from squadqa.own_data import convert_file, save_squad_json

    path = tmp_path / "a.json"
    save_squad_json(load_squad()["train"], path)
    before = path.read_bytes()

    def convert():
        limited(20_000)
        try:
            convert_file(path, path, overwrite=True)
        except ValueError as e:
            return str(e)

    said = alone(convert)
    assert len(before) > 20_000 and "a.json cannot be written: File too large" in said
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.json"]


def test_reading_files_needs_no_data_set_library():
    code = (
        "import sys, squadqa.files; print({'torch', 'datasets', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("says", [True, False, None])
def test_answers_tell_whether_there_is_one(says):
    "As in the official scorer, whatever `is_impossible` says."
    for answers in ([], [{"text": "Bo", "answer_start": 8}]):
        qa = {"id": "x", "question": "Whom?", "is_impossible": says, "answers": answers}
        qa["plausible_answers"] = [{"text": "Ann", "answer_start": 0}]
        paragraph = {"context": "Ann met Bo in Rome.", "qas": [qa]}
        (row,) = squad_rows({"data": [{"paragraphs": [paragraph]}]})
        assert row["answers"]["text"] == [answer["text"] for answer in answers]


def test_a_word_is_no_truth_value(tmp_path):
    "Whoever may overwrite says True; the text 'no' would count as it."
    (tmp_path / "a.json").write_text("mine")
    data = load_squad()["train"]
    for call in (
        lambda: prepare_output(tmp_path / "a.jsonl", overwrite="no"),
        lambda: prepare_output(tmp_path / "a.jsonl", resume="no"),
        lambda: save_squad_json(data, tmp_path / "a.json", overwrite="no"),
        lambda: export_model("starter", tmp_path, overwrite="no"),
        lambda: open_run(tmp_path, overwrite="no").__enter__(),
    ):
        with pytest.raises(ValueError, match="(overwrite|resume)='no' must be True or False"):
            call()
    assert (tmp_path / "a.json").read_text() == "mine"


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "id;question;context\n1;Who?;Ann, who met Bo.\n",
            "line 2 has more cells than there are columns .they are 'id;question;context', "
            "which seem to be separated by ';': save it with commas",
        ),
        ("id\tquestion\n1\tWho, then?\n", r"line 2 has more .* separated by '\\t': save it with"),
        (
            '"id";"question"\n"1";"Who?"\n',
            "line 1: ',' expected .* .the columns are .* separated by ';': save it with commas",
        ),
        ('id;question\n1;"Who?"\n"2";"Who, then?"\n', "line 3: ',' expected .* separated by ';'"),
        ("id,a;b\n1,x,y\n", r"line 2 has more .*: \['y'\]; a text with a comma needs quotes"),
        ('id,a;b\n"1"x,y\n', "line 2: ',' expected after '\"'; in .jsonl no text needs quotes"),
        ("sep=,\nid,question\n1,Who?\n", "the first line, 'sep=,', tells Excel"),
        (
            "SEP=;\r\nid;question\r\n1;Who?\r\n",
            "the first line, 'SEP=;', .* save the file with com",
        ),
        ("sep=\t\nid\tquestion\n1\tWho?\n", r"the first line, 'sep=\\t', .* without this line"),
    ],
)
def test_another_separator_is_named(text, words, tmp_path):
    (tmp_path / "a.csv").write_text(text, newline="")
    with pytest.raises(ValueError, match=f"a.csv.*{words}"):
        list(read_rows(tmp_path / "a.csv"))


def test_a_single_column_may_hold_a_semicolon(tmp_path):
    (tmp_path / "a.csv").write_text("who; when\nAnn\nBo\n")
    assert [row.values for row in read_rows(tmp_path / "a.csv")] == [
        {"who; when": "Ann"},
        {"who; when": "Bo"},
    ]
