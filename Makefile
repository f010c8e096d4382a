# `make demo` and `make test` need Python 3.10 or newer, make and a package index; they set up the
# rest in .venv.
PYTHON ?= python3
PY := .venv/bin/python
WORKERS ?= 2
CASES ?= 100000
# Whole files to each process. One that crashes is not replaced: the run would wait for its file, and
# not end.
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart=0
export PYTHONWARNINGS := ignore:IProgress not found
export TOKENIZERS_PARALLELISM ?= true

.PHONY: help setup demo lesson test test-all coverage fuzz bench bench-gpu types sync format outputs docs lab clean
help:
	@echo "make demo         check the sample, train the starter on it, score it, ask it (minutes)"
	@echo "make lab          open the start page in JupyterLab"
	@echo "make lesson N=03  one lesson: in step, run, its exercises, its tests (under a minute)"
	@echo "make test         everything that protects a commit (about ten minutes on two cores)"
	@echo "make test-all     all tests: also all lessons in JupyterLab, kill points, heavy lessons (50 minutes)"
	@echo "make coverage     make test, and which lines of the package it does not run"
	@echo "make fuzz         new cases of all properties, on each tokenizer (CASES=100000)"
	@echo "make bench        all comparisons of speed on a CPU (about an hour; needs SQUADQA_DATA)"
	@echo "make bench-gpu    training and answering on a GPU, in under eight minutes; says so if there is none"
	@echo "make sync         bring tables, links, package and README in step with the notebooks"
	@echo "make format       ruff's formatting and its safe repairs"
	@echo "make outputs      run the notebooks again and keep their outputs (N=course/03_labeling: one)"
	@echo "make docs         render the site (needs Quarto, and npm for its page)"

setup: .venv/ready

.venv/ready: setup.py settings.ini constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "squadqa needs Python 3.10 or newer, and there is no $(PYTHON): install it, or say make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "squadqa needs Python 3.10 or newer; $(PYTHON) is `"$(PYTHON)" --version`: say make PYTHON=/path/to/a/newer/python"; exit 1; }
	@echo "Setting up .venv (a few minutes, once) ..."
	@"$(PYTHON)" -m venv .venv || { echo "$(PYTHON) cannot make virtual environments: install its venv module (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@$(PY) -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable ".[dev,offline,demo,onnx,openvino]" || { echo "Installing the packages failed; see above. Is the package index within reach?"; exit 1; }
	@touch .venv/ready

demo: .venv/ready
	@echo; echo "1. Is the data fit for training?   squadqa check sample"
	@$(PY) -m squadqa.cli check sample
	@echo; echo "2. Fine-tune the starter on it.   squadqa train --data sample --model starter --output runs/demo --overwrite --evaluate-first --epochs 2"
	@$(PY) -m squadqa.cli train --data sample --model starter --output runs/demo --overwrite --evaluate-first --epochs 2
	@echo; echo "3. Score it.   squadqa evaluate --data sample --model runs/demo"
	@$(PY) -m squadqa.cli evaluate --data sample --model runs/demo
	@echo; echo "4. Ask it.   squadqa answer --model runs/demo --text ... --question ..."
	@$(PY) -m squadqa.cli answer --model runs/demo --text "The ferry leaves Gråvik at nine, and the keeper's cat, Pixel, waits on the quay. In winter it sails on Mondays only." --question "When does the ferry leave?" --question "Where does the cat wait?" --question "What is the cat called?"
	@echo; echo "What next:"
	@echo "  - ask on a page: .venv/bin/squadqa demo"
	@echo "  - work through the lessons: make lab, then open course/00_first_answer.ipynb"
	@echo "  - train on SQuAD: .venv/bin/squadqa train --data rajpurkar/squad --model minilm --output runs/squad"
	@echo "  - look into runs/demo: learning_curve.png, predictions.json, nbest.json, README.md"

lesson: .venv/ready
	@$(PY) tools/lesson.py $(N)

test: .venv/ready
	$(PY) -m pytest $(PARALLEL) -m "not slow"

test-all: .venv/ready
	$(PY) -m pytest $(PARALLEL)

coverage: .venv/ready  # .coveragerc has processes counted that tests start
	$(PY) -m pytest $(PARALLEL) -m "not slow" --cov --cov-report=term-missing:skip-covered

fuzz: .venv/ready
	$(PY) tools/fuzz.py --cases $(CASES) --workers $(WORKERS)

bench: .venv/ready
	$(PY) -m benchmarks all
	$(PY) -m benchmarks.tables

bench-gpu: .venv/ready
	$(PY) -m benchmarks.gpu

types: .venv/ready
	$(PY) -m mypy squadqa

sync: .venv/ready
	$(PY) tools/sync.py

format: .venv/ready
	$(PY) -m ruff check -q --fix nbs tests tools benchmarks setup.py || true
	$(PY) -m ruff format nbs tests tools benchmarks setup.py

outputs: .venv/ready
	$(PY) tools/outputs.py $(N)

docs: .venv/ready
	@command -v quarto >/dev/null || { echo "The site needs Quarto, which is not on the path: install it from quarto.org, then run make docs again"; exit 1; }
	$(PY) tools/pages.py --render

lab: .venv/ready  # in a container one often is root, which Jupyter refuses by itself
	$(PY) -m jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/nbs/index.ipynb

clean:
	rm -rf _proc _docs build dist
