"""Written answers: tiny T5 and BART models learn, windows compete by their scores, and batches
change nothing."""

import json

import numpy as np
import pytest
import torch
from conftest import tiny_config
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertForQuestionAnswering,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
    set_seed,
)
from transformers.modeling_outputs import BaseModelOutput

from squadqa import generative
from squadqa.arguments import choose_hyperparameters
from squadqa.checkpoints import checkpoints
from squadqa.data import load_squad
from squadqa.generative import (
    answer_windows,
    best_windows,
    build_generative_trainer,
    evaluate_generative,
    fine_tune_generative,
    generate_answers,
    load_generative,
    prepare_generative_features,
    prompt,
    prompt_windows,
    target_scores,
    window_chars,
)
from squadqa.metrics import squad_scores
from squadqa.models import load_tokenizer
from squadqa.training import training_arguments

LENGTHS = dict(max_length=96, stride=24)


def t5_tokenizer(texts):
    """Like T5's: pieces of words that carry their space, and </s> behind each text. (Trained as
    BPE: a unigram model comes out differently run by run.)"""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], show_progress=False
        ),
    )
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )


def bart_tokenizer(texts):
    "Like BART's: pieces of bytes between <s> and </s>."
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=450,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        model_max_length=1024,
    )


def tiny_t5(tokenizer, seed=0):
    set_seed(seed)
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=64,
            d_kv=16,
            d_ff=128,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            decoder_start_token_id=0,
        )
    ).eval()


def tiny_bart(tokenizer, seed=0):
    set_seed(seed)
    sizes = {
        f"{side}_{name}": n
        for side in ("encoder", "decoder")
        for name, n in (("layers", 1), ("attention_heads", 4), ("ffn_dim", 128))
    }
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=len(tokenizer),
            d_model=64,
            max_position_embeddings=256,
            dropout=0.0,
            init_std=0.1,
            **sizes,
        )
    ).eval()


KINDS = {"t5": (t5_tokenizer, tiny_t5, 5e-3), "bart": (bart_tokenizer, tiny_bart, 2e-3)}


@pytest.fixture(scope="module")
def toy() -> Dataset:
    """12 questions about the first sentences of the sample's contexts, each of several windows; two
    of them ask for what is not there."""
    rows = []
    for e in load_squad()["train"].to_list():
        context = e["context"][: e["context"][:400].rfind(".") + 1]
        if e["answers"]["answer_start"][0] + len(e["answers"]["text"][0]) <= len(context):
            rows.append(e | {"context": context})
    rows = rows[:12]
    for i in (3, 8):
        rows[i] |= {
            "id": f"nowhere-{i}",
            "question": f"What colour is the moon number {i}?",
            "answers": {"text": [], "answer_start": []},
        }
    return Dataset.from_list(rows)


@pytest.fixture(scope="module")
def tokenizers(toy):
    texts = toy["context"][:] + [prompt(q) for q in toy["question"]]
    return {kind: make(texts) for kind, (make, _, _) in KINDS.items()}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def learned(kind, toy, tokenizers, tmp_path_factory):
    "A tiny model that was fine-tuned on the toy data, and what the run gave."
    folder, (_, make, rate) = tmp_path_factory.mktemp(kind) / "run", KINDS[kind]
    result = fine_tune_generative(
        make(tokenizers[kind]),
        DatasetDict(train=toy, validation=toy),
        folder,
        tokenizer=tokenizers[kind],
        epochs=50,
        learning_rate=rate,
        batch_size=8,
        mixed_precision="no",
        disable_tqdm=True,
        lr_scheduler_type="linear",
        warmup_steps=20,
        evaluate_every=100,
        null_threshold=0.0,
        **LENGTHS,
    )
    return load_generative(folder), load_tokenizer(folder), result, folder


def test_a_tiny_model_learns_its_questions(learned, toy):
    """All of them, with windows that compete and two questions without an answer; the model in the
    folder is the one that was scored."""
    model, tokenizer, result, folder = learned
    assert len(
        answer_windows(model, tokenizer, toy, progress=False, num_beams=1, **LENGTHS)
    ) > 2 * len(toy)
    done = evaluate_generative(model, tokenizer, toy, null_threshold=0.0, progress=False, **LENGTHS)
    assert done.scores == {"exact_match": 100.0, "f1": 100.0}
    assert {k: result.scores[k] for k in ("exact_match", "f1")} == done.scores
    assert (
        done.scores == squad_scores(done.predictions, toy)
        and [p["id"] for p in done.predictions] == toy["id"][:]
    )
    empty = [p for p in done.predictions if p["prediction_text"] == ""]
    assert len(empty) == 2 and all(p["null_odds"] > 0 for p in empty)
    always = generate_answers(model, tokenizer, toy, progress=False, **LENGTHS)
    assert all(p["prediction_text"] for p in always)  # without a threshold there is no ''
    for e, p in zip(toy, done.predictions):
        if p["prediction_text"]:
            assert p["prediction_text"] == done.n_best[e["id"]][0]["text"] or p["null_odds"] < 0


