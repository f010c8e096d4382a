"""Training and answering on one GPU: `python -m benchmarks.gpu`, from a folder without a network.

In under eight minutes: the course's recipe and squadqa's, a bare loop as the ceiling, answering in
several precisions, one question at a time, and an evaluation. Equal results are asserted before
times are told. Where PyTorch sees no GPU it says "not measured". It needs the repository, what
settings.ini asks for, and SQUADQA_DATA (the training part, the development set and the tokenizer
of bert-base-cased); the model that answers is the starter. `--quick` runs a tiny model on the
CPU: it proves that the script works, and nothing else.
"""

import argparse
import json
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import TrainerCallback

from benchmarks.harness import RESULTS, Settings, machine
from benchmarks.material import mapped, quiet, tokenizer_of, training_part, validation_set
from benchmarks.references import course_train_features
from benchmarks.training import new_model

MINUTES = 8
FULL_RUN = 88_729 * 3  # windows of SQuAD v1.1's training part in three epochs


class Report:
    "Rows that were measured, told at once and written as they come."

    def __init__(self, settings: Settings, file: Path):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.settings, self.file = settings, file
        self.start = time.monotonic()
        self.rows, self.left_out, self.equal = [], [], []

    def add(self, name: str, **found) -> None:
        if self.device.type == "cuda":
            found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        self.rows.append({"name": name} | found)
        print(json.dumps(self.rows[-1]), flush=True)
        self.write()

    def write(self) -> None:
        on_gpu = self.device.type == "cuda"
        result = {
            "name": "gpu",
            "command": "python -m benchmarks.gpu" + (" --quick" if self.settings.quick else ""),
            "quick": self.settings.quick,
            "gpu": torch.cuda.get_device_name() if on_gpu else "not measured",
            "cuda": torch.version.cuda,
            "machine": machine(),
            "seconds": round(time.monotonic() - self.start),
            "equal": self.equal,
            "rows": self.rows,
            "left_out": self.left_out,
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(result, indent=1) + "\n")

    @contextmanager
    def part(self, name: str):
        "One comparison; what fails is written down, and the next one begins."
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            yield
        except (RuntimeError, ValueError) as error:
            self.left_out.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
            print(self.left_out[-1], flush=True)

    def has_time(self, name: str, seconds: float) -> bool:
        "Are so many seconds left? If not, that is written down."
        left = MINUTES * 60 - (time.monotonic() - self.start)
        if left < seconds and not self.settings.quick:
            self.left_out.append(f"{name}: only {left:.0f} seconds were left")
            return False
        return True


def wait(device: torch.device) -> float:
    "The time when the device is done with all that it was given."
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock(TrainerCallback):
    "Notes when some steps are done."

    def __init__(self, device: torch.device, marks: list[int]):
        self.device, self.marks, self.at = device, marks, {}

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in self.marks:
            self.at[state.global_step] = wait(self.device)


def speeds(clock: Clock, batch_size: int) -> dict:
    "Windows per second between each pair of marks."
    found = {}
    for first, last in zip(clock.marks[::2], clock.marks[1::2]):
        rate = (last - first) * batch_size / (clock.at[last] - clock.at[first])
        found[f"windows_per_second, steps {first} to {last}"] = round(rate, 1)
    found["full_run_seconds"] = round(FULL_RUN / rate)  # three epochs at the last rate
    return found


# --- training


def course(report: Report, model, tokenizer, examples, marks: list[int]) -> None:
    "The Hugging Face course's recipe: fp16, batches of 8, every window padded to 384 tokens."
    from transformers import Trainer, TrainingArguments, default_data_collator

    features = mapped(examples, course_train_features, tokenizer=tokenizer)
    clock = Clock(report.device, marks)
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            eval_strategy="no",
            save_strategy="no",
            learning_rate=2e-5,
            weight_decay=0.01,
            fp16=report.device.type == "cuda",
            use_cpu=report.device.type == "cpu",
            max_steps=marks[-1],
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model,
            args,
            train_dataset=features,
            processing_class=tokenizer,
            data_collator=default_data_collator,
            callbacks=[clock],
        )
        trainer.train()
    report.add("the course's recipe (fp16, batch 8, padded to 384)", **speeds(clock, 8))


def own(report: Report, name: str, model, tokenizer, data, marks: list[int], **options) -> None:
    "What `fine_tune` does, with a clock."
    from squadqa.arguments import choose_hyperparameters
    from squadqa.trainer import build_trainer
    from squadqa.training import CompileFirst, training_arguments

    settings = choose_hyperparameters(
        None, **options, max_steps=marks[-1], evaluate_every="no", disable_tqdm=True
    )
    clock = Clock(report.device, marks)
    with tempfile.TemporaryDirectory() as folder:
        args = training_arguments(folder, settings, has_validation=False)
        trainer = build_trainer(model, tokenizer, data, args, **settings.windows)
        compiler = CompileFirst(trainer, settings)
        trainer.add_callback(compiler)
        trainer.add_callback(clock)
        begin = time.perf_counter()
        trainer.train()
    found = speeds(clock, settings.batch_size)
    first = round(clock.at[marks[0]] - begin, 1)
    report.add(name, **found, seconds_to_the_first_mark=first, compiled=trainer.compiled)


