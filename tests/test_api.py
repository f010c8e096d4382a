"""Python's side of the package, called in ways that are not the usual ones: what was once answered
wrongly without a word, written half, or refused in the words of some library."""

import json
import math
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import tiny_config
from datasets import DatasetDict
from huggingface_hub import HfApi
from huggingface_hub.utils import filter_repo_objects
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    BertForQuestionAnswering,
    Trainer,
)

from squadqa.adapters import add_adapter, pack_adapter
from squadqa.arguments import RECIPES, choose_hyperparameters
from squadqa.batching import TorchEngine, make_features, predict_logits
from squadqa.capstone import write_project
from squadqa.evaluation import evaluate_model, prepare_evaluation_features
from squadqa.generative import check_writing, prepare_generative_features
from squadqa.hub import model_card, public_name, push_run
from squadqa.inference import QuestionAnswerer, QuestionAnsweringPipeline
from squadqa.labeling import label_windows, prepare_train_features
from squadqa.languages import exact_match_in, f1_in
from squadqa.loop import train_loop
from squadqa.models import (
    PRESETS,
    load_model,
    load_tokenizer,
    read_settings,
    reading_of,
    save_settings,
)
from squadqa.no_answer import expected_calibration_error, reliability
from squadqa.own_data import to_squad_json
from squadqa.postprocessing import n_best_answers, null_scores, postprocess
from squadqa.processes import choose_precision, make_accelerator
from squadqa.results import FineTuneResult
from squadqa.trainer import build_trainer, fine_tune
from squadqa.training import training_arguments
from squadqa.validation import prepare_validation_features
from squadqa.windows import find_cls, tokenize_windows

ENGINES = pytest.mark.parametrize("engine", [fine_tune, train_loop])
LENGTHS = {"max_length": 128, "stride": 32}
RUN = LENGTHS | dict(batch_size=4, learning_rate=1e-3, mixed_precision="no", disable_tqdm=True)
HALF = RUN | {"mixed_precision": "bf16"}
QUESTION, CONTEXT = "When does the ferry leave?", "The ferry leaves at nine, and the cat waits."


@pytest.fixture
def tiny(tiny_folder) -> BertForQuestionAnswering:
    return load_model(tiny_folder)


@pytest.fixture(scope="module")
def few(small_data) -> DatasetDict:
    "12 training and 6 validation examples."
    return DatasetDict(
        train=small_data["train"].select(range(12)),
        validation=small_data["validation"].select(range(6)),
    )


def steps_with(result, name) -> list[int]:
    return [row["step"] for row in result.history if name in row]


# --- training


@ENGINES
def test_a_resumed_run_heeds_how_often_it_is_to_evaluate_and_log(
    engine, tiny_folder, few, tmp_path
):
    often = {"evaluate_every": 4, "logging_steps": 4}
    engine(str(tiny_folder), few, tmp_path, **RUN, max_steps=4, **often)
    often = {"evaluate_every": 2, "logging_steps": 1}
    result = engine(str(tiny_folder), few, tmp_path, resume=True, **RUN, max_steps=8, **often)
    assert steps_with(result, "f1") == [4, 6, 8]
    assert steps_with(result, "loss") == [4, 5, 6, 7, 8]


