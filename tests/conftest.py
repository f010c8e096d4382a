"""What the tests share: the real data where SQUADQA_DATA names it, a tiny model, a browser, and the order of the files."""

import json
import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault(
    "HF_HUB_OFFLINE", "1"
)  # no test needs the Hub; a forgotten download must fail at once
os.environ.setdefault("TQDM_DISABLE", "1")

FIRST = (
    "test_house",
    "test_notebooks",
)  # what is out of step or does not run is told before anything else


def pytest_collection_modifyitems(items):
    place = {name: i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(FIRST)))


def pytest_configure(config):
    config.pluginmanager.register(TellFailures(config), "tell-failures")


class TellFailures:
    "A failure is told when it happens, not only at the end: a run that is cut off has told it."

    def __init__(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.config.pluginmanager.get_plugin("terminalreporter").write_line(
                f"\n{report.nodeid} ({report.when})\n{report.longreprtext[-6000:]}"
            )


@pytest.fixture(scope="session")
def shared() -> Path:
    "The folder with SQuAD and real tokenizers."
    folder = os.environ.get("SQUADQA_DATA")
    if not folder:
        pytest.skip("SQUADQA_DATA is not set: it names the folder with SQuAD and the tokenizers")
    assert (Path(folder) / "squad").is_dir(), f"SQUADQA_DATA={folder} has no folder squad"
    return Path(folder)


@pytest.fixture(scope="session")
def figures(shared) -> dict:
    "The figures of the course that can be checked."
    return json.loads((shared / "squad" / "course_figures.json").read_text())


@pytest.fixture(scope="session")
def train_part(shared):
    from squadqa.data import load_squad

    return load_squad(shared / "squad" / "train-v1.1-part.json")["train"]


@pytest.fixture(scope="session")
def dev(shared):
    from squadqa.data import load_squad

    return load_squad(shared / "squad" / "dev-v1.1.json")["validation"]


@pytest.fixture(scope="session")
def minilm():
    "The tokenizer of the offline encoder."
    from squadqa.models import load_tokenizer

    return load_tokenizer("minilm")


def tiny_config(tokenizer, **changes):
    "A BERT so small that a training step takes milliseconds."
    from transformers import BertConfig

    return BertConfig(
        **dict(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=512,
        )
        | changes
    )


@pytest.fixture(scope="session")
def tiny_folder(minilm, tmp_path_factory) -> Path:
    "A folder with a tiny model, seeded, and the minilm tokenizer."
    from transformers import BertForQuestionAnswering, set_seed

    folder = tmp_path_factory.mktemp("tiny")
    set_seed(0)
    BertForQuestionAnswering(tiny_config(minilm)).save_pretrained(folder)
    minilm.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_data():
    "48 training and 24 validation examples of the sample."
    from squadqa.data import load_squad

    data = load_squad()
    data["train"], data["validation"] = (
        data["train"].select(range(48)),
        data["validation"].select(range(24)),
    )
    return data


@pytest.fixture(scope="module")
def browser():
    "Chromium without a window, driven by playwright."
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    found = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if not found:
        pytest.skip("there is no Chromium: apt-get install chromium")
    switches = (
        "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    ).split()
    with api.sync_playwright() as p:
        started = p.chromium.launch(executable_path=found, args=switches)
        yield started
        started.close()
