"""Tables and pictures from results: `python -m benchmarks.tables` renews the one in README.md."""

import json

from benchmarks.harness import HERE, RESULTS

BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"
ORDER = (
    "train_features",
    "validation_features",
    "postprocessing",
    "scores",
    "training",
    "packing",
    "answering",
    "ceiling",
    "engines",
    "start",
)


def load(name: str) -> dict | None:
    "A record, or None where that was not measured."
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def factor(target: dict) -> tuple[str, str]:
    "What was wanted, and what was measured with its spread."
    if "at_least" in target:
        wanted = f"at least {target['at_least']:g} times as fast"
    elif "at_most" in target:
        wanted = f"at most {target['at_most']:g} of the time"
    else:
        wanted = ""
    found = f"{target['median']:.2f} ({target['min']:.2f} to {target['max']:.2f})"
    if "cpu_median" in target:
        found += f"; CPU time {target['cpu_median']:.2f}"
    if target.get("met") is False:
        found += ", **missed**"
    return wanted, found


def rows(record: dict) -> list[tuple[str, ...]]:
    "Lines of the table: what, against what, wanted, measured."
    lines = []
    for target in record["targets"]:
        lines.append((target["of"], target["against"], *factor(target)))
    for name, limit in record["more"].get("limits", {}).items():
        seconds = record["summary"][name]
        told = f"{seconds['median']:.2f} s ({seconds['min']:.2f} to {seconds['max']:.2f})"
        lines.append((name, "", f"at most {limit['at_most']:g} s", told))
    return lines


def conditions(record: dict) -> str:
    "When and on what, in a few words."
    on, versions = record["machine"], record["machine"]["versions"]
    before, after = record["load_average"]
    rounds = "1 round" if record["rounds"] == 1 else f"{record['rounds']} rounds"
    return (
        f"{record['name']}: {record['date']}, {rounds}, {on['cpu']}, "
        f"{on['cores']} cores, load {before:g} to {after:g}, Python {on['python']}, torch "
        f"{versions['torch']}, transformers {versions['transformers']}, "
        f"datasets {versions['datasets']}"
    )


def engines(record: dict) -> list[str]:
    "EM and F1 of each engine on all questions, and what it cost."
    more = record["more"]
    lines = [
        "",
        f"{record['what'][0].upper()}{record['what'][1:]}:",
        "",
        "| engine | EM | F1 | same answers as PyTorch | seconds | to the first answer | peak MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, scores in more["scores"].items():
        cells = (
            name,
            f"{scores['exact_match']:.2f}",
            f"{scores['f1']:.2f}",
            f"{more['same_answers_percent'][name]:.1f} %",
            f"{record['seconds'][name][0]:.0f}",
            f"{more['seconds_until_first_answer'][name]:.1f}",
            str(more["peak_mib"][name]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def summary() -> str:
    "The table of all comparisons, and under which conditions each was measured."
    lines = ["| what | against | wanted | measured |", "|---|---|---|---|"]
    notes, missing = [], []
    for name in ORDER:
        record = load(name)
        if record is None:
            missing.append(f"`{name}`")
            continue
        lines += ["| " + " | ".join(row) + " |" for row in rows(record)]
        notes.append(f"- {conditions(record)}.")
    whole = load("engines")
    if whole:
        lines += engines(whole)
    text = "\n".join(lines) + "\n\n" + "\n".join(notes) + "\n"
    if missing:
        text += f"\nNot measured: {', '.join(missing)}.\n"
    return text


def between(text: str) -> str:
    "The part of README.md that is made here."
    return text.partition(BEGIN)[2].partition(END)[0]


def renew() -> None:
    "Write the table into README.md."
    path = HERE / "README.md"
    text = path.read_text()
    before, rest = text.split(BEGIN)
    path.write_text(before + BEGIN + summary() + END + rest.split(END)[1])


if __name__ == "__main__":
    renew()
