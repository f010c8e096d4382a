"""Fine-tuning on a CPU: `fine_tune` as it comes, and the course's recipe, on the same windows."""

import tempfile
from pathlib import Path

from benchmarks.harness import Measured, Settings, Target
from benchmarks.material import mapped, quiet, training_part
from benchmarks.references import course_train_features

COURSE = "the course's recipe (batch 8, padded to 384)"
OWN = "fine_tune as it comes"
SHAPES = {  # of the models, with random weights: speed does not depend on what they have learned
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
}
SHAPES_OF = {True: ("tiny",), False: ("minilm", "bert-base")}  # by `quick`
EXAMPLES = {"minilm": 120, "bert-base": 48, "tiny": 16}


def new_model(shape: str, tokenizer):
    "The same weights each time."
    from transformers import BertConfig, BertForQuestionAnswering, set_seed

    set_seed(0)
    sizes = SHAPES[shape]
    config = BertConfig(
        vocab_size=len(tokenizer), num_attention_heads=2 if shape == "tiny" else 12, **sizes
    )
    return BertForQuestionAnswering(config)


def course_seconds(shape: str, examples, tokenizer, folder: Path) -> float:
    "TrainingArguments and Trainer as the course has them; a CPU has no fp16."
    from transformers import Trainer, TrainingArguments, default_data_collator

    features = mapped(examples, course_train_features, tokenizer=tokenizer)
    args = TrainingArguments(
        str(folder),
        eval_strategy="no",
        save_strategy="no",
        learning_rate=2e-5,
        num_train_epochs=1,
        weight_decay=0.01,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(
        model=new_model(shape, tokenizer),
        args=args,
        train_dataset=features,
        data_collator=default_data_collator,
        processing_class=tokenizer,
    )
    return trainer.train().metrics["train_runtime"]


def own_seconds(shape: str, examples, tokenizer, folder: Path) -> float:
    "One epoch of `fine_tune`, with what its defaults choose on this machine."
    from datasets import DatasetDict

    from squadqa.trainer import fine_tune

    result = fine_tune(
        new_model(shape, tokenizer),
        DatasetDict(train=examples),
        folder,
        tokenizer=tokenizer,
        epochs=1,
        overwrite=True,
        disable_tqdm=True,
    )
    return result.train_seconds


def check_equal(examples, tokenizer) -> int:
    "Padding changes no logit of a real token, so both train on the same windows. Their number."
    import torch

    from squadqa.batching import WindowCollator
    from squadqa.labeling import prepare_train_features

    course = mapped(examples, course_train_features, tokenizer=tokenizer)
    own = mapped(examples, prepare_train_features, tokenizer=tokenizer, padding=False)
    assert course["start_positions"][:] == own["start_positions"][:]
    model = new_model("tiny", tokenizer).eval()
    rows = [own[i] for i in range(min(8, len(own)))]
    full = {k: torch.tensor(course[: len(rows)][k]) for k in model_names(course)}
    small = WindowCollator(tokenizer)([{k: row[k] for k in model_names(own)} for row in rows])
    with torch.inference_mode():
        wide, narrow = model(**full), model(**small)
    for i, row in enumerate(rows):
        n = len(row["input_ids"])
        for side in ("start_logits", "end_logits"):
            torch.testing.assert_close(wide[side][i, :n], narrow[side][i, :n], atol=1e-4, rtol=1e-4)
    return len(own)


def model_names(features) -> list[str]:
    return [name for name in features.column_names if "positions" not in name]


def measure(settings: Settings) -> Measured:
    from squadqa.models import load_tokenizer

    quiet()
    tokenizer, part = load_tokenizer("minilm"), training_part(settings)
    seconds, windows = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES_OF[settings.quick]:
            examples = part.shuffle(seed=0).select(range(EXAMPLES[shape]))
            windows[shape] = check_equal(examples, tokenizer)
            names = f"{shape}: {COURSE}", f"{shape}: {OWN}"
            seconds |= {name: [] for name in names}
            for _ in range(settings.rounds):
                for name, run in zip(names, (course_seconds, own_seconds)):
                    took = run(shape, examples, tokenizer, Path(folder) / "run")
                    seconds[name].append(round(took, 3))
    per_second = {
        name: round(windows[name.split(":")[0]] / sorted(s)[len(s) // 2], 2)
        for name, s in seconds.items()
    }
    return Measured(
        what="one epoch over questions of the training part, drawn with seed 0, random weights; "
        "seconds of training alone",
        equal="windows, labels, and the logits of real tokens with and without padding",
        seconds=seconds,
        targets=[Target(f"{s}: {OWN}", f"{s}: {COURSE}", at_least=2.5) for s in windows],
        more={"windows": windows, "windows_per_second": per_second},
        remarks="EM and F1 of whole runs are in recipes.json; the course's recipe was not run to "
        "its end on a CPU",
    )
