"""What the tests share: the real data where SQUADQA_DATA names it, a tiny model, a browser."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# No test needs the Hub; a forgotten download must fail at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has one core to itself
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What is out of step is told before anything else; what takes longest begins early.
FIRST = (
    "test_house",
    "test_lessons",
    "test_jupyterlab",
    "test_lesson_loops",
    "test_loop",
    "test_site_pages",
    "test_browser_page",
    "test_trainer",
)


def pytest_collection_modifyitems(items):
    place = {name: i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(FIRST)))


def nothing_is_missing(report):
    "Where nothing may be missing (SQUADQA_NO_SKIP, set by `.ci/run`), what is skipped has failed."
    elsewhere = "own_environment" in getattr(report, "keywords", ())
    expected = hasattr(report, "wasxfail") or elsewhere
    if report.skipped and not expected and os.environ.get("SQUADQA_NO_SKIP"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"nothing may be missing here, but this was skipped: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return nothing_is_missing((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return nothing_is_missing((yield))


def pytest_configure(config):
    config.pluginmanager.register(TellFailures(config), "tell-failures")


class TellFailures:
    "A failure is told when it happens, not only at the end: a run that is cut off has told it."

    def __init__(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and reporter:
            text = report.longreprtext[-6000:]
            reporter.write_line(f"\n{report.nodeid} ({report.when})\n{text}")


def hear_signals() -> None:
    "A run that was started in the background may begin with signals ignored; tests send them."
    usual = {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
    }
    for name, handler in usual.items():
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


hear_signals()


@pytest.fixture(scope="session")
def shared() -> Path:
    "The folder with SQuAD and real tokenizers."
    folder = os.environ.get("SQUADQA_DATA")
    if not folder:
        pytest.skip("SQUADQA_DATA is not set: it names the folder with SQuAD and the tokenizers")
    assert (Path(folder) / "squad").is_dir(), f"SQUADQA_DATA={folder} has no folder squad"
    return Path(folder)


@pytest.fixture(scope="session")
def figures() -> dict:
    "The figures of the Hugging Face course that can be checked."
    return json.loads((ROOT / "tests" / "course_figures.json").read_text())


@pytest.fixture(scope="session")
def train_part(shared):
    "The training set of SQuAD v1.1, or the first part of it."
    from squadqa.data import load_squad

    names = ("train-v1.1.json", "train-v1.1-part.json")
    found = next(path for name in names if (path := shared / "squad" / name).exists())
    return load_squad(found)["train"]


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

    small = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
    }
    return BertConfig(**small | changes)


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
    data["train"] = data["train"].select(range(48))
    data["validation"] = data["validation"].select(range(24))
    return data


CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic "
    "--no-first-run --disable-background-networking --disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def browser():
    "Chromium without a window, driven by playwright."
    reason = "playwright is not installed"
    api = pytest.importorskip("playwright.sync_api", reason=reason)
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not found:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with api.sync_playwright() as p:
        started = p.chromium.launch(executable_path=found, args=SWITCHES)
        yield started
        started.close()
