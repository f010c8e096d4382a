"""Benchmarks run, compare equal results before times, and their tables are made of their files."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import shorten

import pytest

from benchmarks import harness, recipes, tables
from benchmarks.__main__ import COMPARISONS, main, run
from benchmarks.harness import Measured, Settings, Target

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
# What the quick run of gpu does is in a test of its own.
QUICK = (
    "train_features",
    "validation_features",
    "postprocessing",
    "scores",
    "training",
    "packing",
    "start",
)
SLOW = ("growth", "answering", "ceiling", "engines")  # processes that answer


@pytest.fixture(scope="module", autouse=True)
def as_it_was():
    "A quick run leaves bars and caches of datasets as they were."
    import datasets

    bars, caching = datasets.are_progress_bars_disabled(), datasets.is_caching_enabled()
    yield
    (datasets.disable_progress_bars if bars else datasets.enable_progress_bars)()
    (datasets.enable_caching if caching else datasets.disable_caching)()


def check_form(result: dict) -> None:
    "What every record has."
    assert (
        result["what"]
        and result["equal"]
        and result["command"].endswith(result["name"] + (" --quick" if result["quick"] else ""))
    )
    assert {"cpu", "cores", "python", "versions"} <= set(result["machine"])
    assert result["seconds"].keys() == result["summary"].keys()
    for variant, values in result["seconds"].items():
        s = result["summary"][variant]
        assert values and s["min"] <= s["median"] <= s["max"] and s["min"] == min(values)
    for target in result["targets"]:
        assert {target["of"], target["against"]} <= set(result["seconds"])
        if "at_least" in target:
            assert target["met"] == (target["median"] >= target["at_least"])


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_run_finds_equal_results(name, tmp_path):
    result = run(name, Settings(quick=True, rounds=1), tmp_path)
    check_form(result)
    assert json.loads((tmp_path / f"{name}.json").read_text()) == result
    assert result["targets"] == []  # nothing is judged by a quick look


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_quick_run_of_processes(name, tmp_path):
    check_form(run(name, Settings(quick=True, rounds=1), tmp_path))


def test_list_names_all(capsys):
    main(["--list"])
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()] == list(COMPARISONS)
    for name in COMPARISONS:
        assert (ROOT / "benchmarks" / f"{name}.py").exists()


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "'speed' is none of train_features" in capsys.readouterr().err


def test_unequal_results_stop_the_comparison(monkeypatch, tmp_path):
    "A function that gives other labels is not timed."
    from squadqa import labeling

    right = labeling.label_pairs

    def shifted(pairs, answers, shifts):
        return right(pairs, answers, shifts) | {"end_positions": [0] * len(shifts)}

    monkeypatch.setattr(labeling, "label_pairs", shifted)
    with pytest.raises(AssertionError, match="end_positions"):
        run("train_features", Settings(quick=True, rounds=1), tmp_path)
    assert not list(tmp_path.iterdir())


def test_variants_take_turns():
    calls = []
    seconds, cpu = harness.in_turns({n: lambda n=n: calls.append(n) for n in "ab"}, 3)
    assert "".join(calls) == "abbaab"
    assert [len(seconds[n]) for n in "ab"] == [3, 3] and seconds.keys() == cpu.keys()


def test_a_target_is_judged_round_by_round():
    found = Measured("", "", {"own": [1.0, 10.0, 2.0], "old": [3.0, 20.0, 8.0]})
    assert harness.judge(Target("own", "old", at_least=3), found) == {
        "of": "own",
        "against": "old",
        "median": 3.0,
        "min": 2.0,
        "max": 4.0,
        "at_least": 3,
        "met": True,
    }
    assert harness.judge(Target("own", "old", at_most=0.3), found)["met"] is False


def test_whole_runs_are_recorded_one_by_one_and_not_repeated(monkeypatch, tmp_path, capsys):
    done = []

    def one_run(recipe, seed, folder):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((recipe, seed, folder.name))
        f1 = {"minilm": 70.0, "fast": 71.0}[recipe] + seed
        return {"recipe": recipe, "seed": seed, "exact_match": 60.0, "f1": f1}

    record = tmp_path / "results" / "recipes.json"
    words = ["--seeds", "1", "2", "--record", str(record)]
    monkeypatch.setattr(recipes, "one_run", one_run)
    with pytest.raises(KeyboardInterrupt):
        recipes.main(words)
    done.pop(0)  # the next call may go one run further
    recipes.main(words)
    assert done == [("fast", 1, "fast-1"), ("minilm", 2, "minilm-2"), ("fast", 2, "fast-2")]
    told = json.loads(record.read_text())
    assert len(told["runs"]) == 4
    assert told["summary"]["minilm"]["f1"] == {"mean": 71.5, "min": 71.0, "max": 72.0}
    assert told["summary"]["fast"] == {
        "runs": 2,
        "exact_match": {"mean": 60.0, "min": 60.0, "max": 60.0},
        "f1": {"mean": 72.5, "min": 72.0, "max": 73.0},
    }


def test_a_command_that_fails_is_told():
    command = {"broken": [sys.executable, "-c", "raise SystemExit('no')"]}
    with pytest.raises(AssertionError, match="broken: no"):
        harness.processes_in_turns(command, 1)


def test_the_results_are_well_formed():
    records = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    assert "train_features" in records
    for name in set(COMPARISONS) & set(records):
        check_form(records[name])
        assert records[name]["name"] == name and not records[name]["quick"]


def test_the_tables_are_those_of_the_results():
    "The table in benchmarks/README.md is what `python -m benchmarks.tables` makes of the files."
    text = (ROOT / "benchmarks" / "README.md").read_text()
    assert tables.between(text) == tables.summary(), "run `python -m benchmarks.tables`"


def test_import_and_help_load_no_library():
    "What must start at once imports neither PyTorch nor transformers."
    for words in ("import squadqa", "import squadqa.cli as c; c.make_parser().format_help()"):
        heavy = "('torch', 'transformers', 'datasets', 'numpy')"
        code = f"import sys; {words}; print([m for m in {heavy} if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "[]", done.stderr


def test_the_lesson_shows_the_results(capsys, monkeypatch):
    "The table in Performance is what its cells print from the files as they are."
    notebook = json.loads((ROOT / "nbs" / "further" / "performance.ipynb").read_text())
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    names = {"json": json, "Path": Path, "shorten": shorten}
    monkeypatch.chdir(ROOT)
    for name in ("record-of", "measured-load", "measured-table"):
        exec("".join(cells[name]["source"]), names)
    shown = ["".join(out["text"]) for out in cells["measured-table"]["outputs"]]
    assert capsys.readouterr().out == "".join(shown), "run `make outputs`"
    growth = "".join("".join(out.get("text", "")) for out in cells["growth-picture"]["outputs"])
    assert growth, "the picture of growth is missing"
    for kind, number, peak in peaks_of(json.loads((RESULTS / "growth.json").read_text())):
        (line,) = [line for line in growth.splitlines() if line.startswith(kind)]
        assert f"{number}: {peak}" in line


def peaks_of(record: dict) -> list[tuple[str, str, int]]:
    return [(*name.split(), peak) for name, peak in record["more"]["peak_mib"].items()]


def test_the_part_is_cut_out_of_the_whole(shared, tmp_path, capsys):
    "The training part is enough of a whole here: its articles, and one more that is not wanted."
    from tools import real_data as tool

    part = json.loads((shared / "squad" / tool.PART).read_text(encoding="utf-8"))
    other = {"title": "Another", "paragraphs": part["data"][0]["paragraphs"]}
    whole = part | {"data": [*part["data"][:5], other, *part["data"][5:]]}
    (tmp_path / "train-v1.1.json").write_text(json.dumps(whole))
    tool.cut_part(tmp_path)
    assert json.loads((tmp_path / tool.PART).read_text())["data"] == part["data"]

    (tmp_path / tool.PART).unlink()
    (tmp_path / "train-v1.1.json").write_text(json.dumps(whole | {"data": whole["data"][:3]}))
    tool.cut_part(tmp_path)  # an unexpected part is told, and not written
    assert "left out" in capsys.readouterr().err and not (tmp_path / tool.PART).exists()
