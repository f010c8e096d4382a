"""EM and F1: `squad_scores` and the official rule, word for word."""

import random

from benchmarks.harness import Measured, Settings, Target, in_turns
from benchmarks.material import quiet, validation_set
from benchmarks.references import close, official_scores

OFFICIAL = "the official rule"
OWN = "squad_scores, rows"
OWN_DATASET = "squad_scores, a Dataset"


def made_up(examples: list[dict]) -> dict[str, str]:
    "Predictions of which most are right, some nearly and some not."
    chance = random.Random(0)
    found = {}
    for row in examples:
        text = chance.choice(row["answers"]["text"])
        luck = chance.random()
        if luck < 0.2:
            begin = chance.randrange(len(row["context"]))
            text = row["context"][begin : begin + 30]
        elif luck < 0.4:
            text = f"{text} and the rest"
        found[row["id"]] = text
    return found


def measure(settings: Settings) -> Measured:
    from squadqa.metrics import squad_scores

    quiet()
    examples = validation_set(settings)
    rows = examples.to_list()
    texts = made_up(rows)
    predictions = [{"id": i, "prediction_text": text} for i, text in texts.items()]
    scores = official_scores(texts, rows)
    assert close(scores, squad_scores(predictions, rows))
    assert close(scores, squad_scores(predictions, examples))
    variants = {
        OFFICIAL: lambda: official_scores(texts, rows),
        OWN: lambda: squad_scores(predictions, rows),
        OWN_DATASET: lambda: squad_scores(predictions, examples),
    }
    seconds, cpu = in_turns(variants, settings.rounds)
    return Measured(
        what=f"EM and F1 of {len(rows)} made-up predictions",
        equal="both scores",
        seconds=seconds,
        cpu_seconds=cpu,
        targets=[Target(OWN, OFFICIAL, at_least=1.5), Target(OWN_DATASET, OFFICIAL, at_least=1.5)],
    )
