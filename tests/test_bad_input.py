"""Bad data and impossible settings end in a sentence that names the place and the way out."""

import json
import os
import re

import pytest
from datasets import Dataset
from hypothesis import given, settings, strategies as st
from malformed import CASES

from squadqa.cli import main
from squadqa.data import check_examples, load_file, load_folder, load_squad, to_dataset
from squadqa.evaluation import prepare_evaluation_features
from squadqa.labeling import prepare_train_features
from squadqa.models import load_tokenizer
from squadqa.pairs import cut_pairs
from squadqa.validation import prepare_validation_features
from squadqa.windows import context_index, context_span, find_cls, tokenize_windows

ROW = {
    "id": "x1",
    "title": "",
    "context": "Ann met Bo in Rome.",
    "question": "Whom did Ann meet?",
    "answers": {"text": ["Bo"], "answer_start": [8]},
}


def squad(**changes):
    qa = {"id": "x1", "question": "Whom?", "answers": [{"text": "Bo", "answer_start": 8}]}
    return {
        "data": [
            {
                "title": "t",
                "paragraphs": [{"context": "Ann met Bo in Rome.", "qas": [qa | changes]}],
            }
        ]
    }


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.json", "{not json", "a.json is not JSON: .* line 1"),
        ("a.json", "", "a.json is empty"),
        ("a.json", '{"rows": []}', "has no 'data'"),
        ("a.json", '{"data": 5}', "'data' is 5, not a list"),
        ("a.json", '{"data": [1, 2]}', "a.json, row 0 is int, not an object"),
        ("a.json", '{"data": []}', "holds no example"),
        (
            "a.json",
            json.dumps({"data": [{"paragraphs": [{"qas": []}]}]}),
            r"data\[0\]: paragraphs\[0\] has no 'context'",
        ),
        (
            "a.json",
            json.dumps(
                {"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "1", "answers": []}]}]}]}
            ),
            r"qas\[0\] has no 'question'",
        ),
        ("a.jsonl", '{"id": "1"}\n', "no column context, question, answers"),
        ("a.jsonl", '{"id": "1"}\nnope\n', "a.jsonl, line 2 is not JSON"),
        ("a.csv", "id,context\n1,c\n", "no column question, answers"),
        ("a.parquet", "PAR?", "not Parquet"),
        ("a.xls", "x", "cannot tell the format"),
    ],
)
def test_files_of_another_kind(name, content, words, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=words):
        load_squad(tmp_path / name)


