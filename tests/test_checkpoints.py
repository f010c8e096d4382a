"""The folder of a run: sealed checkpoints, whole models, one training at a time, nothing lost."""

import errno
import json
import logging
import os
import shutil
import signal
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import holder

from squadqa.checkpoints import (
    RUN_FILES,
    SEAL,
    CheckpointError,
    StopOnInterrupt,
    check_same_run,
    checkpoints,
    find_damage,
    last_whole_checkpoint,
    only_one,
    open_run,
    run_files,
    seal_checkpoint,
    unheard_is_fine,
    whole_or_absent,
)
from squadqa.loop_steps import load_checkpoint

IDENTITY = {"engine": "trainer", "seed": 42, "windows": 10, "data": "5f3a"}


def write_checkpoint(run, step, best=None):
    "A small checkpoint with everything that a real one has."
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "config.json"):
        (folder / name).write_bytes(f"{name} of step {step}".encode() * 20)
    state = {"global_step": step, "best_global_step": best}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    seal_checkpoint(folder, IDENTITY)
    return folder


@pytest.fixture
def run(tmp_path):
    "An earlier run: three checkpoints, a model, and a file of the user's."
    for step in (5, 10, 15):
        write_checkpoint(tmp_path / "run", step)
    for name in ("config.json", "model.safetensors", "all_results.json", "squadqa.json"):
        (tmp_path / "run" / name).write_text(f"old {name}")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    return tmp_path / "run"


def content(folder):
    "Every file with its bytes."
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- which checkpoint is whole


def test_whole_checkpoints_by_number(run):
    write_checkpoint(run, 100)
    write_checkpoint(run, 90)
    shutil.copytree(run / "checkpoint-90", run / "checkpoint-9-copy")
    assert [c.name for c in checkpoints(run)][-3:] == [
        "checkpoint-15",
        "checkpoint-90",
        "checkpoint-100",
    ]
    assert checkpoints(run / "nowhere") == []


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
    "flipped": lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "trainer_state.json",
        "config.json",
        SEAL,
    ],
)
def test_a_damaged_checkpoint_is_passed_over(name, damage, run, caplog):
    DAMAGE[damage](run / "checkpoint-15" / name)
    assert find_damage(run / "checkpoint-15", thorough=True)
    with caplog.at_level(logging.WARNING):
        assert last_whole_checkpoint(run).name == "checkpoint-10"
    assert "checkpoint-15 is passed over" in caplog.text


def test_a_file_of_other_size_is_another_model(run):
    (run / "checkpoint-15" / "model.safetensors").write_bytes(b"other shapes" * 99)
    assert [c.name for c in checkpoints(run)] == ["checkpoint-5", "checkpoint-10"]


@pytest.mark.parametrize(
    "seal",
    [
        {"files": []},
        {"files": {}},
        {"files": {"config.json": 5}},
        {"identity": None},
        "[" * 100_000,
    ],
    ids=["list", "nothing", "number", "nobody", "deep"],
)
def test_a_seal_of_another_shape_is_none(seal, run, caplog):
    path = run / "checkpoint-15" / SEAL
    if isinstance(seal, dict):
        seal = json.dumps(json.loads(path.read_text()) | seal)
    path.write_text(seal)
    assert [c.name for c in checkpoints(run)] == ["checkpoint-5", "checkpoint-10"]
    assert last_whole_checkpoint(run).name == "checkpoint-10"
    assert "checkpoint-15 is passed over" in caplog.text


def test_a_checkpoint_without_its_state_is_passed_over(run, caplog):
    (run / "checkpoint-15" / "trainer_state.json").unlink()
    seal_checkpoint(run / "checkpoint-15", IDENTITY)
    assert last_whole_checkpoint(run).name == "checkpoint-10"
    assert "checkpoint-15 is passed over: its trainer_state.json cannot be read" in caplog.text


