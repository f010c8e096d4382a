"""A page to ask on, as a Hugging Face Space; the model lies beside this file."""

import json
import os
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it on import

from squadqa.demo import build_demo
from squadqa.inference import QuestionAnswerer

folder = Path(__file__).parent
settings = json.loads((folder / "squadqa.json").read_text(encoding="utf-8"))
qa = QuestionAnswerer(str(folder), backend=settings["engine"]["backend"])
demo = build_demo(qa)

if __name__ == "__main__":
    demo.launch()
