"""The question-answering pipeline of transformers 4.57, timed. Run by inference.py with a Python that has that version.

    python old_pipeline.py MODEL QUESTIONS.json BATCH_SIZE THREADS [ALIGN]  ->  one line of JSON
"""
import json, resource, sys, time

import torch
import transformers

model, questions, batch_size, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
align = sys.argv[5:6] == ["align"]
torch.set_num_threads(threads)
transformers.logging.set_verbosity_error()
pipe = transformers.pipeline("question-answering", model=model, device="cpu")
pairs = json.load(open(questions))
options = {"align_to_words": align}
pipe(**pairs[0], **options)
start = time.perf_counter()
if batch_size == 0:  # one call for each, as in a service
    answers = [pipe(**pair, **options) for pair in pairs]
else:
    answers = pipe([dict(p) for p in pairs], batch_size=batch_size, **options)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "answers": answers,
                  "versions": {"transformers": transformers.__version__, "torch": torch.__version__}}))
