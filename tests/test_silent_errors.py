"""What once gave a wrong label, answer or file without a word: characters that a tokenizer drops,
folders that are called like something else, models that change, files that somebody else wrote."""

import json
import os
import shutil
import stat
import time

import numpy as np
import pytest
from datasets import Dataset

from squadqa.answering import AskOptions
from squadqa.bulk import predict_file
from squadqa.checkpoints import open_run, seal_checkpoint, whole_or_absent
from squadqa.cli import main
from squadqa.data import load_squad
from squadqa.evaluation import evaluate_model
from squadqa.files import write_json
from squadqa.inference import QuestionAnswerer, QuestionAnsweringPipeline
from squadqa.labeling import held_chars, label_windows, prepare_train_features
from squadqa.languages import exact_match_in
from squadqa.models import load_model, load_tokenizer, save_settings
from squadqa.own_data import Columns, convert, convert_file, locate
from squadqa.postprocessing import postprocess
from squadqa.validation import dropped_marks, locate_windows, prepare_validation_features
from squadqa.windows import tokenize_windows

ENGINE = dict(backend="onnx", dtype="float32", file="model.onnx", sha256="0" * 64)
ENGINE["fingerprint"] = "0" * 64
ACCENT, HEART, BLANK, MARK = "\u0301", "\u2764\ufe0f", "\u200b", "\ufeff"


def example(context: str, answer: str, question: str = "What is it?") -> dict:
    answers = {"text": [answer], "answer_start": [context.index(answer)]}
    return {"id": "a", "title": "", "context": context, "question": question, "answers": answers}


def batch(*rows: dict) -> dict:
    return {name: [row[name] for row in rows] for name in rows[0]}


# --- characters that the tokenizer drops


@pytest.mark.parametrize(
    "context, answer, tokens",
    [
        (f"we like cafe{ACCENT}", f"cafe{ACCENT}", ["cafe"]),
        (f"we like cafe{ACCENT}.", f"cafe{ACCENT}", ["cafe"]),
        (f"I {HEART}", HEART, ["[UNK]"]),
        (f"it is in Paris{BLANK}", f"Paris{BLANK}", ["paris"]),
        (f"{MARK}Paris is there", f"{MARK}Paris", ["paris"]),
        (f"a {BLANK} b", BLANK, ["[CLS]"]),  # nothing is left of it
    ],
)
def test_what_is_dropped_at_an_edge_costs_no_label(minilm, context, answer, tokens):
    row = example(context, answer)
    made = prepare_train_features(batch(row), minilm, max_length=32, stride=8)
    span = slice(made["start_positions"][0], made["end_positions"][0] + 1)
    assert minilm.convert_ids_to_tokens(made["input_ids"][0][span]) == tokens
    windows = tokenize_windows(minilm, [row["question"]], [context], max_length=32, stride=8)
    plain = label_windows(windows, [row["answers"]], minilm)
    assert plain["start_positions"] == made["start_positions"]
    assert plain["end_positions"] == made["end_positions"]


def test_a_window_that_ends_on_a_dropped_accent_holds_the_answer(minilm):
    words = [f"e{ACCENT}te{ACCENT}" if n % 2 else "mer" for n in range(40)]
    context, answer = " ".join(words), f"e{ACCENT}te{ACCENT}"
    for n in range(1, 40, 2):
        start = len(" ".join(words[:n])) + 1
        row = example(context, answer) | {"answers": {"text": [answer], "answer_start": [start]}}
        made = prepare_train_features(batch(row), minilm, max_length=16, stride=4)
        windows = tokenize_windows(minilm, [row["question"]], [context], max_length=16, stride=4)
        plain = label_windows(windows, [row["answers"]], minilm)
        assert plain["start_positions"] == made["start_positions"]
        for ids, first, last in zip(*map(made.get, ("input_ids", *plain))):
            said = minilm.decode(ids[first : last + 1]) if first else "ete"
            assert said == "ete"
        assert any(made["start_positions"])


def test_what_an_answer_is_without_what_is_dropped():
    offsets = [(0, 2), (3, 7)]
    assert held_chars(offsets, 3, 8) == held_chars(offsets[::-1], 2, 7) == (3, 7)
    assert held_chars(offsets, 1, 4) == (1, 4)
    assert held_chars(offsets, 7, 9) is held_chars([], 0, 1) is None


