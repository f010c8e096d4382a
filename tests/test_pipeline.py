"""The old pipeline: every form of a call that transformers 4.57 took, and its answers."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from conftest import ROOT
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.pt_utils import KeyDataset

from squadqa.answering import find_candidates
from squadqa.data import load_squad
from squadqa.inference import (
    OLD_DEFAULTS,
    TASK,
    QuestionAnswerer,
    QuestionAnsweringPipeline,
    merge_texts,
    pipeline,
    restore_pipeline,
)
from squadqa.metrics import SquadMetric, SquadV2Metric, squad_scores

Q, C = "Who waited on the quay?", "The cat waited on the quay. Zoë rowed home at noon."
PAIR = {"question": Q, "context": C}
KEYS = ["score", "start", "end", "answer"]


class Example:
    "What the old SquadExample was to the pipeline."

    def __init__(self, question_text, context_text):
        self.question_text, self.context_text = question_text, context_text


@pytest.fixture(autouse=True)
def restored():
    with restore_pipeline() as handle:
        yield handle


@pytest.fixture(scope="module")
def pipe(tiny_folder):
    with restore_pipeline():
        return transformers.pipeline(TASK, model=str(tiny_folder), device="cpu")


def is_answer(found, context=C):
    span = context[found["start"] : found["end"]]
    return list(found) == KEYS and 0 <= found["score"] <= 1 and found["answer"] == span


# The task comes and goes


def test_the_task_is_undone(tiny_folder, restored):
    removed = getattr(transformers.pipelines, "REMOVED_TASKS", None)  # not before 5.19
    assert TASK not in (removed or {}) and PIPELINE_REGISTRY.check_task(TASK)
    restored.undo()
    restored.undo()
    assert removed is None or TASK in removed
    assert TASK not in PIPELINE_REGISTRY.supported_tasks
    with pytest.raises(KeyError, match="has been removed" if removed else "Unknown task"):
        transformers.pipeline(TASK, model=str(tiny_folder))


def test_twice_is_as_good_as_once(tiny_folder):
    with restore_pipeline():
        pass
    assert PIPELINE_REGISTRY.supported_tasks[TASK]["impl"] is QuestionAnsweringPipeline
    assert transformers.pipeline(TASK, model=str(tiny_folder))(Q, C)["answer"]


def test_the_last_one_who_needs_it_undoes_it(restored):
    "In whatever order they go: libraries of one program do not know each other."
    restored.undo()
    first, second = restore_pipeline(), restore_pipeline()
    first.undo()
    assert TASK in PIPELINE_REGISTRY.supported_tasks
    with restore_pipeline():
        second.undo()
        assert TASK in PIPELINE_REGISTRY.supported_tasks
        first.undo()
    assert TASK not in PIPELINE_REGISTRY.supported_tasks
    assert not hasattr(transformers, "QuestionAnsweringPipeline")


def test_however_often_it_is_asked_for(restored):
    for _ in range(2000):
        later = restore_pipeline()
        restored.undo()
        restored = later
    restored.undo()
    assert TASK not in PIPELINE_REGISTRY.supported_tasks


def test_another_pipeline_of_that_name_comes_back(restored):
    restored.undo()
    mine = {"impl": object, "pt": ()}
    PIPELINE_REGISTRY.supported_tasks[TASK] = mine
    try:
        with restore_pipeline():
            assert PIPELINE_REGISTRY.supported_tasks[TASK] is not mine
        assert PIPELINE_REGISTRY.supported_tasks[TASK] is mine
    finally:
        del PIPELINE_REGISTRY.supported_tasks[TASK]


class Sticky(dict):
    "A list that nothing can be taken off."

    def pop(self, *args):
        return None


@pytest.mark.parametrize("change", ["registry", "list", "signature"])
def test_a_transformers_that_changed_is_one_sentence(change, restored, monkeypatch):
    restored.undo()
    if change == "registry":
        monkeypatch.delattr(transformers.pipelines, "PIPELINE_REGISTRY")
    elif change == "list":  # the task is refused by something that we do not know
        if not hasattr(transformers.pipelines, "REMOVED_TASKS"):
            pytest.skip("this version of transformers keeps no list of removed tasks")
        monkeypatch.setattr(transformers.pipelines, "REMOVED_TASKS", Sticky({TASK: "no"}))
    else:
        monkeypatch.setattr(PIPELINE_REGISTRY, "register_pipeline", lambda task: None)
    with pytest.raises(RuntimeError, match="squadqa.inference.pipeline") as error:
        restore_pipeline()
    assert "\n" not in str(error.value) and transformers.__version__ in str(error.value)
    kept = getattr(transformers.pipelines, "REMOVED_TASKS", {TASK: ""})
    assert TASK in kept or change == "registry"
    assert TASK not in PIPELINE_REGISTRY.supported_tasks


def test_the_class_has_its_name_back(restored, pipe):
    from transformers import QuestionAnsweringPipeline as named
    from transformers.pipelines import QuestionAnsweringPipeline as in_pipelines
    from transformers.pipelines.question_answering import QuestionAnsweringPipeline as own

    assert named is in_pipelines is own is QuestionAnsweringPipeline and isinstance(pipe, named)
    restored.undo()
    for home in (
        "transformers",
        "transformers.pipelines",
        "transformers.pipelines.question_answering",
    ):
        with pytest.raises(ImportError, match="QuestionAnsweringPipeline|question_answering"):
            exec(f"from {home} import QuestionAnsweringPipeline")


def test_the_name_comes_back_where_transformers_was_imported_first():
    "Its first lines may run twice, and then a program holds another module than sys.modules."
    code = """