def test_nothing_whole_is_not_the_beginning(run):
    for checkpoint in checkpoints(run):
        (checkpoint / "optimizer.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint in .* is whole .*optimizer.pt.*overwrite"):
        last_whole_checkpoint(run)


def test_the_best_weights_must_be_whole_too(tmp_path, caplog):
    write_checkpoint(tmp_path, 5)
    write_checkpoint(tmp_path, 10, best=10)
    write_checkpoint(tmp_path, 15, best=10)
    assert last_whole_checkpoint(tmp_path).name == "checkpoint-15"
    (tmp_path / "checkpoint-10" / "model.safetensors").write_bytes(b"")
    assert last_whole_checkpoint(tmp_path).name == "checkpoint-5"
    assert "the best checkpoint, checkpoint-10, is damaged" in caplog.text


@pytest.mark.parametrize(
    "change, words",
    [
        ({"seed": 7}, "seed=42, this run has 7"),
        ({"windows": 11}, "windows=10, this run has 11"),
        ({"data": "77"}, "other data"),
        ({"engine": "accelerate"}, "another engine: continue it with fine_tune"),
        ({"lr_scheduler_type": "cosine"}, "lr_scheduler_type=None, this run has 'cosine'"),
    ],
)
def test_another_run_is_refused(change, words, run):
    checkpoint = run / "checkpoint-15"
    check_same_run(checkpoint, IDENTITY)
    with pytest.raises(ValueError, match=words):
        check_same_run(checkpoint, IDENTITY | change)


def test_what_cannot_be_deleted_stops_nothing(run, monkeypatch):
    "A virus scanner that reads a file, for example; it goes when the folder is opened next."

    def in_use(folder):
        raise PermissionError(13, "in use")

    with open_run(run, overwrite=True) as folder:
        folder.start(IDENTITY)
        with monkeypatch.context() as patch:
            patch.setattr("squadqa.checkpoints.discard", in_use)
            folder.checkpoint_is_written(write_checkpoint(run, 2), keep=2, best_step=None)
            write_model(run)
    with open_run(run, resume=True) as folder:
        assert folder.start(IDENTITY) == run / "checkpoint-2"
    assert (run / "config.json").read_text() == "new config.json"
    assert not {".previous", ".replaced"} & set(names(run))


def test_what_only_the_checkpoint_tells_counts_too(run):
    checkpoint, more = run / "checkpoint-15", {"lr_scheduler_type": "cosine", "reading": "a"}
    seal_checkpoint(checkpoint, IDENTITY | more)
    with pytest.raises(ValueError, match="lr_scheduler_type='cosine', this run has None"):
        check_same_run(checkpoint, IDENTITY | {"reading": "a"})
    with pytest.raises(ValueError, match="another tokenizer"):
        check_same_run(checkpoint, IDENTITY | more | {"reading": "b"})
    check_same_run(run / "checkpoint-10", IDENTITY | {"reading": "b"})  # older ones do not tell it


@pytest.mark.parametrize("error", [KeyError("history"), RuntimeError("PytorchStreamReader\nC++")])
def test_a_state_that_does_not_load(error, run):
    "What another version of a library wrote. A full memory stays what it is."

    def load_state(folder):
        raise error

    broken = SimpleNamespace(accelerator=SimpleNamespace(load_state=load_state))
    with pytest.raises(
        ValueError, match="continued from .*checkpoint-15: .*other versions.*--over"
    ):
        load_checkpoint(broken, run / "checkpoint-15")
    error = MemoryError()
    with pytest.raises(MemoryError):
        load_checkpoint(broken, run / "checkpoint-15")


# --- a model is whole or absent


def write_model(folder, config="config.json"):
    with whole_or_absent(folder) as staging:
        for name in ("model.safetensors", config, "tokenizer.json", "README.md"):
            (staging / name).write_text(f"new {name}")


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize("error", [OSError(errno.EIO, "disk"), KeyboardInterrupt()], ids=type)
def test_an_interrupt_between_two_files(number, error, run, monkeypatch):
    "Whichever move is interrupted, the folder holds the old model."
    before, real, calls = content(run), os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == number:
            raise error
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises((CheckpointError, KeyboardInterrupt)):
        write_model(run)
    assert content(run) == before


