"""Answers for a Hugging Face Inference Endpoint; the model lies beside this file."""

import json
from pathlib import Path

from squadqa.inference import QuestionAnswerer

WINDOWS = ("max_seq_len", "doc_stride", "max_answer_len")


class EndpointHandler:
    "What an Inference Endpoint creates once, and calls for each request."

    def __init__(
        self,
        path: str = "",  # the folder of the model; "": that of this file
    ):
        folder = Path(path) if path else Path(__file__).parent
        settings = json.loads((folder / "squadqa.json").read_text(encoding="utf-8"))
        self.options = {name: settings[name] for name in WINDOWS if name in settings}
        self.qa = QuestionAnswerer(str(folder), backend=settings["engine"]["backend"])

    def __call__(
        self,
        data: dict,  # {"inputs": {"question", "context"}, "parameters": {"top_k", ...}}
    ) -> dict | list:  # {score, start, end, answer}; lists for top_k > 1 and many inputs
        "Answer one request; what cannot be answered is a `ValueError`."
        inputs = data.get("inputs", data)
        options = self.options | (data.get("parameters") or {})
        found = self.qa(inputs, **options)
        return found if isinstance(found, dict) else list(found)