import transformers
from squadqa.inference import QuestionAnsweringPipeline, restore_pipeline
with restore_pipeline():
    assert transformers.QuestionAnsweringPipeline is QuestionAnsweringPipeline
    from transformers import QuestionAnsweringPipeline as named
    assert named is QuestionAnsweringPipeline
assert not hasattr(transformers, "QuestionAnsweringPipeline")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# Every form of a call


FORMS = {
    "names": lambda p: p(question=Q, context=C),
    "positions": lambda p: p(Q, C),
    "position and name": lambda p: p(Q, context=C),
    "a dictionary": lambda p: p(dict(PAIR)),
    "more fields": lambda p: p({"id": "x", "answers": {}} | PAIR),
    "unpacked": lambda p: p(**PAIR),
    "a list of one": lambda p: p([dict(PAIR)]),
    "lists of one": lambda p: p(question=[Q], context=[C]),
    "data": lambda p: p(data=dict(PAIR)),
    "X": lambda p: p(X=[dict(PAIR)]),
    "an example": lambda p: p(Example(Q, C)),
    "a list of one example": lambda p: p([Example(Q, C)]),
    "predict": lambda p: p.predict(dict(PAIR)),
}
MANY = {
    "dictionaries": lambda p: p([dict(PAIR), dict(PAIR)]),
    "a tuple": lambda p: p((dict(PAIR), dict(PAIR))),
    "two positions": lambda p: p(dict(PAIR), dict(PAIR)),
    "examples": lambda p: p([Example(Q, C), Example(Q, C)]),
    "mixed": lambda p: p([Example(Q, C), dict(PAIR)]),
    "one context": lambda p: p(question=[Q, Q], context=C),
    "one question": lambda p: p(question=Q, context=[C, C]),
    "lists": lambda p: p(question=[Q, Q], context=[C, C]),
    "lists in a dictionary": lambda p: p({"question": [Q, Q], "context": [C, C]}),
    "data": lambda p: p(data=[dict(PAIR), dict(PAIR)]),
    "batches": lambda p: p([dict(PAIR), dict(PAIR)], batch_size=2, num_workers=0),
    "a map": lambda p: p(map(dict, [PAIR, PAIR])),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_question_gives_a_dictionary(form, pipe):
    found = FORMS[form](pipe)
    assert is_answer(found) and found == pipe(question=Q, context=C)
    assert json.loads(json.dumps(found)) == found
    assert [type(found[key]) for key in KEYS] == [float, int, int, str]


@pytest.mark.parametrize("form", MANY)
def test_many_questions_give_a_list(form, pipe):
    found = MANY[form](pipe)
    one = pipe(question=Q, context=C)
    assert isinstance(found, list) and len(found) == 2 and all(map(is_answer, found))
    assert all(f["answer"] == one["answer"] for f in found)
    assert pipe([]) == []


def test_a_dictionary_of_lists_gives_a_list_even_of_one(pipe):
    lists = {"question": [Q], "context": [C]}
    assert pipe(lists) == pipe(data=lists) == pipe(X=lists) == [pipe(Q, C)]


def test_the_usual_stride_is_half_a_window(tiny_folder, pipe):
    "Where the tokenizer allows fewer tokens than usual, windows are shorter, as they were."
    short = AutoTokenizer.from_pretrained(tiny_folder, model_max_length=160)
    other = transformers.pipeline(TASK, model=pipe.model, tokenizer=short, device="cpu")
    long = " ".join(f"In year {n} the keeper counted {3 * n} seals." for n in range(100))
    cut = [p.preprocess([(Q, long)])["asked"][0].windows for p in (other, pipe)]
    asked = pipe(question=Q, context=long, max_seq_len=160)
    assert other(Q, long) == asked
    assert len(cut[0]) < 4 * len(cut[1])  # with a stride of 128 they would be ten times as many


def test_programs_may_ask_whether_silence_is_allowed(pipe):
    assert pipe.handle_impossible_answer is False


def test_streams_are_read_as_they_are_needed(pipe):
    read = []

    def questions():
        for n in itertools.count():
            read.append(n)
            yield dict(PAIR)

    answers = pipe(questions())
    assert not read and is_answer(next(answers)) and read == [0]  # who sends waits for the answer
    assert is_answer(next(answers)) and len(read) == 2
    batched = pipe((Example(Q, C) for _ in range(5)), batch_size=4)
    assert len(list(batched)) == 5


def test_data_sets_of_torch_and_of_the_hub(pipe):
    data = load_squad()["validation"].select(range(3))
    rows = [{"question": e["question"], "context": e["context"]} for e in data]
    expected = [a["answer"] for a in pipe(rows)]
    keyed = KeyDataset([{"asked": row} for row in rows], "asked")
    answers = pipe(keyed)
    assert not isinstance(answers, list) and [a["answer"] for a in answers] == expected
    assert [a["answer"] for a in pipe(data)] == expected
    columns = pipe(question=data["question"], context=data["context"])
    assert [a["answer"] for a in columns] == expected

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(rows)

    assert [a["answer"] for a in pipe(Stream())] == expected


def test_a_data_set_can_be_counted_and_read_again(pipe):
    answers = pipe(KeyDataset([{"asked": dict(PAIR)}] * 3, "asked"))
    assert len(answers) == 3 and is_answer(next(answers))
    assert len(list(answers)) == len(list(answers)) == 3
    with pytest.raises(TypeError, match="len"):
        len(pipe(dict(PAIR) for _ in range(3)))


def test_a_stream_that_tells_its_length(pipe):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([dict(PAIR)] * 2)

        def __len__(self):
            return 2

    assert len(list(pipe(Stream()))) == 2


@pytest.mark.parametrize("batch_size", [None, 2, 8])
def test_an_empty_text_does_not_end_a_stream(batch_size, pipe):
    empty = [{"question": Q, "context": ""}, {"question": " ", "context": C}]
    rows = [PAIR, empty[0], PAIR, empty[1], empty[0], PAIR]
    nothing = {"score": 0.0, "start": 0, "end": 0, "answer": ""}
    expected = [pipe(**PAIR) if row is PAIR else nothing for row in rows]
    for found in (
        pipe(map_of(rows), batch_size=batch_size),
        pipe(KeyDataset([{"x": r} for r in rows], "x"), batch_size=batch_size),
    ):
        found = list(found)
        assert [a["answer"] for a in found] == [a["answer"] for a in expected]
        assert found[1] == found[3] == found[4] == nothing
    with pytest.raises(ValueError, match="the context is empty"):
        pipe([PAIR, empty[0]])


def map_of(rows):
    yield from map(dict, rows)


def test_three_positions_are_too_many(pipe):
    with pytest.raises(ValueError, match="one question and one context"):
        pipe(Q, C, Q)


def test_another_model_is_taken(tiny_folder):
    own = transformers.pipeline(TASK, model=str(tiny_folder), device="cpu")
    calls = []

    class Counting(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.config, self.device = model, model.config, model.device

        def forward(self, **inputs):  # hides what it takes, as a compiled model does
            calls.append(sorted(inputs))
            return self.model(**inputs)

    before = own(**PAIR)
    own.model = Counting(own.model)
    assert own(**PAIR) == before
    assert calls == [["attention_mask", "input_ids", "token_type_ids"]]
    own.model.config.return_dict = False  # then a model gives tuples
    assert own(**PAIR) == before
    headless = Counting(own.model.model.bert)
    own.model = headless
    with pytest.raises(ValueError, match="no start and end logits"):
        own(**PAIR)


def test_an_adapter_of_peft_in_a_folder(tiny_folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = AutoModelForQuestionAnswering.from_pretrained(tiny_folder)
    settings = LoraConfig(r=2, target_modules=["query"], task_type="QUESTION_ANS")
    get_peft_model(model, settings).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    found = transformers.pipeline(TASK, model=str(tmp_path), device="cpu")(**PAIR)
    assert is_answer(found)


@pytest.mark.parametrize("name", ["top_k", "topk"])
def test_top_k_when_made_and_when_called(name, pipe, tiny_folder):
    called = pipe(question=Q, context=C, **{name: 3})
    made = transformers.pipeline(TASK, model=str(tiny_folder), **{name: 3})(question=Q, context=C)
    assert called == made and len(called) == 3 and all(map(is_answer, called))
    scores = [a["score"] for a in called]
    assert scores == sorted(scores, reverse=True)
    several = pipe([dict(PAIR)] * 2, **{name: 2})
    assert [len(answers) for answers in several] == [2, 2]
    assert isinstance(pipe(Q, C, **{name: None}), dict)
    assert isinstance(pipe("Who?", "Ada", top_k=5), dict)  # there is one span only


def test_all_options_are_taken(pipe, tiny_folder):
    long = C * 40
    options = {
        "doc_stride": 16,
        "max_answer_len": 2,
        "max_seq_len": 64,
        "max_question_len": 8,
        "handle_impossible_answer": True,
        "align_to_words": False,
        "padding": "max_length",
        "batch_size": 4,
    }
    found = pipe(question=Q, context=long, top_k=4, **options)
    assert all(is_answer(a, long) and len(a["answer"].split()) <= 2 for a in found)
    made = transformers.pipeline(
        TASK,
        model=AutoModelForQuestionAnswering.from_pretrained(tiny_folder),
        tokenizer=AutoTokenizer.from_pretrained(tiny_folder),
        framework="pt",
        device=-1,
        **options,
    )
    assert made(question=Q, context=long, top_k=4) == found
    small = {"tokenizer": str(tiny_folder), "torch_dtype": torch.bfloat16, "use_fast": True}
    made = transformers.pipeline(TASK, str(tiny_folder), **small)
    assert made.dtype == torch.bfloat16 and is_answer(made(Q, C))
    assert made.framework == "pt" and made.task == TASK and made.device.type == "cpu"


def test_defaults_are_the_old_ones(pipe, tiny_folder):
    assert OLD_DEFAULTS == {"max_answer_len": 15, "align_to_words": True}
    long = "unbelievableness overcomplicates " * 300
    explicit = {"max_seq_len": 384, "doc_stride": 128, "top_k": 1} | OLD_DEFAULTS
    assert pipe(Q, long) == pipe(Q, long, **explicit)
    small = {"max_seq_len": 100}
    assert pipe(Q, long, **small) == pipe(Q, long, doc_stride=50, **small)
    asked = "why " * 100  # fast tokenizers never cut a question, whatever was documented
    assert pipe(asked, C) != pipe(asked, C, max_question_len=64)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"question": None, "context": C}, "question is None"),
        ({"question": "", "context": C}, "question is empty"),
        ({"question": Q, "context": ""}, "context is empty"),
        ({"question": [Q], "context": [C, C]}, "1 questions but 2 contexts"),
        ({"data": 3}, "3 is no question"),
        ({"data": ["a"]}, "'a' is no question"),
        (PAIR | {"top_k": 0}, "top_k=0"),
        (PAIR | {"max_answer_len": 0}, "max_answer_len=0"),
        (PAIR | {"doc_stride": 500}, "stride=500"),
    ],
)
def test_what_cannot_be_asked(arguments, said, pipe):
    with pytest.raises(ValueError, match=said):
        pipe(**arguments)