@ENGINES
def test_without_evaluations_the_last_weights_are_kept(engine, tiny_folder, few, tmp_path):
    engine(str(tiny_folder), few, tmp_path, **RUN, max_steps=2)
    more = RUN | {"max_steps": 4, "evaluate_every": "no"}
    result = engine(str(tiny_folder), few, tmp_path, resume=True, **more)
    assert (result.best_step, result.scores, result.steps) == (None, {}, 4)
    kept = (tmp_path / "model.safetensors").read_bytes()
    assert kept == (tmp_path / "checkpoint-4" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "engine, home, name", [(fine_tune, Trainer, "train"), (train_loop, Accelerator, "load_state")]
)
def test_a_full_memory_is_no_broken_checkpoint(
    engine, home, name, tiny_folder, few, tmp_path, monkeypatch
):
    "Whoever is told that a run cannot be continued throws it away."
    engine(str(tiny_folder), few, tmp_path, **RUN, max_steps=1)

    def full(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(home, name, full)
    with pytest.raises(RuntimeError, match="^DefaultCPUAllocator: can't allocate memory"):
        engine(str(tiny_folder), few, tmp_path, resume=True, **RUN, max_steps=2)


def test_what_tells_the_best_weights_cannot_change(tiny_folder, few, tmp_path):
    by_loss = {"metric_for_best_model": "loss"}
    for name, then, now in (("f1", {}, by_loss), ("loss", by_loss, {})):
        again = {"resume": True, "max_steps": 4}
        fine_tune(str(tiny_folder), few, tmp_path / name, **RUN, max_steps=2, **then)
        with pytest.raises(ValueError, match=f"best_by='{name}'"):
            fine_tune(str(tiny_folder), few, tmp_path / name, **RUN, **again, **now)
        same = {"metric_for_best_model": f"eval_{name}"}
        fine_tune(str(tiny_folder), few, tmp_path / name, **RUN, **again, **same)


def test_a_part_without_evaluations_keeps_the_best_weights_for_later(tiny_folder, few, tmp_path):
    model, often = str(tiny_folder), {"evaluate_every": "no", "save_steps": 1}
    train_loop(model, few, tmp_path, **RUN, max_steps=2, evaluate_every=2)
    train_loop(model, few, tmp_path, **RUN, max_steps=6, resume=True, **often)
    result = train_loop(model, few, tmp_path, **RUN, max_steps=8, evaluate_every=4, resume=True)
    assert steps_with(result, "f1") == [2, 8] and result.best_step in (2, 8)


@ENGINES
def test_sixteen_bits_in_memory_learn_in_32(engine, tiny, tiny_folder, few, tmp_path):
    "In bfloat16 hardly any weight would change by a step."
    tiny.bfloat16().save_pretrained(tmp_path / "half")
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "half", dtype="bfloat16")
    first = {n: w.detach().float().clone() for n, w in model.named_parameters()}
    slow = RUN | {"learning_rate": 2e-5}
    engine(model, few, tmp_path / "run", tokenizer=str(tiny_folder), **slow, max_steps=4)
    changed = [(w != first[n]).float().mean().item() for n, w in model.named_parameters()]
    assert model.dtype == torch.float32 and np.mean(changed) > 0.5


@pytest.mark.parametrize("every", ["epoch", "no"])
@ENGINES
def test_a_model_that_was_trained_answers_the_same_each_time(
    engine, every, tiny, minilm, few, tmp_path
):
    before = QuestionAnswerer(tiny, minilm)
    engine(tiny, few, tmp_path, tokenizer=minilm, **RUN, max_steps=1, evaluate_every=every)
    assert not tiny.training
    tiny.train()  # as between two trainings
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: before(QUESTION, CONTEXT)["score"], range(20)))
    assert len(set(found)) == 1


def test_an_engine_may_call_anything_its_model(tiny, minilm, few):
    "An engine is what has three names; others are its own affair."
    features = make_features(few["validation"], prepare_validation_features, minilm, **LENGTHS)
    engine = TorchEngine(tiny)
    engine = SimpleNamespace(
        inputs=engine.inputs, max_tokens=None, logits=engine.logits, model="a.onnx"
    )
    found = predict_logits(engine, features, minilm, progress=False)
    assert np.array_equal(found, predict_logits(tiny, features, minilm, progress=False))


def test_no_precision_is_none_whatever_the_launcher_says(monkeypatch, tmp_path):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    for asked, expected in (("no", "no"), ("auto", "bf16")):
        settings = choose_hyperparameters(mixed_precision=asked, use_cpu=True)
        args = training_arguments(tmp_path, settings)
        assert (args.mixed_precision, args.bf16) == (expected, expected == "bf16")
        assert choose_precision(asked, "cpu") == expected
        accelerator = make_accelerator(tmp_path, mixed_precision=asked, use_cpu=True)
        assert accelerator.mixed_precision == expected
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "odd")
    with pytest.raises(ValueError, match="ACCELERATE_MIXED_PRECISION='odd' is none of"):
        choose_precision("auto", "cpu")


