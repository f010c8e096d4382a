"""Files of one's own: each layout there and back again, and a clear sentence for each thing that
can be wrong with one."""

import csv
import io
import json
import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import DatasetDict
from hypothesis import given, settings, strategies as st

from squadqa.data import check_examples, load_file, load_squad
from squadqa.files import squad_rows
from squadqa.own_data import (
    LAYOUTS,
    Choices,
    Columns,
    Draft,
    _counts_utf16,
    convert,
    convert_file,
    find_answers,
    finish,
    from_doccano,
    from_haystack,
    from_label_studio,
    from_utf16,
    load_tables,
    locate,
    read_answers,
    read_table,
    save_squad_json,
    table_drafts,
    to_squad_json,
)

# An emoji (two units of UTF-16), CRLF, and words that stand twice.
BAKERY = "Tess bakes rye 🥐 and spelt.\r\nTess sells rye at 7."
# A combining accent, curly quotes, an emoji of several characters, CJK.
CAFE = "Le cafe\u0301 “Zoë” 👩🏽\u200d🚒 ouvre à 6 h; 東京 aussi."


def example(name, context, question, *answers, title=""):
    return {
        "id": name,
        "title": title,
        "context": context,
        "question": question,
        "answers": {
            "text": [text for text, _ in answers],
            "answer_start": [start for _, start in answers],
        },
    }


EXAMPLES = [
    example(
        "b1", BAKERY, 'What is sold, "fresh"?', ("rye", BAKERY.rindex("rye")), title="Bakery; No. 1"
    ),
    example("b2", BAKERY, "Who bakes?", ("Tess", 0), ("Tess bakes", 0), title="Bakery; No. 1"),
    example("c1", CAFE, "Was öffnet?\n(kurz)", ("cafe\u0301", 3), title="東京"),
    example("c2", CAFE, "Wo noch?", ("東京", CAFE.index("東京"))),
    example("c3", CAFE, "Wann?", ("6 h", CAFE.index("6")), ("à 6 h", CAFE.index("à"))),
]
ONE = [
    e | {"answers": {k: v[:1] for k, v in e["answers"].items()}} for e in EXAMPLES
]  # one answer each
ONCE = [
    e for e in ONE if len(find_answers(e["context"], e["answers"]["text"][0])) == 1
]  # findable without a start
assert len(ONCE) == 3

ODD = Columns("Frage", "Absatz", "Antwort", "Beginn", "Nr.", "Thema")


def utf16(text, place):
    return len(text[:place].encode("utf-16-le")) // 2


def pairs(e):
    return list(zip(e["answers"]["text"], e["answers"]["answer_start"]))


def odd_rows(examples, cell=lambda values: next(iter(values), None)):
    return [
        {
            "Nr.": e["id"],
            "Thema": e["title"],
            "Absatz": e["context"],
            "Frage": e["question"],
            "Antwort": cell(e["answers"]["text"]),
            "Beginn": cell(e["answers"]["answer_start"]),
        }
        for e in examples
    ]


def as_csv(rows, bom=b"", end="\r\n"):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator=end)
    writer.writeheader(), writer.writerows(rows)
    return bom + out.getvalue().encode()


def as_parquet(rows):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def as_json(value):
    return json.dumps(value, ensure_ascii=False).encode()