def test_the_bad_one_of_many_is_numbered(pipe):
    rows = [{"question": "Who?", "context": "Ann."}] * 3
    with pytest.raises(ValueError, match="number 2: the context is None, not a text"):
        pipe([*rows[:2], {"question": "Who?"}])


def test_unknown_options_are_told_and_ignored(pipe, caplog):
    assert pipe(Q, C, truncation=True) == pipe(Q, C) and "ignores truncation" in caplog.text
    with pytest.raises(ValueError, match="framework='tf'"):
        QuestionAnsweringPipeline(pipe.model, pipe.tokenizer, framework="tf")


# Answers


def test_equal_texts_are_one_answer(pipe):
    context = "The lamp is red. Red light is best, and red it stays."
    found = pipe("Which?", context, top_k=8, align_to_words=False)
    texts = [a["answer"].lower() for a in found]
    assert len(set(texts)) == len(texts)


def test_merged_probabilities(pipe):
    (asked,) = pipe.answerer.prepare([("Which?", "Red is red.")])
    (found,) = find_candidates([asked], *pipe.answerer.window_logits(asked.windows), n_best=50)
    every = np.exp(found.scores[found.scores > -np.inf] - found.total).sum()
    merged = merge_texts(found)
    assert sum(np.exp(score - found.total) for _, _, score in merged) == pytest.approx(every)
    assert every <= 1 and len({found.text[a:b].lower() for a, b, _ in merged}) == len(merged)