@ENGINES
@pytest.mark.parametrize("ends", ["whole", "stopped"])
def test_a_model_computes_in_its_own_precision_after_a_run(
    engine, ends, tiny, minilm, few, tmp_path, monkeypatch
):
    "Accelerate makes the model that was passed compute in 16 bits, for good."
    inputs = minilm(QUESTION, CONTEXT, return_tensors="pt")
    half = []
    tiny.register_forward_hook(lambda *_: half.append(torch.is_autocast_enabled("cpu")))
    if ends == "stopped":
        monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine(tiny, few, tmp_path, tokenizer=minilm, use_cpu=True, max_steps=1, **HALF)
    else:
        engine(tiny, few, tmp_path, tokenizer=minilm, use_cpu=True, max_steps=1, **HALF)
    assert half and "forward" not in vars(tiny)
    with torch.no_grad():
        found = tiny.eval()(**inputs)
        expected = type(tiny).forward(tiny, **inputs)
    assert torch.equal(found.start_logits, expected.start_logits)
    if ends == "whole":
        kept = load_model(tmp_path).eval()(**inputs)
        assert torch.equal(found.end_logits, kept.end_logits)


@ENGINES
def test_a_forward_that_somebody_changed_is_left_as_it_was(engine, tiny, minilm, few, tmp_path):
    "Such as by a tool that counts the calls."
    calls, own = [], tiny.forward

    def counted(*args, **kwargs):
        calls.append(1)
        return own(*args, **kwargs)

    tiny.forward = counted
    engine(tiny, few, tmp_path, tokenizer=minilm, use_cpu=True, max_steps=1, **HALF)
    assert tiny.forward is counted
    calls.clear()
    tiny.eval()(**minilm(QUESTION, CONTEXT, return_tensors="pt"))
    assert calls == [1]


def test_a_trainer_scores_the_windows_that_it_was_given(tiny, minilm, few, tmp_path):
    "The same ones in another order are the same; those of other questions are refused."
    settings = choose_hyperparameters(**RUN, use_cpu=True)
    args = training_arguments(tmp_path, settings)
    trainer = build_trainer(tiny, minilm, few, args, **settings.windows)
    own = trainer.evaluate()
    make = few["validation"], prepare_evaluation_features, minilm
    features = make_features(*make, **settings.windows)
    predicted, given = trainer.predict(features).metrics, trainer.evaluate(features)
    loader = trainer.get_eval_dataloader()
    trainer.get_eval_dataloader(features)  # which is not used
    assert trainer.evaluation_loop(loader, "").metrics["eval_f1"] == own["eval_f1"]
    rows = features.select_columns(["input_ids", "attention_mask", "token_type_ids"]).to_list()
    assert len(trainer.predict(rows).predictions[0]) == len(features)
    for name in ("exact_match", "f1"):
        assert given[f"eval_{name}"] == predicted[f"test_{name}"] == own[f"eval_{name}"]
    expected = evaluate_model(tiny, minilm, few["validation"], **LENGTHS).scores
    assert own["eval_f1"] == pytest.approx(expected["f1"])
    others = make_features(few["train"], prepare_evaluation_features, minilm, **settings.windows)
    with pytest.raises(ValueError, match="have no window among the features"):
        trainer.evaluate(others)


def test_an_adapter_without_a_task_is_read_as_it_was_trained(minilm, few, tmp_path):
    "peft's wrapper for question answering leaves token types out, a plain one does not."
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = BertForQuestionAnswering(tiny_config(minilm, initializer_range=0.5))
    base.save_pretrained(tmp_path / "base")
    minilm.save_pretrained(tmp_path / "base")
    for task in (None, "QUESTION_ANS"):
        model = load_model(tmp_path / "base")
        config = peft.LoraConfig(
            task_type=task, r=2, target_modules=["query"], modules_to_save=["qa_outputs"]
        )
        adapted = peft.get_peft_model(model, config)
        run = tmp_path / str(task)
        result = fine_tune(adapted, few, run, tokenizer=minilm, **RUN, max_steps=2)
        found = evaluate_model(load_model(run), minilm, few["validation"], **LENGTHS)
        assert found.scores["f1"] == pytest.approx(result.scores["f1"]), task