def killed(function):
    "Run a function in a process of its own that it ends with `os._exit(9)`."
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def kill_at_move(number):
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == number:
            os._exit(9)
        real(source, target)

    os.replace = replace


KINDS = ("config.json", "adapter_config.json")  # what makes a folder a model, or an adapter


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("number", range(1, 9))
def test_a_kill_between_two_files(number, config, run):
    "Nobody can load a mixture, and the next run finds the old model or the new one."
    (run / "config.json").rename(run / config)
    (run / "generation_config.json").write_text("old")
    before = content(run)

    def dies():
        kill_at_move(number)
        write_model(run, config)

    killed(dies)
    assert (run / config).exists() == (number == 1)
    with open_run(run, resume=True):
        pass
    assert content(run) == before


def kill_at_deletion(number):
    "Of a file in a folder: the system chooses which one goes first."
    real, calls = os.unlink, []

    def unlink(path, **options):
        calls.append(path)
        if len(calls) == number:
            os._exit(9)
        real(path, **options)

    os.unlink = unlink


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("number", range(1, 5))
def test_a_kill_after_the_exchange_keeps_the_new_model(number, config, run, tmp_path):
    (run / "config.json").rename(run / config)
    write_model(shutil.copytree(run, tmp_path / "undisturbed"), config)

    def dies():
        kill_at_deletion(number)
        write_model(run, config)

    killed(dies)
    for _ in range(2):
        with open_run(run, resume=True):
            pass
        assert content(run) == content(tmp_path / "undisturbed")


@pytest.mark.parametrize("number", range(1, 12))
def test_a_kill_while_an_earlier_run_is_thrown_away(number, run):
    def dies():
        with open_run(run, overwrite=True) as folder:
            folder.start(IDENTITY)
            made = write_checkpoint(run, 2)
            kill_at_deletion(number)
            folder.checkpoint_is_written(made, keep=2, best_step=None)

    killed(dies)
    for _ in range(2):
        with open_run(run, resume=True) as folder:
            assert folder.start(IDENTITY) == run / "checkpoint-2"
        assert names(run) == ["checkpoint-2", "notes.txt"]


@pytest.mark.parametrize("number", range(1, 8))
def test_a_kill_while_an_earlier_run_steps_aside(number, run):
    before = content(run)

    def dies():
        kill_at_move(number)
        with open_run(run, overwrite=True) as folder:
            folder.start(IDENTITY)

    killed(dies)
    with open_run(run, resume=True):
        pass
    assert content(run) == before


def test_a_new_model_takes_no_old_settings(run, caplog):
    "The threshold in squadqa.json belonged to the old weights."
    write_model(run)
    assert "squadqa.json was of the weights that are replaced" in caplog.text
    assert not (run / "squadqa.json").exists() and (run / "notes.txt").read_text() == "mine"
    ours = ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert sorted(p.name for p in run_files(run) if p.read_text()[:3] == "new") == ours
    assert len(checkpoints(run)) == 3 and not {".saving", ".replaced"} & set(names(run))


def test_what_an_evaluation_wrote_stays(run):
    "So do weights that are nobody's, and notes."
    others = ("predictions.json", "report.html", "best_so_far.safetensors", "list.model")
    for name in others:
        (run / name).write_text("mine")
    write_model(run)
    assert {(run / name).read_text() for name in others} == {"mine"}


def test_a_model_is_not_replaced_by_what_is_trained_from_it(run):
    before = content(run)
    for model in (str(run), run / "checkpoint-15", SimpleNamespace(name_or_path=str(run))):
        with pytest.raises(ValueError, match="this run would overwrite it"):
            with open_run(run, overwrite=True, model=model):
                pass
    assert content(run) == before
    for other in (run / "models" / "base", run.parent / "other", "google-bert/bert-base-cased"):
        with open_run(run, overwrite=True, model=other):
            pass