def as_jsonl(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def haystack(examples):
    def qa(n, e):
        return {
            "question": e["question"],
            "id": e["id"],
            "is_impossible": not e["answers"]["text"],
            "answers": [
                {
                    "answer_id": 900 + n,
                    "document_id": 50 + n,
                    "question_id": 70 + n,
                    "text": t,
                    "answer_start": s,
                    "answer_end": s and s + len(t),
                    "answer_category": None,
                }
                for t, s in pairs(e)
            ],
        }

    return as_json(
        {
            "data": [
                {
                    "paragraphs": [
                        {"qas": [qa(n, e)], "context": e["context"], "document_id": 50 + n}
                    ]
                }
                for n, e in enumerate(examples)
            ]
        }
    )


def studio(examples):
    def task(n, e):
        spans = [
            {
                "type": "labels",
                "from_name": "answer",
                "to_name": "text",
                "id": f"r{n}",
                "origin": "manual",
                "value": {
                    "start": s if s is None else utf16(e["context"], s),
                    "end": s if s is None else utf16(e["context"], s + len(t)),
                    "text": t,
                    "labels": ["Answer"],
                },
            }
            for t, s in pairs(e)
        ]
        data = {"text": e["context"], "question": e["question"], "id": e["id"], "title": e["title"]}
        return {
            "id": 100 + n,
            "project": 3,
            "data": data,
            "predictions": [],
            "annotations": [{"id": n, "completed_by": 1, "was_cancelled": False, "result": spans}],
        }

    return as_json([task(n, e) for n, e in enumerate(examples)])


def doccano(examples, form="label"):
    def marked(e):
        spans = [[s, s + len(t), "Answer"] for t, s in pairs(e)]
        if form == "entities":
            return {
                "entities": [
                    {"id": 1, "label": name, "start_offset": s, "end_offset": t}
                    for s, t, name in spans
                ],
                "relations": [],
                "Comments": [],
            }
        return {form: spans}

    if form == "written":

        def marked(e):
            return {"label": e["answers"]["text"]}

    def more(e):
        return (
            {"meta": {"question": e["question"], "title": e["title"]}}
            if form == "labels"
            else {"question": e["question"], "title": e["title"]}
        )

    return as_jsonl(
        [{"id": e["id"], "text": e["context"], **more(e), **marked(e)} for e in examples]
    )


def gathered(examples):  # a row for each answer
    return [
        row
        for e in examples
        for t, s in pairs(e)
        for row in odd_rows([e | {"answers": {"text": [t], "answer_start": [s]}}])
    ]


WITHOUT_START = Columns("Frage", "Absatz", "Antwort", id="Nr.", title="Thema")


def unstarted(examples):
    return [{k: v for k, v in row.items() if k != "Beginn"} for row in odd_rows(examples)]


THERE = [  # name, examples, how to write them, name of the file, how to read them
    ("csv", ONE, lambda es: as_csv(odd_rows(es)), "a.csv", dict(columns=ODD)),
    ("csv-lf", ONE, lambda es: as_csv(odd_rows(es), end="\n"), "a.csv", dict(columns=ODD)),
    ("csv-bom", ONE, lambda es: as_csv(odd_rows(es), b"\xef\xbb\xbf"), "a.csv", dict(columns=ODD)),
    (
        "csv-lists",
        EXAMPLES,
        lambda es: as_csv(odd_rows(es, json.dumps)),
        "a.csv",
        dict(columns=ODD),
    ),
    ("csv-rows-of-one-id", EXAMPLES, lambda es: as_csv(gathered(es)), "a.csv", dict(columns=ODD)),
    ("csv-no-start", ONCE, lambda es: as_csv(unstarted(es)), "a.csv", dict(columns=WITHOUT_START)),
    ("jsonl", ONE, lambda es: as_jsonl(odd_rows(es)), "a.jsonl", dict(columns=ODD)),
    (
        "jsonl-bom-lists",
        EXAMPLES,
        lambda es: b"\xef\xbb\xbf" + as_jsonl(odd_rows(es, list)),
        "a.jsonl",
        dict(columns=ODD),
    ),
    (
        "jsonl-no-start",
        ONCE,
        lambda es: as_jsonl(unstarted(es)),
        "a.jsonl",
        dict(columns=WITHOUT_START),
    ),
    ("parquet", ONE, lambda es: as_parquet(odd_rows(es)), "a.parquet", dict(columns=ODD)),
    (
        "parquet-lists",
        EXAMPLES,
        lambda es: as_parquet(odd_rows(es, list)),
        "a.parquet",
        dict(columns=ODD),
    ),
    (
        "parquet-no-start",
        ONCE,
        lambda es: as_parquet(unstarted(es)),
        "a.parquet",
        dict(columns=WITHOUT_START),
    ),
    ("json", ONE, lambda es: as_json(odd_rows(es)), "a.json", dict(columns=ODD)),
    (
        "json-data",
        EXAMPLES,
        lambda es: as_json({"data": odd_rows(es, list)}),
        "a.json",
        dict(columns=ODD),
    ),
    ("json-of-squadqa", EXAMPLES, as_json, "a.json", {}),
    ("squad-v1", EXAMPLES, lambda es: as_json(to_squad_json(es)), "a.json", {}),
    (
        "squad-v2",
        [*EXAMPLES, example("c4", CAFE, "Qui?")],
        lambda es: as_json(to_squad_json(es)),
        "a.json",
        {},
    ),
    ("haystack", EXAMPLES, haystack, "a.json", dict(layout="haystack")),
    ("label-studio", EXAMPLES, studio, "a.json", dict(layout="label-studio")),
    ("doccano", EXAMPLES, doccano, "a.jsonl", dict(layout="doccano", utf16=False)),
    (
        "doccano-old",
        EXAMPLES,
        lambda es: doccano(es, "labels"),
        "a.jsonl",
        dict(layout="doccano", utf16=False),
    ),
    (
        "doccano-entities",
        EXAMPLES,
        lambda es: doccano(es, "entities"),
        "a.jsonl",
        dict(layout="doccano", utf16=False),
    ),
    ("doccano-written", ONCE, lambda es: doccano(es, "written"), "a.jsonl", dict(layout="doccano")),
    (
        "doccano-json",
        EXAMPLES,
        lambda es: as_json([json.loads(line) for line in doccano(es).split(b"\n")]),
        "a.json",
        dict(layout="doccano", utf16=False),
    ),
]


@pytest.mark.parametrize(
    "examples, write, name, how", [t[1:] for t in THERE], ids=[t[0] for t in THERE]
)
def test_there_and_back_again(examples, write, name, how, tmp_path):
    """Examples -> that layout -> examples: the same ids, questions, contexts and answers, places in
    characters; then to SQuAD json and back."""
    (tmp_path / name).write_bytes(write(examples))
    dataset, report = convert(tmp_path / name, **how)
    expected = (
        [e | {"title": ""} for e in examples] if how.get("layout") == "haystack" else examples
    )  # which has no titles
    assert dataset.to_list() == expected
    for e in dataset:
        for text, start in pairs(e):
            assert e["context"][start : start + len(text)] == text
    assert (
        check_examples(dataset).ok
        and report.ok
        and report.examples == len(examples)
        and not report.left_out
        and str(report)
    )
    assert load_file(save_squad_json(dataset, tmp_path / "squad.json")).to_list() == expected
    assert {t[4].get("layout", "table") for t in THERE} == set(LAYOUTS)


def test_the_sample_goes_through_every_layout(tmp_path):
    "424 questions, of both versions, unanswerable ones among them."
    for source in ("sample", "sample-v2"):
        rows = [e for split in load_squad(source).values() for e in split][-150:]
        assert list(squad_rows(json.loads(json.dumps(to_squad_json(rows))))) == rows
        for write, name, how in (
            (lambda es: as_jsonl(odd_rows(es, list)), "a.jsonl", dict(columns=ODD)),
            (haystack, "h.json", dict(layout="haystack")),
            (lambda es: as_json(to_squad_json(es)), "s.json", {}),
            (lambda es: as_csv(odd_rows(es, json.dumps)), "a.csv", dict(columns=ODD)),
            (studio, "l.json", dict(layout="label-studio", no_answer="keep")),
            (doccano, "d.jsonl", dict(layout="doccano", no_answer="keep", utf16=False)),
        ):
            (tmp_path / name).write_bytes(write(rows))
            got = convert(tmp_path / name, **how)[0].to_list()
            assert [{**e, "title": ""} for e in got] == [{**e, "title": ""} for e in rows], (
                source,
                name,
            )


BO = example("q7", "Ann met Bo in Rome. Bo left.", "Whom did Ann meet?", ("Bo", None))
GONE = BO | {"answers": {"text": ["Bob"], "answer_start": [None]}}

# Name, how to write examples, name of the file, how to read them, the column that can be missing.
FORMATS = [
    ("csv", lambda es: as_csv(odd_rows(es)), "a.csv", dict(columns=ODD), "Absatz"),
    ("jsonl", lambda es: as_jsonl(odd_rows(es)), "a.jsonl", dict(columns=ODD), "Absatz"),
    ("parquet", lambda es: as_parquet(odd_rows(es)), "a.parquet", dict(columns=ODD), "Absatz"),
    ("json", lambda es: as_json(odd_rows(es)), "a.json", dict(columns=ODD), "Absatz"),
    ("squad-v1", lambda es: as_json(to_squad_json(es)), "a.json", {}, "context"),
    (
        "squad-v2",
        lambda es: as_json(to_squad_json([*es, example("no-one", "Ann.", "Who?")])),
        "a.json",
        {},
        "context",
    ),
    ("haystack", haystack, "a.json", dict(layout="haystack"), "context"),
    ("label-studio", studio, "a.json", dict(layout="label-studio"), "question"),
    ("doccano", lambda es: doccano(es, "written"), "a.jsonl", dict(layout="doccano"), "question"),
]
every_format = pytest.mark.parametrize(
    "write, name, how, column", [f[1:] for f in FORMATS], ids=[f[0] for f in FORMATS]
)


def refused(tmp_path, name, content, **how):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as e:
        convert(tmp_path / name, **how)
    assert str(tmp_path / name) in str(e.value), "the message does not name the file"
    return str(e.value)


@every_format
def test_column_missing(write, name, how, column, tmp_path):
    content = write([BO])
    if name.endswith(".parquet"):
        content = as_parquet(
            [{k: v for k, v in row.items() if k != column} for row in odd_rows([BO])]
        )
    else:
        content = content.replace(column.encode(), b"passage")
    said = refused(tmp_path, name, content, **how)
    assert (
        f"column {column}" in said
        and f"{'context' if column == 'Absatz' else column}=... (--" in said
        and "it has: " in said
        or f"has no '{column}'" in said
        and "SQuAD layout" in said
    )


@every_format
def test_answer_not_found(write, name, how, column, tmp_path):
    said = refused(tmp_path, name, write([GONE]), **how)
    for words in (
        "answer_not_in_context: 1",
        "(id 'q7')",
        "'Bob' does not occur",
        'not_found="skip" (--not-found skip)',
    ):
        assert words in said
    (tmp_path / name).write_bytes(write([EXAMPLES[3], GONE]))
    dataset, report = convert(tmp_path / name, **how, not_found="skip")
    assert (
        "q7" not in dataset["id"][:]
        and report.left_out == ["q7"]
        and "left out, by id: q7" in str(report)
        and report.ok  # what was in doubt is not among the examples
    )


@every_format
def test_answer_found_twice(write, name, how, column, tmp_path):
    said = refused(tmp_path, name, write([BO]), **how)
    for words in (
        "answer_found_more_than_once: 1",
        "(id 'q7')",
        "'Bo' occurs 2 times: at 8, 20",
        'unclear="first" (--unclear first)',
        '"skip"',
    ):
        assert words in said
    dataset, report = convert(tmp_path / name, **how, unclear="first")
    assert (
        dataset[0]["answers"] == {"text": ["Bo"], "answer_start": [8]}
        and report.left_out == []
        and "answer_found_more_than_once: 1 (first)" in str(report)
    )
    (tmp_path / name).write_bytes(write([EXAMPLES[3], BO]))
    dataset, report = convert(tmp_path / name, **how, unclear="skip")
    assert "q7" not in dataset["id"][:] and report.left_out == ["q7"]


@pytest.mark.parametrize(
    "write, name, how", [f[1:4] for f in FORMATS[:-1]], ids=[f[0] for f in FORMATS[:-1]]
)  # doccano gives texts or places, never both
def test_start_is_wrong(write, name, how, tmp_path):
    wrong = BO | {"answers": {"text": ["Bo"], "answer_start": [9]}}
    said = refused(tmp_path, name, write([wrong]), **how)
    assert (
        "answer_start_wrong: 1" in said
        and "'Bo' is not at 9 but at 8, 20" in said
        and "(id 'q7')" in said
    )
    assert convert(tmp_path / name, **how, unclear="first")[0][0]["answers"]["answer_start"] == [8]


@every_format
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_wrong_encoding(write, name, how, column, encoding, tmp_path):
    content = write([BO | {"question": "Où est Bo?"}])
    if name.endswith(".parquet"):
        assert "is not Parquet" in refused(
            tmp_path, name, as_csv(odd_rows([BO])).decode().encode(encoding), **how
        )
    else:
        assert "is not UTF-8" in refused(tmp_path, name, content.decode().encode(encoding), **how)


@every_format
@pytest.mark.parametrize("content", [b"", b" \r\n", b"\xef\xbb\xbf"])
def test_empty_file(write, name, how, column, content, tmp_path):
    assert ("is not Parquet" if name.endswith(".parquet") else "is empty") in refused(
        tmp_path, name, content, **how
    )


@every_format
def test_file_without_an_example(write, name, how, column, tmp_path):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(odd_rows([BO])).slice(0, 0), out)
    empty = {
        "a.csv": b"Frage,Absatz,Antwort\r\n",
        "a.jsonl": b"\n",
        "a.parquet": out.getvalue(),
        "a.json": b'{"data": []}' if column == "context" else b"[]",
    }[name]
    said = refused(tmp_path, name, empty, **how)
    assert "holds no" in said or "is empty" in said