def test_what_a_run_leaves(learned):
    model, tokenizer, result, folder = learned
    names = {p.name for p in folder.iterdir()}
    assert {
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "all_results.json",
        "learning_curve.png",
        "README.md",
    } <= names
    assert json.loads((folder / "all_results.json").read_text())["scores"] == result.scores
    newest_and_best = {result.steps, result.steps - result.steps % 100, result.best_step}
    kept = {int(checkpoint.name.split("-")[1]) for checkpoint in checkpoints(folder)}
    assert kept == newest_and_best
    evaluations = [row for row in result.history if "f1" in row]
    assert len(evaluations) >= 2 and all(
        {"eval_loss", "exact_match", "f1"} <= row.keys() for row in evaluations
    )
    assert result.scores["f1"] == max(row["f1"] for row in evaluations) and result.best_step in [
        row["step"] for row in evaluations
    ]
    card = (folder / "README.md").read_text()
    assert (
        "generative question answering" in card
        and "extractive" not in card
        and "pipeline_tag: question-answering" in card
        and str(folder) not in card
    )


def test_the_last_window_would_be_wrong(learned, toy):
    "On the same answers: best window 100, last window far below (it rarely holds the answer)."
    model, tokenizer, _, _ = learned
    found = answer_windows(model, tokenizer, toy, progress=False, **LENGTHS)
    last = {
        row["id"]: row["answers"][0]["text"]
        if row["answers"] and row["answers"][0]["score"] > row["null_score"]
        else ""
        for row in found
    }
    assert squad_scores(best_windows(found, null_threshold=0.0), toy)["exact_match"] == 100
    assert squad_scores(last, toy)["exact_match"] < 60


def test_batches_change_nothing(learned, toy):
    """Sorted by length and padded, or one window at a time: the same texts in the same windows, the
    same scores."""
    model, tokenizer, _, _ = learned
    some = toy.select(range(0, 12, 2))
    one, many = (
        answer_windows(model, tokenizer, some, batch_size=n, progress=False, **LENGTHS)
        for n in (1, 64)
    )
    assert len(one) > len(some)
    for a, b in zip(one, many, strict=True):
        assert (a["id"], a["window"], a["answers"][0]["text"]) == (
            b["id"],
            b["window"],
            b["answers"][0]["text"],
        )
        assert a["answers"][0]["score"] == pytest.approx(b["answers"][0]["score"], abs=1e-4) and a[
            "null_score"
        ] == pytest.approx(b["null_score"], abs=1e-4)
    assert [p["prediction_text"] for p in best_windows(one)] == [
        p["prediction_text"]
        for e in some
        for p in generate_answers(model, tokenizer, [e], progress=False, **LENGTHS)
    ]