def test_marks_that_belong_to_no_token():
    text = f"e{ACCENT}{ACCENT} o{ACCENT}a"
    assert dropped_marks("plain", [(0, 5)]) == dropped_marks("caf\u00e9", [(0, 4)]) == {}
    assert dropped_marks(text, [(0, 1), (4, 5), (6, 7)]) == {1: 3, 2: 3, 5: 6}
    assert dropped_marks(text, [(0, 3), (4, 6), (6, 7)]) == {}  # tokens have them


@pytest.mark.parametrize("name", [f"Bogota{ACCENT}", "Bogot\u00e1", HEART])
def test_an_answer_keeps_its_last_accent(minilm, name):
    "Also through features, in both of their ways, and in the scores."
    context = f"The capital is {name} and the sea is far."
    row = example(context, name, "What is the capital?")
    qa = QuestionAnswerer("starter", device="cpu")
    ends = {a["end"] for a in qa(row["question"], context, top_k=50) if a["start"] == 15}
    assert 15 + len(name) in ends and not ends & set(range(16, 15 + len(name)))
    options = {"max_length": 64, "stride": 16}
    features = prepare_validation_features(batch(row), minilm, **options)
    windows = tokenize_windows(minilm, [row["question"]], [context], **options)
    plain = locate_windows(windows, ["a"], minilm, [context])
    assert plain["offset_mapping"] == features["offset_mapping"]
    logits = np.full((1, 64), -9.0)
    token = [o and o[0] for o in features["offset_mapping"][0]].index(15)
    logits[0, token] = 9.0
    examples = Dataset.from_list([row])
    (found,) = postprocess(logits, logits, Dataset.from_dict(features), examples)
    assert found["prediction_text"] == name
    scored = evaluate_model(load_model("starter"), minilm, examples, progress=False)
    assert scored.scores["exact_match"] in (0.0, 100.0)


def test_accents_that_no_token_holds():
    "Compared with a search for each of them; words of many tokens, as `align_to_words` makes them."
    rng = np.random.default_rng(3)
    for _ in range(300):
        text = "".join(rng.choice(["a", " ", "\u0301", "\u00e9", "\u0300"], rng.integers(1, 20)))
        starts = rng.integers(0, len(text) + 1, rng.integers(0, 8))
        offsets = [(start, rng.integers(start, len(text) + 1)) for start in starts]
        held = {i for start, end in offsets for i in range(start, end)}
        lone = [i for i, c in enumerate(text) if c in "\u0301\u0300" and i not in held]
        ends = {}
        for i in reversed(lone):
            ends[i] = ends.get(i + 1, i + 1)
        assert dropped_marks(text, offsets) == ends
    word = "x" * 20_000
    offsets = np.array([(0, len(word))] * 10_000)  # a loop over all would take a minute
    assert dropped_marks(word + ACCENT, offsets) == {len(word): len(word) + 1}


def test_a_context_of_accents_alone(minilm):
    "The tokenizer leaves nothing of it."
    row = {"id": ["a"], "question": ["What?"], "context": [ACCENT * 3]}
    (offsets,) = prepare_validation_features(row, minilm, padding=False)["offset_mapping"]
    assert not any(offsets)
    assert QuestionAnswerer("starter", device="cpu")("What?", ACCENT * 3)["answer"] == ""


# --- folders and models


def test_a_model_of_a_folder_that_is_called_like_a_preset(tiny_folder, tmp_path, monkeypatch):
    import shutil

    monkeypatch.chdir(tmp_path)
    for name in ("minilm", "starter", "mine"):
        shutil.copytree(tiny_folder, name)
        save_settings(tmp_path / name, null_threshold=3.5)
        model = load_model(tiny_folder)
        model.name_or_path = name  # as `from_pretrained(name)` leaves it
        assert QuestionAnswerer(model, device="cpu").null_threshold == 3.5


def test_a_resumed_file_of_answers_is_of_one_model(tmp_path, monkeypatch):
    qa = QuestionAnswerer("starter", device="cpu")
    rows = [{"id": str(n), "question": "Who?", "context": f"Ada {n} lives."} for n in range(4)]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    whole, asked = qa.answer_all, []

    def half(*pairs, **options):
        asked.append(pairs)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return whole(*pairs, **options)

    files = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    options = {"options": AskOptions(), "chunk": 2, "progress": False}
    monkeypatch.setattr(qa, "answer_all", half)
    with pytest.raises(KeyboardInterrupt):
        predict_file(qa, *files, **options)
    monkeypatch.setattr(qa, "answer_all", whole)
    weights = next(p for p in reversed(list(qa.model.parameters())) if p.ndim > 1)
    weights.data.neg_()
    with pytest.raises(ValueError, match="weights|model"):
        predict_file(qa, *files, resume=True, **options)
    weights.data.neg_()
    assert predict_file(qa, *files, resume=True, **options) == 4


