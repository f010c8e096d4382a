"""Validation features: squadqa's function and the course's, through `Dataset.map`."""

from benchmarks.harness import Measured, Settings, Target, in_turns
from benchmarks.material import mapped, quiet, tokenizer_of, validation_set
from benchmarks.references import MAX_LENGTH, STRIDE, course_validation_features

COURSE = "the course's function, padded to 384"
PADDED = "prepare_validation_features, padded to 384"
MADE = "make_features, padded to 384"
UNPADDED = "prepare_validation_features, unpadded (as evaluate_model uses it)"


def check_equal(course, padded, unpadded) -> None:
    "The same windows, ids and offsets; without padding, the same up to the padding."
    for name in course.column_names:
        assert course[name][:] == padded[name][:], name
    assert course["example_id"][:] == unpadded["example_id"][:]
    for name in ("input_ids", "offset_mapping"):
        for full, short in zip(padded[name], unpadded[name], strict=True):
            assert full[: len(short)] == short, name


def measure(settings: Settings) -> Measured:
    from squadqa.batching import make_features
    from squadqa.validation import prepare_validation_features

    quiet()
    examples, tokenizer = validation_set(settings), tokenizer_of(settings)
    own = {"tokenizer": tokenizer}
    variants = {
        COURSE: lambda: mapped(examples, course_validation_features, **own),
        PADDED: lambda: mapped(examples, prepare_validation_features, **own),
        MADE: lambda: make_features(examples, prepare_validation_features, tokenizer),
        UNPADDED: lambda: mapped(examples, prepare_validation_features, **own, padding=False),
    }
    course, padded, made, unpadded = (variant() for variant in variants.values())
    check_equal(course, padded, unpadded)
    check_equal(course, made, unpadded)
    seconds, cpu = in_turns(variants, settings.rounds)
    return Measured(
        what=f"{len(examples)} questions to {len(padded)} windows of {MAX_LENGTH}, stride {STRIDE}",
        equal="all columns, to the course's; without padding, all tokens and offsets",
        seconds=seconds,
        cpu_seconds=cpu,
        targets=[Target(name, COURSE, at_least=2) for name in (PADDED, MADE, UNPADDED)],
    )
