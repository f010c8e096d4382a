"""From logits to answers: squadqa's searches, the course's loop, run_qa's post-processing."""

from benchmarks.harness import Measured, Settings, Target, in_turns
from benchmarks.material import likely_logits, mapped, quiet, tokenizer_of, validation_set
from benchmarks.references import course_answers, run_qa_answers

COURSE = "the course's loop"
RUN_QA = "run_qa's post-processing"
EXACT = "postprocess(search='exact')"
N_BEST = "postprocess(search='n_best')"
MANY = "n_best_answers, 20 distinct answers each"


def check_equal(logits, features, examples) -> None:
    """By the same rule the same texts, and by the exact search a score that is never lower.
    run_qa says "empty" where the course says ''."""
    from squadqa.postprocessing import n_best_answers, postprocess

    course = {a["id"]: a["prediction_text"] for a in course_answers(*logits, features, examples)}
    run_qa, _ = run_qa_answers(*logits, features, examples)
    ours = postprocess(*logits, features, examples, search="n_best")
    exact = postprocess(*logits, features, examples)
    best = n_best_answers(*logits, features, examples)
    for by_rule, answer in zip(ours, exact, strict=True):
        name = answer["id"]
        assert by_rule["prediction_text"] == course[name]
        assert run_qa[name] == (course[name] or "empty")
        assert answer["score"] >= by_rule["score"]
        assert best[name][0]["score"] == answer["score"]


def measure(settings: Settings) -> Measured:
    from squadqa.postprocessing import n_best_answers, postprocess
    from squadqa.validation import prepare_validation_features

    quiet()
    examples, tokenizer = validation_set(settings), tokenizer_of(settings)
    features = mapped(examples, prepare_validation_features, tokenizer=tokenizer)
    logits = likely_logits(features, examples)
    check_equal(logits, features, examples)
    work = (*logits, features, examples)
    variants = {
        COURSE: lambda: course_answers(*work),
        RUN_QA: lambda: run_qa_answers(*work),
        EXACT: lambda: postprocess(*work),
        N_BEST: lambda: postprocess(*work, search="n_best"),
        MANY: lambda: n_best_answers(*work),
    }
    seconds, cpu = in_turns(variants, settings.rounds)
    return Measured(
        what=f"{len(examples)} questions, {len(features)} windows, made-up logits with peaks",
        equal="texts by the course's rule; the exact search never scores lower",
        seconds=seconds,
        cpu_seconds=cpu,
        targets=[Target(EXACT, COURSE, at_least=8), Target(EXACT, RUN_QA, at_least=20)],
    )
