"""What the first two lessons say about data and windows, where a lesson has no room to check it."""

import csv
import io
import json
import math
from collections import Counter
from itertools import pairwise, product

import pytest
from datasets import Dataset

from squadqa.data import (
    check_examples,
    error_message,
    example_problems,
    load_file,
    load_folder,
    load_hub,
    load_squad,
    split_of,
    to_dataset,
)
from squadqa.windows import (
    check_lengths,
    check_room,
    context_index,
    context_span,
    find_cls,
    tokenize_windows,
)

CONTEXT = "The Alder ran aground at Port Sorrel. Her crew walked back to Port Sorrel."
ROWS = [
    {
        "id": f"alder-{i}",
        "title": "Alder",
        "context": CONTEXT,
        "question": question,
        "answers": {"text": [text], "answer_start": [start]},
    }
    for i, (question, text, start) in enumerate(
        [("Where did the Alder run aground?", "Port Sorrel", 25), ("Which ship?", "The Alder", 0)]
    )
]


def nested(rows: list[dict]) -> dict:
    "SQuAD's own layout of rows that share a context."
    qas = []
    for row in rows:
        places = zip(row["answers"]["text"], row["answers"]["answer_start"])
        answers = [{"text": text, "answer_start": start} for text, start in places]
        qas.append({"id": row["id"], "question": row["question"], "answers": answers})
    paragraphs = [{"context": rows[0]["context"], "qas": qas}]
    return {"version": "1.1", "data": [{"title": rows[0]["title"], "paragraphs": paragraphs}]}