@every_format
def test_no_answer_only_if_asked_for(write, name, how, column, tmp_path):
    "An empty cell is a doubt; where the file says that there is none, it is not."
    none = example("none", "Ann is here.", "Who left?")
    content = write([EXAMPLES[3], none])
    (tmp_path / name).write_bytes(content)
    if column == "context":  # SQuAD and Haystack say it
        assert convert(tmp_path / name, **how)[0][-1]["answers"] == {"text": [], "answer_start": []}
        return
    said = refused(tmp_path, name, content, **how)
    assert (
        "answer_empty: 1" in said
        and "(id 'none')" in said
        and 'no_answer="keep" (--no-answer keep)' in said
    )
    kept, report = convert(tmp_path / name, **how, no_answer="keep")
    assert (
        kept[1]["id"] == "none"
        and kept[1]["answers"] == {"text": [], "answer_start": []}
        and report.unanswerable == 1
    )
    assert to_squad_json(kept)["version"] == "v2.0" and check_examples(kept).ok
    left, report = convert(tmp_path / name, **how, no_answer="skip")
    assert left["id"][:] == ["c2"] and report.left_out == ["none"]


def test_explicit_lists_say_that_there_is_no_answer():
    row = {"question": "Who left?", "context": "Ann is here."}
    for cell in ([], "[]", {"text": [], "answer_start": []}, '{"text": [], "answer_start": []}'):
        assert finish(table_drafts([row | {"answers": cell}]))[0][0]["answers"] == {
            "text": [],
            "answer_start": [],
        }, cell
    for cell in ("", "  ", None, [""], float("nan"), {"text": [""], "answer_start": [0]}):
        with pytest.raises(ValueError, match="answer_empty: 1"):
            finish(table_drafts([row | {"answers": cell}]))


@pytest.mark.parametrize(
    "cell, start, found",
    [
        ("Bo", None, [("Bo", None)]),
        (" Bo\n", None, [("Bo", None)]),
        ("Bo", "8", [("Bo", 8)]),
        ("Bo", 8.0, [("Bo", 8)]),
        ("Bo", float("nan"), [("Bo", None)]),
        (["Bo", "Ann"], None, [("Bo", None), ("Ann", None)]),
        ('["Bo", "Ann"]', "[8, 0]", [("Bo", 8), ("Ann", 0)]),
        (["Bo", "Ann"], [8, None], [("Bo", 8), ("Ann", None)]),
        ([{"text": "Bo", "answer_start": 8}, {"text": "Ann"}], None, [("Bo", 8), ("Ann", None)]),
        ({"text": "Bo", "answer_start": 8}, None, [("Bo", 8)]),
        ({"text": ["Bo", "Ann"]}, None, [("Bo", None), ("Ann", None)]),
        (1907, None, [("1907", None)]),
        ("[1]", None, [("[1]", None)]),
        ("{x}", None, [("{x}", None)]),
        ("[sic", 3, [("[sic", 3)]),
        (["", "Bo"], None, [("Bo", None)]),
        ("[]", None, []),
        (None, None, None),
        ("", "", None),
    ],
)
def test_answers_in_a_cell(cell, start, found):
    assert read_answers(cell, start) == found