def test_overwriting_spares_what_no_run_wrote(tmp_path):
    own = ("tokenizer.py", "tokenizer_notes.md", "chat_template_draft.txt", "main.py")
    for name in own:
        (tmp_path / name).write_text("mine")
    (tmp_path / "config.json").write_text('{"port": 80}')
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ValueError, match="no run made this folder"):
        with open_run(tmp_path, overwrite=True):
            pass
    assert (tmp_path / "README.md").read_text() == "mine"
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with open_run(tmp_path, overwrite=True) as folder:
        folder.start({})
        (tmp_path / "all_results.json").write_text("{}")
        folder.model_is_written()
    assert {name for name in own if (tmp_path / name).exists()} == set(own)


def test_a_folder_that_is_refused_stays_as_it_was(tmp_path):
    for name in (".previous/README.md", ".gone-x/notes", ".saving/notes", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    for way in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(ValueError, match=".previous is there, but no run made this folder"):
            with open_run(tmp_path, **way) as folder:
                folder.start({"data": "x"})
        assert (tmp_path / "README.md").read_text() == "README.md"
        assert len(list(tmp_path.rglob("*.*"))) == 5 and (tmp_path / ".gone-x/notes").exists()
    shutil.rmtree(tmp_path / ".previous")
    (tmp_path / ".squadqa.lock").touch()  # a run was killed before it wrote anything
    with pytest.raises(ValueError, match="README.md is there, but no run made this folder"):
        with open_run(tmp_path, overwrite=True):
            pass
    assert (tmp_path / "README.md").read_text() == "README.md"


def test_new_weights_spare_what_is_only_called_like_weights(tmp_path):
    own = ("model-v1-backup.safetensors", "model_before.safetensors", "pytorch_model_mine.bin")
    old = ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    for name in (*own, *old, "config.json"):
        (tmp_path / name).write_text("old")
    with whole_or_absent(tmp_path) as staging:
        (staging / "model.safetensors").write_text("new")
        (staging / "config.json").write_text("new")
    assert sorted(os.listdir(tmp_path)) == sorted([*own, "model.safetensors", "config.json"])


def test_a_checkpoint_that_is_a_link_goes_alone(tmp_path):
    run, disk = tmp_path / "run", tmp_path / "disk"
    disk.mkdir()
    (disk / "model.safetensors").write_text("old")
    with open_run(run) as folder:
        folder.start({"data": "x"})
        (run / "checkpoint-4").symlink_to(disk)
        seal_checkpoint(disk, folder.identity)
        (run / "checkpoint-8").mkdir()
        (run / "checkpoint-8" / "model.safetensors").write_text("new")
        folder.checkpoint_is_written(run / "checkpoint-8", 1, None)
        (run / "all_results.json").write_text("{}")
    assert os.listdir(run / "checkpoint-8") and not (run / "checkpoint-4").is_symlink()
    assert (disk / "model.safetensors").exists()


def test_a_pipeline_is_not_saved_between_the_files_of_another_kind(tiny_folder, tmp_path):
    from squadqa.models import resolve_model

    pipe = QuestionAnsweringPipeline(load_model(tiny_folder), load_tokenizer(tiny_folder))
    pipe.save_pretrained(tmp_path / "new")
    pipe.save_pretrained(tmp_path / "new")  # its own kind
    adapter, exported = tmp_path / "adapter", tmp_path / "exported"
    shutil.copytree(resolve_model("starter"), adapter)
    exported.mkdir()
    save_settings(exported, engine=ENGINE)
    for folder in (adapter, exported):
        before = sorted(os.listdir(folder))
        with pytest.raises(ValueError, match="a model of another kind"):
            pipe.save_pretrained(folder)
        assert sorted(os.listdir(folder)) == before


def test_an_evaluation_replaces_only_what_an_evaluation_wrote(tiny_folder, tmp_path, capsys):
    load_squad()["validation"].select(range(2)).to_json(tmp_path / "validation.jsonl")
    team = tmp_path / "team"
    team.mkdir()
    (team / "predictions.json").write_text("theirs")
    words = ["evaluate", "--data", str(tmp_path / "validation.jsonl"), "--model", str(tiny_folder)]
    assert main([*words, "--output", str(team)]) == 2
    assert "no evaluation wrote it" in capsys.readouterr().err
    assert os.listdir(team) == ["predictions.json"]
    (team / "predictions.json").rename(team / "report.html")  # is not written without --report
    assert main([*words, "--output", str(team)]) == 0
    assert (team / "report.html").read_text() == "theirs"
    for scores in ('{"alice": 3}', "no scores"):
        (team / "scores.json").write_text(scores)
        assert main([*words, "--output", str(team)]) == 2
        assert (team / "scores.json").read_text() == scores
    for _ in range(2):  # its own are replaced
        assert main([*words, "--output", str(tmp_path / "own")]) == 0


def test_what_an_interrupted_evaluation_left_is_replaced(tmp_path, tiny_folder, monkeypatch):
    load_squad()["validation"].select(range(2)).to_json(tmp_path / "validation.jsonl")
    words = ["evaluate", "--data", str(tmp_path / "validation.jsonl"), "--model", str(tiny_folder)]
    words += ["--output", str(tmp_path / "out")]
    for last in ("scores.json", "predictions.json", "nbest.json"):

        def full(path, values, last=last):
            if path.name == last:
                raise OSError(28, "No space left on device")
            write_json(path, values)

        monkeypatch.setattr("squadqa.evaluation.write_json", full)
        assert main(words) != 0
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path / "out")) == ["predictions.json", "scores.json"]
    assert main(words) == 0


