"""Lessons in the real JupyterLab, in a real browser, on a kernel that has what their install cell
installs and nothing else.

JupyterLab is started as `make lab` does, on a copy of the notebooks without outputs; a reader's
clicks open the map, a lesson, and run it from top to bottom. By default the map and two lessons
run; `make test-all` takes all of them. SQUADQA_LAB_SHOTS=FOLDER keeps pictures of the pages.
"""

import copy
import importlib.metadata as metadata
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
from pathlib import Path
from unittest.mock import Mock, patch

import nbformat
import pytest
from conftest import ROOT
from notebooks import LESSONS, NBS, TRY_EXERCISES, exercises, name_of, open_numbers
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

sys.path.insert(0, str(ROOT / "tools"))
import fresh
import sync

MAP, GLOSSARY = NBS / "index.ipynb", NBS / "glossary.ipynb"
PAGES = [*LESSONS, GLOSSARY]
BY_DEFAULT = ("course/01_data", "course/04_validation")  # the rest is for `make test-all`
PROMISE = 1500  # seconds that a lesson may take; the longest takes 420 alone, 780 beside others
TRIED = "exercises-tried"  # the cell that is put at the end of a lesson's copy
# A reader's shell has none of what quietens the other tests.
OURS = (
    "HF_HUB_OFFLINE TQDM_DISABLE HF_HUB_DISABLE_PROGRESS_BARS TRANSFORMERS_VERBOSITY PYTHONPATH "
    "MPLBACKEND SQUADQA_DATA"
).split()
BOOKS = {name_of(path): nbformat.read(path, as_version=4) for path in (MAP, *PAGES)}
COPIED = "course-copy"  # the folder in which JupyterLab is started


# --- what the install cells ask for


def asked(name: str) -> Requirement:
    "What a notebook's install cell would install where squadqa is missing, found by running it."
    cell = next(c.source for c in BOOKS[name].cells if c.get("id") == "install")
    shell = Mock()
    with patch("importlib.util.find_spec", return_value=None):
        exec(cell, {"get_ipython": lambda: shell})
    ((magic, line),) = [call.args for call in shell.run_line_magic.call_args_list]
    words = [w for w in shlex.split(line) if not w.startswith("-")]
    assert magic == "pip" and words[0] == "install" and len(words) == 2, f"{name}: {line}"
    return Requirement(words[1])


def needs() -> dict[str, Requirement]:
    found = {name_of(path): asked(name_of(path)) for path in PAGES}
    text = "\n".join(cell.source for cell in BOOKS["index"].cells)
    found["index"] = Requirement(re.search(r'^pip install "(.+)"$', text, re.M)[1])
    return found


def kernel_name(need: Requirement) -> str:
    return "-".join(["fresh", *sorted(need.extras)])


def test_install_cells_install_this_repository():
    url = "git+" + sync.settings(ROOT)["git_url"]
    for name, need in needs().items():
        assert (need.name, need.url) == ("squadqa", url) and "offline" in need.extras, name


KERNELS = {kernel_name(need): need for need in needs().values()}  # one for each install line
USUAL = kernel_name(needs()["index"])


class Environments:
    "Environments with squadqa from this checkout, each made when it is asked for."

    def __init__(self, folder: Path):
        self.folder, self.made = folder, set()

    def python(self, name: str) -> Path:
        "Where the interpreter of a kernel is, or will be."
        return self.folder / name / "bin" / "python"

    def make(self, name: str) -> Path:
        if name not in self.made:
            wanted = [f"squadqa[{','.join(sorted(KERNELS[name].extras))}]", "ipykernel"]
            assert fresh.make(self.folder / name, wanted) == self.python(name)
            self.made.add(name)
        return self.python(name)