@pytest.mark.parametrize(
    "cell, start, words",
    [
        (["Bo", "Ann"], [8], "row 3: 2 answers but 1 starts"),
        ("Bo", "eight", "row 3: the answer's start is 'eight'"),
        ("Bo", 8.5, "8.5"),
        (True, None, "the answer is True"),
        ([["Bo"]], None, "not a text"),
        ("Bo", True, "start is True"),
        (b"Bo", None, "not a text"),
        ([{"text": "Bo", "start": 8}], None, "has 'start': call its first character"),
        ([{"text": "Bo"}, {"answer": "Ann"}], None, "row 3: the answer {'answer': 'Ann'} has no"),
        ({"answer": ["Bo"]}, None, "has no 'text'"),
    ],
)
def test_unreadable_cells(cell, start, words):
    with pytest.raises(ValueError, match=words):
        read_answers(cell, start, at="row 3")


def test_the_source_does_not_lose_rows(tmp_path):
    "Not even through a link."
    rows = [{"question": "Whom?", "context": "Ann met Bo.", "answer": a} for a in ("Bo", "Cy")]
    source = tmp_path / "a.json"
    source.write_text(json.dumps(rows))
    (tmp_path / "b.json").symlink_to(source)
    for name in ("a.json", "b.json"):
        with pytest.raises(ValueError, match="1 of its rows are left out: write to another file"):
            convert_file(source, tmp_path / name, overwrite=True, not_found="skip")
    assert json.loads(source.read_text()) == rows


def test_what_can_mean_two_things():
    "JSON among plain texts is a text where the context has it; 12.0 is 12 unless it says 12.0."

    def answers(cells, context):
        rows = [{"question": "What?", "context": context, "answer": cell} for cell in cells]
        return [example["answers"]["text"] for example in finish(table_drafts(rows))[0]]

    code = 'An empty list is [], one with a letter is ["a"], and {"text": "b"} an object.'
    plain = ["list", "[]", '["a"]', '{"text": "b"}']
    assert answers(plain, code) == [[cell] for cell in plain]
    assert answers([f" {cell} " for cell in plain], code) == [[cell] for cell in plain]
    assert answers(["[]", '["none"]'], 'Is it [] or ["none"]?') == [[], ["none"]]  # all are JSON
    assert answers(["list", '["list", "What"]', "[]"], "What a list") == [
        ["list"],
        ["list", "What"],
        [],
    ]
    assert answers([12.0, 7, 1.5], "From 12.0 to 7, 1.5 each") == [["12.0"], ["7"], ["1.5"]]
    assert answers([12.0, 7.0], "From 12 to 7") == [["12"], ["7"]]


def test_ids():
    "Made from the numbers of the rows; the same id joins rows, but not two different questions."
    row = {"question": "Whom?", "context": "Ann met Bo.", "answer": "Bo"}
    dataset, report = finish(table_drafts([row, row | {"question": "Who?", "answer": "Ann"}]))
    assert dataset["id"][:] == ["0", "1"] and report.gathered == 0
    dataset, report = finish(
        table_drafts([row | {"id": 7}, row | {"id": 7, "answer": "Ann met Bo"}])
    )
    assert (
        dataset.to_list() == [example("7", row["context"], "Whom?", ("Bo", 8), ("Ann met Bo", 0))]
        and report.gathered == 1
        and "rows joined to an earlier one with the same id: 1" in str(report)
    )
    with pytest.raises(
        ValueError,
        match="f.csv, row 1 has the id '7' of row 0, but another question: give each question",
    ):
        finish(table_drafts([row | {"id": 7}, row | {"id": 7, "question": "Who?"}], where="f.csv"))
    with pytest.raises(ValueError, match="but another context"):
        finish(table_drafts([row | {"id": 7}, row | {"id": 7, "context": "Bo met Bo's."}]))
    for gap in (None, "", " "):
        with pytest.raises(ValueError, match="row 1( has no id|: the id is ' ')"):
            table_drafts([row | {"id": "a"}, row | {"id": gap}])


def test_columns():
    row = {"question": "Whom?", "text": "Ann met Bo.", "answers": "Bo"}
    assert table_drafts([row])[0] == Draft(
        "the table, row 0", "0", "Whom?", "Ann met Bo.", [("Bo", None)]
    )
    with pytest.raises(
        ValueError,
        match=r"f.csv has no column Nummer \(it has: question, text, answers\).*\(--id-column\)",
    ):
        table_drafts([row], Columns(id="Nummer"), "f.csv")
    with pytest.raises(
        ValueError,
        match="no column question, context or text, answer or answers .*save it with commas",
    ):
        table_drafts([{"question;context;answer": "x"}], where="f.csv")
    with pytest.raises(
        ValueError, match=r"row 0 \(id '0'\): the question is None, not a text; every row needs one"
    ):
        table_drafts([row | {"question": None}])
    with pytest.raises(ValueError, match="row 1 is str"):
        table_drafts([row, "x"])
    for rows, words in (([], "holds no example"), ({}, "not a list of rows")):
        with pytest.raises(ValueError, match=words):
            table_drafts(rows)


def test_near_misses_are_told():
    for context, text, words in (
        ("in Bern today", "bern", "upper and lower case"),
        ("a cafe\u0301 here", "caf\u00e9", "Unicode form"),
        ("New\r\nYork", "New York", "white space"),
    ):
        start, kind, message = locate(context, text)
        assert (
            start is None
            and kind == "answer_not_in_context"
            and f"{text!r} does not occur in the context; it would if " in message
            and words in message
        )
    assert locate("Ann", "Bo")[2].endswith("does not occur in the context")


TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT.filter(bool), TEXT)
def test_places_over_random_unicode(before, text, after):
    """find_answers against brute force; a start in UTF-16 units leads to the same place; a start in
    characters is taken as it is."""
    context, start = before + text + after, len(before)
    places = find_answers(context, text)
    assert (
        places == [i for i in range(len(context)) if context[i : i + len(text)] == text]
        and start in places
    )
    assert locate(context, text, start) == (start, "", "")
    assert from_utf16(context, utf16(context, start)) == start
    found, kind, _ = locate(context, text, utf16(context, start))
    assert context[found : found + len(text)] == text and kind in ("", "utf16")
    cut = text[0].isdigit() and re.search(r"\d[.,]?\Z", before)
    cut = cut or text[-1].isdigit() and re.match(r"[.,]?\d", after)  # inside a longer number
    if len(places) == 1 and not cut:
        assert locate(context, text) == (start, "", "")
    if len(places) == 1 and cut:
        assert locate(context, text)[:2] == (None, "answer_not_in_context")


