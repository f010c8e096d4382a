"""The troubleshooting page quotes messages: each is raised here, and must stand on the page."""

import logging
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from conftest import ROOT

PAGE = (ROOT / "nbs" / "troubleshooting.qmd").read_text(encoding="utf-8")
QUESTION, CONTEXT = "Whom did Ann meet?", "Ann met Bo in Rome."
ANSWERS = {"text": ["Bo"], "answer_start": [8]}


def section(place: str) -> str:
    "The section of the page with this id."
    return re.split(r"^## .*\{#" + place + r"\}$", PAGE, flags=re.M)[1].split("\n## ")[0]


def quotes(place: str) -> list[str]:
    "What stands between single backticks in a section."
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", section(place), flags=re.M | re.S))


def windows(minilm, question=QUESTION, **options):
    from squadqa.windows import tokenize_windows

    tokenize_windows(minilm, [question], [CONTEXT * 30], **options)


def nan_of_a_model(minilm, tiny_folder):
    from squadqa.inference import QuestionAnswerer

    qa = QuestionAnswerer(tiny_folder)
    with torch.no_grad():
        qa.model.qa_outputs.weight.fill_(float("nan"))
    qa(QUESTION, CONTEXT)


def nan_of_logits(minilm, tiny_folder):
    from squadqa.postprocessing import postprocess
    from squadqa.validation import prepare_validation_features

    rows = {"id": ["a"], "question": [QUESTION], "context": [CONTEXT], "answers": [ANSWERS]}
    found = prepare_validation_features(rows, minilm, max_length=32, stride=4)
    features = [{k: v[i] for k, v in found.items()} for i in range(len(found["input_ids"]))]
    logits = np.full((len(features), 32), np.nan)
    postprocess(logits, logits, features, [{"id": "a", "context": CONTEXT}])


def no_network(minilm, tiny_folder):
    from squadqa.data import load_squad

    load_squad("nobody/nothing")


def no_column(minilm, tiny_folder):
    from squadqa.files import check_columns

    check_columns(["id", "question", "context"], "my.csv")


def wrong_place(minilm, tiny_folder):
    from datasets import Dataset

    from squadqa.data import check_examples

    context = "On that day in spring, Bo left."
    answers = {"text": ["day"], "answer_start": [7]}
    row = {"id": "a", "title": "", "question": "When?", "context": context, "answers": answers}
    check_examples(Dataset.from_list([row])).raise_if_bad()


def elsewhere(minilm, tiny_folder):
    from datasets import Dataset

    from squadqa.data import check_examples

    answers = {"text": ["Oslo"], "answer_start": [0]}
    row = {"id": "a", "title": "", "question": "Who?", "context": CONTEXT, "answers": answers}
    check_examples(Dataset.from_list([row])).raise_if_bad()


def by_position(minilm, tiny_folder):
    "The mistake itself: more windows than examples, gone through together."
    examples, features = [CONTEXT], [0, 1]
    [examples[i] for i in features]


def removed_pipeline(minilm, tiny_folder):
    import transformers

    transformers.pipeline("question-answering")


def a_folder_in_use(minilm, tiny_folder):
    from squadqa.checkpoints import open_run

    with open_run(tiny_folder):
        pass


def a_port_in_use(minilm, tiny_folder):
    import socket

    from squadqa.demo import _listen

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        _listen(other.getsockname()[1])


def changed_settings(minilm, tiny_folder):
    from squadqa.checkpoints import check_same_run, seal_checkpoint

    with TemporaryDirectory() as folder:
        (Path(folder) / "weights").write_text("")
        seal_checkpoint(folder, {"seed": 1})
        check_same_run(Path(folder), {"seed": 2})


RAISED = {
    "removed": (removed_pipeline, "pipeline", KeyError),
    "stride": (lambda t, _: windows(t, max_length=128, stride=128), "stride", ValueError),
    "max_length": (lambda t, _: windows(t, max_length=1024), "stride", ValueError),
    "long question": (lambda t, _: windows(t, "why " * 400), "long-question", ValueError),
    "NaN of a model": (nan_of_a_model, "nan", ValueError),
    "NaN of logits": (nan_of_logits, "nan", ValueError),
    "offline": (no_network, "offline", ValueError),
    "column": (no_column, "own-data", ValueError),
    "wrong place": (wrong_place, "own-data", ValueError),
    "elsewhere": (elsewhere, "own-data", ValueError),
    "folder": (a_folder_in_use, "in-the-way", ValueError),
    "port": (a_port_in_use, "in-the-way", ValueError),
    "settings": (changed_settings, "in-the-way", ValueError),
    "IndexError": (by_position, "indexerror", IndexError),
}


@pytest.mark.parametrize("name", RAISED)
def test_a_message_stands_on_the_page_as_it_is_raised(name, minilm, tiny_folder):
    raising, place, kind = RAISED[name]
    with pytest.raises(kind) as raised:
        raising(minilm, tiny_folder)
    said = f"{type(raised.value).__name__}: {raised.value.args[0]}"
    found = [quote for quote in quotes(place) if len(quote) > 15 and loosely(quote, said)]
    assert found, f"section {place} quotes nothing of: {said}"


def loosely(quote: str, said: str) -> bool:
    "The quote is in the message, numbers aside."
    pattern = re.sub(r"\d+", r"\\d+", re.escape(quote))
    return re.search(pattern, said) is not None


def test_too_little_memory_is_told_as_the_page_says(minilm, tiny_folder, caplog, monkeypatch):
    "A batch that does not fit is halved, and the log says so in the words of the page."
    from squadqa.batching import TorchEngine
    from squadqa.inference import QuestionAnswerer

    send, sizes = TorchEngine.send, []

    def small(engine, batch):
        sizes.append(len(batch["input_ids"]))
        return None if sizes[-1] > 1 else send(engine, batch)

    monkeypatch.setattr(TorchEngine, "send", small)
    with caplog.at_level(logging.WARNING):
        QuestionAnswerer(tiny_folder)([QUESTION] * 2, [CONTEXT] * 2)
    assert max(sizes) > 1, "nothing was too large"
    told = "does not fit into the memory: it is halved"
    assert told in caplog.text and told in quotes("out-of-memory")
    assert "torch.OutOfMemoryError" in quotes("out-of-memory") and torch.OutOfMemoryError


def test_the_warning_of_a_new_head_is_quoted():
    from transformers import modeling_utils
    from transformers.utils import loading_report

    source = open(loading_report.__file__, encoding="utf-8").read()
    source += open(modeling_utils.__file__, encoding="utf-8").read()
    assert "newly initialized" in source and "newly initialized" in quotes("wrong-scores")
