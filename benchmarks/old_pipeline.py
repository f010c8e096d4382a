"""The question-answering pipeline of transformers 4.57, timed. Run by inference.py with a Python
that has that version.

    python old_pipeline.py MODEL QUESTIONS.json BATCH_SIZE THREADS

Answers the questions that standard input names, one range (begin end) a line, each with a line
of JSON.
"""

import importlib.metadata
import json
import sys
import time

import torch
import transformers


def peak_mib() -> float:
    """The most memory that this process had; ru_maxrss would begin with that of the process that
    started it."""
    return next(
        int(line.split()[1]) / 1024
        for line in open("/proc/self/status")
        if line.startswith("VmHWM")
    )


model, questions, batch_size, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
transformers.logging.set_verbosity_error()
pipe = transformers.pipeline("question-answering", model=model, device="cpu")
pairs = json.load(open(questions))
options = {"align_to_words": False}  # its other defaults are those that inference.py asks with
pipe(**pairs[0], **options)
print("ready", flush=True)
for line in sys.stdin:
    begin, end = map(int, line.split())
    start = time.perf_counter()
    answers = (
        pipe([dict(p) for p in pairs[begin:end]], batch_size=batch_size, **options)
        if end - begin > 1
        else [pipe(**pairs[begin], **options)]
    )
    print(json.dumps({"seconds": time.perf_counter() - start, "answers": answers}), flush=True)
packages = {p.name.lower(): p.version for p in importlib.metadata.distributions()}
print(
    json.dumps(
        {
            "peak_mib": peak_mib(),
            "versions": {
                name: packages.get(name)
                for name in ("transformers", "torch", "accelerate", "scipy")
            },
        }
    ),
    flush=True,
)