def test_utf16_places_are_translated_and_counted():
    start = BAKERY.index("and")
    dataset, report = finish(
        table_drafts(
            [{"question": "q", "context": BAKERY, "answer": "and", "answer_start": start + 1}]
        )
    )
    assert (
        dataset[0]["answers"]["answer_start"] == [start]
        and report.utf16 == 1
        and "starts that counted an emoji as two, and were translated: 1" in str(report)
        and report.ok
    )
    for place in (-1, 99):
        with pytest.raises(ValueError, match=f"place {place} is outside"):
            from_utf16("a🥐b", place)
    with pytest.raises(ValueError, match="inside of a character"):
        from_utf16("a🥐b", 2)


def task(*annotations, **more):
    return {
        "id": 4,
        "data": {"text": "Ann met Bo 🥐 in Rome.", "question": "Where?"},
        "annotations": list(annotations),
    } | more


def annotation(*values, **more):
    return {
        "result": [{"type": "labels", "value": v} for v in values],
        "was_cancelled": False,
    } | more


ROME = {"start": 17, "end": 21, "labels": ["Answer"]}  # in UTF-16 units: in characters it is 16


def test_label_studio():
    def answers(*tasks, **how):
        return finish(from_label_studio(list(tasks), **how))[0][0]["answers"]

    rome = {"text": ["Rome"], "answer_start": [16]}
    assert answers(task(annotation(ROME | {"text": "Rome"}))) == rome
    assert answers(task(annotation(ROME))) == rome  # saved without texts
    assert answers(task(annotation(ROME | {"start": "17"}))) == rome
    assert answers(task(annotation({"choices": ["good"]}, ROME))) == rome  # a rating is no span
    old = {
        "completions" if key == "annotations" else key: value
        for key, value in task(annotation(ROME)).items()
    }
    assert answers(old) == rome
    assert answers(task(annotation(ROME), annotation(ROME | {"start": 14}))) == {
        "text": ["Rome", "in Rome"],
        "answer_start": [16, 13],
    }  # two people
    assert (
        answers(
            task(
                annotation({"start": 0, "end": 3, "labels": ["Answer"]}, was_cancelled=True),
                annotation(ROME),
            )
        )
        == rome
    )
    two = task(annotation(ROME, {"start": 0, "end": 3, "labels": ["Reason"]}))
    assert answers(two, label="Answer") == rome
    with pytest.raises(
        ValueError, match=r"labels Answer, Reason: say which are answers with label=... \(--label\)"
    ):
        answers(two)
    with pytest.raises(ValueError, match="no label 'answer' .it has: Answer, Reason"):
        answers(two, label="answer")
    with pytest.raises(
        ValueError,
        match=r"task 4: annotations\[0\]: result\[0\]: place 30 is outside of the context",
    ):
        answers(task(annotation(ROME | {"start": 30, "end": 40})))
    with pytest.raises(ValueError, match=r"task 4.*: the answer's start is '/p\[1\]/text\(\)"):
        answers(task(annotation(ROME | {"start": "/p[1]/text()[1]"})))
    with pytest.raises(ValueError, match="not as JSON-MIN"):
        answers({"id": 4, "text": "Ann", "question": "Who?", "answer": []})
    with pytest.raises(ValueError, match="(?s)not_annotated: 1.*annotate them, or leave them out"):
        answers(task())
    for choice in ("keep", "skip"):  # nobody said that it has no answer
        dataset, report = finish(
            from_label_studio(
                [
                    task(annotation(ROME)),
                    task(id=5),
                    task(annotation(ROME, was_cancelled=True), id=6),
                ]
            ),
            choices=Choices(no_answer=choice),
        )
        assert (
            len(dataset) == 1
            and report.left_out == ["5", "6"]
            and report.problems == {"not_annotated": 2}
            and report.decided == {"not_annotated": "skip"}
        )


def test_doccano():
    row = {"id": 3, "text": "Ann met Bo in Rome.", "question": "Where?"}

    def answers(row, **how):
        return finish(from_doccano([row], **how))[0][0]["answers"]

    rome = {"text": ["Rome"], "answer_start": [14]}
    assert (
        answers(row | {"label": [[14, 18, "Answer"]]})
        == answers(row | {"label": ["Rome"]})
        == answers(row | {"label": [" Rome "]})
        == rome
    )
    assert (
        answers(
            row | {"annotations": [{"label": 12, "start_offset": 14, "end_offset": 18, "user": 1}]}
        )
        == rome
    )
    assert answers(row | {"annotations": [{"text": "Rome", "user": 1}]}) == rome
    assert answers(row | {"label": [[14, 18, "Answer"], [0, 3, "Reason"]]}, label="Answer") == rome
    assert answers(row | {"spans": [[14, 18, "Answer"]]}, columns=Columns(answer="spans")) == rome
    emoji = {"text": "🥐 Rome", "question": "Where?", "label": [[2, 6, "A"]]}
    assert answers(emoji, utf16=False) == {"text": ["Rome"], "answer_start": [2]}
    assert answers(emoji | {"label": [[3, 7, "A"]]}, utf16=True) == {
        "text": ["Rome"],
        "answer_start": [2],
    }
    with pytest.raises(
        ValueError, match=r"row 0: an emoji .* say utf16=False, or utf16=True for two \(--utf16\)"
    ):
        answers(emoji)
    assert answers({"text": "Rome 🥐", "question": "Where?", "label": [[0, 4, "A"]]}) == {
        "text": ["Rome"],
        "answer_start": [0],
    }  # before the emoji all count alike
    spans = [[14, 18, "Answer"]]
    assert answers(row | {"entities": [], "label": spans, "labels": None}) == rome
    assert answers(row | {"entities": None, "relations": [], "labels": spans}) == rome
    both = row | {"entities": [[0, 3, "Answer"]], "label": spans}
    assert answers(both, columns=Columns(answer="label")) == rome
    with pytest.raises(ValueError, match="row 0 has answers in entities and label: say which"):
        answers(both)
    with pytest.raises(ValueError, match="row 0: label is 'Rome', not a list of spans"):
        answers(row | {"label": "Rome", "annotations": []})
    for broken, words in (
        ({"label": "Rome"}, "row 0: label is 'Rome', not a list .*export as JSONL"),
        ({}, "no list of spans"),
        ({"label": [[14, 99, "A"]]}, "the span 14 to 99"),
        ({"label": [[4, 4, "A"]]}, "is empty"),
        ({"label": [7]}, "7 is no span"),
        ({"label": [[None, 4, "A"]]}, "no start or no end"),
    ):
        with pytest.raises(ValueError, match=words):
            answers(row | broken)
    with pytest.raises(ValueError, match=r"row 0 has no column question .*--question-column"):
        answers({"text": "Ann", "label": []})