def test_a_kill_while_an_exchange_is_undone(run):
    "The new weights have gone, so the new configuration must have gone before them."
    before = content(run)

    def dies():
        real, unlink, gone = os.replace, Path.unlink, []

        def replace(source, target):
            real(source, target)
            if Path(target) == run / "config.json":  # the last one to move
                raise OSError("the disk")

        def dying(path, **options):
            if gone:
                os._exit(9)
            gone.append(path)
            unlink(path, **options)

        os.replace, Path.unlink = replace, dying
        write_model(run)

    killed(dies)
    with open_run(run, resume=True):
        pass
    assert content(run) == before


@pytest.mark.parametrize("torn", [".complete", ".complete.tmp"])
def test_a_list_that_was_cut_off_keeps_the_old_model(torn, run):
    "What is set aside is the only model as long as nobody knows what takes its place."
    before, aside = content(run), run / ".replaced"
    aside.mkdir()
    for name in ("config.json", "model.safetensors"):
        (run / name).rename(aside / name)
    (aside / torn).touch()
    with open_run(run, resume=True):
        pass
    assert content(run) == before


def test_a_tokenizer_that_cannot_be_saved(run):
    "tokenizers raises a plain Exception when the disk is full."
    before = content(run)
    with pytest.raises(CheckpointError, match="could not write to .*os error 28.*--resume"):
        with whole_or_absent(run):
            raise Exception("No space left on device (os error 28)")
    assert content(run) == before


# --- the folder of a run


def test_a_folder_that_is_not_empty_must_be_meant(run, tmp_path):
    before = content(run)
    with pytest.raises(ValueError, match="not empty.*--resume.*--overwrite"):
        with open_run(run):
            pass
    with pytest.raises(ValueError, match="pass one"):
        with open_run(run, resume=True, overwrite=True):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; the run needs a folder"):
        with open_run(tmp_path / "file"):
            pass
    assert content(run) == before


def test_an_empty_folder_is_not_left(tmp_path):
    with pytest.raises(ValueError, match="bad data"):
        with open_run(tmp_path / "new" / "run"):
            raise ValueError("bad data")
    assert not (tmp_path / "new" / "run").exists()


def test_overwriting_loses_nothing_before_something_is_whole(run):
    before = content(run)
    for fails in ("before the start", "after the start", "in half a checkpoint"):
        with pytest.raises(RuntimeError):
            with open_run(run, overwrite=True) as folder:
                if fails != "before the start":
                    assert folder.start(IDENTITY) is None
                    assert names(run) == [".previous", ".squadqa.lock", "notes.txt"]
                if fails == "in half a checkpoint":
                    (run / "checkpoint-3").mkdir()
                    (run / "checkpoint-3" / "model.safetensors").write_text("half")
                raise RuntimeError
        assert content(run) == before, fails


def test_the_first_checkpoint_replaces_the_earlier_run(run):
    with pytest.raises(RuntimeError):
        with open_run(run, overwrite=True) as folder:
            folder.start(IDENTITY)
            shutil.rmtree(run / "checkpoint-2", ignore_errors=True)
            folder.checkpoint_is_written(write_checkpoint(run, 2), keep=2, best_step=None)
            raise RuntimeError
    assert names(run) == ["checkpoint-2", "notes.txt"]


def test_a_kill_after_the_start_loses_nothing(run):
    "The next run, whatever it wants, finds the earlier one in its place."
    before = content(run)

    def dies():
        with open_run(run, overwrite=True) as folder:
            folder.start({})
            (run / "checkpoint-1").mkdir()
            os._exit(9)

    killed(dies)
    assert ".previous" in names(run)
    with open_run(run, resume=True) as folder:
        assert content(run) == before | {".squadqa.lock": str(os.getpid()).encode()}
        assert folder.start(IDENTITY) == run / "checkpoint-15"