# --- files of one's own


def test_a_number_inside_a_longer_one_is_no_answer(tmp_path):
    assert locate("15 apples and 5 pears", "5")[0] == 14
    assert locate("in 1915, 2 x 15", "15")[0] == 13
    for context in ("It cost 3.5 euros", "5,000 were sold", "1,500 were sold, 5.5 kept"):
        assert locate(context, "5")[0] is None and locate(context, "500")[0] is None
    assert locate("It was built in 1999\n2000 saw it open", "2000") == (21, "", "")
    assert locate("Rooms 4, 5, and 6.", "5")[0] == 9 and locate("It was 5.", "5")[0] == 7
    place, kind, message = locate("15 apples", "5")
    assert (place, kind) == (None, "answer_not_in_context") and "inside longer numbers" in message
    rows = {
        "question": ["How many bugs?", "Who?"],
        "context": ["Version 1.05 has one bug: 1!", "Ada"],
        "answer": [1.0, None],  # a column with a null has floats
    }
    Dataset.from_dict(rows).to_parquet(tmp_path / "t.parquet")
    columns = Columns()
    data, _ = convert(tmp_path / "t.parquet", columns=columns, unclear="first", no_answer="keep")
    assert data[0]["answers"]["text"] == ["1"]


LABELLED = {"id": 1, "text": "Ada lives here.", "question": "Who?"}


@pytest.mark.parametrize("label", ["answer", None])
def test_a_label_where_there_are_none(tmp_path, label):
    value = {"start": 0, "end": 3, "text": "Ada"}
    result = [{"type": "labels", "to_name": "text", "from_name": "l", "value": value}]
    task = {"id": 1, "data": {"text": "Ada lives here.", "question": "Who?"}}
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task | {"annotations": [{"id": 1, "result": result}]}]))
    if label is None:
        data, _ = convert(path, "label-studio")
        assert data[0]["answers"]["text"] == ["Ada"]
        return
    with pytest.raises(ValueError, match="have no labels"):
        convert(path, "label-studio", label=label, no_answer="keep")


def test_an_export_is_not_replaced_by_its_conversion(tmp_path):
    value = {"start": 0, "end": 3, "text": "Ada", "labels": ["answer"]}
    result = [{"type": "labels", "to_name": "text", "from_name": "l", "value": value}]
    task = {"id": 1, "data": {"text": "Ada lives here.", "question": "Who?"}}
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task | {"annotations": [{"id": 1, "result": result}]}]))
    before = path.read_bytes()
    (tmp_path / "link.json").symlink_to(path)
    for output in ("export.json", "link.json"):
        with pytest.raises(ValueError, match="keeps more in it"):
            convert_file(path, tmp_path / output, "label-studio", overwrite=True)
    assert path.read_bytes() == before
    convert_file(path, tmp_path / "squad.json", "label-studio")