def test_haystack():
    "Impossible is not the same as unanswered; an id under two contexts gets the document's number."

    def qa(name, *answers, **more):
        return {
            "question": "Who?",
            "id": name,
            "answers": [
                {"text": t, "answer_start": s, "answer_category": None} for t, s in answers
            ],
        } | more

    def export(*qas):
        return {
            "data": [
                {
                    "paragraphs": [
                        {"qas": [q], "context": c, "document_id": 40 + n}
                        for n, (c, q) in enumerate(qas)
                    ]
                }
            ]
        }

    dataset, _ = finish(
        from_haystack(
            export(
                ("Ann.", qa(5, ("Ann", 0))), ("Bo.", qa(5, ("Bo", 0))), ("Cy.", qa(6, ("Cy", 0)))
            )
        )
    )
    assert dataset["id"][:] == ["40-5", "41-5", "6"]
    assert (
        finish(from_haystack(export(("Ann.", qa(5, is_impossible=True)))))[0][0]["answers"]["text"]
        == []
    )
    assert (
        finish(from_haystack(export(("Ann.", qa(5, ("", -1), is_impossible=True)))))[0][0][
            "answers"
        ]["text"]
        == []
    )
    with pytest.raises(ValueError, match=r"qas\[0\] \(id '5'\): the answer is empty"):
        finish(from_haystack(export(("Ann.", qa(5, is_impossible=False)))))
    with pytest.raises(
        ValueError, match="h.json: data.0.: paragraphs.0.: qas.0. has no 'question'"
    ):
        from_haystack(export(("Ann.", {"id": 1, "answers": []})), "h.json")


