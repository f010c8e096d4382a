"""Training without padding: several windows share a row, and a mask keeps them apart. Compared on a
CPU with the same windows padded to the longest of their batch. It is an experiment, and not a part
of the package: it may only go there once it wins somewhere."""

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.harness import Measured, Settings, Target, in_turns
from benchmarks.material import mapped, quiet, tokenizer_of, training_part
from benchmarks.training import new_model

ROW = 512  # tokens in a row
BATCH = 8  # windows in a step


def rows_of(lengths: Sequence[int], row: int) -> list[list[int]]:
    "The windows of each row: the longest first, each into the first row that has room for it."
    rows: list[list[int]] = []
    room: list[int] = []
    for i in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        place = next((p for p, left in enumerate(room) if left >= lengths[i]), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(row)
        rows[place].append(i)
        room[place] -= lengths[i]
    return rows


class PackedCollator:
    "Put several windows into each row. Positions begin anew with each window."

    def __init__(
        self,
        tokenizer,  # tells the padding token
        row: int = ROW,  # tokens in a row
        first_position: int = 0,  # from `first_position`
        sliding_window: int | None = None,  # how far the local layers of ModernBERT look
    ):
        self.pad, self.row = tokenizer.pad_token_id or 0, row
        self.first_position, self.sliding_window = first_position, sliding_window

    def __call__(self, features: Sequence[dict]) -> dict:
        """input_ids, position_ids and, where windows have them, token_type_ids: (rows, tokens);
        attention_mask: (rows, 1, tokens, tokens), True where a token sees another;
        places: (windows, longest) where a window's tokens are in the flattened rows, -1 behind it;
        start_positions, end_positions: (windows,) as they were."""
        lengths = [len(f["input_ids"]) for f in features]
        rows = rows_of(lengths, self.row)
        shape = len(rows), self.row
        names = [n for n in ("input_ids", "token_type_ids") if n in features[0]]
        table = {name: np.full(shape, 0, np.int64) for name in (*names, "position_ids")}
        table["input_ids"][:] = self.pad
        table["position_ids"][:] = self.first_position
        owner = np.full(shape, -1)
        places = np.full((len(features), max(lengths)), -1)
        for r, windows in enumerate(rows):
            begin = 0
            for i in windows:
                end = begin + lengths[i]
                for name in names:
                    table[name][r, begin:end] = features[i][name]
                table["position_ids"][r, begin:end] += np.arange(lengths[i])
                owner[r, begin:end] = i
                places[i, : lengths[i]] = r * self.row + np.arange(begin, end)
                begin = end
        batch = {name: torch.from_numpy(values) for name, values in table.items()}
        batch["attention_mask"] = self._mask(torch.from_numpy(owner))
        batch["places"] = torch.from_numpy(places)
        for side in ("start_positions", "end_positions"):
            batch[side] = torch.tensor([int(f[side]) for f in features])
        return batch

    def _mask(self, owner: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        "Tokens of one window see each other; padding sees padding, so that no row is empty"
        mask = owner[:, None, :, None] == owner[:, None, None, :]
        if self.sliding_window is None:
            return mask
        place = torch.arange(self.row)
        near = (place[:, None] - place[None]).abs() <= self.sliding_window
        return {"full_attention": mask, "sliding_attention": mask & near}


def packed_loss(output, batch: dict) -> torch.Tensor:
    "`window_loss` of the windows, taken out of their rows."
    from squadqa.batching import window_loss

    places = batch["places"]
    names = ("start_logits", "end_logits")
    logits = {name: output[name].flatten()[places.clamp(min=0)] for name in names}
    return window_loss(logits, {**batch, "attention_mask": places >= 0})


def inputs_of(batch: dict) -> dict:
    "What of a packed batch a model is given."
    labels = ("places", "start_positions", "end_positions")
    return {name: values for name, values in batch.items() if name not in labels}


@torch.no_grad()
def first_position(model, tokenizer) -> int:
    "The position of a window's first token: 0, or behind the padding's (RoBERTa). Found by trying."
    batch = tokenizer("where", "here", return_tensors="pt").to(model.device)
    ids = batch["input_ids"]
    plain = model(**batch).start_logits
    for first in (0, (model.config.pad_token_id or 0) + 1):
        positions = first + torch.arange(ids.shape[1], device=model.device)[None]
        if torch.allclose(model(**batch, position_ids=positions).start_logits, plain, atol=1e-5):
            return first
    raise ValueError(f"{type(model).__name__} counts its positions in a way of its own")


def steps_of(model, batches: list[dict], loss_of, inputs) -> list[float]:
    "Train over the batches; the losses."
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    losses = []
    for batch in batches:
        loss = loss_of(model(**inputs(batch)), batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def measure(settings: Settings) -> Measured:
    from squadqa.batching import WindowCollator, window_loss, without_labels
    from squadqa.labeling import prepare_train_features

    quiet()
    tokenizer, part = tokenizer_of(settings), training_part(settings)
    shape, n = ("tiny", 2) if settings.quick else ("minilm", 8)
    some = part.shuffle(seed=0).select(range(BATCH * n))
    windows = mapped(some, prepare_train_features, tokenizer=tokenizer, padding=False).to_list()
    chunks = [windows[i : i + BATCH] for i in range(0, BATCH * n, BATCH)]
    model = new_model(shape, tokenizer).eval()  # without dropout, whose chance is not the same
    pack, pad = PackedCollator(tokenizer, ROW, first_position(model, tokenizer)), WindowCollator
    padded, packed = [pad(tokenizer, 8)(c) for c in chunks], [pack(c) for c in chunks]
    weights = {name: values.clone() for name, values in model.state_dict().items()}

    def run(batches, loss_of, inputs):
        model.load_state_dict(weights)
        return steps_of(model, batches, loss_of, inputs)

    variants = {
        "padded": lambda: run(padded, window_loss, without_labels),
        "packed": lambda: run(packed, packed_loss, inputs_of),
    }
    one, other = (variants[name]() for name in variants)
    assert np.allclose(one, other, atol=1e-3), (one, other)
    seconds, cpu = in_turns(variants, settings.rounds)
    tokens = sum(len(w["input_ids"]) for w in windows[: BATCH * n])
    shares = {
        name: round(1 - tokens / sum(b["input_ids"].numel() for b in batches), 3)
        for name, batches in (("padded", padded), ("packed", packed))
    }
    return Measured(
        what=f"{n} steps of {BATCH} windows, {shape} with random weights, rows of {ROW} tokens",
        equal="the loss of each step",
        seconds=seconds,
        cpu_seconds=cpu,
        targets=[Target("packed", "padded")],
        more={"share_of_padding": shares},
    )
