"""Does bulk prediction need more memory for more questions? A tiny random model answers 10,000 and
100,000 of them.

python benchmarks/memory.py  ->  results/memory.json
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import machine

HERE = Path(__file__).parent
WORKER = """
import resource, sys, time
from squadqa.bulk import predict_file
from squadqa.inference import QuestionAnswerer
start = time.time()
qa = QuestionAnswerer(sys.argv[1], device="cpu")
done = predict_file(qa, sys.argv[2], sys.argv[3], progress=False)
print(done, time.time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def main():
    from transformers import BertConfig, BertForQuestionAnswering, set_seed

    from squadqa.models import load_tokenizer

    found, tokenizer = [], load_tokenizer("minilm")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        set_seed(0)
        BertForQuestionAnswering(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
            )
        ).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for n in (10_000, 100_000):
            with (folder / f"{n}.jsonl").open("w") as file:
                for i in range(n):
                    file.write(
                        json.dumps(
                            {
                                "question": f"Who waited {i} hours?",
                                "context": f"The cat {i} waited on the quay. " * (1 + i % 20),
                            }
                        )
                        + "\n"
                    )
            done = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    WORKER,
                    folder,
                    folder / f"{n}.jsonl",
                    folder / f"{n}.parquet",
                ],
                capture_output=True,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            if done.returncode:
                raise SystemExit(done.stderr[-3000:])
            count, seconds, peak = done.stdout.split()
            found.append(
                {
                    "questions": int(count),
                    "seconds": round(float(seconds), 1),
                    "peak_mib": int(peak),
                }
            )
            print(found[-1], flush=True)
    results = {
        "runs": found,
        "peak_against_tenth": round(found[1]["peak_mib"] / found[0]["peak_mib"], 4),
        "machine": machine(),
    }
    (HERE / "results" / "memory.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
