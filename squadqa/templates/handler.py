"""Answers for a Hugging Face Inference Endpoint; the model lies beside this file."""

import json
import os
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it on import

from squadqa.answering import AskOptions
from squadqa.inference import QuestionAnswerer, take_options

WINDOWS = ("max_seq_len", "doc_stride", "max_answer_len")


def read_parameters(
    parameters: dict | None,  # of a request
) -> dict:  # options of `QuestionAnswerer`
    "Options under their old names too; None means the default, another name a `ValueError`."
    if not isinstance(parameters, dict | None):
        raise ValueError(f"parameters={parameters!r} must be an object, {{'top_k': 3}}")
    rest = dict(parameters or {})
    options = take_options(rest)
    if rest:
        known = ", ".join(AskOptions.__dataclass_fields__)
        raise ValueError(f"no option is called {', '.join(rest)}: there are {known}")
    return options


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
        if not isinstance(data, dict):
            raise ValueError(f"a request is an object {{'inputs': ...}}, not {type(data).__name__}")
        inputs = data.get("inputs", data)
        options = self.options | read_parameters(data.get("parameters"))
        if isinstance(inputs, dict) and any(isinstance(v, list) for v in inputs.values()):
            found = self.qa(inputs.get("question", ""), inputs.get("context"), **options)
        else:
            found = self.qa(inputs, **options)
        return found if isinstance(found, dict) else list(found)