def test_an_adapter_that_could_not_be_read_is_not_trained(tiny, tiny_folder, minilm, few, tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.IA3Config(target_modules=["query"], feedforward_modules=[])
    with pytest.raises(ValueError, match="peft_type is 'IA3'; only LORA"):
        fine_tune(peft.get_peft_model(tiny, config), few, tmp_path, tokenizer=minilm, **RUN)
    beyond = peft.get_peft_model(
        load_model(tiny_folder), peft.LoraConfig(target_modules=["query"], lora_bias=True)
    )
    with pytest.raises(ValueError, match="uses lora_bias, which goes beyond plain LoRA"):
        fine_tune(beyond, few, tmp_path, tokenizer=minilm, **RUN)


def test_every_preset_has_a_recipe_that_can_be_chosen():
    for name in (*PRESETS, "starter"):
        assert choose_hyperparameters(name).recipe == name
    assert all(choose_hyperparameters(recipe=name).recipe == name for name in RECIPES)


def test_names_too_long_for_a_file_are_names():
    assert public_name("x" * 5000) == "x" * 5000


@pytest.mark.parametrize("base", ["first", "bert-base-cased", "org/model"])
def test_a_folder_called_like_a_model_is_not_told_to_the_hub_as_one(base):
    card = model_card(FineTuneResult("run"), {"base_model": base, "dataset": "own.json"})
    assert (f"base_model: {base}" in card.split("---")[1]) == (base != "first")
    assert f"`{base}`, fine-tuned" in card


# --- what is uploaded and stored


def test_a_push_takes_no_file_of_a_folder(tiny_folder, tmp_path, monkeypatch):
    run = shutil.copytree(tiny_folder, tmp_path / "run")
    for name in ("tokenizer_notes/secret.txt", "model_backup/private.safetensors"):
        (run / name).parent.mkdir()
        (run / name).write_text("secret")
    sent = []

    class Api(HfApi):
        def create_repo(self, name, **options):
            return type("Repo", (), {"repo_id": name})

        def upload_folder(self, folder_path, allow_patterns, ignore_patterns, **options):
            files = [p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()]
            patterns = {"allow_patterns": allow_patterns, "ignore_patterns": ignore_patterns}
            sent.extend(filter_repo_objects(files, **patterns))  # as the real one does
            return type("Commit", (), {"commit_url": "https://hub/commit"})

    monkeypatch.setattr("squadqa.hub.HfApi", Api)
    push_run(run, "x")
    assert "model.safetensors" in sent and not [name for name in sent if "/" in name]
    with pytest.raises(ValueError, match="no folder .*nowhere to upload"):
        push_run(tmp_path / "nowhere")


def test_a_pipeline_keeps_the_threshold_of_its_model(tiny, tiny_folder, minilm, tmp_path):
    high = shutil.copytree(tiny_folder, tmp_path / "high")
    save_settings(high, null_threshold=5.0)
    pipe = QuestionAnsweringPipeline(load_model(high), minilm)
    pipe.save_pretrained(tmp_path / "saved")
    assert read_settings(tmp_path / "saved") == {"null_threshold": 5.0}
    pipe.answerer.null_threshold = 7.0
    pipe.model = torch.compile(pipe.model)  # the same model
    pipe(question=QUESTION, context=CONTEXT)
    assert pipe.answerer.null_threshold == 7.0
    pipe.model = load_model(tiny_folder)  # another model, which has none
    pipe.save_pretrained(tmp_path / "saved")
    assert pipe.answerer.null_threshold == 0
    assert read_settings(tmp_path / "saved") == {}
    pipe.model = load_model(high)
    pipe.save_pretrained(tmp_path / "saved")
    assert read_settings(tmp_path / "saved") == {"null_threshold": 5.0}
    pipe.model = load_model(tiny_folder)
    pipe.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new" / "squadqa.json").exists()


def test_adapters_say_what_they_need(tiny_folder, tmp_path, monkeypatch):
    model = load_model(tiny_folder)
    add_adapter(load_model(tiny_folder), rank=2).save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    for needs_it in (lambda: add_adapter(model), lambda: load_model(tmp_path)):
        with pytest.raises(ValueError, match=r"needs peft: pip install 'squadqa\[offline\]'"):
            needs_it()


def test_packing_keeps_the_threshold_and_checks_before_it_writes(tiny_folder, tmp_path):
    adapted = add_adapter(load_model(tiny_folder), rank=2)
    adapted.save_pretrained(tmp_path / "source")
    save_settings(tmp_path / "source", null_threshold=3.0, token_types=True)
    pack_adapter(tmp_path / "source", tmp_path / "packed", base="nonsense")
    packed = read_settings(tmp_path / "packed")
    assert (packed["null_threshold"], packed["token_types"]) == (3.0, True)
    assert packed["base"] == str(tiny_folder)
    with pytest.raises(ValueError, match="null_threshold"):
        pack_adapter(tmp_path / "source", tmp_path / "other", null_threshold="x")
    assert not (tmp_path / "other").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there is no adapter in .*empty"):
        pack_adapter(tmp_path / "empty", tmp_path / "other")
    for odd in ({"rank": "8"}, {"rank": True}, {"alpha": math.nan}, {"attention_dropout": 2}):
        with pytest.raises(ValueError, match=next(iter(odd))):
            add_adapter(load_model(tiny_folder), **odd)


def test_an_adapter_keeps_its_threshold_and_stands_over_a_whole_model(tiny_folder, tmp_path, few):
    peft = pytest.importorskip("peft")
    packed = tmp_path / "packed"
    add_adapter(load_model(tiny_folder), rank=2).save_pretrained(packed)
    save_settings(packed, null_threshold=3.0)
    model = load_model(packed)
    assert QuestionAnswerer(model).null_threshold == QuestionAnswerer(packed).null_threshold == 3.0
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(ValueError, match="an adapter itself and whose change would be lost"):
        add_adapter(model, rank=2)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    config = peft.LoraConfig(task_type="QUESTION_ANS", r=2)
    theirs = peft.get_peft_model(load_model(packed), config)
    with pytest.raises(ValueError, match="an adapter itself"):
        fine_tune(theirs, few, tmp_path / "run", epochs=1, **RUN)
    assert not (tmp_path / "run").exists()
    whole = tmp_path / "whole"
    model.save_pretrained(whole)
    load_tokenizer(packed).save_pretrained(whole)
    add_adapter(load_model(whole), rank=2)


@ENGINES
def test_a_run_goes_on_with_its_own_tokenizer_and_adapter(engine, tiny_folder, few, tmp_path):
    "What no checkpoint holds is told by digests: how texts are read, and the base of an adapter."
    run, options = tmp_path / "run", RUN | {"evaluate_every": "no", "save_steps": 1}
    engine(tiny_folder, few, run, max_steps=1, **options)
    cased = AutoTokenizer.from_pretrained(tiny_folder, do_lower_case=False)
    with pytest.raises(ValueError, match="checkpoint-1 was written with another tokenizer"):
        engine(tiny_folder, few, run, max_steps=2, resume=True, tokenizer=cased, **options)
    engine(tiny_folder, few, run, max_steps=2, resume=True, **options)


def test_a_run_goes_on_with_the_settings_it_began_with(tiny_folder, few, tmp_path):
    options = RUN | {"evaluate_every": "no", "save_steps": 1, "max_steps": 1}
    fine_tune(tiny_folder, few, tmp_path / "run", lr_scheduler_type="cosine", **options)
    with pytest.raises(ValueError, match="lr_scheduler_type='cosine', this run has None"):
        fine_tune(tiny_folder, few, tmp_path / "run", resume=True, **options | {"max_steps": 2})


def test_an_adapter_goes_on_over_its_own_base(tiny_folder, few, tmp_path):
    pytest.importorskip("peft")
    options = RUN | {"evaluate_every": "no", "save_steps": 1}

    def go_on(alpha=2, steps=2, shift=0.0, **more):
        torch.manual_seed(0)
        model = load_model(tiny_folder)
        with torch.no_grad():
            next(model.parameters()).add_(shift)
        adapted = add_adapter(model, rank=2, alpha=alpha)
        tokenizer = load_tokenizer(tiny_folder)
        place = tmp_path / "run"
        fine_tune(adapted, few, place, tokenizer=tokenizer, max_steps=steps, **options | more)

    go_on(steps=1)
    with pytest.raises(ValueError, match="written with adapter="):
        go_on(alpha=64, resume=True)
    with pytest.raises(ValueError, match="other weights below its adapter"):
        go_on(shift=0.1, resume=True)
    go_on(resume=True)


def test_an_adapter_with_a_new_head_goes_on(tiny_folder, minilm, few, tmp_path):
    "Its random first head is read by nobody: peft keeps a copy of it, and the checkpoint has ours."
    peft = pytest.importorskip("peft")
    base = tmp_path / "encoder"
    load_model(tiny_folder).base_model.save_pretrained(base)
    minilm.save_pretrained(base)
    config = peft.LoraConfig(task_type="QUESTION_ANS", r=2, target_modules=["query"])
    options = RUN | {"evaluate_every": "no", "save_steps": 1, "tokenizer": minilm}
    for seed, steps in ((0, 1), (1, 2)):
        torch.manual_seed(seed)
        adapted = peft.get_peft_model(load_model(base, new_head=True), config)
        fine_tune(adapted, few, tmp_path / "run", max_steps=steps, resume=steps > 1, **options)


def test_tokenizers_that_give_other_inputs_read_otherwise(tiny_folder):
    one, other = load_tokenizer(tiny_folder), load_tokenizer(tiny_folder)
    other.model_input_names = ["input_ids", "attention_mask"]
    assert reading_of(one) == reading_of(load_tokenizer(tiny_folder)) != reading_of(other)


def test_what_was_evaluated_at_the_start_is_not_evaluated_again(tiny_folder, few, tmp_path):
    options = RUN | {"evaluate_every": 1, "eval_on_start": True}
    fine_tune(tiny_folder, few, tmp_path / "run", max_steps=1, **options)
    result = fine_tune(tiny_folder, few, tmp_path / "run", max_steps=2, resume=True, **options)
    assert [row["step"] for row in result.history if "f1" in row] == [0, 1, 2]
    options["eval_on_start"] = False
    fine_tune(tiny_folder, few, tmp_path / "later", max_steps=1, **options)
    options["eval_on_start"] = True  # what is asked for later is done
    result = fine_tune(tiny_folder, few, tmp_path / "later", max_steps=2, resume=True, **options)
    assert [row["step"] for row in result.history if "f1" in row] == [1, 1, 2]


def test_pairs_are_two_texts(tiny_folder):
    qa = QuestionAnswerer(tiny_folder)
    for odd in ({"question": QUESTION, "context": CONTEXT}, "ab", (QUESTION,), (QUESTION, None)):
        for ask in (qa.answer_all, qa.prepare):
            with pytest.raises(ValueError, match="pair 1 is .*a question and a context"):
                ask([(QUESTION, CONTEXT), odd])
    assert qa.answer_all([[QUESTION, CONTEXT]]) == [[qa(QUESTION, CONTEXT)]]


def test_a_project_is_checked_before_it_is_written(few, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    texts = {i: "" for i in few["validation"]["id"]}
    write_project("~/project", few, texts, texts, {}, "# Card")
    before = {path.name: path.read_bytes() for path in (tmp_path / "project").iterdir()}
    assert len(before) == 6
    half = DatasetDict(train=few["train"])
    for data, found, results, card, message in (
        (few, {"a": 5}, {}, "# New", "not a text"),
        (half, texts, {}, "# New", "no split valid"),
        (few, texts, {"x": object()}, "# New", "no JSON"),
        (few, texts, {}, None, "no text"),
    ):
        with pytest.raises(ValueError, match=message):
            write_project("~/project", data, found, texts, results, card, overwrite=True)
    now = {path.name: path.read_bytes() for path in (tmp_path / "project").iterdir()}
    assert now == before


# --- data, windows, scores


def test_answers_without_a_start_are_not_dropped():
    answers = {"text": ["a", "b"], "answer_start": [0]}
    row = {"id": "x", "title": "", "context": "ab", "question": "q", "answers": answers}
    with pytest.raises(ValueError, match="'x' has 2 answers and 1 starts"):
        to_squad_json([row])


def test_an_impossible_start_is_no_empty_answer(minilm):
    row = {"id": ["x"], "question": ["Who?"], "context": ["Ada saw it."]}
    for start in (500, -3, None):
        answers = [{"text": ["Ada"], "answer_start": [start]}]
        for prepare in (prepare_generative_features, prepare_train_features):
            with pytest.raises(ValueError, match="example 'x': .*cannot start at"):
                prepare(row | {"answers": answers}, minilm)


def test_a_missing_column_is_named(minilm):
    batch = {"id": ["x"], "question": ["Who?"], "context": ["Ada saw it."]}
    for prepare, lacking in (
        (prepare_train_features, "answers"),
        (prepare_validation_features, "id"),
        (prepare_generative_features, "question"),
    ):
        with pytest.raises(ValueError, match=f"the batch has no column {lacking}"):
            prepare({k: v for k, v in batch.items() if k != lacking}, minilm)


def test_padding_is_no_place_for_no_answer(minilm, tmp_path):
    "GPT-2's layout: no special tokens around a pair, and padding with the token that would be CLS."
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<end>", "who", "a", "b", "c", "d", "e", "f", "g"])}
    plain = Tokenizer(models.WordLevel(words, unk_token="g"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    end = "<end>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token=end, eos_token=end, pad_token=end
    )
    windows = tokenize_windows(
        tokenizer, ["who"], ["a b c d e f g a b"], max_length=7, stride=2, padding="max_length"
    )
    answers = [{"text": ["a"], "answer_start": [0]}]
    labels = label_windows(windows, answers, tokenizer)
    batch = {"id": ["x"], "question": ["who"], "context": ["a b c d e f g a b"]}
    lengths = {"max_length": 7, "stride": 2}
    expected = prepare_train_features(batch | {"answers": answers}, tokenizer, **lengths)
    assert labels["start_positions"] == expected["start_positions"] == [1, 0]
    for i, mask in enumerate(windows["attention_mask"]):
        assert mask[find_cls(windows["input_ids"][i], windows.sequence_ids(i), tokenizer)] == 1


def test_a_tokenizer_that_knows_no_letters_is_named():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    chinese = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"的": 0}, [])))
    batch = {"id": ["x"], "question": ["的"], "context": ["的的"]}
    with pytest.raises(ValueError, match="of a pair of the letters a and b"):
        prepare_validation_features(batch, chinese, max_length=8, stride=2, padding=False)


