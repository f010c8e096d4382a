"""Loading and checking: every source gives the same columns, and every wrong value is named."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, strategies as st

from squadqa.data import (
    FEATURES,
    SAMPLES,
    check_examples,
    error_message,
    example_problems,
    find_answers,
    load_file,
    load_folder,
    load_hub,
    load_squad,
    split_files,
    split_of,
    to_dataset,
)
from squadqa.hub import public_name

COLUMNS = ["id", "title", "context", "question", "answers"]
ROW = {
    "id": "x1",
    "title": "",
    "context": "Ann met Bo in Rome. Bo left.",
    "question": "Whom did Ann meet?",
    "answers": {"text": ["Bo"], "answer_start": [8]},
}


def test_samples():
    for name in SAMPLES:
        data = load_squad(name)
        assert list(data) == ["train", "validation"]
        for rows in data.values():
            assert rows.features == FEATURES and rows.column_names == COLUMNS
    assert len(load_squad()["train"]) == 304 and len(load_squad()["validation"]) == 120
    assert all(len(answers["text"]) == 1 for answers in load_squad()["train"]["answers"])


def test_every_source_gives_the_same(tmp_path):
    rows = load_squad()["validation"].select(range(5))
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "train.json").write_text(json.dumps({"data": rows.to_list()}))
    (tmp_path / "notes.txt").write_text("not data")
    (tmp_path / ".hidden.json").write_text("not data")
    (tmp_path / "test.json").mkdir()
    rows.add_column("more", list(range(5))).save_to_disk(tmp_path / "saved-dev")
    DatasetDict(a=rows).save_to_disk(tmp_path / "saved")
    found = load_squad(tmp_path)
    assert list(found) == ["validation", "train"]
    for rows_of in (
        found["train"],
        load_folder(tmp_path)["validation"],
        load_file(tmp_path / "dev.jsonl"),
        load_squad(str(tmp_path / "dev.jsonl"))["validation"],
        load_squad({"a": tmp_path / "train.json"})["a"],
        load_squad({"a": rows})["a"],
        load_squad(DatasetDict(a=rows))["a"],
        load_squad(tmp_path / "saved")["a"],
        load_squad(str(tmp_path / "saved-dev"))["validation"],
    ):
        assert rows_of.to_list() == rows.to_list() and rows_of.features == FEATURES
    assert split_files(tmp_path / "dev.jsonl") == {"validation": tmp_path / "dev.jsonl"}


def parts(folder, *names):
    "A row in each file, called as the file is."
    folder.mkdir()
    for name in names:
        Dataset.from_list([ROW | {"id": name}]).to_parquet(folder / name)
    return folder


def test_a_split_in_parts(tmp_path):
    "As `datasets` writes them: all parts in order, or none."
    first, second = "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"
    whole = parts(tmp_path / "whole", second, first, "validation-00000-of-00001.parquet")
    found = load_squad(whole)
    assert found["train"]["id"][:] == [first, second] and len(found["validation"]) == 1
    assert list(split_files(parts(tmp_path / "one", "dev-00000-of-00001.parquet"))) == [
        "validation"
    ]
    given = [whole / second, Dataset.from_list([ROW | {"id": "row"}]), str(whole / first)]
    hashed = [f"train-0000{n}-of-00002-bb0e2a8a8c6cd12{n}.parquet" for n in (0, 1)]
    assert load_squad(parts(tmp_path / "hashed", *hashed))["train"]["id"][:] == hashed
    (tmp_path / "repo").mkdir()
    parts(tmp_path / "repo" / "data", first)
    assert "its folder 'data' does" in error_message(load_squad, tmp_path / "repo")
    assert load_squad({"a": tuple(given)})["a"]["id"][:] == [second, "row", first]
    assert load_squad({"a": given})["a"]["id"][:] == [second, "row", first]
    for name, files, words in (
        ("less", [second], "one of 2 parts, and part 0 is not there"),
        ("lone", [first], "one of 2 parts, and part 1 is not there"),
        (
            "other",
            [first, "train-00001-of-00003.parquet"],
            "00002.parquet and .*00003.parquet both",
        ),
        ("mixed", [first, second, "train.parquet"], f"{first} and .*train.parquet both look like"),
        ("twice", [first, second, hashed[0]], f"{first[:-8]}.* and .*{first[:-8]}.* both look"),
        ("named", [second, "squad-00001-of-00002.parquet"], f"squad.* and .*{second} both look"),
    ):
        assert re.search(words, error_message(load_squad, parts(tmp_path / name, *files)))
    assert "has train in 2 parts" in error_message(split_files, whole)


@pytest.mark.parametrize(
    "name, split",
    [
        ("train.json", "train"),
        ("squad.json", "train"),
        ("dev-v1.1.json", "validation"),
        ("my_val.csv", "validation"),
        ("Valid.parquet", "validation"),
        ("eval-2.jsonl", "validation"),
        ("test-v2.0.json", "test"),
        ("contest.json", "train"),
        ("devices.json", "train"),
    ],
)
def test_splits_by_name(name, split):
    assert split_of(name) == split


def test_a_data_set_alone_is_a_split():
    rows = load_squad({"train": Dataset.from_list([ROW])})["train"]
    assert load_squad(rows)["train"].to_list() == rows.to_list()
    for split, name in (("validation", "validation"), ("train[:10%]", "train")):
        named = Dataset.from_dict(rows.to_dict(), split=split)
        assert list(load_squad(named)) == [name]


def test_sources_that_are_none():
    for source, words in (
        ("", "data is '': a name, a path"),
        (None, "data is None"),
        (5, "data is int"),
        ({"train": 5}, "train is int, neither a file nor a Dataset"),
        ({"train": [ROW]}, "train is list, neither"),
        (["a.json"], "data is list"),
        (b"a.json", "data is bytes"),
        ({}, "data is {}"),
        (pd.DataFrame([ROW]), "data is DataFrame: .* Dataset.from_pandas"),
        (Dataset.from_list([ROW]).to_iterable_dataset(), "data is IterableDataset"),
        ((row for row in [ROW]), "data is generator"),
        ({"train": pd.DataFrame([ROW])}, "train is DataFrame, .* Dataset.from_pandas"),
        ({1: Dataset.from_list([ROW])}, "the splits are [[]1[]]: their names must be texts"),
    ):
        assert re.search(words, error_message(load_squad, source))


def test_data_sets_with_other_columns():
    "Titles are made up where there are none; other forms of answers are brought into ours."
    rows = [{k: v for k, v in ROW.items() if k != "title"} | {"extra": 1, "id": 7}]
    rows[0]["answers"] = [{"text": "Bo", "answer_start": 8}]
    (example,) = load_squad({"train": Dataset.from_list(rows)})["train"]
    assert example == ROW | {"id": "7"}
    for changes, words in (
        ({"context": 5}, "train, row 0 (id 'x1'): the context is 5, not a text"),
        ({"id": 7.5}, "the id is 7.5, neither a text nor a whole number"),
        ({"answers": "Bo"}, "train, row 0 (id 'x1'): answers is not JSON"),
    ):
        data = {"train": Dataset.from_list([ROW | changes])}
        assert words in error_message(load_squad, data)
    data = {"train": Dataset.from_list([{"id": "1", "context": "c"}])}
    assert "train has no column question, answers" in error_message(load_squad, data)


def test_rows_become_a_data_set():
    rows = [ROW, ROW | {"id": 7, "title": 5, "answers": [{"text": "Bo", "answer_start": 20.0}]}]
    dataset = to_dataset(rows)
    assert dataset.features == FEATURES and dataset[0] == ROW
    assert dataset[1] == ROW | {
        "id": "7",
        "title": "5",
        "answers": {"text": ["Bo"], "answer_start": [20]},
    }
    null = {"context": None, "question": None, "answers": None, "id": None, "title": None}
    assert to_dataset([null])[0] == null | {"title": ""}  # a check names it
    for rows, words in (
        ([], "rows holds no example"),
        ([ROW, None], "rows, row 1 is null, not an object"),
        ([ROW, [1]], "rows, row 1 is list"),
        ([{"id": 1}], "rows, row 0 has no column context, question, answers (it has: id)"),
        ({}, "rows is dict, not a list of rows"),
        ([ROW | {"title": []}], "row 0 (id 'x1'): the title is []"),
    ):
        assert words in error_message(to_dataset, rows)


WRONG = {
    "context": [5, ["Ann"], {}, "a\ud83d", True],
    "question": [7, [], {}, "\udc00"],
    "id": [[], {}, float("nan"), True, 7.5, "\ud83d", " "],
    "answers": [
        5,
        "Bo",
        [5],
        [None],
        {"text": "Bo", "answer_start": 8},
        {"text": [5], "answer_start": [8]},
        {"text": ["\ud83d"], "answer_start": [8]},
        *[{"text": ["Bo"], "answer_start": [s]} for s in (2**63, float("inf"), 8.5, "8", True)],
        {"text": ["Bo"], "answer_start": [float("nan")]},
        {"text": ["Bo"]},
    ],
    "title": [[], {}],
}


@pytest.mark.parametrize(
    "field, value", [(field, value) for field, values in WRONG.items() for value in values]
)
def test_wrong_values_are_named_not_mended(field, value):
    rows = [ROW, ROW | {"id": "x2"} | {field: value}]
    report = check_examples(rows)
    assert dict(report.problems) == {"wrong_type": 1} and report.examples == 2
    (message,) = report.offenders["wrong_type"]
    assert message.startswith("example ") and field.rstrip("s") in message
    with pytest.raises(ValueError, match=r"rows, row 1 \(id "):
        to_dataset(rows)


def test_raw_rows_are_checked_as_they_are():
    good = ROW | {"id": 7, "answers": [{"text": "Bo", "answer_start": 8}]}
    assert check_examples([good]).ok
    report = check_examples([good, good | {"id": "7"}])
    assert dict(report.problems) == {"duplicate_id": 1}  # a number is the text of its digits
    wrong = good | {"answers": [{"text": "Bo", "answer_start": 9}]}
    assert "not at 9 but at 8 (off by -1)" in str(check_examples([wrong]))
    nothing = {name: None for name in ROW}
    report = check_examples({"train": [nothing, nothing], "validation": [good]})
    assert dict(report.problems) == {"null_field": 2} and report.examples == 3
    assert "train: example None: id, context, question, answers is null" in str(report)
    report = check_examples([ROW | {"id": ""}])
    assert dict(report.problems) == {"empty_id": 1}
    assert "the data, row 1 is null" in error_message(check_examples, [ROW, None])
    assert "the data, row 0 has no column id" in error_message(check_examples, [{}])
    assert "the data is int" in error_message(check_examples, 5)


def test_a_report_counts_and_keeps_the_first():
    rows = [ROW | {"id": f"x{n}", "question": " "} for n in range(5)]
    report = check_examples(rows)
    assert report.problems == {"empty_question": 5} and len(report.offenders["empty_question"]) == 3
    assert report.contexts == 1 and report.stray_spaces == 5 and not report.ok
    assert "5 examples over 1 context," in str(report) and "'x2'" in str(report)
    assert "Mend these examples" in error_message(report.raise_if_bad)
    unanswerable = ROW | {"answers": {"text": [], "answer_start": []}}
    assert check_examples([unanswerable]).unanswerable == 1
    assert list(example_problems(ROW)) == []


def test_places_of_an_answer():
    assert find_answers("banana", "ana") == [1, 3]
    assert find_answers("a (b) a", "(b)") == [2]
    assert find_answers("a", "") == find_answers("a", "b") == []


def test_error_message_wants_an_error():
    with pytest.raises(AssertionError, match="len raised no ValueError"):
        error_message(len, "abc")


@pytest.mark.parametrize("name", ["json", "csv", "text", "parquet", "pandas", "sql", "imagefolder"])
def test_a_format_is_no_data_set(name, tmp_path, monkeypatch):
    "`datasets` would read all that lies in the current folder, and unpickle what is called .pkl."
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.json").write_text(json.dumps([ROW]))
    said = error_message(load_squad, name)
    assert said == f"{name!r} is a format of files to `datasets`, not a data set: name the file"


def test_every_builder_of_datasets_counts_as_a_format():
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    for name in _PACKAGED_DATASETS_MODULES:
        assert "is a format of files" in error_message(load_hub, name)


@pytest.mark.parametrize("kind", ["numpy", "torch", "pandas", "arrow"])
def test_a_data_set_that_gives_arrays(kind):
    plain = load_squad()["validation"].select(range(3))
    rows = plain.with_format(kind)
    assert check_examples(rows).ok and check_examples({"validation": rows}).ok
    assert load_squad({"a": rows})["a"][:] == to_dataset(rows)[:] == plain[:]


def test_tables_of_pandas_are_told_from_rows():
    for function in (check_examples, to_dataset):
        said = error_message(function, pd.DataFrame([ROW]))
        assert said.endswith("is DataFrame, not a list of rows: rows.to_dict('records') is one")
    assert check_examples({1: [ROW]}).ok


def tried_one_by_one(context, text):
    return [i for i in range(len(context)) if context.startswith(text, i)]


@given(st.text("ab", max_size=12), st.text("ab", min_size=1, max_size=4))
def test_places_are_those_of_a_slow_search(context, text):
    assert find_answers(context, text) == tried_one_by_one(context, text)


@pytest.mark.parametrize("part", ["a", "ab", "aab", "aabaaab"])
def test_an_answer_that_repeats_itself_is_found_in_time(part):
    "Each place tried on its own would take up to 10**10 comparisons."
    context, text = part * 7000 + "b" + part * 7000, part * 2000
    assert find_answers(context, text) == tried_one_by_one(context, text)
    context, text = part * 200_000, part * 100_000
    assert find_answers(context, text) == list(range(0, len(text) + 1, len(part)))
    assert find_answers(context, text + "c") == []


def test_messages_stay_short():
    row = ROW | {"id": "x" * 10_000}
    for answers in (["z" * 10_000], [ROW["context"][1:]]):
        bad = row | {"context": ROW["context"] * 1000}
        bad |= {"answers": {"text": answers, "answer_start": [0]}}
        assert len(str(check_examples([bad, bad]))) < 1200


def test_a_missing_value_of_pandas_is_no_id():
    (told,) = check_examples([ROW | {"id": pd.NA}]).offenders["wrong_type"]
    assert told == "example <NA>: the id is <NA>, neither a text nor a whole number"


def test_nothing_is_not_fit_for_training():
    for data in ({}, DatasetDict()):
        assert "there is no split to check" in error_message(check_examples, data)


def test_a_revision_is_of_a_data_set_on_the_hub(tmp_path):
    Dataset.from_list([ROW]).to_json(tmp_path / "a.jsonl")
    for source in ("sample", tmp_path, tmp_path / "a.jsonl", {"train": tmp_path / "a.jsonl"}):
        assert "revision='v2' is of a data set" in error_message(load_squad, source, revision="v2")


def test_names_of_data_for_a_card(tmp_path):
    "Each file once, without the folders of the machine."
    a, b = str(tmp_path / "a.json"), tmp_path / "b.json"
    for source in ({"train": [a, b], "validation": a}, {"train": (a, str(b))}, [a, b, a]):
        assert public_name(source) == "a.json, b.json"
    assert public_name({"train": 5, "validation": 6}) == public_name([1]) == "data in memory"
    assert public_name("bert") == "bert-base-cased" and public_name(Path("bert")) == "bert"