def test_without_words_and_repeats_it_is_the_answerer(pipe, tiny_folder):
    qa = QuestionAnswerer(tiny_folder)
    for n in (1, 30):
        context = " ".join(f"Word{i} and number {i}." for i in range(n))
        ours = qa(Q, context, max_answer_len=15)
        old = pipe(Q, context, align_to_words=False)
        assert (old["start"], old["end"]) == (ours["start"], ours["end"])
        assert old["score"] == pytest.approx(ours["score"], rel=1e-5)


def test_a_length_must_be_a_number(pipe):
    with pytest.raises(ValueError, match="max_seq_len='384' must be a whole number"):
        pipe(Q, "The cat waited.", max_seq_len="384")


def test_one_word_seen_in_many_windows_has_a_score_of_at_most_one(pipe):
    text = "The cat waited. " * 200
    assert 0 < pipe(Q, text, max_seq_len=64)["score"] <= 1


def test_silence(pipe, monkeypatch):
    assert pipe(Q, C, handle_impossible_answer=True)["answer"]  # its null score is low
    monkeypatch.setattr(pipe.answerer, "null_threshold", -1e4)
    first, second = pipe(Q, C, handle_impossible_answer=True, top_k=2)
    assert (first["start"], first["end"], first["answer"]) == (0, 0, "") and second["answer"]
    assert pipe(Q, C)["answer"]


