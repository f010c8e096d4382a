"""How long one waits: for the import, for the help, for the first answer. Fresh processes."""

import os
import sys

from benchmarks.harness import Measured, Settings, Target, processes_in_turns

PYTHON = "python -c pass"
IMPORT = "python -c 'import squadqa'"
HELP = "squadqa --help"
ANSWER = "squadqa answer, to its first answer"
LIBRARIES = "python -c 'import torch, transformers, peft'"
TEXT = "The ferry leaves Gråvik at nine, and the keeper's cat, Pixel, waits on the quay."
LIMITS = {IMPORT: 0.3, HELP: 0.5}


def commands(quick: bool) -> dict[str, list]:
    program = [sys.executable, "-m", "squadqa.cli"]
    question = ["--text", TEXT, "--question", "When does the ferry leave?"]
    found = {
        PYTHON: [sys.executable, "-c", "pass"],
        IMPORT: [sys.executable, "-c", "import squadqa"],
        HELP: [*program, "--help"],
    }
    if quick:
        return found
    needed = (
        "import torch, peft; from transformers import AutoModelForQuestionAnswering, AutoTokenizer"
    )
    return found | {
        LIBRARIES: [sys.executable, "-c", needed],
        ANSWER: [*program, "answer", *question],
    }


def measure(settings: Settings) -> Measured:
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    seconds = processes_in_turns(commands(settings.quick), settings.rounds, env)
    limits = {}
    for name, limit in LIMITS.items():
        middle = sorted(seconds[name])[len(seconds[name]) // 2]
        limits[name] = {"at_most": limit, "median": middle, "met": middle <= limit}
    targets = [] if settings.quick else [Target(LIBRARIES, ANSWER)]
    return Measured(
        what="fresh processes, each after one run that put its files into memory",
        equal="every process ended with code 0",
        seconds=seconds,
        targets=targets,
        more={"limits": limits},
        remarks="files come from memory, not from a disk: on a cold machine all of it takes longer",
    )
