"""A finished project is graded: a good one passes every check, each fault fails the one check that
is about it, and says what to do."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from processes import alone

from squadqa.capstone import (
    CARD,
    CHECKS,
    FILES,
    LEAST,
    card_sections,
    grade,
    grade_report,
    leaks,
    split_by_title,
    tell_results,
    write_project,
)
from squadqa.data import check_examples, error_message, load_squad, to_dataset
from squadqa.own_data import save_squad_json

COLOURS = (
    "amber",
    "azure",
    "brown",
    "coral",
    "green",
    "ivory",
    "khaki",
    "lilac",
    "mauve",
    "ochre",
    "olive",
    "peach",
)
CARD_TEXT = (
    "# Boats\n\nF1 {f1:.2f}\n\n## Data\n\nTwelve boats, described by hand here.\n\n## "
    "Licence\n\nTexts and answers are public domain (CC0).\n\n## Limits\n\nNine questions score: "
    "too few for more.\n"
)


def boats() -> list[dict]:
    "Two questions about each of twelve boats."
    rows = []
    for n, colour in enumerate(COLOURS):
        context = f"Boat number {n + 20} is painted {colour}. It carries {n + 40} crates."
        for kind, question, answer in (
            ("c", f"What colour is boat {n + 20}?", colour),
            ("n", f"How many crates are on boat {n + 20}?", f"{n + 40} crates"),
        ):
            rows.append(
                {
                    "id": f"{n}{kind}",
                    "title": f"Boat {n}",
                    "context": context,
                    "question": question,
                    "answers": {"text": [answer], "answer_start": [context.index(answer)]},
                }
            )
    return rows


def finished(folder, wrong=0, wrong_before=7):
    """A project whose answers are right but for `wrong` of them, and for `wrong_before` of them
    before training."""
    data = split_by_title(to_dataset(boats()), 0.4)
    after, before = (
        {
            e["id"]: "Boat" if n < bad else e["answers"]["text"][0]
            for n, e in enumerate(data["validation"])
        }
        for bad in (wrong, wrong_before)
    )
    results = tell_results(data["validation"], after, before)
    return write_project(folder, data, after, before, results, CARD_TEXT.format(**results))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("good"))


@pytest.fixture
def project(good, tmp_path):
    return shutil.copytree(good, tmp_path / "project")


def change(path, function):
    value = json.loads(path.read_text(encoding="utf-8"))
    function(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def failed(folder):
    return {f.check: f.message for f in grade(folder) if f.passed is False}


def waiting(folder):
    return [f.check for f in grade(folder) if f.passed is None]


def test_a_good_project_passes_every_check(good):
    findings = grade(good)
    assert [f.check for f in findings] == list(CHECKS) and len(CHECKS) == 10
    assert all(f.passed is True for f in findings), grade_report(findings)
    assert sum(f.points for f in findings) == sum(f.earned for f in findings) == 100
    report = grade_report(findings)
    assert (
        len(report.splitlines()) == 11
        and report.endswith("100 of 100 points")
        and "FAILED" not in report
    )


def test_the_project_is_read_as_any_data_set(good):
    data = load_squad({"train": good / "train.json", "validation": good / "validation.json"})
    assert {"train": 14, "validation": 10} == {
        split: len(rows) for split, rows in data.items()
    } and check_examples(data).ok
    assert sorted(p.name for p in good.iterdir()) == sorted(FILES)


def remove(name):
    return lambda folder: (folder / name).unlink()


def write(name, text):
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


def edit(name, function):
    return lambda folder: change(folder / name, function)


def first_qa(squad):
    return squad["data"][0]["paragraphs"][0]["qas"][0]


def replaced(name, old, new):
    return lambda folder: (folder / name).write_text(
        (folder / name).read_text(encoding="utf-8").replace(old, new), encoding="utf-8"
    )


def first(values):
    return next(iter(values))


def copy_a_boat(folder):
    "A text of the training part, under a title of its own, in the validation part too."
    train = load_squad(folder / "train.json")["train"].to_list()
    validation = load_squad(folder / "validation.json")["validation"].to_list()
    rows = validation + [
        train[0]
        | {
            "id": "copied",
            "title": "Another boat",
            "context": train[0]["context"].replace(" is painted", "  IS painted"),
        }
    ]
    rows[-1]["answers"] = {"text": ["Boat"], "answer_start": [0]}
    save_squad_json(rows, folder / "validation.json", overwrite=True)
    retell(folder, {"copied": "Boat"})


def share_a_title(folder):
    title = load_squad(folder / "validation.json")["validation"][0]["title"]
    change(folder / "train.json", lambda d: d["data"][0].update(title=f" {title.upper()} "))


def retell(folder, more=()):
    "Bring answers, figures and card in step with the data."
    for name in ("predictions", "baseline"):
        change(folder / f"{name}.json", lambda texts: texts.update(more))
    rows = load_squad(folder / "validation.json")["validation"]
    texts = [
        {
            i: t
            for i, t in json.loads((folder / f"{name}.json").read_text()).items()
            if i in rows["id"]
        }
        for name in ("predictions", "baseline")
    ]
    results = tell_results(rows, *texts)
    for name, value in (("predictions", texts[0]), ("baseline", texts[1]), ("results", results)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "README.md").write_text(CARD_TEXT.format(**results))


def keep(split, n):
    def cut(folder):
        save_squad_json(
            load_squad({split: folder / f"{split}.json"})[split].to_list()[:n],
            folder / f"{split}.json",
            overwrite=True,
        )
        if split == "validation":
            retell(folder)

    return cut


BROKEN = {  # name -> what breaks a good project, the check that fails, words of its message
    "no card": (
        remove("README.md"),
        "files",
        ("expected README.md (the model card)", "there is no file README.md", "write_project"),
    ),
    "no answers": (remove("predictions.json"), "files", ("predictions.json", "write_project")),
    "answers are no json": (
        write("predictions.json", "{"),
        "files",
        ("predictions.json is not JSON", "line 1"),
    ),
    "an answer is no text": (
        write("baseline.json", '{"0c": 3}'),
        "files",
        ("the answer of '0c' is 3, not a text",),
    ),
    "figures are a list": (write("results.json", "[1]"), "files", ("results.json is list",)),
    "data in another layout": (
        write("train.json", '{"rows": []}'),
        "files",
        ("train.json has no 'data'",),
    ),
    "a wrong start": (
        edit("train.json", lambda d: first_qa(d)["answers"][0].update(answer_start=1)),
        "data",
        ("answer_start_wrong: 1", "not at 1 but at", "own_data.convert"),
    ),
    "an empty question": (
        edit("validation.json", lambda d: first_qa(d).update(question=" ")),
        "data",
        ("empty_question",),
    ),
    "too few questions": (keep("train", 9), "size", ("at least 20 questions", "got 19")),
    "too few that score": (
        keep("validation", 7),
        "size",
        ("at least 8 questions in validation.json", "got 7", "share"),
    ),
    "a text in both parts": (
        copy_a_boat,
        "split",
        ("no title and no context in both parts", "Boat number", "split_by_title"),
    ),
    "a title in both parts": (share_a_title, "split", ("the title 'Boat", "stands in both parts")),
    "an answer is missing": (
        edit("predictions.json", lambda p: p.pop(first(p))),
        "predictions",
        ("predictions.json: 1 example without a prediction",),
    ),
    "an answer too many": (
        edit("baseline.json", lambda p: p.update(x="y")),
        "predictions",
        ("baseline.json", "'x'", "asked about"),
    ),
    "an answer from elsewhere": (
        edit("predictions.json", lambda p: p.update({first(p): "forty barrels"})),
        "predictions",
        ("'forty barrels'", "stand in their contexts"),
    ),
    "another EM": (
        edit("results.json", lambda r: r.update(exact_match=90)),
        "scores",
        ("exact_match 100.0 that the answers give, got 90", "tell_results"),
    ),
    "another F1 of the baseline": (
        edit("results.json", lambda r: r["baseline"].update(f1=0.3)),
        "scores",
        ("baseline f1 30.0", "got 0.3"),
    ),
    "no baseline": (
        edit("results.json", lambda r: r.pop("baseline")),
        "scores",
        ("a number for exact_match", "got None"),
    ),
    "an EM in words": (
        edit("results.json", lambda r: r.update(exact_match="all")),
        "scores",
        ("got 'all'",),
    ),
    "an EM that is NaN": (
        edit("results.json", lambda r: r.update(exact_match=float("nan"))),
        "scores",
        ("got nan",),
    ),
    "no interval": (
        edit("results.json", lambda r: r.pop("f1_interval")),
        "interval",
        ("a low and a high end", "bootstrap_interval"),
    ),
    "an interval of shares": (
        edit("results.json", lambda r: r.update(f1_interval=[0.9, 1.0])),
        "interval",
        ("near [100.0, 100.0]", "got [0.9, 1.0]"),
    ),
    "an interval with a gap": (
        edit("results.json", lambda r: r.update(f1_interval=[None, 100])),
        "interval",
        ("got None",),
    ),
    "a bold verdict": (
        edit("results.json", lambda r: r.update(verdict="perfect")),
        "verdict",
        ("the verdict 'better'", "got 'perfect'", "compare_predictions"),
    ),
    "no licence": (
        replaced("README.md", "## Licence", "## Thanks"),
        "card",
        ("got none for licence", "thanks"),
    ),
    "no word on limits": (
        replaced("README.md", "Nine questions score: too few for more.", "None."),
        "card",
        ("none for limits",),
    ),
    "no heading": (
        write("README.md", "All is well, the data are by us."),
        "card",
        ("none for data, licence, limits", "missing"),
    ),
    "an old figure in the card": (
        replaced("README.md", "F1 100.00", "F1 88.67"),
        "card",
        ("the F1 of results.json, 100.00", "an earlier run"),
    ),
}


def test_each_check_is_broken_somewhere():
    assert {check for _, check, _ in BROKEN.values()} | {"better"} == set(CHECKS)


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_fails_the_check_that_is_about_it(project, name):
    breaks, check, words = BROKEN[name]
    assert failed(project) == {}
    breaks(project)
    found = failed(project)
    assert list(found) == [check], found
    assert all(word in found[check] for word in words), found[check]
    report = grade_report(grade(project))
    assert (
        "FAILED" in report
        and report.endswith(f"mend first: {check}")
        and "100 of 100" not in report
    )
    assert str(project) not in report  # messages name files, not folders of a machine


def test_no_gain_fails_one_check_and_is_no_disgrace(tmp_path):
    found = failed(finished(tmp_path, wrong=4, wrong_before=4))
    assert (
        list(found) == ["better"]
        and "expected an F1 above 60.0" in found["better"]
        and "honest" in found["better"]
    )
    assert sum(f.earned for f in grade(tmp_path)) == 95


def test_the_verdict_follows_the_test(tmp_path):
    verdicts = {}
    for wrong, before in ((0, 7), (2, 3), (7, 0)):
        folder = finished(tmp_path / f"{wrong}-{before}", wrong, before)
        verdicts[wrong, before] = json.loads((folder / "results.json").read_text())["verdict"]
        assert "verdict" not in failed(folder)
    assert verdicts == {(0, 7): "better", (2, 3): "not shown", (7, 0): "worse"}


def test_what_waits_is_not_judged(project):
    (project / "predictions.json").unlink()
    assert waiting(project) == ["predictions", "scores", "interval", "better", "verdict"]
    write("results.json", "[]")(project)
    assert waiting(project)[-1] == "card" and all(
        f.earned == 0 for f in grade(project) if f.passed is None
    )


def test_an_empty_folder_is_a_finding_and_a_missing_one_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    findings = grade(tmp_path / "empty")
    assert [f.check for f in findings if f.passed is False] == ["files"] and all(
        f.passed is None for f in findings[1:]
    )
    assert all(name in findings[0].message for name in FILES) and grade_report(findings).endswith(
        "0 of 100 points; mend first: files"
    )
    assert "there is no folder" in error_message(grade, tmp_path / "nowhere")


def test_files_of_a_strange_kind_are_findings(project):
    (project / "README.md").unlink()
    (project / "README.md").mkdir()
    (project / "results.json").write_bytes(b"\xff\xfe{}")
    message = failed(project)["files"]
    assert "README.md" in message and "results.json is not UTF-8" in message


def test_nothing_is_replaced_unasked(good, tmp_path):
    data = load_squad({"train": good / "train.json", "validation": good / "validation.json"})
    args = data, {}, {}, {}, "card"
    write_project(tmp_path, *args)
    assert "already has train.json" in error_message(write_project, tmp_path, *args)
    assert write_project(tmp_path, *args, overwrite=True) == tmp_path


@pytest.mark.parametrize("n", range(len(FILES)))
def test_a_full_disk_leaves_the_project_as_it_was(project, monkeypatch, n):
    data = load_squad({"train": project / "train.json", "validation": project / "validation.json"})
    before = {path.name: path.read_bytes() for path in project.iterdir()}
    write, calls = Path.write_text, []

    def full(path, text, *args, **options):
        calls.append(path)
        if len(calls) <= n:
            return write(path, text, *args, **options)
        write(path, text[: len(text) // 2], *args, **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    said = error_message(write_project, project, data, {}, {}, {}, "card", overwrite=True)
    assert f"{project / list(FILES)[n]} cannot be written: No space left" in said
    assert {path.name: path.read_bytes() for path in project.iterdir()} == before


@pytest.mark.parametrize("seed", range(20))
def test_split_shares_nothing_and_loses_nothing(seed):
    rows = to_dataset(boats())
    for share in (0.01, 0.3, 0.99):
        data = split_by_title(rows, share, seed)
        ids = [data[split]["id"] for split in data]
        assert (
            all(ids)
            and sorted(sum((list(i) for i in ids), [])) == sorted(rows["id"])
            and leaks(*data.values()) == []
        )
        assert ids == [[i for i in rows["id"] if i in some] for some in ids]  # in the old order
        assert len(ids[1]) >= share * len(rows) or len({*data["train"]["title"]}) == 1
    assert (
        split_by_title(rows, 0.3, seed)["validation"]["id"]
        == split_by_title(rows, 0.3, seed)["validation"]["id"]
    )


def test_split_without_titles_goes_by_context():
    rows = to_dataset([row | {"title": ""} for row in boats()])
    data = split_by_title(rows, 0.5)
    assert len(data["validation"]) == 12 and leaks(*data.values()) == []


def test_split_refuses_what_cannot_be_split():
    rows = boats()
    assert "not between 0 and 1" in error_message(split_by_title, to_dataset(rows), 30)
    assert "one title" in error_message(
        split_by_title, to_dataset([row | {"title": "boats"} for row in rows])
    )
    twins = to_dataset([rows[0], rows[1] | {"title": "another"}])
    assert "the same title" in error_message(split_by_title, twins, 0.5)


def test_sections_of_a_card():
    card = (
        "intro\n# Name\n## Data ##\none\n### Source\ntwo\n```\n# no heading\n```\n## "
        "LICENSE\nfour\n#hashtag\n"
    )
    found = card_sections(card)
    assert (
        list(found) == ["name", "data", "source", "license"]
        and found["license"] == "four\n#hashtag"
    )
    assert "two" in found["data"] and "# no heading" in found["source"] and card_sections("") == {}
    twice = card_sections("# Data\nmany words\n## Data\nmore\n# Other\nx\n## Data\nlast")
    assert twice == {"data": "many words\n## Data\nmore\nlast", "other": "x\n## Data\nlast"}
    assert (
        all(names and what == names[0] for what, names in CARD.items())
        and LEAST["validation"] < LEAST["questions"]
    )


def test_results_are_those_of_the_metric():
    from squadqa.metrics import squad_scores

    rows = boats()[:9]
    after, before = (
        {r["id"]: r["answers"]["text"][0].split()[0] for r in rows},
        {r["id"]: "" for r in rows},
    )
    told = tell_results(rows, after, [{"id": i, "prediction_text": t} for i, t in before.items()])
    for name, score in squad_scores(after, rows).items():
        assert abs(told[name] - score) <= 0.005
    assert (
        told["baseline"] == {"exact_match": 0.0, "f1": 0.0}
        and told["f1_interval"][0] <= told["f1"] <= told["f1_interval"][1]
    )
    assert told == tell_results(rows, after, before) and told["verdict"] == "better"


def test_grading_works_in_a_fresh_process(good):
    "Who grades needs the six files, and no model."
    assert all(alone(lambda: [found.passed for found in grade(good)]))