def csv_text(rows: list[dict]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows({**row, "answers": json.dumps(row["answers"])} for row in rows)
    return out.getvalue()


# --- lesson 1: data


def test_positions_count_characters_not_bytes():
    assert CONTEXT[25:36] == "Port Sorrel" and CONTEXT.rfind("Port Sorrel") == 62
    assert len("Åse") == 3 and len("Åse".encode()) == 4


@pytest.mark.parametrize("context", [CONTEXT, "Port Sorrel\u2028 mast\r\nThe Alder"])
def test_each_file_format_gives_the_same_rows(context, tmp_path):
    rows = [
        row | {"context": context, "answers": {"text": ["Alder"], "answer_start": [start]}}
        for row, start in zip(ROWS, (context.index("Alder"),) * 2)
    ]
    forms = {
        "flat.json": json.dumps(rows),
        "nested.json": json.dumps(nested(rows)),
        "lines.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        "table.csv": csv_text(rows),
    }
    for name, text in forms.items():
        (tmp_path / name).write_bytes(text.encode())
        assert load_file(tmp_path / name).to_list() == rows, name
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    assert load_file(tmp_path / "rows.parquet").to_list() == rows


def test_ids_become_text_and_titles_are_optional():
    row = {key: value for key, value in ROWS[0].items() if key != "title"}
    found = to_dataset([row | {"id": 7}])[0]
    assert found == ROWS[0] | {"id": "7", "title": ""}


def test_rows_that_do_not_fit_are_refused_by_name():
    assert "no example" in error_message(to_dataset, [])
    message = error_message(to_dataset, [{"id": 7, "text": "a b"}], "ships.jsonl")
    assert "ships.jsonl" in message and "question" in message


def test_a_file_name_tells_the_split():
    names = ["train-v1.1.json", "dev.json", "my_test.csv", "ships.json", "latest.json"]
    assert [split_of(n) for n in names] == ["train", "validation", "test", "train", "train"]


def test_load_squad_takes_files_folders_dicts_and_data_sets(tmp_path):
    path = tmp_path / "ships-dev.json"
    path.write_text(json.dumps(nested(ROWS)))
    assert load_squad(path)["validation"].to_list() == ROWS
    assert load_squad(tmp_path)["validation"].to_list() == ROWS
    assert load_squad({"train": path})["train"].to_list() == ROWS
    table = to_dataset(ROWS).remove_columns("title").add_column("more", [1, 2])
    loaded = load_squad({"train": table, "validation": path})
    assert loaded["train"].to_list() == [row | {"title": ""} for row in ROWS]
    assert load_squad(loaded)["validation"].to_list() == ROWS


def test_what_load_squad_refuses(tmp_path):
    assert "neither a file nor a Dataset" in error_message(load_squad, {"train": ROWS})
    incomplete = to_dataset(ROWS).remove_columns("question")
    assert "question" in error_message(load_squad, {"train": incomplete})
    assert "there is no file" in error_message(load_squad, tmp_path / "no.json")


def test_a_folder_has_one_file_per_split(tmp_path):
    assert "holds no file" in error_message(load_folder, tmp_path)
    to_dataset(ROWS).to_parquet(tmp_path / "train.parquet")
    to_dataset(ROWS[1:]).to_parquet(tmp_path / "validation.parquet")
    found = load_folder(tmp_path)
    assert found["train"].to_list() == ROWS and found["validation"].to_list() == ROWS[1:]
    (tmp_path / "ships.csv").write_text(csv_text(ROWS))
    assert "both look like the train split" in error_message(load_folder, tmp_path)


def test_the_hub_loader_gives_the_same_columns(tmp_path, monkeypatch):
    from datasets import config

    monkeypatch.setattr(config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    to_dataset(ROWS).remove_columns("title").to_parquet(folder / "train.parquet")
    assert load_hub(str(folder))["train"].to_list() == [row | {"title": ""} for row in ROWS]


def test_the_sample_has_one_answer_in_train_and_several_in_validation():
    data = load_squad("sample")
    counts = {
        split: Counter(len(answers["text"]) for answers in rows["answers"])
        for split, rows in data.items()
    }
    assert counts == {"train": {1: 304}, "validation": {1: 8, 2: 35, 3: 77}}
    assert not set(data["train"]["context"]) & set(data["validation"]["context"])


def test_unanswerable_questions_have_two_empty_lists():
    rows = load_squad("sample-v2")["validation"]
    empty = [answers for answers in rows["answers"] if not answers["text"]]
    assert len(empty) == 60 and all(a == {"text": [], "answer_start": []} for a in empty)


def answers(text: list, start: list) -> dict:
    return {"answers": {"text": text, "answer_start": start}}


BROKEN = {
    "answer_start_wrong": answers(["Port Sorrel"], [26]),
    "answer_not_in_context": answers(["Port Fennel"], [25]),
    "answers_differ_in_number": answers(["Port Sorrel"], []),
    "empty_answer": answers([""], [0]),
    "empty_question": {"question": " "},
    "empty_context": {"context": ""},
    "null_field": {"question": None},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_each_problem_has_its_kind(kind):
    assert [k for k, _ in example_problems(ROWS[0] | BROKEN[kind])] == [kind]


def test_sound_examples_have_no_problem():
    assert list(example_problems(ROWS[0])) == []
    assert list(example_problems(ROWS[0] | answers([], []))) == []


@pytest.mark.parametrize("name", ["sample", "sample-v2"])
def test_the_samples_are_fit_for_training(name):
    report = check_examples(load_squad(name))
    assert report.ok
    report.raise_if_bad()


def test_a_report_counts_all_and_keeps_three():
    assert check_examples([ROWS[0], ROWS[0]]).problems == {"duplicate_id": 1}
    many = check_examples([ROWS[0] | {"id": str(i), "question": ""} for i in range(10)])
    assert not many.ok and many.problems == {"empty_question": 10}
    assert len(many.offenders["empty_question"]) == 3
    assert "not fit for training" in error_message(many.raise_if_bad)


def test_a_shift_of_all_positions_is_recognised():
    def shift(example):
        found = example["answers"]
        return answers(found["text"], [start + 1 for start in found["answer_start"]])

    report = check_examples(load_squad("sample")["validation"].map(shift))
    assert set(report.problems) == {"answer_start_wrong"}
    assert all("off by -1" in message for message in report.offenders["answer_start_wrong"])


# --- lesson 2: windows

QUESTION = "Where does the keeper wait?"
PASSAGE = "The ferry leaves at noon. The keeper waits on the quay, and his cat beside him. " * 3


@pytest.fixture(scope="module")
def like_xlnet():
    "A tokenizer with XLNet's template: the context first, and CLS at the end."
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    from squadqa.models import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("minilm"))
    specials = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[SEP]", "[CLS]")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A [SEP] [CLS]", pair="$A [SEP] $B:1 [SEP]:1 [CLS]", special_tokens=specials
    )
    return tokenizer


def test_context_span_is_inclusive():
    sides = [None, 0, 0, None, 1, 1, 1, None]
    assert context_span(sides, 1) == (4, 6) and context_span(sides, 0) == (1, 2)
    assert context_span([None, 0, 0, None, None], 1) is None  # an empty context


def test_the_cls_token_is_found_wherever_it_stands(minilm):
    cls, sep = minilm.cls_token_id, minilm.sep_token_id
    assert find_cls([cls, 7, sep, 8, sep], [None, 0, None, 1, None], minilm) == 0
    assert find_cls([7, 8, sep, 9, sep, cls], [0, 0, None, 1, None, None], minilm) == 5
    # a [CLS] in the text itself does not count
    assert find_cls([7, cls, sep], [0, 0, None], minilm) == 0


def test_without_a_cls_token_the_first_token_stands_for_no_answer(minilm):
    pad = minilm.pad_token_id
    assert find_cls([pad, pad, 7, 8], [None, None, 0, 1], minilm) == 2
    assert find_cls([7, 8, pad, pad], [0, 1, None, None], minilm) == 0
    assert find_cls([pad, pad], [None, None], minilm) == 0


def test_lengths_that_cannot_work_are_refused(minilm):
    too_long = minilm.model_max_length + 1
    assert "stride=-1 must be" in error_message(check_lengths, minilm, 20, -1)
    assert "max_length=None must be" in error_message(check_lengths, minilm, None, 4)
    assert "more than the" in error_message(check_lengths, minilm, too_long, 4)
    assert "nothing new" in error_message(check_lengths, minilm, 20, 17)
    check_lengths(minilm, 20, 16)  # one new token, without a question


def test_the_room_check_is_sharp(minilm):
    room = 20 - len(minilm(QUESTION, add_special_tokens=False)["input_ids"]) - 3
    message = error_message(check_room, minilm, [QUESTION], [PASSAGE], 20, room, ["quay-1"])
    assert "'quay-1': the question has" in message
    check_room(minilm, [QUESTION], [PASSAGE], 20, room - 1, ["quay-1"])  # one new token each
    check_room(minilm, [QUESTION], ["By the cat."], 20, room, ["short"])  # needs no second window
    n_tokens = len(minilm(PASSAGE, add_special_tokens=False)["input_ids"])
    found = tokenize_windows(minilm, [QUESTION], [PASSAGE], max_length=20, stride=room - 1)
    assert len(found["input_ids"]) == n_tokens - room + 1


@pytest.mark.parametrize(
    "max_length, stride", list(product((24, 64, 100), (0, 1, 7))), ids=lambda n: str(n)
)
@pytest.mark.parametrize("name", ["minilm", "like_xlnet"])
def test_windows_lose_nothing_and_share_the_stride(name, max_length, stride, request):
    tokenizer = request.getfixturevalue(name)

    def alone(text):
        return tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)

    found = tokenize_windows(
        tokenizer,
        [f"  {QUESTION} "],
        [PASSAGE],
        max_length=max_length,
        stride=stride,
        padding=False,
    )
    side, parts = context_index(tokenizer), []
    for i, ids in enumerate(found["input_ids"]):
        assert len(ids) <= max_length
        sides = found.sequence_ids(i)
        asked = [token for token, s in zip(ids, sides) if s == 1 - side]
        assert asked == alone(QUESTION)["input_ids"]  # whole in each window
        first, last = context_span(sides, side)
        parts.append(found["offset_mapping"][i][first : last + 1])
    for part, following in pairwise(parts):
        assert part[len(part) - stride :] == following[:stride]
        assert part[-1] < following[-1]  # each window has something new
    wanted = [tuple(offset) for offset in alone(PASSAGE)["offset_mapping"]]
    assert sorted({offset for part in parts for offset in part}) == wanted
    room = max_length - len(alone(QUESTION)["input_ids"]) - 3
    more = max(0, math.ceil((len(wanted) - room) / (room - stride)))
    assert len(parts) == 1 + more


def test_windows_are_padded_alike_unless_told_otherwise(minilm):
    found = tokenize_windows(minilm, [QUESTION], [PASSAGE], max_length=20, stride=4)
    assert {len(ids) for ids in found["input_ids"]} == {20}
    assert found["overflow_to_sample_mapping"] == [0] * len(found["input_ids"])


def test_texts_that_do_not_fit_together_are_refused(minilm):
    def refused(*texts, **options):
        return error_message(tokenize_windows, minilm, *texts, **options)

    assert "into a list" in refused("Who?", "Me.")
    assert "2 questions but 1 contexts" in refused(["Who?", "Why?"], ["Me."])
    assert "1 questions but 2 ids" in refused(["Who?"], ["Me."], ids=["a", "b"])
    assert "no question" in refused([], [])
    assert "'b'" in refused(["Who?", "Why?"], ["Me.", None], ids=["a", "b"])


def test_a_slow_tokenizer_is_refused():
    from transformers import ByT5Tokenizer

    assert "slow" in error_message(tokenize_windows, ByT5Tokenizer(), ["Who?"], ["Me."])