def test_wrong_encoding_missing_file_and_two_files_for_one_split(tmp_path):
    (tmp_path / "a.json").write_bytes('{"data": "é"}'.encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        load_file(tmp_path / "a.json")
    with pytest.raises(ValueError, match="no file .*gone.json"):
        load_squad(tmp_path / "gone.json")
    for name in ("dev-a.json", "dev-b.json"):
        (tmp_path / name).write_text(json.dumps(squad()))
    (tmp_path / "a.json").unlink()
    with pytest.raises(ValueError, match="both look like the validation split"):
        load_folder(tmp_path)
    with pytest.raises(ValueError, match="no file or folder here, and the Hub did not give it"):
        load_squad("nobody/nothing")


@pytest.mark.parametrize(
    "change, kind, words",
    [
        (
            {"answers": {"text": ["Bo"], "answer_start": [9]}},
            "answer_start_wrong",
            r"not at 9 but at 8 \(off by -1\)",
        ),
        (
            {"answers": {"text": ["Bob"], "answer_start": [8]}},
            "answer_not_in_context",
            "'Bob' does not occur",
        ),
        ({"answers": {"text": ["Bo"], "answer_start": [-11]}}, "answer_start_wrong", "not at -11"),
        (
            {"answers": {"text": ["Bo", "Bo"], "answer_start": [8]}},
            "answers_differ_in_number",
            "2 texts but 1 starts",
        ),
        ({"answers": {"text": [""], "answer_start": [8]}}, "empty_answer", "empty"),
        ({"question": "  "}, "empty_question", "question is empty"),
        ({"context": ""}, "empty_context", "context is empty"),
        ({"question": None}, "null_field", "question is null"),
        ({"context": None}, "null_field", "context is null"),
        ({"answers": None}, "null_field", "answers is null"),
        ({"answers": {"text": None, "answer_start": None}}, "null_field", "null"),
        ({"answers": {"text": [None], "answer_start": [0]}}, "null_field", "null"),
    ],
)
def test_faults_in_examples(change, kind, words):
    report = check_examples(to_dataset([ROW, ROW | {"id": "x2"} | change]))
    assert not report.ok and dict(report.problems) == {kind: 1}
    with pytest.raises(ValueError, match=f"(?s)'x2'.*{words}"):
        report.raise_if_bad()


def test_duplicate_ids_and_good_data():
    report = check_examples([ROW, ROW])
    assert dict(report.problems) == {"duplicate_id": 1} and "'x1'" in str(report)
    assert check_examples([ROW, ROW | {"id": "x2", "answers": {"text": [], "answer_start": []}}]).ok
    assert check_examples(load_squad()).ok and check_examples(load_squad("sample-v2")).ok


def test_v1_and_v2_files_and_flat_rows_give_the_same_columns(tmp_path):
    for name, content in (
        ("v1.json", squad()),
        ("v2.json", squad(is_impossible=True, answers=[])),
        ("flat.json", {"data": [ROW]}),
    ):
        (tmp_path / name).write_text(json.dumps(content))
        assert load_file(tmp_path / name).column_names == [
            "id",
            "title",
            "context",
            "question",
            "answers",
        ]


class Slow:
    is_fast = False


BO = {
    "id": ["x7"],
    "question": ["Whom did Ann meet?"],
    "context": ["Ann met Bo in Rome."],
    "answers": [{"text": ["Bo"], "answer_start": [8]}],
}


@pytest.mark.parametrize(
    "answers, words",
    [
        ([{"text": ["Bo"], "answer_start": [-3]}], "'x7': the answer 'Bo' cannot start at -3"),
        ([{"text": ["Bo"], "answer_start": [18]}], "'Bo' cannot start at 18 .* 19 characters"),
        ([{"text": ["Bo"], "answer_start": []}], "'Bo' cannot start at None"),
        ([{"text": ["Bo"]}], "has no 'answer_start'"),
        ([{"text": [None], "answer_start": [8]}], "'x7': an answer is None, not a text"),
        ([{"text": "Bo", "answer_start": 8}], "'x7': answers: text is 'Bo', not a list"),
        (["Bo", "Bo"], "1 contexts but the answers of 2 examples"),
    ],
)
def test_answers_that_teach_nothing(answers, words, minilm):
    with pytest.raises(ValueError, match=words):
        prepare_train_features(BO | {"answers": answers}, minilm)


@pytest.mark.parametrize("kind", ["torch", "numpy", "pandas"])
def test_features_of_a_data_set_with_a_format(kind, minilm):
    data = Dataset.from_dict(BO)
    two = [{"text": ["Bo", "Bo in Rome"], "answer_start": [8, 8]}, {"text": [], "answer_start": []}]
    more = Dataset.from_dict({name: column * 2 for name, column in BO.items()} | {"answers": two})
    for rows in (data, more):
        for prepare in (
            prepare_train_features,
            prepare_validation_features,
            prepare_evaluation_features,
        ):
            options = dict(batched=True, remove_columns=rows.column_names)
            plain = rows.map(prepare, fn_kwargs={"tokenizer": minilm}, **options)
            found = rows.with_format(kind).map(prepare, fn_kwargs={"tokenizer": minilm}, **options)
            assert found.with_format(None).to_list() == plain.to_list()


def test_texts_that_no_tokenizer_reads(minilm):
    for questions, contexts, words in (
        (["\ud800"], ["c"], "example 0: the question is no text that can be stored"),
        (None, ["c"], "lists of strings"),
        ((q for q in "q"), ["c"], "lists of strings"),
        ("q", "c", "batched=True"),
    ):
        for call in (tokenize_windows, cut_pairs):
            with pytest.raises(ValueError, match=words):
                call(minilm, questions, contexts, max_length=64, stride=8)


def test_impossible_windows(minilm, tiny_folder):
    with pytest.raises(ValueError, match="Slow is a slow tokenizer"):
        tokenize_windows(Slow(), ["q"], ["c"])
    long = "why " * 90
    for call in (prepare_train_features, prepare_validation_features):
        examples = {
            "id": ["x7"],
            "question": [long],
            "context": ["word " * 400],
            "answers": [{"text": [], "answer_start": []}],
        }
        with pytest.raises(
            ValueError, match="example 'x7': the question has 90 tokens.*max_length=100"
        ):
            call(examples, minilm, max_length=100, stride=8)
    with pytest.raises(ValueError, match="stride=120 leaves nothing new"):
        tokenize_windows(minilm, ["q"], ["c"], max_length=120, stride=120)
    with pytest.raises(ValueError, match="stride=-1"):
        tokenize_windows(minilm, ["q"], ["c"], stride=-1)
    with pytest.raises(ValueError, match="max_length=513"):
        tokenize_windows(minilm, ["q"], ["c"], max_length=513)
    with pytest.raises(ValueError, match="'x9': the context is None"):
        tokenize_windows(minilm, ["q"], [None], ids=["x9"])
    assert (
        len(tokenize_windows(minilm, [long], ["short"], max_length=100, stride=64)["input_ids"])
        == 1
    )  # fits as a whole


def test_a_python_tokenizer_is_refused(tmp_path):
    "A real slow tokenizer of transformers, not a stand-in."
    from transformers import CanineTokenizer

    CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="CanineTokenizer is a slow tokenizer"):
        load_tokenizer(tmp_path)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=120)


