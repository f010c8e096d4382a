"""What is measured on: SQuAD and bert-base-cased's tokenizer, or the sample for a quick look."""

import json
from pathlib import Path

import numpy as np

from benchmarks.harness import Settings


def quiet() -> None:
    "No bars, no cached results, no network."
    import datasets

    datasets.disable_progress_bars()
    datasets.disable_caching()


def tokenizer_of(settings: Settings):
    "The course's tokenizer; minilm's for a quick look."
    from squadqa.models import load_tokenizer

    if settings.quick:
        return load_tokenizer("minilm")
    return load_tokenizer(settings.data("tokenizers/bert-base-cased"))


def training_part(settings: Settings):
    "11,877 training questions of SQuAD v1.1; 48 of the sample for a quick look."
    from squadqa.data import load_squad

    if settings.quick:
        return load_squad("sample")["train"].select(range(48))
    return load_squad({"train": settings.data("squad/train-v1.1-part.json")})["train"]


def validation_set(settings: Settings):
    "The 10,570 validation questions of SQuAD v1.1; 24 of the sample for a quick look."
    from squadqa.data import load_squad

    if settings.quick:
        return load_squad("sample")["validation"].select(range(24))
    return load_squad(settings.data("squad/dev-v1.1.json"))["validation"]


def mapped(examples, prepare, **options):
    "Features of all examples through `Dataset.map`."
    return examples.map(
        prepare, batched=True, remove_columns=examples.column_names, fn_kwargs=options
    )


def likely_logits(features, examples) -> np.ndarray:
    """(2, windows, tokens) logits as a model gives them: noise, a peak at the first reference that
    is often but not always the highest, and one at CLS."""
    rng = np.random.default_rng(0)
    gold = {}
    for i, answers in zip(examples["id"], examples["answers"]):
        begin = answers["answer_start"][0]
        gold[i] = begin, begin + len(answers["text"][0])
    width = max(map(len, features["input_ids"]))
    logits = rng.normal(-4, 2.5, size=(2, len(features), width)).astype(np.float32)
    for row, (i, offsets) in enumerate(zip(features["example_id"], features["offset_mapping"])):
        for side in (0, 1):
            peaks = [
                t for t, offset in enumerate(offsets) if offset and offset[side] == gold[i][side]
            ]
            logits[side, row, peaks] += rng.normal(7, 3, len(peaks))
        logits[:, row, 0] += 4
    return logits


def tiny_model(folder: Path) -> Path:
    "A BERT of 32 numbers per token with random weights, for what does not depend on the model."
    from transformers import BertConfig, BertForQuestionAnswering, set_seed

    from squadqa.models import load_tokenizer

    tokenizer = load_tokenizer("minilm")
    set_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertForQuestionAnswering(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pairs_of(settings: Settings, n: int) -> list[dict]:
    "Questions with their contexts, as a pipeline takes them."
    examples = validation_set(settings)
    some = examples.select(range(min(n, len(examples))))
    return [{"question": row["question"], "context": row["context"]} for row in some]


def write_json(path: Path, values) -> Path:
    path.write_text(json.dumps(values))
    return path
