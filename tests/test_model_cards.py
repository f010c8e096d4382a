"""The calls of well-known model cards, over texts of our own: they ran on transformers
4.57, and run again after `restore_pipeline`. The starter lies under each model's name."""

import json
import os

import pytest
from huggingface_hub import QuestionAnsweringOutputElement, QuestionAnsweringParameters

from squadqa.inference import restore_pipeline
from squadqa.models import load_model, load_tokenizer

COURSE = '''
from transformers import pipeline

reader = pipeline("question-answering", model="huggingface-course/bert-finetuned-squad")
text = """
🦜 The harbour of Sel has a café, a lighthouse and a museum of ropes. The lighthouse was built
in 1862 by Ines Marrow, who kept its lamp for forty years.
"""
asked = "Who built the lighthouse?"
result = reader(question=asked, context=text)
'''

ROBERTA = """
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, pipeline

model_name = "deepset/roberta-base-squad2"

nlp = pipeline('question-answering', model=model_name, tokenizer=model_name)
QA_input = {
    'question': 'When was the lighthouse built?',
    'context': 'The lighthouse of Sel was built in 1862 by Ines Marrow, who kept its lamp.'
}
res = nlp(QA_input)

model = AutoModelForQuestionAnswering.from_pretrained(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_name)
result = pipeline('question-answering', model=model, tokenizer=tokenizer)(QA_input)
assert res == result
"""

DISTILBERT = '''
from transformers import pipeline
question_answerer = pipeline("question-answering", model='distilbert-base-cased-distilled-squad')

context = r"""
The museum of ropes was founded by a sailor named Tove. It shows four hundred knots, and on
Sundays the visitors may tie some themselves.
"""

result = question_answerer(question="How many knots does the museum show?",     context=context)
print(
f"Answer: '{result['answer']}', score: {round(result['score'], 4)}, start: {result['start']}, end: {result['end']}"
)
'''  # noqa: E501

BERT_MEDIUM = """
from transformers import pipeline

qa_pipeline = pipeline(
    "question-answering",
    model="mrm8488/bert-medium-finetuned-squadv2",
    tokenizer="mrm8488/bert-medium-finetuned-squadv2"
)

context = "The ferry to Sel leaves at noon, and in winter at three."
result = qa_pipeline([
    {'context': context, 'question': "When does the ferry leave?"},
    {'context': context, 'question': "Where does the ferry go?"},
])[0]
"""

MDEBERTA = """
from transformers import pipeline

qa_model = pipeline("question-answering", "timpal0l/mdeberta-v3-base-squad2")
question = "Where does Zoë live?"
context = "My name is Zoë and I live in Århus."
qa_model(question = question, context = context)
result = qa_model(question = question, context = context, top_k = 3, handle_impossible_answer = True)[0]
"""  # noqa: E501

CARDS = {
    "huggingface-course/bert-finetuned-squad": (COURSE, "Ines Marrow"),
    "deepset/roberta-base-squad2": (ROBERTA, "1862"),
    "distilbert-base-cased-distilled-squad": (DISTILBERT, "four hundred"),
    "mrm8488/bert-medium-finetuned-squadv2": (BERT_MEDIUM, "noon"),
    "timpal0l/mdeberta-v3-base-squad2": (MDEBERTA, "Århus"),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    "A folder in which the starter lies under each of the names."
    root = tmp_path_factory.mktemp("hub")
    model, tokenizer = load_model("starter"), load_tokenizer("starter")
    first = root / next(iter(CARDS))
    model.save_pretrained(first)
    tokenizer.save_pretrained(first)
    for name in list(CARDS)[1:]:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(first)
    return root


def run(snippet, folder) -> dict:
    "The names that the snippet has made, run where the models lie."
    before = os.getcwd()
    os.chdir(folder)
    try:
        names: dict = {}
        with restore_pipeline():
            exec(snippet, names)
    finally:
        os.chdir(before)
    return names


@pytest.mark.parametrize("name", CARDS)
def test_the_snippet_of_a_model_card(name, hub):
    snippet, expected = CARDS[name]
    result = run(snippet, hub)["result"]
    assert list(result) == ["score", "start", "end", "answer"]
    assert result["answer"] == expected


def test_what_comes_out_is_the_question_answering_task_of_the_hub(hub):
    "Its schema, as huggingface_hub keeps it: the answers, and the names of the parameters."
    names = run(COURSE, hub)
    result, pipe = names["result"], names["reader"]
    text = json.dumps([result])
    (element,) = QuestionAnsweringOutputElement.parse_obj_as_list(text)
    assert element.answer == names["text"][element.start : element.end] == "Ines Marrow"
    assert isinstance(element.score, float) and 0 <= element.score <= 1
    assert set(result) == set(QuestionAnsweringOutputElement.__dataclass_fields__)
    given = {
        "align_to_words": True,
        "doc_stride": 32,
        "handle_impossible_answer": False,
        "max_answer_len": 15,
        "max_question_len": 64,
        "max_seq_len": 128,
        "top_k": 1,
    }
    assert set(given) == set(QuestionAnsweringParameters.__dataclass_fields__)
    asked = {"question": "Who kept the lamp?", "context": "Ines Marrow kept the lamp."}
    assert pipe(**asked, **given)["answer"] == "Ines Marrow"