def test_a_table_is_not_replaced_by_less(tmp_path):
    row = {"id": "a", "question": "Who?", "context": "Ada lives here.", "reply": "Ada"}
    path, columns = tmp_path / "own.json", Columns(answer="reply")
    for rows in ([row | {"annotator": "Bo"}], [row | {"rating": {"annotator": 5}}]):
        path.write_text(json.dumps(rows))
        with pytest.raises(ValueError, match="its field '(annotator|rating)' would be gone"):
            convert_file(path, path, columns=columns, overwrite=True)
        assert json.loads(path.read_text()) == rows
    path.write_text(json.dumps([row]))
    for names in (columns, Columns()):  # and once more, as SQuAD's own
        convert_file(path, path, columns=names, overwrite=True)
    assert convert(path)[0][0]["answers"] == {"text": ["Ada"], "answer_start": [0]}


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no pipes among its files")
def test_what_is_no_ordinary_file_does_not_become_one(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "pipe.json")
    for name in ("pipe.json", "link.json"):
        with pytest.raises(ValueError, match="no ordinary file"):
            write_json(tmp_path / name, {})
    assert stat.S_ISFIFO((tmp_path / "pipe.json").stat().st_mode) and len(os.listdir(tmp_path)) == 2


def test_two_columns_of_answers(tmp_path):
    path = tmp_path / "own.jsonl"
    row = {"question": "Who?", "context": "Ada lives here."}
    path.write_text(json.dumps(row | {"answer": "Ada"}) + "\n" + json.dumps(row | {"answers": []}))
    with pytest.raises(ValueError, match="the columns answer and answers: say which"):
        convert(path, no_answer="keep")
    made = convert(path, columns=Columns(answer="answer"), no_answer="keep")[0]
    assert [row["answers"]["text"] for row in made] == [["Ada"], []]


def test_many_rows_of_one_question_take_no_time(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("id,question,context,answer\n" + "1,Who?,Ada is here.,Ada\n" * 30_000)
    began = time.process_time()
    made = convert(path)[0]
    assert len(made[0]["answers"]["text"]) == 30_000 and time.process_time() - began < 10


@pytest.mark.parametrize("name", ["validation.ndjson", "test.xlsx", "dev/part.json"])
def test_a_split_that_would_not_be_read_is_told(tmp_path, name):
    load_squad()["train"].select(range(2)).to_json(tmp_path / "train.jsonl")
    for harmless in ("figures.xlsx", "train.tsv", "notes/some.json"):  # train.jsonl is read
        (tmp_path / harmless).parent.mkdir(exist_ok=True)
        (tmp_path / harmless).write_text("x")
    assert load_squad(tmp_path).keys() == {"train"}
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match="is called like a split, and would not be read"):
        load_squad(tmp_path)


def test_a_split_that_is_compressed_is_not_left_out(tmp_path):
    load_squad()["train"].select(range(2)).to_json(tmp_path / "train.jsonl")
    (tmp_path / "dev.jsonl.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(ValueError, match="dev.jsonl.gz is compressed"):
        load_squad(tmp_path)
    (tmp_path / "dev.jsonl.gz").rename(tmp_path / "DEV.JSONL.GZ")
    with pytest.raises(ValueError, match="DEV.JSONL.GZ is compressed"):
        load_squad(tmp_path)
    (tmp_path / "DEV.JSONL.GZ").rename(tmp_path / "notes.txt.gz")
    for name in (".dev.jsonl.gz", "train.jsonl.gz"):  # hidden; unpacked beside it
        (tmp_path / name).write_bytes(b"\x1f\x8b")
    (tmp_path / "old.jsonl.zip").mkdir()
    assert load_squad(tmp_path).keys() == {"train"}


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("10\u00b2", "102", 0.0),
        ("2\u00bd", "21/2", 1.0),
        ("m\u00b2", "m2", 0.0),
        ("10\u00b2", "10\u00b2", 1.0),
        ("10\u207b\u00b2", "10\u00b2", 0.0),
        ("10\u207b\u00b2", "10\u207b\u00b2", 1.0),
        ("1\u00ba", "1o", 1.0),
        ("\uff11\uff12", "12", 1.0),
        ("\u2122", "TM", 1.0),
        ("\ufb01n", "fin", 1.0),
    ],
)
def test_an_exponent_is_no_digit(one, other, same):
    assert exact_match_in(one, [other], "de") == same