def test_null_scores_takes_lists(few, minilm):
    features = make_features(few["validation"], prepare_validation_features, minilm, **LENGTHS)
    logits = np.zeros((2, len(features), 128), np.float32)
    assert np.array_equal(null_scores(*logits.tolist(), features), np.zeros(len(features)))


def test_examples_may_have_any_format(tiny, minilm, few):
    examples = few["validation"]
    features = make_features(examples, prepare_validation_features, minilm, **LENGTHS)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, len(features), 128)).astype(np.float32)
    expected = postprocess(*logits, features, examples)
    for kind in ("numpy", "torch", "pandas", "arrow"):
        formatted = examples.with_format(kind)
        assert postprocess(*logits, features.with_format("numpy"), formatted) == expected
        assert n_best_answers(*logits, features, formatted).keys() == set(examples["id"])
    for lacking in ("id", "context"):
        with pytest.raises(ValueError, match=f"a row has no {lacking}"):
            postprocess(*logits, features, examples.remove_columns(lacking))
    rows = [row | {"cls_index": 999} for row in features.to_list()]
    with pytest.raises(ValueError, match="cls_index is no place among 128 tokens"):
        postprocess(*logits, rows, examples)


def test_one_reference_is_no_list_of_letters():
    for score in (exact_match_in, f1_in):
        for golds in ("abc", {"text": ["x"]}):
            with pytest.raises(ValueError, match="pass a list"):
                score("a", golds, "de")


def test_calibration_of_what_cannot_be():
    for right in ([1, math.nan], [1, 7]):
        with pytest.raises(ValueError, match="what is right lies between 0 and 1"):
            expected_calibration_error([0.5, 0.5], right)
    for bins in (0, "3", 1.5):
        with pytest.raises(ValueError, match="bins="):
            reliability([0.5], [1], bins=bins)


@pytest.mark.parametrize(
    "odd",
    [
        {"num_beams": 0},
        {"num_beams": "2"},
        {"max_answer_length": 0},
        {"null_threshold": "0"},
        {"length_penalty": math.nan},
    ],
)
def test_what_no_answer_can_be_written_with(odd):
    with pytest.raises(ValueError, match=next(iter(odd))):
        check_writing(**{"num_beams": 4, "max_answer_length": 30} | odd)


def test_a_dataset_of_one_row_is_as_good_as_its_list(few):
    one = few["train"].select([0])
    assert json.dumps(to_squad_json(one)) == json.dumps(to_squad_json(one.to_list()))