def test_a_finished_model_without_checkpoints_is_not_resumed(run):
    for checkpoint in checkpoints(run):
        shutil.rmtree(checkpoint)
    before = content(run)
    with pytest.raises(ValueError, match="holds a finished model, but no checkpoint"):
        with open_run(run, resume=True) as folder:
            folder.start(IDENTITY)
    assert content(run) == before


def test_the_checkpoint_of_another_program_is_not_lost(tmp_path):
    "An interrupted run of plain `Trainer` is nothing to begin anew beside."
    theirs = tmp_path / "checkpoint-500"
    theirs.mkdir()
    (theirs / "trainer_state.json").write_text("{}")
    before = content(tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match="checkpoint-500 was not finished, or not written by"):
            with open_run(tmp_path, resume=True) as folder:
                folder.start(IDENTITY)
        assert content(tmp_path) == before
        (tmp_path / ".squadqa.lock").touch()  # the second time, a run was killed here


@pytest.mark.parametrize("name", ["resume", "overwrite"])
def test_a_word_is_no_truth_value(name, run):
    before = content(run)
    with pytest.raises(ValueError, match=f"{name}='no' must be True or False"):
        with open_run(run, **{name: "no"}):
            pass
    assert content(run) == before


@pytest.mark.parametrize("name", ["README.md", "vocab.txt", "config.json"])
def test_what_no_run_made_is_not_resumed(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"{name} is there, but no checkpoint"):
        with open_run(tmp_path, resume=True) as folder:
            folder.start({"data": "x"})
    assert (tmp_path / name).read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_the_fault_is_told_when_the_folder_has_gone(tmp_path):
    with pytest.raises(CheckpointError, match="run: the disk was taken out"):
        with only_one(tmp_path / ".lock", "training", tmp_path), whole_or_absent(tmp_path / "run"):
            shutil.rmtree(tmp_path)
            raise OSError("the disk was taken out")


def test_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_run("~/run") as folder:
        assert folder.path == tmp_path / "run"


def test_a_folder_needs_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="'' is no path"), open_run("", overwrite=True):
        pass


def test_a_name_that_is_not_unicode(tmp_path):
    name = os.fsdecode(b"r\xff")
    with pytest.raises(ValueError, match="not UTF-8: take another name"), open_run(tmp_path / name):
        pass
    assert not names(tmp_path)


@pytest.mark.parametrize("name", ["README.md", "vocab.txt"])
def test_what_no_run_made_is_not_overwritten(name, tmp_path):
    (tmp_path / name).write_text("mine")
    (tmp_path / "checkpoint-3").touch()  # a file is no checkpoint
    before = content(tmp_path)
    with pytest.raises(ValueError, match=f"{name} is there.*no run made"):
        with open_run(tmp_path, overwrite=True) as folder:
            folder.start(IDENTITY)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "made", ["notes.txt", "checkpoint-5/model.safetensors", "config.json", "model.safetensors"]
)
def test_what_a_run_made_is_overwritten(made, tmp_path):
    "A killed run has half a checkpoint, a finished one has a model; notes are in nobody's way."
    (tmp_path / made).parent.mkdir(exist_ok=True)
    (tmp_path / made).write_text('{"model_type": "bert"}')
    with open_run(tmp_path, overwrite=True) as folder:
        assert folder.start(IDENTITY) is None
        folder.model_is_written()
    assert (tmp_path / made).exists() == (made == "notes.txt")


def test_a_file_with_the_name_of_a_checkpoint_is_none(run):
    (run / "checkpoint-99").write_text("mine")
    assert last_whole_checkpoint(run).name == "checkpoint-15"


def test_a_rank_that_a_launch_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with open_run(tmp_path / "new") as folder:
        assert folder.main