@torch.inference_mode()
def test_scores_are_those_of_generate(learned, toy):
    """Mean log-probability of a token: the beam search's own figure (sequences_scores), and its
    transition scores for a greedy search."""
    model, tokenizer, _, _ = learned
    row = prepare_generative_features(toy[:1], tokenizer, **LENGTHS)
    ids, beams = torch.tensor(row["input_ids"][:1]), 4
    mask = torch.ones_like(ids)
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=32,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    hidden = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    written = [
        s[: s.index(tokenizer.eos_token_id) + 1] for s in out.sequences[:, 1:].tolist()
    ]  # behind the first end there may be more of them
    labels = torch.tensor([s + [-100] * (max(map(len, written)) - len(s)) for s in written])
    mine = target_scores(model, hidden.expand(beams, -1, -1), mask.expand(beams, -1), labels)
    assert torch.allclose(mine, out.sequences_scores, atol=1e-4)
    found = answer_windows(model, tokenizer, toy.select([0]), progress=False, **LENGTHS)[0]
    assert (
        found["answers"][0]["score"] == pytest.approx(max(out.sequences_scores.tolist()), abs=1e-4)
        or found["answers"][0]["score"] < found["null_score"]
    )
    greedy = model.generate(
        encoder_outputs=BaseModelOutput(hidden),
        attention_mask=mask,
        num_beams=1,
        max_new_tokens=32,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    steps = model.compute_transition_scores(greedy.sequences, greedy.scores, normalize_logits=True)
    assert target_scores(model, hidden, mask, greedy.sequences[:, 1:]).item() == pytest.approx(
        steps.mean().item(), abs=1e-4
    )


def row(window, null, *answers, name="q"):
    return {
        "id": name,
        "window": window,
        "null_score": null,
        "answers": [{"text": t, "score": s} for t, s in answers],
    }


def test_the_best_window_wins_not_the_last():
    found = [
        row(0, -3.0, ("no", -0.9)),
        row(1, -4.0, ("yes", -0.1), ("yeah", -0.8)),
        row(2, -2.0, ("last", -1.2)),
        row(0, -1.0, ("other", -0.5), name="r"),
    ]
    best = best_windows(found)
    assert [(p["id"], p["prediction_text"], p["window"], p["score"]) for p in best] == [
        ("q", "yes", 1, -0.1),
        ("r", "other", 0, -0.5),
    ]
    assert best[0]["null_odds"] == pytest.approx(-3.9)


def test_a_window_that_prefers_nothing_is_heard_last():
    "A fluent second choice of a window without the answer must not beat the answer."
    found = [row(0, -0.01, ("fluent", -0.2)), row(1, -3.0, ("true", -0.5))]
    for threshold in (None, 0.0):
        assert best_windows(found, null_threshold=threshold)[0]["prediction_text"] == "true"
    assert best_windows(found[:1])[0]["prediction_text"] == "fluent"  # one must answer
    nothing = best_windows(found[:1], null_threshold=0.0)[0]
    assert (
        nothing["prediction_text"] == ""
        and nothing["score"] == -0.01
        and nothing["null_odds"] == pytest.approx(0.19)
    )
    assert best_windows(found[:1], null_threshold=0.2)[0]["prediction_text"] == "fluent"
    assert (
        best_windows(found, null_threshold=-3.0)[0]["prediction_text"] == ""
    )  # a strict threshold
    assert best_windows([row(0, -5.0)])[0]["prediction_text"] == ""  # only '' was written


class Written(T5ForConditionalGeneration):
    "Writes the same word in every window."

    def generate(self, encoder_outputs, attention_mask, num_beams, **kwargs):
        return torch.tensor([[0, 5, 1]] * len(attention_mask) * num_beams)


def test_answers_through_a_model_that_favours_one_window(tokenizers, monkeypatch):
    """From the model's scores to the answer: with the scores of a stub, the middle window is
    chosen, not the last one."""
    tokenizer, context = tokenizers["t5"], " ".join(["The museum was founded in 1958."] * 40)
    set_seed(0)
    stub = Written(
        T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    example = {"id": "q", "question": "When?", "context": context}
    n = len(prompt_windows(tokenizer, ["When?"], [context], **LENGTHS)[0].windows)
    assert n >= 4
    favours = iter(
        [-0.1 if i == 1 else -2.0 for i in range(n)]
    )  # one window at a time, the longest first: the last is the shortest
    calls = iter(range(2 * n))
    monkeypatch.setattr(
        "squadqa.generative.target_scores",
        lambda *a: torch.tensor([next(favours) if next(calls) % 2 == 0 else -5.0]),
    )
    found = generate_answers(
        stub, tokenizer, [example], num_beams=1, batch_size=1, progress=False, **LENGTHS
    )
    assert (
        found[0]["window"] == 1
        and found[0]["score"] == pytest.approx(-0.1)
        and found[0]["prediction_text"] == tokenizer.decode(5).strip()
    )


def test_windows_are_the_whole_prompt_cut(kind, tokenizers, toy):
    """Without a limit the window is what the tokenizer gives for the whole text; cut, its
    characters are those of its tokens."""
    tokenizer, e = tokenizers[kind], toy[0]
    (asked,) = prompt_windows(
        tokenizer, [f"  {e['question']} "], [e["context"]], max_length=512, stride=24
    )
    assert (
        asked.windows[0].features["input_ids"]
        == tokenizer(f"{prompt(e['question'])} {e['context']}")["input_ids"]
    )
    rows = prepare_generative_features(toy[:1], tokenizer, **LENGTHS)
    n = len(rows["input_ids"])
    assert (
        n > 2
        and max(map(len, rows["input_ids"])) <= 96
        and rows["window"] == list(range(n))
        and set(rows["example_id"]) == {e["id"]}
    )
    for ids, start, end in zip(rows["input_ids"], rows["start_char"], rows["end_char"]):
        assert (
            tokenizer.decode(ids, skip_special_tokens=True)
            .replace("question: ", "")
            .endswith(e["context"][start:end].strip())
        )
    assert rows["start_char"][0] == 0 and rows["end_char"][-1] == len(e["context"])
    assert all(
        a >= b for a, b in zip(rows["end_char"], rows["start_char"][1:])
    )  # nothing falls between two windows


def test_targets(kind, tokenizers, toy):
    """The answer where the window holds it, '' elsewhere, or no such window; a question without an
    answer keeps its windows."""
    tokenizer = tokenizers[kind]
    empty, rows = (
        tokenizer(text_target="")["input_ids"],
        prepare_generative_features(toy[:], tokenizer, **LENGTHS),
    )
    golds = {e["id"]: e for e in toy}
    held = 0
    for labels, name, start, end in zip(
        rows["labels"], rows["example_id"], rows["start_char"], rows["end_char"]
    ):
        answers = golds[name]["answers"]
        inside = (
            bool(answers["text"])
            and start <= answers["answer_start"][0]
            and answers["answer_start"][0] + len(answers["text"][0]) <= end
        )
        assert tokenizer.decode(labels, skip_special_tokens=True).strip() == (
            answers["text"][0] if inside else ""
        )
        assert inside or labels == empty
        held += inside
    assert 10 <= held < len(rows["labels"])
    fewer = prepare_generative_features(toy[:], tokenizer, teach_empty=False, **LENGTHS)
    assert sum(labels != empty for labels in fewer["labels"]) == held
    assert {i for i, labels in zip(fewer["example_id"], fewer["labels"]) if labels == empty} == {
        "nowhere-3",
        "nowhere-8",
    }
    assert "labels" not in prepare_generative_features(
        {k: toy[:][k] for k in ("id", "question", "context")}, tokenizer, **LENGTHS
    )


@pytest.mark.parametrize("context", ["", " ", "x", "\n The  end \t", "日本 🦦 é"])
def test_odd_contexts(kind, tokenizers, context):
    tokenizer = tokenizers[kind]
    (asked,) = prompt_windows(tokenizer, ["Who?"], [context], **LENGTHS)
    start, end = window_chars(asked.context, asked.windows[0])
    assert (
        len(asked.windows) == 1
        and 0 <= start <= end <= len(context)
        and (not context.strip() or context[start:end].strip() == context.strip())
    )


def test_sequence_length_penalty(tokenizers):
    "1: mean of the tokens' log-probabilities, 0: their sum; padding does not count."
    model = tiny_t5(tokenizers["t5"])
    ids, labels = torch.tensor([[5, 6, 7, 1]] * 2), torch.tensor([[9, 8, 7, 1], [9, 1, -100, -100]])
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        hidden = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        mean, total = (target_scores(model, hidden, mask, labels, p) for p in (1.0, 0.0))
        loss = model(input_ids=ids[:1], attention_mask=mask[:1], labels=labels[:1]).loss
    assert torch.allclose(mean * torch.tensor([4, 2]), total, atol=1e-5) and mean[
        0
    ].item() == pytest.approx(-loss.item(), abs=1e-5)


def test_resume(kind, toy, tokenizers, tmp_path):
    "A run that was stopped goes on from its checkpoint and ends where it would have ended."
    tokenizer, (_, make, rate) = tokenizers[kind], KINDS[kind]
    data, run = (
        DatasetDict(train=toy.select(range(4))),
        dict(
            tokenizer=tokenizer,
            learning_rate=rate,
            batch_size=8,
            mixed_precision="no",
            disable_tqdm=True,
            **LENGTHS,
        ),
    )
    whole = fine_tune_generative(make(tokenizer), data, tmp_path / "whole", epochs=2, **run)
    (tmp_path / "part").mkdir()
    first = checkpoints(tmp_path / "whole")[0]
    first.rename(tmp_path / "part" / first.name)
    again = fine_tune_generative(
        make(tokenizer, seed=5), data, tmp_path / "part", epochs=2, resume=True, **run
    )
    assert again.steps == whole.steps > 2
    a, b = (load_generative(tmp_path / name).state_dict() for name in ("whole", "part"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    with pytest.raises(ValueError, match="is not empty.*resume=True"):
        fine_tune_generative(make(tokenizer), data, tmp_path / "whole", epochs=1, **run)


@pytest.mark.parametrize(
    "name, value", [("compile", True), ("padding", "max_length"), ("pad_to_multiple_of", 64)]
)
def test_settings_without_effect_are_refused(name, value, tmp_path):
    with pytest.raises(ValueError, match=f"{name}={value!r} has no effect on a model that writes"):
        fine_tune_generative("none", "sample", tmp_path / "run", **{name: value})
    assert not (tmp_path / "run").exists()


def test_only_its_own_validation_data_is_scored(toy, tokenizers, tmp_path):
    "The examples of other windows are not known, so these have a loss and no scores."
    data = DatasetDict(train=toy.select(range(2)), validation=toy.select(range(2)))
    settings = choose_hyperparameters(disable_tqdm=True, mixed_precision="no")
    args = training_arguments(tmp_path, settings, kind=Seq2SeqTrainingArguments)
    model = tiny_t5(tokenizers["t5"])
    trainer = build_generative_trainer(model, tokenizers["t5"], data, args, **LENGTHS)
    other = trainer.eval_dataset.select(range(2))
    assert {"eval_loss", "eval_f1", "eval_exact_match"} <= trainer.evaluate().keys()
    assert "eval_f1" in trainer.evaluate(trainer.eval_dataset)
    for found in (trainer.evaluate(other), trainer.predict(other).metrics):
        assert not [name for name in found if name.endswith(("f1", "exact_match"))], found
        assert [name for name in found if name.endswith("loss")]


def test_an_interrupt_leaves_the_model_in_its_mode(tokenizers, toy, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    model = tiny_t5(tokenizers["t5"]).train()
    monkeypatch.setattr(generative, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        answer_windows(model, tokenizers["t5"], toy.select([0]), progress=False, **LENGTHS)
    assert model.training


def test_models_that_do_not_write(tokenizers, minilm, tmp_path):
    tokenizer, examples = tokenizers["t5"], [{"id": "a", "question": "Who?", "context": "Ada."}]
    spans, decoder = (
        BertForQuestionAnswering(tiny_config(minilm)),
        GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)),
    )
    for model in (spans, decoder):
        with pytest.raises(
            ValueError,
            match=f"{type(model).__name__} is not a sequence-to-sequence model.*flan-t5-small",
        ):
            generate_answers(model, tokenizer, examples)
        with pytest.raises(ValueError, match="not a sequence-to-sequence model"):
            fine_tune_generative(model, "sample", tmp_path / "run", tokenizer=tokenizer)
        model.save_pretrained(tmp_path / type(model).__name__)
        with pytest.raises(
            ValueError, match=r"\((bert|gpt2)\) is not a sequence-to-sequence model"
        ):
            load_generative(tmp_path / type(model).__name__)
    tiny_t5(tokenizer).save_pretrained(tmp_path / "encoder")
    weights = load_file(tmp_path / "encoder" / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if not k.startswith("decoder")},
        tmp_path / "encoder" / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ValueError, match="no trained decoder"):
        load_generative(tmp_path / "encoder")
    with pytest.raises(ValueError, match="there is no folder .*no-such"):
        load_generative(tmp_path / "no-such")
    assert not (tmp_path / "run").exists()


def unloved(folder, damage) -> str:
    "What `load_generative` says of a folder whose weights were changed."
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    save_file(damage(load_file(path)), path, {"format": "pt"})
    with pytest.raises(ValueError) as caught:
        load_generative(folder)
    path.write_bytes(whole)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_weights_are_told(kind, tokenizers, tmp_path):
    "No part of a model is made up, and nothing of its files is left out."
    KINDS[kind][1](tokenizers[kind]).save_pretrained(tmp_path)
    path, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    assert load_generative(tmp_path).name_or_path == str(tmp_path)

    def without(word):
        return lambda weights: {k: v for k, v in weights.items() if word not in k}

    def doubled(weights):
        return weights | {k: torch.cat([v, v]) for k, v in weights.items() if "shared" in k}

    assert "weights of the encoder are missing" in unloved(tmp_path, without("encoder."))
    assert "no trained decoder" in unloved(tmp_path, without("decoder."))
    assert "another shape" in unloved(tmp_path, doubled)
    text = config.read_text()
    config.write_text(json.dumps(json.loads(text) | {"num_layers": 1, "encoder_layers": 0}))
    assert "more layers than its config.json tells" in unloved(tmp_path, dict)
    for content, words in (("{", "is not JSON"), ("[]", "not a JSON object")):
        config.write_text(content)
        with pytest.raises(ValueError, match=words):
            load_generative(tmp_path)
    config.write_text(text)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="damaged or not whole"):
        load_generative(tmp_path)


def test_bad_input(tokenizers, toy, tmp_path):
    tokenizer, ask = tokenizers["t5"], dict(progress=False, **LENGTHS)
    model, example = (
        tiny_t5(tokenizer),
        {"id": "a-7", "question": "Who?", "context": "Ada counts otters. " * 40},
    )

    class Slow:
        is_fast = False

    for call in (
        lambda: prompt_windows(Slow(), ["Who?"], ["Ada."]),
        lambda: generate_answers(model, Slow(), [example], **ask),
    ):
        with pytest.raises(ValueError, match="Slow is a slow tokenizer"):
            call()
    with pytest.raises(ValueError, match="'a-7': the question is empty.*leave the example out"):
        generate_answers(model, tokenizer, [example | {"question": " \n"}], **ask)
    with pytest.raises(ValueError, match="'a-7': the context is None"):
        generate_answers(model, tokenizer, [example | {"context": None}], **ask)
    with pytest.raises(
        ValueError,
        match="'a-7': the prompt .*max_length=40.*stride=24.*Raise max_length, lower stride",
    ):
        generate_answers(
            model, tokenizer, [example | {"question": "Who " * 10}], max_length=40, stride=24
        )
    with pytest.raises(ValueError, match="max_length=24.*lower stride or raise max_length"):
        generate_answers(model, tokenizer, [example], max_length=24, stride=24)
    with pytest.raises(ValueError, match="more than the 512 tokens"):
        generate_answers(model, tokenizer, [example], max_length=513)
    with pytest.raises(
        ValueError, match="max_length=300 is more than the 256 tokens that the model reads"
    ):
        generate_answers(
            tiny_bart(tokenizers["bart"]), tokenizers["bart"], [example], max_length=300
        )
    with pytest.raises(ValueError, match="an id occurs twice"):
        generate_answers(model, tokenizer, [example, example], **ask)
    with pytest.raises(ValueError, match="num_beams=0 must be a whole number of at least 1"):
        generate_answers(model, tokenizer, [example], num_beams=0, **ask)
    with pytest.raises(ValueError, match="lists of strings"):
        prompt_windows(tokenizer, "Who?", ["Ada."])
    with pytest.raises(ValueError, match="do not belong together"):
        generate_answers(tiny_t5(range(50)), tokenizer, [example], **ask)
    with pytest.raises(ValueError, match="pass tokenizer="):
        fine_tune_generative(model, "sample", tmp_path / "run")
    assert generate_answers(model, tokenizer, [], **ask) == []


def test_line_breaks_at_a_window_edge(kind, tokenizers):
    """A token of nothing but white space at the edge of a window: its characters go on where they
    were, and targets lie inside."""
    tokenizer = tokenizers[kind]
    context = "\n\n".join(
        f"Paragraph {i}: the ferry number {i} leaves the quay at {i} in the morning."
        for i in range(12)
    )
    rows = {
        "id": ["q"],
        "question": ["Which ferry leaves at 7?"],
        "context": [context],
        "answers": [
            {"text": ["ferry number 7"], "answer_start": [context.index("ferry number 7")]}
        ],
    }
    empty, edges = tokenizer(text_target="")["input_ids"], 0
    for max_length in range(70, 110):
        found = prepare_generative_features(rows, tokenizer, max_length=max_length, stride=10)
        assert found["start_char"] == sorted(found["start_char"]) and found["end_char"] == sorted(
            found["end_char"]
        )
        for labels, start, end in zip(found["labels"], found["start_char"], found["end_char"]):
            assert (labels != empty) == ("ferry number 7" in context[start:end]), (
                max_length,
                start,
                end,
            )
            edges += context[start - 1 : start] == "\n" or context[end - 1 : end] == "\n"
    assert edges > 5


def test_labels_reach_the_collator_as_lists():
    "Arrays would do, but transformers warns of them."
    seen = []
    generative._pad_rows(seen.extend, [{"labels": np.array([3, 1]), "input_ids": [5]}])
    assert seen == [{"labels": [3, 1], "input_ids": [5]}]
    assert type(seen[0]["labels"]) is list
