"""Broken inputs, one table for all commands: the files, the command, and what must be said.

A case is tried in an empty folder, which is the working directory. Every command must end with an
exit code other than 0 and a message that matches `says`, never with a traceback, and it must leave
the folder as it found it. To add a case, add a line: a `Case`, or `everywhere(...)` for a file that
several commands read.
"""

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CONTEXT = "Ann met Bo in Rome."
ANSWERS = {"text": ["Bo"], "answer_start": [8]}
ROW = {"id": "x1", "context": CONTEXT, "question": "Whom did Ann meet?", "answers": ANSWERS}
UNSEEN = "\u200b \ufeff\x00"  # a zero-width space, a byte order mark, a control character
HALF = "\ud83d"  # half of an emoji: JSON can spell it, UTF-8 can't


@dataclass(frozen=True)
class Case:
    "One broken input and the command that meets it."

    name: str
    make: Callable[[Path], None]  # writes the files into an empty folder
    argv: tuple[str, ...]  # words after `squadqa`; {tiny} is the folder of a tiny model
    says: str  # a pattern that the message must match


def files(**contents):
    "Write files: bytes as they are, a text in UTF-8, anything else as JSON; _ in a name is a dot"

    def make(folder: Path):
        for name, content in contents.items():
            if not isinstance(content, (bytes, str)):
                content = json.dumps(content)
            if isinstance(content, str):
                content = content.encode()
            (folder / name.replace("_", ".")).write_bytes(content)

    return make


def words(command: str, file: str, *more: str) -> tuple[str, ...]:
    "How a command is called with a file of data"
    if command == "check":
        return ("check", file, *more)
    if command == "convert":
        return ("convert", file, "out.json", *more)
    return ("predict", "--model", "{tiny}", "--input", file, "--output", "out.jsonl", *more)


def everywhere(name, file, content, says, commands=("check", "convert", "predict"), *more):
    "The same file for several commands"
    make = files(**{file.replace(".", "_"): content})
    return [Case(f"{name}-{c}", make, words(c, file, *more), says) for c in commands]


def parquet(rows) -> bytes:
    out = io.BytesIO()
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), out)
    return out.getvalue()


def changed(content: bytes, begin: int, end: int) -> bytes:
    "Bytes turned around: a disk or a download went wrong"
    return content[:begin] + bytes(b ^ 0xFF for b in content[begin:end]) + content[end:]