def test_rotation_keeps_the_last_and_the_best(run):
    with open_run(run, resume=True) as folder:
        (run / "checkpoint-10" / "model.safetensors").write_bytes(b"half")
        folder.start(IDENTITY)
        for step in (20, 25):
            folder.checkpoint_is_written(write_checkpoint(run, step), keep=2, best_step=5)
    assert [c.name for c in checkpoints(run)] == ["checkpoint-5", "checkpoint-20", "checkpoint-25"]
    assert len(list(run.glob("checkpoint-*"))) == 3


def test_what_was_passed_over_goes_when_something_better_is_whole(run):
    (run / "checkpoint-15" / "optimizer.pt").write_bytes(
        b"X" * len(b"optimizer.pt of step 15" * 20)
    )
    with open_run(run, resume=True) as folder:
        assert folder.start(IDENTITY).name == "checkpoint-10"
        folder.checkpoint_is_written(write_checkpoint(run, 12), keep=2, best_step=None)
    assert [c.name for c in checkpoints(run)] == ["checkpoint-10", "checkpoint-12"]
    assert ".previous" not in names(run)


def test_two_trainings_in_one_folder(run):
    "The second is refused at once; a killed one leaves nothing in the way."
    reads, writes = os.pipe()
    first = os.fork()
    if first == 0:
        with open_run(run, resume=True):
            os.write(writes, b"in")
            time.sleep(60)
        os._exit(1)
    try:
        assert os.read(reads, 2) == b"in"
        start = time.monotonic()
        for how in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(ValueError, match=f"training .process {holder(first)}. is writing"):
                with open_run(run, **how):
                    pass
        assert time.monotonic() - start < 2
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
    with open_run(run, resume=True):
        pass
    assert ".squadqa.lock" not in names(run)


def test_the_same_process_twice(tmp_path):
    with open_run(tmp_path / "run"):
        with pytest.raises(ValueError, match=f"process {holder(os.getpid())}"):
            with open_run(tmp_path / "run", resume=True):
                pass


def test_the_other_processes_of_a_launch_touch_nothing(run, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = content(run)
    with open_run(run, resume=True) as folder:
        assert folder.start(IDENTITY).name == "checkpoint-15" and not folder.main
    with open_run(run, overwrite=True) as folder:
        assert folder.start(IDENTITY) is None
    assert content(run) == before


def test_files_of_a_model_are_known(tiny_folder):
    "What transformers writes today is covered by the patterns."
    assert {p.name for p in run_files(tiny_folder)} == {p.name for p in tiny_folder.iterdir()}
    assert RUN_FILES[0] == "config.json"


# --- asked to stop


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_ask_to_stop(name, code, caplog):
    if not hasattr(signal, name):
        pytest.skip(f"there is no {name} here")
    number, before = getattr(signal, name), signal.getsignal(getattr(signal, name))
    stop = StopOnInterrupt()
    with stop.listening():
        signal.raise_signal(number)
        assert stop.asked and "Press Ctrl-C again" in caplog.text
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) == before
    error = stop.interrupted(3, 9, "runs/mine")
    assert isinstance(error, KeyboardInterrupt) and error.exit_code == code
    assert "stopped at step 3 of 9" in str(error) and "--resume" in str(error)


def test_an_ignored_signal_stays_ignored():
    "nohup"
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("there is no SIGHUP here")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = StopOnInterrupt()
        with stop.listening():
            signal.raise_signal(signal.SIGHUP)
        assert not stop.asked and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_what_cannot_be_printed_is_told_once(number, caplog):
    class Closed:
        encoding = "utf-8"

        def write(self, text):
            raise OSError(number, os.strerror(number))

        def flush(self):
            self.write("")

    with redirect_stdout(Closed()), unheard_is_fine():
        assert sys.stdout.encoding == "utf-8"
        print("one", flush=True)
        print("two", flush=True)
    assert caplog.text.count("The training goes on") == 1