# Where else the class fits


def test_as_pipeline_class(tiny_folder, restored):
    class Loud(QuestionAnsweringPipeline):
        def postprocess(self, outputs, options=None):
            answers = super().postprocess(outputs, options)
            return [a | {"answer": a["answer"].upper()} for a in answers]

    loud = transformers.pipeline(TASK, model=str(tiny_folder), pipeline_class=Loud)
    assert loud(Q, C)["answer"].isupper()
    restored.undo()
    PIPELINE_REGISTRY.register_pipeline(
        "spans", pipeline_class=QuestionAnsweringPipeline, pt_model=AutoModelForQuestionAnswering
    )
    try:
        assert is_answer(transformers.pipeline("spans", model=str(tiny_folder))(Q, C))
    finally:
        del PIPELINE_REGISTRY.supported_tasks["spans"]


CUSTOM = {
    TASK: {"impl": "spans.QuestionAnsweringPipeline", "pt": ["AutoModelForQuestionAnswering"]}
}


def test_as_a_custom_pipeline_of_a_model(tiny_folder, tmp_path, restored, monkeypatch):
    "A model that names the task in its configuration needs no restoring."
    restored.undo()
    model = AutoModelForQuestionAnswering.from_pretrained(tiny_folder)
    model.config.custom_pipelines = CUSTOM
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    code = "from squadqa.inference import QuestionAnsweringPipeline\n"
    (tmp_path / "spans.py").write_text(code)
    given = {"pipeline_class": QuestionAnsweringPipeline}
    assert is_answer(transformers.pipeline(TASK, model=str(tmp_path), **given)(Q, C))
    with pytest.raises(ValueError, match="trust_remote_code"):
        transformers.pipeline(TASK, model=str(tmp_path))