@pytest.mark.parametrize("name", ["bert-base-cased", "xlnet-base-cased", "roberta-style"])
def test_windows_over_random_unicode(name, shared):
    "Never a panic: windows of the right length cover the context, with CLS and sound offsets."
    tokenizer = load_tokenizer(shared / "tokenizers" / name)

    @settings(max_examples=120, deadline=None)
    @given(TEXT, TEXT, st.integers(8, 60), st.integers(0, 40))
    def check(question, context, max_length, stride):
        try:
            windows = tokenize_windows(
                tokenizer,
                [question],
                [context],
                max_length=max_length,
                stride=stride,
                padding=False,
            )
        except ValueError as e:
            assert "max_length" in str(e) and "stride" in str(e)
            return
        covered = set()
        for i, ids in enumerate(windows["input_ids"]):
            sequence_ids = windows.sequence_ids(i)
            span = context_span(sequence_ids, context_index(tokenizer))
            assert (
                len(ids) <= max_length
                and ids[find_cls(ids, sequence_ids, tokenizer)] == tokenizer.cls_token_id
            )
            for s, e in windows["offset_mapping"][i][span[0] : span[1] + 1] if span else []:
                assert 0 <= s <= e <= len(context)
                covered.update(range(s, e))
        whole = tokenizer(
            context, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        assert covered >= {c for s, e in whole for c in range(s, e)}

    check()


def contents(folder):
    "Every file and link of a folder, as it is"
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_malformed(case, tiny_folder, tmp_path, monkeypatch, capsys):
    "One sentence, no traceback, and the folder is as it was."
    monkeypatch.chdir(tmp_path)
    case.make(tmp_path)
    before = contents(tmp_path)
    code = main([word.replace("{tiny}", str(tiny_folder)) for word in case.argv])
    out, err = capsys.readouterr()
    is_report = case.argv[0] == "check" and "examples over" in out
    assert code == (1 if is_report else 2), out + err
    assert "Traceback" not in err and re.search(case.says, out + err, re.S), out + err
    assert contents(tmp_path) == before


def test_there_are_cases_and_their_names_differ():
    assert len({case.name for case in CASES}) == len(CASES) > 60