def bare(report: Report, model, rows: int, width: int, compiled: bool, steps: int) -> None:
    "A loop of a few lines over random tokens: the ceiling."
    device = report.device
    model = model.to(device).train()
    if compiled:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    ids = torch.randint(5, model.config.vocab_size, (rows, width), device=device)
    place = torch.randint(1, width, (rows,), device=device)

    def step():
        with torch.autocast(device.type, torch.bfloat16):
            out = model(input_ids=ids, start_positions=place, end_positions=place)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(steps // 5):
        step()
    begin = wait(device)
    for _ in range(steps):
        step()
    rate = rows * steps / (wait(device) - begin)
    kind = "compiled" if compiled else "as it is"
    name = f"a bare loop, {kind}, {rows} windows of {width} tokens"
    report.add(name, windows_per_second=round(rate, 1), full_run_seconds=round(FULL_RUN / rate))


def packed(report: Report, model, tokenizer, data, rows: int, steps: int) -> None:
    "The same loop over rows that hold several windows each; its loss is that of padded windows."
    from benchmarks.packing import ROW, PackedCollator, first_position, inputs_of, packed_loss
    from squadqa.batching import WindowCollator, window_loss, without_labels
    from squadqa.labeling import prepare_train_features

    device, model = report.device, model.to(report.device).eval()
    some = data["train"].select(range(min(len(data["train"]), 8 * rows * steps)))
    windows = mapped(some, prepare_train_features, tokenizer=tokenizer, padding=False).to_list()
    collate = PackedCollator(tokenizer, ROW, first_position(model, tokenizer))
    mean = sum(len(w["input_ids"]) for w in windows) / len(windows)
    size = max(1, int(0.9 * rows * ROW / mean))
    chunks = [windows[i : i + size] for i in range(0, size * steps, size)]

    def loss_of(chunk, make, loss, inputs):
        batch = {k: v.to(device) for k, v in make(chunk).items()}
        return loss(model(**inputs(batch)), batch)

    with torch.inference_mode():
        one = loss_of(chunks[0][:16], collate, packed_loss, inputs_of)
        other = loss_of(chunks[0][:16], WindowCollator(tokenizer), window_loss, without_labels)
    assert abs(one - other) < 1e-3, (one, other)
    report.equal.append(f"loss of 16 windows packed and padded: {one:.5f}, {other:.5f}")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    for i in range(-2, len(chunks)):  # two to warm up
        if i == 0:
            begin = wait(device)
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(chunks[max(i, 0)], collate, packed_loss, inputs_of)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    rate = sum(map(len, chunks)) / (wait(device) - begin)
    name = f"a bare loop, packed, about {rows} rows of {ROW} tokens, {size} windows"
    report.add(name, windows_per_second=round(rate, 1), full_run_seconds=round(FULL_RUN / rate))


def same_loss(report: Report, model, tokenizer, data) -> None:
    "Few widths and exact widths: one loss, to float32's rounding, on this device."
    from squadqa.batching import WindowCollator, window_loss, without_labels
    from squadqa.labeling import prepare_train_features
    from squadqa.training import read_columns

    features = mapped(data["train"].select(range(16)), prepare_train_features, tokenizer=tokenizer)
    short = mapped(
        data["train"].select(range(16)), prepare_train_features, tokenizer=tokenizer, padding=False
    )
    model = model.to(report.device).eval()
    losses = []
    for rows, multiple in ((features, 1), (short, 1), (short, 32)):
        rows = read_columns(model, rows).to_list()
        batch = WindowCollator(tokenizer, multiple, 384)(rows)
        batch = {name: values.to(report.device) for name, values in batch.items()}
        with torch.inference_mode():
            losses.append(float(window_loss(model(**without_labels(batch)), batch)))
    assert max(losses) - min(losses) < 1e-3, losses
    report.equal.append(f"losses of 16 examples' windows in three widths: {losses}")


def train_all(report: Report) -> None:
    settings, small = report.settings, report.settings.quick
    from datasets import DatasetDict

    tokenizer, part = tokenizer_of(settings), training_part(settings)
    data, shape = DatasetDict(train=part), "tiny" if small else "bert-base"

    def new():
        return new_model(shape, tokenizer)

    long = [2, 4, 6, 8] if small else [50, 400, 2000, 2400]
    short = [2, 4] if small else [50, 300]
    with report.part("losses"):
        same_loss(report, new(), tokenizer, data)
    with report.part("the course's recipe"):
        course(report, new(), tokenizer, part, long)
    with report.part("fine_tune"):
        own(report, "fine_tune as it comes", new(), tokenizer, data, long)
    for compiled in (False, True):
        name = f"fine_tune, the fast recipe, compile={compiled}"
        with report.part(name):
            if small and compiled or not report.has_time(name, 100):
                continue
            options = {"recipe": "fast", "compile": compiled}
            options |= {"batch_size": 4} if small else {}
            own(report, name, new(), tokenizer, data, short, **options)
    for compiled in (False, True):
        with report.part(f"a bare loop, compiled={compiled}"):
            if small and compiled or not report.has_time("a bare loop", 60):
                continue
            bare(report, new(), 4 if small else 64, 64 if small else 192, compiled, 10)
    with report.part("a bare loop, packed"):
        if report.has_time("a bare loop, packed", 60):
            packed(report, new(), tokenizer, data, 2 if small else 24, 2 if small else 20)


# --- answering


def ask(report: Report, questions: list, contexts: list, dtype, batch_size: int) -> list[dict]:
    from squadqa.inference import QuestionAnswerer

    qa = QuestionAnswerer(device=report.device, dtype=dtype, batch_size=batch_size)
    qa(questions[:64], contexts[:64])  # the first use loads kernels
    begin = wait(report.device)
    answers = qa(questions, contexts)
    seconds = wait(report.device) - begin
    name = f"QuestionAnswerer, {dtype or 'float32'}, batches of {batch_size}"
    report.add(name, questions_per_second=round(len(questions) / seconds, 1))
    return answers


def bare_forward(report: Report, questions: list, contexts: list, dtype: torch.dtype) -> None:
    "The model alone over the same windows, in batches that lie on the device."
    from squadqa.batching import WindowCollator
    from squadqa.inference import QuestionAnswerer

    qa = QuestionAnswerer(device=report.device)
    model, collate = qa.model.to(dtype), WindowCollator(qa.tokenizer, 32)
    asked = qa.prepare(list(zip(questions, contexts)))
    windows = [window.features for one in asked for window in one.windows]
    windows.sort(key=lambda features: -len(features["input_ids"]))
    batches = [collate(windows[i : i + 128]) for i in range(0, len(windows), 128)]
    batches = [{k: v.to(report.device) for k, v in batch.items()} for batch in batches]
    with torch.inference_mode():
        for batch in batches:
            model(**batch)
        begin = wait(report.device)
        for batch in batches:
            model(**batch)
        seconds = wait(report.device) - begin
    rate = round(len(questions) / seconds, 1)
    report.add(f"the bare forward pass, {dtype}", questions_per_second=rate)


def answer_all(report: Report) -> None:
    from squadqa.evaluation import evaluate_model
    from squadqa.inference import QuestionAnswerer
    from squadqa.models import load_model, load_tokenizer

    examples = validation_set(report.settings)
    examples = examples.select(range(min(4000, len(examples))))
    questions, contexts = examples["question"][:], examples["context"][:]
    found = {}
    for dtype in (None, "bfloat16"):
        for size in (32, 128):
            with report.part(f"answering, {dtype}, {size}"):
                found[dtype, size] = ask(report, questions, contexts, dtype, size)
    if (None, 32) in found and (None, 128) in found:
        pairs = list(zip(found[None, 32], found[None, 128]))
        alike = sum(a["answer"] == b["answer"] for a, b in pairs) / len(pairs)
        assert alike > 0.998, alike
        report.equal.append(f"answers in batches of 32 and of 128: {alike:.2%} the same")
    for dtype in (torch.float32, torch.bfloat16):
        with report.part(f"the bare forward pass, {dtype}"):
            bare_forward(report, questions, contexts, dtype)
    with report.part("one question at a time"):
        qa, few = QuestionAnswerer(device=report.device), list(zip(questions, contexts))[:200]
        qa(*few[0])
        begin = wait(report.device)
        for question, context in few:
            qa(question, context)
        rate = round(len(few) / (wait(report.device) - begin), 1)
        report.add("one question at a time", questions_per_second=rate)
    with report.part("evaluate_model"):
        model, tokenizer = load_model("starter"), load_tokenizer("starter")
        result = evaluate_model(model, tokenizer, examples, batch_size=128, progress=False)
        rate = round(len(examples) / result.seconds, 1)
        report.add("evaluate_model", questions_per_second=rate, **result.scores)


def main(words=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model on the CPU")
    parser.add_argument("--results", type=Path, help="folder for gpu.json (benchmarks/results)")
    args = parser.parse_args(words)
    if not (torch.cuda.is_available() or args.quick):
        print("not measured: PyTorch sees no GPU here")
        return
    quiet()
    folder = args.results or (Path("runs") / "benchmarks" if args.quick else RESULTS)
    report = Report(Settings(args.quick), folder / "gpu.json")
    answer_all(report)
    train_all(report)
    report.write()
    print(f"{report.file}: {len(report.rows)} rows, {len(report.left_out)} left out")


if __name__ == "__main__":
    main()