def lines(*rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def second(**changes) -> str:
    "Two rows, the second one with something wrong in it"
    return lines(ROW, ROW | {"id": "x2"} | changes)


def squad(**changes) -> dict:
    "SQuAD's tree around one question; a field of any level can be changed"
    qa = {"id": "x1", "question": "Whom?", "answers": [{"text": "Bo", "answer_start": 8}]}
    qa |= {key: changes[key] for key in ("id", "question", "answers") if key in changes}
    paragraph = {"context": changes.get("context", CONTEXT), "qas": changes.get("qas", [qa])}
    article = {"title": "", "paragraphs": changes.get("paragraphs", [paragraph])}
    return {"data": changes.get("data", [article])}


def task(**changes) -> list:
    "A task of Label Studio"
    value = {"start": 8, "end": 10, "text": "Bo", "labels": ["Answer"]} | changes.pop("value", {})
    result = changes.pop("result", [{"value": value}])
    annotation = {"result": result, "was_cancelled": False}
    data = {"text": CONTEXT, "question": "Whom?"}
    return [{"id": 4, "data": data, "annotations": [annotation]} | changes]


def marked(**changes) -> str:
    "A row of doccano"
    row = {"id": 3, "text": CONTEXT, "question": "Whom?", "label": [[8, 10, "Answer"]]}
    return lines(row | changes)


def linked(name: str, target: str):
    return lambda folder: os.symlink(target, folder / name)


def folder_of(name: str):
    return lambda folder: (folder / name).mkdir()


TABLE = parquet([ROW | {"id": f"x{n}", "context": f"{CONTEXT} {n}"} for n in range(3000)])
ZONE = pa.array([5], pa.timestamp("s", tz="W. Europe Standard Time"))
ZONED = pa.Table.from_pylist([ROW]).append_column("seen", ZONE)
TWICE = pa.Table.from_arrays([pa.array(["a"])] * 2, names=["id", "id"])
HEAD = "id,question,context\n"
DEEP = "[" * 100_000
DIGITS = '{"id": "x1", "answer_start": ' + "9" * 5000 + "}\n"

CASES = [
    # Bytes that are no text, or no table
    *everywhere("empty-json", "a.json", "", "a.json is empty"),
    *everywhere("blank-jsonl", "a.jsonl", "\n \n", "a.jsonl is empty"),
    *everywhere("mark-alone", "a.csv", b"\xef\xbb\xbf", "a.csv is empty"),
    *everywhere("cut-json", "a.json", json.dumps([ROW])[:-20], "a.json is not JSON: .*column"),
    *everywhere("cut-jsonl", "a.jsonl", lines(ROW)[:-9], "a.jsonl, line 1 is not JSON"),
    *everywhere("lines-in-json", "a.json", lines(ROW, ROW), "a.json .*called .jsonl"),
    *everywhere("deep-json", "a.json", DEEP, "a.json is nested too deeply"),
    *everywhere("deep-line", "a.jsonl", lines(ROW) + DEEP, "a.jsonl, line 2 is nested too deeply"),
    *everywhere("digits", "a.jsonl", DIGITS, "a.jsonl, line 1 .*thousands of digits|no column"),
    *everywhere("nul-csv", "a.csv", "id,question\n1,a\0b\n", "a.csv, line 2 holds a NUL byte"),
    *everywhere("nul-json", "a.json", "[\n\0]", "a.json, line 2 holds a NUL byte"),
    *everywhere("utf16", "a.csv", "id,question\n".encode("utf-16"), "not UTF-8 .it is UTF-16"),
    *everywhere("utf16-no-mark", "a.jsonl", lines(ROW).encode("utf-16-le"), "holds a NUL byte"),
    *everywhere("latin-1", "a.json", '["café"]'.encode("latin-1"), "a.json is not UTF-8"),
    *everywhere("no-parquet", "a.parquet", b"PAR1 and prose", "a.parquet is not Parquet"),
    *everywhere("cut-parquet", "a.parquet", TABLE[:-100], "a.parquet is not Parquet, or damaged"),
    *everywhere("bad-pages", "a.parquet", changed(TABLE, 40, 4000), "not Parquet, or damaged"),
    *everywhere("twice-named", "a.parquet", parquet(TWICE), "several columns with the same name"),
    *everywhere("zone", "a.parquet", parquet(ZONED), "times in an unknown zone", ("convert",)),
    *everywhere("gzip", "a.json.gz", b"\x1f\x8b\x08", "unpack it first", ("check",)),
    *everywhere("no-table", "a.xlsx", b"PK", "a.xlsx.*known are .json", ("check", "predict")),
    # Tables that slipped
    *everywhere("comma", "a.csv", "id,question,context\n1,Who?,Ann, Bo\n", "line 2 has more cells"),
    *everywhere("two-lines", "a.csv", HEAD + '1,"a\nb",c\n2,c,d,e\n', "a.csv, line 4 has more"),
    *everywhere("open-quote", "a.csv", 'id,question\n1,"Who?\n', "a.csv, line .*unexpected end"),
    *everywhere(
        "long-cell", "a.csv", "id\n" + "x" * 200_000, "a.csv.* has no column|the question is None"
    ),
    *everywhere("cut-csv", "a.csv", HEAD + "1,Who?,x\n2,Who?", "line 3, the last .*cut off"),
    *everywhere("same-field", "a.jsonl", '{"id": 1, "id": 2}', "line 1 has .*several fields 'id'"),
    *everywhere("same-data", "a.json", '{"data": [], "data": []}', "a.json has .* fields 'data'"),
    *everywhere("same-column", "a.csv", "id,id\n1,2\n", "a.csv has several columns id"),
    *everywhere("semicolons", "a.csv", "id;question\n1;Who?\n", "has no column .*';'", ("check",)),
    *everywhere("no-answers", "a.csv", "id,question,context\n", "holds no example", ("check",)),
    *everywhere("no-object", "a.jsonl", lines(ROW, 5), "a.jsonl, line 2 is int, not an object"),
    *everywhere("null-row", "a.json", [ROW, None], "a.json, row 1 is null, not an object"),
    # Paths
    Case("gone", files(), ("check", "gone.json"), "there is no file gone.json"),
    Case("gone-input", files(), words("predict", "gone.csv"), "there is no file gone.csv"),
    Case("empty-folder", folder_of("data"), ("check", "data"), "data holds no file that ends"),
    Case("folder", folder_of("data.csv"), words("convert", "data.csv"), "data.csv is a folder"),
    Case("folder-input", folder_of("q.csv"), words("predict", "q.csv"), "q.csv is a folder"),
    Case("loop", linked("a.json", "a.json"), ("check", "a.json"), "a.json cannot be read: .*links"),
    Case("dead-link", linked("a.csv", "b.csv"), words("convert", "a.csv"), "a link to a file that"),
    Case("no-user", files(), ("check", "~nobody-here/a.json"), "no user of this name"),
    Case("no-user-input", files(), words("predict", "~nobody-here/a.csv"), "no user of this name"),
    Case("no-user-source", files(), words("convert", "~nobody-here/a.csv"), "no user of this name"),
    Case("nul-path", files(), ("check", "a\0b.json"), "holds a NUL character"),
    Case("under-a-file", files(a_csv="x"), words("convert", "a.csv/b.csv"), "cannot be read"),
    Case("long-name", files(), words("convert", "a" * 300 + ".csv"), "no path: it is too long"),
    # Values of the wrong type
    *everywhere("context-5", "a.jsonl", second(context=5), "line 2.*x2.*context is 5, not a text"),
    *everywhere("context-list", "a.jsonl", second(context=["Ann"]), "line 2.*x2.*context is"),
    *everywhere("context-dict", "a.jsonl", second(context={}), "line 2.*x2.*context is {}, not"),
    *everywhere("question-7", "a.jsonl", second(question=7), "line 2.*x2.*question is 7, not"),
    *everywhere("id-list", "a.jsonl", second(id=[]), r"line 2.*the id is \[\], neither"),
    *everywhere("id-dict", "a.jsonl", second(id={}), "line 2.*the id is {}, neither"),
    *everywhere(  # tables write NaN into an empty cell
        "id-nan", "a.jsonl", second(id=float("nan")), "line 2.*(the id is nan, neither|has no id)"
    ),
    *everywhere("id-true", "a.jsonl", second(id=True), "line 2.*the id is True, neither"),
    *everywhere("id-empty", "a.jsonl", second(id=""), "the id is (empty|'')|line 2 has no id"),
    *everywhere("half-context", "a.jsonl", second(context=HALF), "line 2.*half of a surrogate"),
    *everywhere("half-question", "a.jsonl", second(question=HALF), "line 2.*half of a surrogate"),
    *everywhere("half-id", "a.jsonl", second(id=HALF), r"line 2.*the id is '\\ud83d'"),
    *everywhere(
        "half-title", "a.jsonl", second(title=HALF), "line 2.*half of a", ("check", "convert")
    ),
    *everywhere(
        "half-answer",
        "a.jsonl",
        second(answers={"text": [HALF], "answer_start": [0]}),
        "line 2.*half of a surrogate",
        ("check", "convert"),
    ),
    *[
        case
        for name, start in (
            ("huge", 2**63),
            ("infinite", float("inf")),
            ("broken", 8.5),
            ("true", True),
            ("list", [8]),
        )
        for case in everywhere(
            f"start-{name}",
            "a.jsonl",
            second(answers={"text": ["Bo"], "answer_start": [start]}),
            "line 2.*start is .*, not a (whole )?number of characters",
            ("check", "convert"),
        )
    ],
    *everywhere(
        "start-nan",
        "a.jsonl",
        second(answers={"text": ["Bo"], "answer_start": [float("nan")]}),
        "line 2.*answer_start is nan, not a whole number",
        ("check",),
    ),
    *everywhere("answers-5", "a.jsonl", second(answers=5), "line 2.*answers: 5 has", ("check",)),
    *everywhere("answers-prose", "a.jsonl", second(answers="Bo"), "not JSON", ("check",)),
    *everywhere("answer-5", "a.jsonl", second(answers=[5]), "line 2.*5 has no 'text'", ("check",)),
    *everywhere(
        "texts-no-list",
        "a.jsonl",
        second(answers={"text": "Bo", "answer_start": [8]}),
        "line 2.*text is 'Bo', not a list",
        ("check",),
    ),
    *everywhere("answers-null", "a.jsonl", second(answers=None), "answers is null", ("check",)),
    *everywhere("answer-true", "a.jsonl", second(answers=True), "answer is True", ("convert",)),
    # SQuAD's tree
    *everywhere("data-null", "a.json", squad(data=None), "a.json: 'data' is None, not a list"),
    *everywhere("data-5", "a.json", {"data": 5}, "a.json: 'data' is 5, not a list"),
    *everywhere("no-data", "a.json", {"rows": []}, "a.json has no 'data'.*SQuAD layout"),
    *everywhere("a-number", "a.json", 5, "a.json is 5, not an object"),
    *everywhere("paragraphs", "a.json", squad(paragraphs=None), r"data\[0\]: 'paragraphs' is None"),
    *everywhere("qas-null", "a.json", squad(qas=None), r"paragraphs\[0\]: 'qas' is None"),
    *everywhere("qa-5", "a.json", squad(qas=[5]), r"qas\[0\] is 5, not an object"),
    *everywhere("qa-id", "a.json", squad(id={}), r"qas\[0\].*the id is {}, neither"),
    *everywhere("qa-context", "a.json", squad(context={}), r"qas\[0\].*context is {}, not a text"),
    *everywhere(
        "qa-answers", "a.json", squad(answers=[5]), r"qas\[0\]: answers: 5", ("check", "convert")
    ),
    # Exports of annotation tools
    *[
        case
        for name, content, says in (
            ("null", None, "a.json is NoneType, not a list"),
            ("data-null", task(data=None), "task 4 has no data"),
            ("id-dict", task(id={}), "the id is {}, neither"),
            ("annotations-5", task(annotations=5), "task 4: 'annotations' is 5, not a list"),
            ("annotations-null", task(annotations=None), "not_annotated: 1"),
            ("annotation-null", task(annotations=[None]), r"annotations\[0\] is None, not an"),
            ("result-5", task(result=5), r"annotations\[0\]: 'result' is 5, not a list"),
            ("result-null", task(result=[None]), r"result\[0\] is None, not an object"),
            ("value-5", task(result=[{"value": 5}]), r"result\[0\]: 'value' is 5, not an object"),
            ("value-null", task(result=[{"value": None}]), "answer_empty: 1"),
            ("labels-5", task(value={"labels": 5}), r"result\[0\]: 'labels' is 5, not a list"),
            ("start-list", task(value={"start": []}), "start is .*, not a number"),
            ("half", task(value={"text": HALF}), r"'\\ud83d' does not occur in the context"),
        )
        for case in everywhere(
            f"studio-{name}", "a.json", content, says, ("convert",), "--layout", "label-studio"
        )
    ],
    *[
        case
        for name, content, says in (
            ("null", None, "a.json is None, not an object with 'data'"),
            ("data-null", squad(data=None), "'data' is None, not a list"),
            ("qas-null", squad(qas=None), "'qas' is None, not a list"),
            ("qa-null", squad(qas=[None]), r"qas\[0\] is None, not an object"),
            ("id-dict", squad(id={}), "the id is {}, neither"),
            ("answers-null", squad(answers=None), "answer_empty: 1"),
            ("answers-5", squad(answers=[[5]]), r"qas\[0\]: the answer is \[5\], not a text"),
        )
        for case in everywhere(
            f"haystack-{name}", "a.json", content, says, ("convert",), "--layout", "haystack"
        )
    ],
    *[
        case
        for name, content, says in (
            ("label-null", marked(label=None), "line 1 has no list of spans or texts"),
            ("label-5", marked(label=5), "line 1: label is 5, not a list of spans"),
            ("span-5", marked(label=[5]), "line 1: 5 is no span"),
            ("span-null", marked(label=[None]), "line 1: None is no span"),
            ("span-short", marked(label=[[8]]), r"line 1: \[8\] is no span"),
            ("start-null", marked(label=[[None, 4, "A"]]), "a span has no start or no end"),
            ("start-text", marked(label=[["x", 4, "A"]]), "start is 'x', not a number"),
            ("outside", marked(label=[[8, 99, "A"]]), "the span 8 to 99 is empty, or outside"),
            ("text-5", marked(text=5), "context is 5, not a text"),
            ("text-half", marked(text=HALF), "half of a surrogate"),
            ("id-list", marked(id=[]), r"the id is \[\], neither"),
        )
        for case in everywhere(
            f"doccano-{name}", "a.jsonl", content, says, ("convert",), "--layout", "doccano"
        )
    ],
    # What predict reads and writes
    Case(
        "same-id", files(a_jsonl=lines(ROW, ROW)), words("predict", "a.jsonl"), "line 2 .*'x1'.*1"
    ),
    Case(
        "overlong",
        files(a_jsonl=second(question="why " * 600, context="otters " * 600)),
        words("predict", "a.jsonl"),
        "line 2 .*'x2'.*600 tokens",
    ),
    Case("blank", files(a_jsonl=second(context=" ")), words("predict", "a.jsonl"), "2.*is empty"),
    Case(
        "no-such-column",
        files(a_jsonl=lines(ROW)),
        words("predict", "a.jsonl", "--id-column", "nr"),
        "line 1 has no column 'nr'",
    ),
    Case(
        "unrelated-part",
        files(a_jsonl=lines(ROW), out_jsonl_part0="a diary"),
        words("predict", "a.jsonl", "--overwrite"),
        "out.jsonl.part0 is in the way",
    ),
    Case(
        "unrelated-part-resumed",
        files(a_jsonl=lines(ROW), out_jsonl_part7='{"a": 1}\n'),
        words("predict", "a.jsonl", "--resume"),
        "out.jsonl.part7 is in the way",
    ),
    Case(
        "output-exists",
        files(a_jsonl=lines(ROW), out_jsonl="old"),
        words("predict", "a.jsonl"),
        "out.jsonl exists.*--overwrite",
    ),
    Case(
        "both-ways",
        files(a_jsonl=lines(ROW)),
        words("predict", "a.jsonl", "--resume", "--overwrite"),
        "--resume.*--overwrite",
    ),
    Case(
        "onto-itself",
        files(a_jsonl=lines(ROW)),
        ("predict", "--model", "{tiny}", "--input", "a.jsonl", "--output", "a.jsonl"),
        "is the file of the questions",
    ),
    Case(
        "answers-under-a-file",
        files(a_jsonl=lines(ROW)),
        ("predict", "--model", "{tiny}", "--input", "a.jsonl", "--output", "a.jsonl/b.jsonl"),
        "a.jsonl/b.jsonl cannot be written",
    ),
    # What convert writes
    Case(
        "converted-exists",
        files(a_jsonl=lines(ROW), out_json="old"),
        words("convert", "a.jsonl"),
        "out.json exists.*--overwrite",
    ),
    Case(
        "converted-under-a-file",
        files(a_jsonl=lines(ROW)),
        ("convert", "a.jsonl", "a.jsonl/out.json"),
        "a.jsonl/out.json cannot be written",
    ),
    Case(
        "converted-long-name",
        files(a_jsonl=lines(ROW)),
        ("convert", "a.jsonl", "a" * 300 + ".json"),
        "is no path: it is too long",
    ),
    Case(
        "answers-long-name",
        files(a_jsonl=lines(ROW)),
        ("predict", "--model", "{tiny}", "--input", "a.jsonl", "--output", "a" * 300 + ".jsonl"),
        "is no path: it is too long",
    ),
    Case(
        "converted-csv",
        files(a_jsonl=lines(ROW)),
        ("convert", "a.jsonl", "out.csv"),
        "must end in .json",
    ),
    # Questions that are none
    *everywhere("header-only", "a.csv", "id,question,context\n", "a.csv holds no", ("predict",)),
    *everywhere("no-rows", "a.json", [], "a.json holds no", ("check", "convert", "predict")),
    *everywhere("unseen-question", "a.jsonl", second(question=UNSEEN), "x2.*question is empty"),
    *everywhere("unseen-context", "a.jsonl", second(context=UNSEEN), "x2.*context is empty"),
    Case(
        "unseen-question-asked",
        files(),
        ("answer", "--model", "{tiny}", "--text", CONTEXT, "--question", UNSEEN),
        "the question is empty",
    ),
    Case(
        "unseen-questions-asked",
        files(a_txt="\u200b\n\ufeff \n"),
        ("answer", "--model", "{tiny}", "--text", CONTEXT, "--questions", "a.txt"),
        "there is no question",
    ),
    Case(
        "unseen-context-asked",
        files(),
        ("answer", "--model", "{tiny}", "--text", UNSEEN, "--question", "Whom?"),
        "the context is empty",
    ),
    # Options and names that do not mean what they seem to
    Case(
        "model-long-name",
        files(),
        ("answer", "--model", "m" * 5000, "--text", CONTEXT, "--question", "Whom?"),
        "is no path: it is too long",
    ),
    Case(
        "format-as-data",
        files(a_json=[ROW]),
        ("check", "json"),
        "'json' is a format of files to `datasets`, not a data set: name the file",
    ),
    Case(
        "label-of-a-table",
        files(a_jsonl=lines(ROW)),
        words("convert", "a.jsonl", "--label", "Answer"),
        r"--label\) has no effect on the layout table",
    ),
    Case(
        "columns-of-haystack",
        files(a_json={"data": []}),
        words("convert", "a.json", "--layout", "haystack", "--question-column", "ask"),
        r"--question-column ...\) has no effect on the layout haystack",
    ),
]