def test_saving_and_loading(pipe, tmp_path):
    pipe.answerer.null_threshold = -1e4
    try:
        pipe.save_pretrained(tmp_path)
    finally:
        pipe.answerer.null_threshold = 0.0
    assert not list(tmp_path.glob("*.py"))
    assert "custom_pipelines" not in (tmp_path / "config.json").read_text()
    again = transformers.pipeline(TASK, model=str(tmp_path))
    assert again(Q, C) == pipe(Q, C)
    assert again(Q, C, handle_impossible_answer=True)["answer"] == ""


def test_our_own_pipeline_loads_what_squadqa_loads(restored, tiny_folder):
    restored.undo()
    starter = pipeline("question-answering")
    assert isinstance(starter, QuestionAnsweringPipeline)
    context = "His cat had waited on the quay since noon, and the lamp was lit at eight."
    assert starter("Where did the cat wait?", context)["answer"].endswith("quay")
    whole = pipeline(model=str(tiny_folder), tokenizer=str(tiny_folder), device=-1, top_k=2)
    assert len(whole(Q, C)) == 2 and whole.device.type == "cpu"
    small = pipeline(model=tiny_folder, torch_dtype="bfloat16")
    assert small.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="'question-answering' only"):
        pipeline("summarization")
    with pytest.raises(ValueError, match="does not take revision.*restore_pipeline"):
        pipeline(model=str(tiny_folder), revision="main")


def test_the_evaluator_of_evaluate(tiny_folder):
    "It needs the name of a model and a metric that is no name: both work without the Hub."
    from evaluate import evaluator

    data = load_squad()["validation"].select(range(8))
    compute = evaluator(TASK).compute
    options = {"model_or_pipeline": str(tiny_folder), "device": -1}
    found = compute(data=data, metric=SquadMetric(), squad_v2_format=False, **options)
    answers = pipeline(model=tiny_folder)(question=data["question"], context=data["context"])
    texts = {i: a["answer"] for i, a in zip(data["id"], answers)}
    expected = squad_scores(texts, data)
    for name, score in expected.items():
        assert found[name] == pytest.approx(score)
    assert found["samples_per_second"] > 0
    found = compute(data=data, metric=SquadV2Metric(), squad_v2_format=True, **options)
    assert "exact" in found or "exact_match" in found


def test_samples_as_4_57_made_them(pipe):
    one = QuestionAnsweringPipeline.create_sample(question=Q, context=C)
    two = QuestionAnsweringPipeline.create_sample([Q, "Who?"], [C, C])
    assert two == QuestionAnsweringPipeline.create_sample([Q, "Who?"], C)
    with pytest.raises(ValueError, match="1 questions but 2 contexts"):
        QuestionAnsweringPipeline.create_sample([Q], [C, C])
    assert pipe(one) == pipe(Q, C) and pipe(two) == pipe(question=[Q, "Who?"], context=C)