@pytest.fixture(scope="module")
def environments(tmp_path_factory) -> Environments:
    return Environments(tmp_path_factory.mktemp("fresh"))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n != USUAL else []) for n in KERNELS]
)
def test_a_fresh_environment_has_what_was_asked_for_and_nothing_else(name, environments, tmp_path):
    "Nothing of the development environment can be imported from it."
    others = {"pytest", "nbdev", "playwright", "jupyterlab", "ruff", "hypothesis"}
    assert all(metadata.version(name) for name in others)
    code = """
import importlib.metadata, squadqa
print(squadqa.__file__, *[d.name for d in importlib.metadata.distributions()])
"""
    python = environments.make(name)
    command = [python, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    home, *have = done.stdout.split()
    have = {canonicalize_name(name) for name in have}
    assert {"squadqa", "torch", "transformers", "datasets", "ipykernel"} <= have
    assert have & others == set()
    assert Path(home).is_relative_to(python.parent.parent)


def test_closure_names_what_is_missing():
    found = set(fresh.closure(["ipykernel"]))
    assert {"ipykernel", "traitlets", "pyzmq"} <= found and "pytest" not in found
    with pytest.raises(ValueError, match="no-such-package is not installed"):
        fresh.closure(["no-such-package"])
    with pytest.raises(ValueError, match="ipykernel<1 is asked for"):
        fresh.closure(["ipykernel<1"])


# --- JupyterLab


def write_kernels(folder: Path, environments: Environments) -> None:
    for name in KERNELS:
        python = environments.python(name)
        launch = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        spec = {"argv": launch, "display_name": name, "language": "python", "env": {"PATH": path}}
        (folder / "kernels" / name).mkdir(parents=True)
        (folder / "kernels" / name / "kernel.json").write_text(json.dumps(spec))


def write_settings(folder: Path) -> None:
    "No news, no look for updates, and all cells in the page at once."
    quiet = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
    chosen = {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": quiet,
    }
    for name, values in chosen.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


def copy_notebooks(folder: Path) -> None:
    """The notebooks without outputs, each with its kernel; lessons end with a try of their
    exercises."""
    shutil.copytree(NBS / "assets", folder / "assets")
    wanted = needs()
    for name, book in copy.deepcopy(BOOKS).items():
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        names = exercises(NBS / f"{name}.ipynb")
        if names:
            text = TRY_EXERCISES.format(names=names)
            book.cells.append(nbformat.v4.new_code_cell(text, id=TRIED))
        kernel = kernel_name(wanted[name])
        spec = {"display_name": kernel, "language": "python", "name": kernel}
        book.metadata["kernelspec"] = spec
        path = folder / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(book, path)
    bad = [nbformat.v4.new_code_cell(text) for text in ("1 + 1", "1/0", "2 + 2")]
    nbformat.write(
        nbformat.v4.new_notebook(cells=bad, metadata=book.metadata), folder / "wrong.ipynb"
    )


def lab_command() -> list[str]:
    "The command of `make lab`."
    command = ["make", "-n", "lab"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    line = next(line for line in done.splitlines() if "-m jupyter lab" in line)
    return [sys.executable, *shlex.split(line)[1:]]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory, environments):
    "JupyterLab in a copy of nbs/ and configs/; a program notes which page it wants to open."
    environments.make(USUAL)
    home = tmp_path_factory.mktemp("jupyterlab")
    (home / COPIED).mkdir()
    copy_notebooks(home / COPIED / "nbs")
    for shown in ("configs", "benchmarks/results"):  # lessons list and plot them
        shutil.copytree(ROOT / shown, home / COPIED / shown)
    write_kernels(home / "data", environments)
    write_settings(home / "settings")
    noted, program = home / "noted", home / "program"
    program.write_text(f"#!/bin/sh\necho \"$1\" > '{noted}'\n")
    program.chmod(0o755)
    port, token, log = free_port(), secrets.token_hex(16), home / "log.txt"
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
    env = {name: value for name, value in os.environ.items() if name not in OURS}
    env |= {name: str(home / folder) for name, folder in folders.items()}
    env["PYTHONWARNINGS"] = "ignore:IProgress not found"  # as the Makefile exports it
    with log.open("w") as out:
        process = subprocess.Popen(
            [*lab_command(), *options],
            cwd=home / COPIED,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 120
        while not (noted.exists() and noted.read_text().strip()):
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield {"opened": noted.read_text().strip(), "url": f"http://127.0.0.1:{port}"}
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


# What the notebook in front holds, from its model: one entry for each code cell that has code.
STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget, session = panel.sessionContext;
  const cells = panel.context.model.toJSON().cells
    .filter(c => c.cell_type === 'code' && [].concat(c.source).join('').trim());
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
  return panel?.context?.path === path && panel.context.isReady
    && panel.sessionContext?.session?.kernel?.status === 'idle';
}"""
FIGURES = """() => [...window.jupyterapp.shell.currentWidget.node
  .querySelectorAll('.jp-RenderedImage img')].map(i => i.complete ? i.naturalWidth : 0)"""
HIDDEN = """() => [...window.jupyterapp.shell.currentWidget.content.widgets]
  .filter(w => /def \\w+_solution\\(/.test(w.model.sharedModel.getSource()))
  .filter(w => w.inputHidden).length"""
CLOSE = """async () => { const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.save(); await panel.sessionContext.shutdown(); panel.close() }"""


class Lab:
    "JupyterLab in the browser, with names for what a reader does in it."

    def __init__(self, browser, server: dict, shots: Path):
        self.browser, self.server, self.shots, self.page = browser, server, shots, None

    def start(self) -> None:
        "Open the page that `make lab` opens, in a window of its own."
        self.drop()
        size = {"width": 1200, "height": 1500}
        self.page = self.browser.new_context(locale="en-US", viewport=size).new_page()
        self.page.set_default_timeout(60_000)
        self.page.goto(self.server["opened"])
        self.ready("index")

    def drop(self) -> None:
        if self.page:
            self.page.context.close()
        self.page = None

    def ready(self, name: str) -> None:
        "Wait until a notebook is in front and its kernel waits for work."
        self.page.wait_for_function(READY, arg=f"nbs/{name}.ipynb", timeout=120_000)

    def state(self) -> dict:
        return self.page.evaluate(STATE)

    def follow(self, name: str) -> None:
        "Go back to the map, and click on its link to a notebook."
        tab = re.compile(r"^index\.ipynb$")
        self.page.locator(".lm-TabBar-tabLabel:visible", has_text=tab).first.click()
        self.ready("index")
        # a lesson that failed may come back behind the map, with links of its own
        link = f".jp-RenderedMarkdown a[href*='{name}.ipynb']:not([href*='colab']):visible"
        self.page.locator(link).last.click()
        self.ready(name)

    def run_all(self, seconds: float = PROMISE) -> dict:
        "Run > Run All Cells; what the cells hold when all have run, or one has failed."
        start = time.monotonic()
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        all_cells = re.compile("^Run All Cells$")
        self.page.locator(".lm-Menu-itemLabel", has_text=all_cells).click()
        while True:
            now = self.page.evaluate(PROGRESS)
            if now["status"] == "idle" and (now["failed"] or not now["left"]):
                return self.state()
            took = time.monotonic() - start
            gone = ("dead", "none", "autorestarting", "restarting")
            assert took < seconds and now["status"] not in gone, f"after {took:.0f} s: {now}"
            self.page.wait_for_timeout(250)

    def picture(self, name: str) -> None:
        self.page.screenshot(path=self.shots / f"{name.replace('/', '-')}.png")

    def leave(self, name: str) -> None:
        "Save the notebook, close it, and end its kernel."
        self.page.evaluate(CLOSE)
        gone = "name => window.jupyterapp.shell.currentWidget?.context?.path !== name"
        self.page.wait_for_function(gone, arg=f"nbs/{name}.ipynb")


@pytest.fixture(scope="module")
def window(browser, server, tmp_path_factory):
    shots = os.environ.get("SQUADQA_LAB_SHOTS")
    folder = Path(shots) if shots else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return Lab(browser, server, folder)


@pytest.fixture()
def lab(window, request):
    "The window, with the map in front; opened anew at first and after a test that failed."
    if not window.page:
        window.start()
    before = request.session.testsfailed
    yield window
    if request.session.testsfailed > before:
        window.drop()


def shape(output: dict) -> str:
    "What an output shows, its numbers left open: those may differ from machine to machine."
    if output["output_type"] == "stream":
        text = output["text"]
    else:
        data = output.get("data", {})
        kinds = ("image/png", "text/html", "text/markdown", "text/plain")
        kind = next((k for k in kinds if k in data), "")
        text = kind if kind == "image/png" else data.get(kind, "")
    text = text if isinstance(text, str) else "".join(text)
    text = re.sub(r"'(better|worse|not shown)'", "#", text)  # follows from the figures
    return open_numbers(text)


def compare(name: str, now: dict) -> None:
    "All code cells ran in order without an error, and show what the committed notebook shows."
    told = [c for c in BOOKS[name].cells if c.cell_type == "code" and c.source.strip()]
    for cell in now["cells"]:
        wrong = [o for o in cell["outputs"] if o["output_type"] == "error"]
        assert not wrong, (cell["id"], wrong[0]["ename"], wrong[0]["evalue"])
    tried = [TRIED] * bool(exercises(NBS / f"{name}.ipynb"))
    assert [c["id"] for c in now["cells"]] == [c["id"] for c in told] + tried
    assert [c["count"] for c in now["cells"]] == list(range(1, len(now["cells"]) + 1))
    for cell, kept in zip(now["cells"], told):
        seen, wanted = ([*map(shape, visible(some))] for some in (cell["outputs"], kept.outputs))
        assert seen == wanted, f"{name}, cell {cell['id']}"


def visible(outputs: list[dict]) -> list[dict]:
    """Without progress bars and warnings, which the committed outputs leave out. What was printed
    may have come in pieces; it is put together."""
    bars = ("application/vnd.jupyter.widget-view+json", "it/s")
    kept = [o for o in outputs if o.get("name") != "stderr"]
    found: list[dict] = []
    for output in kept:
        if any(bar in json.dumps(output) for bar in bars):
            continue
        if output["output_type"] == "stream":
            output = {"output_type": "stream", "text": "".join(output["text"])}
            if found and found[-1]["output_type"] == "stream":
                output["text"] = found.pop()["text"] + output["text"]
        found.append(output)
    return found


@pytest.mark.timeout(400)
def test_lab_opens_on_the_map_which_leads_everywhere(window, server):
    window.start()
    page = window.page
    assert page.url.startswith(f"{server['url']}/lab/tree/nbs/index.ipynb")
    shown = page.locator(".jp-NotebookPanel:visible")
    picture = shown.locator("img[src*='path.svg']")
    assert picture.evaluate("async i => { await i.decode(); return i.naturalWidth }") > 0
    links = "all => all.map(a => a.getAttribute('href') || '')"
    found = shown.locator("table a").evaluate_all(links)
    for path in LESSONS:
        assert any(f"{name_of(path)}.ipynb" in link for link in found), name_of(path)
    window.picture("map")


@pytest.mark.timeout(400)
def test_map_runs(lab):
    now = lab.run_all()
    compare("index", now)
    assert now["kernel"] == USUAL


def marked(path: Path):
    slow = [] if name_of(path) in BY_DEFAULT else [pytest.mark.slow]
    return pytest.param(path, id=name_of(path), marks=slow)


@pytest.mark.timeout(PROMISE + 300)
@pytest.mark.parametrize("path", map(marked, PAGES))
def test_lesson_runs_in_the_browser(lab, environments, path):
    "From the map by a click, run by the menu; figures are drawn, solutions hidden."
    name = name_of(path)
    kernel = kernel_name(asked(name))
    environments.make(kernel)
    lab.follow(name)
    assert lab.state()["kernel"] == kernel
    assert lab.page.evaluate(HIDDEN) == len(exercises(path))
    now = lab.run_all()
    lab.page.wait_for_timeout(300)  # for the last output to be drawn
    lab.picture(name)
    compare(name, now)
    drawn = lab.page.evaluate(FIGURES)
    assert all(width > 0 for width in drawn)
    lab.leave(name)


@pytest.mark.timeout(400)
def test_an_error_and_another_output_are_noticed(lab):
    "A notebook with 1/0 in it is told from one that ran, and a changed text from the kept one."
    opened = "window.jupyterapp.commands.execute('docmanager:open', {path: 'nbs/wrong.ipynb'})"
    lab.page.evaluate(f"async () => {{ await {opened} }}")  # it gives a panel, which cannot be sent
    lab.ready("wrong")
    now = lab.run_all()
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        compare("index", now)
    assert [bool(c["count"]) for c in now["cells"]] == [True, True, False]
    lab.leave("wrong")
    one, other = ({"output_type": "stream", "text": text} for text in ("EM 3.5", "F1 3.5"))
    assert shape(one) != shape(other) and shape(one) == shape(one | {"text": "EM 4.25"})
    pieces = [one | {"text": text} for text in ("EM", " 3.5")]
    assert list(map(shape, visible(pieces))) == [shape(one)]
