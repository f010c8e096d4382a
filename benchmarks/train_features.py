"""Training features: squadqa's function and the course's, through `Dataset.map`."""

from benchmarks.harness import Measured, Settings, Target, in_turns
from benchmarks.material import mapped, quiet, tokenizer_of, training_part
from benchmarks.references import MAX_LENGTH, STRIDE, course_train_features

COURSE = "the course's function, padded to 384"
PADDED = "prepare_train_features, padded to 384"
MADE = "make_features, padded to 384"
UNPADDED = "prepare_train_features, unpadded (as fine_tune uses it)"
ALONE = "tokenizing alone, padded to 384, without offsets or labels"
ALONE_UNPADDED = "tokenizing alone, unpadded"


def tokenize_alone(examples: dict, tokenizer, padding) -> dict:
    "Only what the model reads."
    windows = tokenizer(
        examples["question"],
        examples["context"],
        max_length=MAX_LENGTH,
        stride=STRIDE,
        truncation="only_second",
        return_overflowing_tokens=True,
        padding=padding,
    )
    windows.pop("overflow_to_sample_mapping")
    return windows


def check_equal(course, padded, unpadded) -> None:
    "The same windows and labels; without padding, the same tokens up to the padding."
    for name in course.column_names:
        assert course[name][:] == padded[name][:], name
    for name in ("start_positions", "end_positions"):
        assert padded[name][:] == unpadded[name][:], name
    pairs = zip(padded["input_ids"], padded["attention_mask"], unpadded["input_ids"], strict=True)
    for ids, mask, short in pairs:
        assert ids[: sum(mask)] == short


def measure(settings: Settings) -> Measured:
    from squadqa.batching import make_features
    from squadqa.labeling import prepare_train_features

    quiet()
    examples, tokenizer = training_part(settings), tokenizer_of(settings)
    own = {"tokenizer": tokenizer}
    variants = {
        COURSE: lambda: mapped(examples, course_train_features, **own),
        PADDED: lambda: mapped(examples, prepare_train_features, **own),
        MADE: lambda: make_features(examples, prepare_train_features, tokenizer),
        UNPADDED: lambda: mapped(examples, prepare_train_features, **own, padding=False),
        ALONE: lambda: mapped(examples, tokenize_alone, **own, padding="max_length"),
        ALONE_UNPADDED: lambda: mapped(examples, tokenize_alone, **own, padding=False),
    }
    course, padded, unpadded = (variants[name]() for name in (COURSE, PADDED, UNPADDED))
    check_equal(course, padded, unpadded)
    check_equal(course, variants[MADE](), unpadded)
    seconds, cpu = in_turns(variants, settings.rounds)
    return Measured(
        what=f"{len(examples)} questions to {len(padded)} windows of {MAX_LENGTH}, stride {STRIDE}",
        equal="all columns, to the course's; without padding, all tokens and labels",
        seconds=seconds,
        cpu_seconds=cpu,
        targets=[
            Target(PADDED, COURSE, at_least=2),
            Target(MADE, COURSE, at_least=2),
            Target(UNPADDED, COURSE, at_least=2),
            Target(PADDED, ALONE, at_most=1.5),
            Target(UNPADDED, ALONE_UNPADDED, at_most=1.5),
        ],
    )