def test_wrong_calls(tmp_path):
    (
        (tmp_path / "a.txt").write_text("x"),
        (tmp_path / "a.csv").write_text("question,context,answer\nq,c,c\n"),
    )
    for how, words in (
        ({"layout": "xml"}, "layout='xml' is not one of table, haystack, label-studio, doccano"),
        ({"layout": ["table"]}, r"layout=\['table'\] is not one of"),
        ({"columns": {"question": "ask"}}, "columns is {'question': 'ask'}: pass Columns"),
        ({"columns": None}, "columns is None: pass Columns"),
        ({"unclear": "last"}, "unclear='last' is not one of raise, first, skip"),
        ({"not_found": "first"}, "not_found='first'"),
        ({"no_answer": "no"}, "no_answer='no'"),
        ({"unclean": "first"}, "no choice unclean; known are unclear"),
        (
            {"layout": "haystack"},
            r"a.csv: the layout haystack does not come as '.csv'; known are .json",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            convert(tmp_path / "a.csv", **how)
    with pytest.raises(ValueError, match="there is no file .*gone.csv"):
        convert(tmp_path / "gone.csv")
    with pytest.raises(
        ValueError, match="does not come as '.txt'; known are .json, .jsonl, .csv, .parquet"
    ):
        convert(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="no example is left of 1 rows"):
        finish([Draft("row 0", "a", "q", "c", [("x", None)])], choices=Choices(not_found="skip"))


def test_text_is_the_context_only_where_there_is_no_other(tmp_path):
    row = {"question": "Who?", "text": "Ada is here.", "answer": "Ada"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (tmp_path / "b.jsonl").write_text(json.dumps(row | {"context": "Here is Ada."}))
    assert convert(tmp_path / "a.jsonl")[0][0]["answers"]["answer_start"] == [0]
    assert convert(tmp_path / "b.jsonl")[0][0]["answers"]["answer_start"] == [8]


def test_convert_file_and_load_tables(tmp_path):
    (tmp_path / "train.csv").write_bytes(as_csv(odd_rows(ONE)))
    (tmp_path / "dev.jsonl").write_bytes(as_jsonl(odd_rows(EXAMPLES, list)))
    data, reports = load_tables(tmp_path, ODD)
    assert (
        set(data) == set(reports) == {"train", "validation"}
        and data["validation"].to_list() == EXAMPLES
        and reports["train"].examples == 5
    )
    assert (
        load_tables({"test": tmp_path / "train.csv"}, ODD)[0]["test"].to_list()
        == ONE
        == load_tables(tmp_path / "train.csv", ODD)[0]["train"].to_list()
    )
    assert read_table(tmp_path / "train.csv", ODD).to_list() == ONE
    (tmp_path / "train2.csv").write_bytes(b"x")
    with pytest.raises(ValueError, match="both look like the train split"):
        load_tables(tmp_path, ODD)
    report = convert_file(tmp_path / "dev.jsonl", tmp_path / "new" / "out.json", columns=ODD)
    assert (
        report.rows == 5
        and load_squad(tmp_path / "new" / "out.json")["train"].to_list() == EXAMPLES
    )
    with pytest.raises(ValueError, match="out.json exists: .*overwrite=True"):
        convert_file(tmp_path / "dev.jsonl", tmp_path / "new" / "out.json", columns=ODD)
    assert (
        convert_file(
            tmp_path / "train.csv", tmp_path / "new" / "out.json", columns=ODD, overwrite=True
        ).examples
        == 5
    )
    with pytest.raises(ValueError, match="must end in .json"):
        save_squad_json(ONE, tmp_path / "a.csv")
    (tmp_path / "bad.csv").write_bytes(as_csv(odd_rows([GONE])))
    with pytest.raises(ValueError, match="not_in_context"):
        convert_file(tmp_path / "bad.csv", tmp_path / "bad.json", columns=ODD)
    assert not (tmp_path / "bad.json").exists()


def test_all_doubts_are_told_at_once(tmp_path):
    "Not one error a run: counts of each kind, and the first three by id."
    rows = odd_rows(
        [BO | {"id": f"two{i}"} for i in range(5)] + [GONE | {"id": f"gone{i}"} for i in range(4)]
    )
    said = refused(tmp_path, "a.csv", as_csv(rows), columns=ODD)
    assert (
        "9 answers need a decision (of 9 rows)" in said
        and "answer_found_more_than_once: 5" in said
        and "answer_not_in_context: 4" in said
    )
    assert (
        all(f"'{name}'" in said for name in ("two0", "two1", "two2", "gone0", "gone1", "gone2"))
        and "two3" not in said
    )
    said = refused(tmp_path, "a.csv", as_csv(rows), columns=ODD, unclear="first")
    assert "4 answers need a decision" in said and "two0" not in said


def test_a_table_needs_no_torch():
    "Converting a file starts fast: no torch, no transformers."
    code = (
        "import sys, squadqa.own_data; print([m for m in ('torch', 'transformers', 'matplotlib') "
        "if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_what_becomes_squad_json_is_looked_at():
    plain = load_squad()["validation"].select(range(3))
    for kind in ("numpy", "torch", "pandas"):
        rows = plain.with_format(kind)
        assert to_squad_json(rows) == to_squad_json(plain)
        assert [draft.id for draft in table_drafts(rows)] == plain["id"]
    row = plain[0]
    for bad, words in (
        ([row | {"answers": None}], f"example '{row['id']}' has null answers: give it two lists"),
        ([5], "the examples, row 0 is int"),
        (plain.remove_columns("answers"), "the data has no column answers"),
        (DatasetDict(a=plain), "the examples is DatasetDict, not a list of rows"),
    ):
        with pytest.raises(ValueError, match=words):
            to_squad_json(bad)


def test_a_wrong_start_means_the_nearest_place(tmp_path):
    context = "Bo saw Bo and then Bo again."
    assert locate(context, "Bo", 20)[:2] == (19, "answer_start_wrong")
    assert locate(context, "Bo", -3)[0] == 0 and locate(context, "Bo")[0] == 0
    row = {"context": context, "question": "Who?", "answer": "Bo", "answer_start": 8}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    dataset, _ = convert(tmp_path / "a.jsonl", unclear="first")
    assert dataset[0]["answers"]["answer_start"] == [7]


def test_reports_of_long_values_stay_short(tmp_path):
    rows = [{"context": "Bo.", "question": "Who?", "answer": "Bo"}]
    rows += [{"context": "Bo.", "question": "Who?", "answer": "z" * 10_000}] * 30
    named = [row | {"id": f"{n}" + "x" * 5_000} for n, row in enumerate(rows)]
    said = refused(tmp_path, "a.json", json.dumps(named).encode())
    assert len(said) < 2000
    report = convert(tmp_path / "a.json", not_found="skip")[1]
    assert len(report.left_out) == 30 and str(report).endswith(" and 10 more")
    assert len(str(report)) < 4000


@pytest.mark.parametrize(
    "layout, options, words",
    [
        ("table", {"label": "Answer"}, "label=.* has no effect on the layout table.*label-studio"),
        ("haystack", {"label": "Answer"}, "label=.* has no effect on the layout haystack"),
        ("table", {"utf16": False}, "utf16=.* has no effect on the layout table"),
        ("label-studio", {"utf16": True}, "utf16=.* no effect on the layout label-studio.*doccano"),
        ("haystack", {"columns": Columns(question="ask")}, "columns=.* no effect on .* haystack"),
    ],
)
def test_options_without_effect_are_refused(layout, options, words, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"question": "Who?", "context": "Bo."}]))
    for function in (convert, load_tables):
        with pytest.raises(ValueError, match=words):
            function(tmp_path / "a.json", layout=layout, **options)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_an_empty_cell_of_pandas_is_empty(missing):
    row = {"id": "a", "context": "Ann met Bo.", "question": "Who?", "answer": "Bo"}
    row |= {"title": missing, "answer_start": missing}
    (draft,) = table_drafts([row])
    assert draft.answers == [("Bo", None)] and draft.title == ""
    assert table_drafts([row | {"answer": missing}])[0].answers is None
    with pytest.raises(ValueError, match="the table, row 0 has no id: fill the column"):
        table_drafts([row | {"id": missing}])


def test_arrays_in_cells_are_named():
    for answers in (np.array(["Bo", "Ann"]), {"text": np.array(["Bo", "Ann"])}):
        with pytest.raises(ValueError, match="row: the answer is array.*, not a text"):
            read_answers(answers)


def studio_task(text, *values, **more):
    results = [
        {"to_name": to, "value": {"start": start, "end": end, "text": said, "labels": labels}}
        for to, start, end, said, labels in values
    ]
    return {"id": 7, "data": {"question": "q cat?", "text": text} | more} | {
        "annotations": [{"result": results}]
    }


@pytest.mark.parametrize(
    "text, values, label, answers",
    [
        ("Prices 😀😀 5 5 5 5", [("text", 12, 13, "5", ["A"])], None, [("5", 10)]),
        (
            "a cat sat",
            [("text", 2, 5, "cat", ["Answer", "Other"]), ("text", 6, 9, "sat", ["Answer"])],
            "Answer",
            [("cat", 2), ("sat", 6)],
        ),
        (
            "a cat sat on a mat",
            [("question", 2, 5, "cat", ["A"]), ("text", 15, 18, "mat", ["A"])],
            None,
            [("mat", 15)],
        ),
    ],
)
def test_spans_of_label_studio_are_where_they_were_marked(text, values, label, answers):
    drafts = from_label_studio([studio_task(text, *values)], label=label)
    dataset, _ = finish(drafts)
    found = dataset[0]["answers"]
    assert list(zip(found["text"], found["answer_start"])) == answers


def test_what_doccano_keeps_in_meta_replaces_no_column():
    row = {"id": 1, "text": "a cat sat", "question": "q", "label": [[2, 5, "A"]]}
    row["meta"] = {"id": "doc9", "text": "A Title Line", "title": "Cats"}
    dataset, _ = finish(from_doccano([row]))
    assert dataset[0]["id"] == "1" and dataset[0]["context"] == "a cat sat"
    assert dataset[0]["answers"] == {"text": ["cat"], "answer_start": [2]}


def studio_file(tasks, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    return tmp_path / "a.json"


ROME_TASK = studio_task(
    "Ann met Bo in Rome.",
    ("q", 0, 5, None, ["Mark"]),
    ("t", 14, 18, None, ["Mark"]),
    question="Where did Bo go?",
)


def test_spans_in_the_question_are_not_cut_out_of_the_context(tmp_path):
    "Where a tag is not called like its field, somebody has to say which shows the context."
    file = studio_file([ROME_TASK], tmp_path)
    words = (
        r"a.json has spans in q and t \(to_name\), and the context is in the data as text: say .*"
    )
    for function in (convert, load_tables):
        with pytest.raises(ValueError, match=words + r"object_name=... \(--object-name\)"):
            function(file, layout="label-studio")
    for how in ({"object_name": "t"}, {"object_name": "t", "label": "Mark"}):
        dataset, report = convert(file, "label-studio", **how)
        assert pairs(dataset[0]) == [("Rome", 14)] and report.ok
    data, _ = load_tables(file, layout="label-studio", object_name="t")
    assert pairs(data["train"][0]) == [("Rome", 14)]
    with pytest.raises(ValueError, match=r"a.json has no spans in 'p' \(it has: q, t\)"):
        convert(file, "label-studio", object_name="p")
    # the context's own tag may have none: then no answer was marked
    dataset, report = convert(file, "label-studio", object_name="text", no_answer="keep")
    assert pairs(dataset[0]) == [] and report.ok
    with pytest.raises(ValueError, match="object_name=.* has no effect on the layout doccano"):
        convert(file, "doccano", object_name="t")


@pytest.mark.parametrize(
    "spans, more, how, answers",
    [
        ([("text-1", "A")], {}, {}, [("Rome", 14)]),  # as in Label Studio's own example
        ([(None, "A")], {}, {}, [("Rome", 14)]),
        ([("text", "A"), ("q", "A")], {}, {}, [("Rome", 14)]),  # called like the context's field
        ([("text", "A"), ("question", "B")], {}, {}, [("Rome", 14)]),
        ([("t", "A"), ("q", "B")], {}, {"label": "A"}, [("Rome", 14)]),  # the label decides
        (
            [("question", "A")],
            {},
            {},
            "spans in question .to_name., and the .* in the data as text:",
        ),
        ([("t", "A"), ("question", "A")], {}, {}, "spans in question and t .to_name."),
        ([("t", "A"), ("q", "B")], {}, {}, "spans in q and t"),
        ([("t", "A"), ("q", "B")], {}, {"label": "C"}, r"no label 'C' \(it has: A, B\)"),
        (  # the tag is called like another field
            [("text", "A")],
            {"text": "A note.", "context": "Ann met Bo in Rome."},
            {},
            "spans in text .to_name., and the context is in the data as context: say",
        ),
        (
            [("text", "A")],
            {"text": "A note.", "context": "Ann met Bo in Rome."},
            {"object_name": "text"},
            [("Rome", 14)],
        ),
    ],
)
def test_which_tag_showed_the_context(spans, more, how, answers):
    places = {"q": (0, 5), "question": (20, 30)}  # the latter is outside of the context
    values = [(name, *places.get(name, (14, 18)), None, [label]) for name, label in spans]
    tasks = [studio_task("Ann met Bo in Rome.", *values)]
    tasks[0]["data"] |= more
    for result in tasks[0]["annotations"][0]["result"]:
        if result["to_name"] is None:
            del result["to_name"]
    if isinstance(answers, str):
        with pytest.raises(ValueError, match=f"e.json has {answers}"):
            from_label_studio(tasks, where="e.json", **how)
    else:
        assert from_label_studio(tasks, **how)[0].answers == answers


def test_what_is_said_about_a_span_is_no_answer():
    "Choices, ratings and remarks of a region repeat its start and its end."
    span = {"start": 14, "end": 18, "text": "Rome"}
    about = [span | {"choices": ["sure"]}, span | {"rating": 4}, span | {"text": ["a city"]}]
    results = [{"to_name": "t", "value": value} for value in [*about, span | {"labels": ["A"]}]]
    one = {"id": 1, "data": {"text": "Ann met Bo in Rome.", "question": "Where?"}}
    one["annotations"] = [{"result": results}]
    for label in (None, "A"):
        assert from_label_studio([one], label=label)[0].answers == [("Rome", 14)]
    results[-1]["value"].pop("labels")
    one["annotations"] = [{"result": results[-1:]}]
    assert from_label_studio([one])[0].answers == [("Rome", 14)]  # an export without labels


PAID = "Hi 😀😀 Bo pays 5 5 5 5."  # Bo at 6, the 5s at 14, 16, 18 and 20


def started(*answers, context=PAID):
    return [
        {"question": "q", "context": context, "answer": text, "answer_start": start}
        for text, start in answers
    ]


def test_a_file_counts_an_emoji_in_one_way():
    "Where some starts fit only in UTF-16 units, those that fit in both ways are in units, too."
    rows = started(("Bo", 8), ("5", 18), ("Hi", 0), ("5", 22))
    dataset, report = finish(table_drafts(rows))
    assert [pairs(e) for e in dataset] == [[("Bo", 6)], [("5", 16)], [("Hi", 0)], [("5", 20)]]
    assert report.utf16 == 3 and report.ok
    squad = json.loads(haystack([example("a", PAID, "Who?", ("Bo", 8), ("5", 18))]))
    assert pairs(finish(from_haystack(squad))[0][0]) == [("Bo", 6), ("5", 16)]
    wrong = [*rows, *started(("5", 17))]  # in units, which is 15 in characters
    dataset, _ = finish(table_drafts(wrong), choices=Choices(unclear="first"))
    assert pairs(dataset[4]) == [("5", 14)]


def test_starts_in_characters_are_taken_as_they_are():
    for rows in (started(("Bo", 6), ("5", 18)), started(("5", 18)), started(("5", 18), ("x", 3))):
        dataset, report = finish(table_drafts(rows), choices=Choices(not_found="skip"))
        assert ("5", 18) in [pair for e in dataset for pair in pairs(e)] and report.utf16 == 0


def test_starts_of_both_kinds_are_in_doubt():
    rows = started(("Bo", 8), ("Bo", 6), ("5", 18), ("5", 14))
    with pytest.raises(ValueError) as e:
        finish(table_drafts(rows), "a.csv")
    said = str(e.value)
    for words in (
        "a.csv: 1 answers need a decision",
        "row 2 (id '2'): the answer '5' is at 18 if an emoji counts as one, and at 16 if it counts",
        'unclear="first" (--unclear first)',
    ):
        assert words in said
    dataset, report = finish(table_drafts(rows), choices=Choices(unclear="first"))
    assert [pairs(e) for e in dataset] == [[("Bo", 6)], [("Bo", 6)], [("5", 18)], [("5", 14)]]
    assert report.utf16 == 1 and report.problems == {"answer_start_fits_twice": 1}
    dataset, report = finish(table_drafts(rows), choices=Choices(unclear="skip"))
    assert dataset["id"][:] == ["0", "1", "3"] and report.left_out == ["2"]


def test_label_studio_translates_each_place_once():
    "A place that was translated fits in both ways again, and stays."
    spans = [
        ("text", 8, 10, "Bo", ["A"]),
        ("text", 20, 21, "5", ["A"]),
        ("text", 18, 19, None, ["A"]),
    ]
    (draft,) = from_label_studio([studio_task(PAID, *spans)])
    dataset, report = finish([draft])
    assert pairs(dataset[0]) == [("Bo", 6), ("5", 18), ("5", 16)] and report.utf16 == 1


@settings(max_examples=200, deadline=None)
@given(st.text("a🥐é", max_size=12), st.text("a🥐é", min_size=1, max_size=2), st.integers(-2, 30))
def test_a_start_fits_in_utf16_where_from_utf16_says_so(context, text, start):
    try:
        place = from_utf16(context, start)
    except ValueError:
        place = None
    found, kind, _ = locate(context, text, start, utf16=True)
    if place is not None and context.startswith(text, place):
        assert found == place and kind == ("utf16" if place != start else "")
    else:
        assert kind != "utf16"


def test_counting_is_linear():
    "Many answers in one long context with emoji"
    context = "😀 and so on; " * 100_000
    answers = [("😀", 13 * n) for n in range(100_000)]
    began = time.perf_counter()
    assert _counts_utf16([Draft("row 0", "a", "q", context, answers)]) is False
    assert time.perf_counter() - began < 20  # each for itself, it takes minutes
