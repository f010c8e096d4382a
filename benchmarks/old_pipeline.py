"""The question-answering pipeline of transformers 4.57.6, run by answering.py with a Python that
has that version: answers the questions that standard input names, a range a line, as JSON lines.

python old_pipeline.py MODEL QUESTIONS.json BATCH_SIZE
"""

import json
import sys
import time

import transformers

model, file, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
assert transformers.__version__.startswith("4."), transformers.__version__
transformers.logging.set_verbosity_error()
pipe = transformers.pipeline("question-answering", model=model, device="cpu")
with open(file) as opened:
    pairs = json.load(opened)
options = {"align_to_words": False}  # its other defaults are those that answering.py asks with
pipe(**pairs[0], **options)
print("ready", flush=True)
for line in sys.stdin:
    begin, end = map(int, line.split())
    start = time.perf_counter()
    if size == 1:
        answers = [pipe(**pair, **options) for pair in pairs[begin:end]]
    else:
        answers = pipe([dict(pair) for pair in pairs[begin:end]], batch_size=size, **options)
    print(json.dumps({"seconds": time.perf_counter() - start, "answers": answers}), flush=True)
lines = open("/proc/self/status").read().splitlines()  # ru_maxrss would begin with the parent's
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(json.dumps({"peak_mib": round(peak / 1024)}), flush=True)
