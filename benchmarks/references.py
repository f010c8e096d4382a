"""What squadqa is compared with, written down from its description.

The course's functions follow chapter 7.7 of the Hugging Face course, run_qa's post-processing the
behaviour of transformers' `utils_qa.postprocess_qa_predictions`, and the scores the official rule
of SQuAD v1.1. They are plain on purpose: one step after the other, as a reader would do it.
"""

import math
import re
import string
from collections import Counter, OrderedDict, defaultdict

import numpy as np

MAX_LENGTH, STRIDE = 384, 128


def _tokenized(examples: dict, tokenizer):
    "The course's call of the tokenizer"
    return tokenizer(
        [question.strip() for question in examples["question"]],
        examples["context"],
        max_length=MAX_LENGTH,
        truncation="only_second",
        stride=STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )


def _context_edges(sequence_ids: list) -> tuple[int, int]:
    "First and last token with sequence id 1, walking from the left"
    place = 0
    while sequence_ids[place] != 1:
        place += 1
    first = place
    while sequence_ids[place] == 1:
        place += 1
    return first, place - 1


def _course_label(offsets, sequence_ids, start_char: int, end_char: int) -> tuple[int, int]:
    "Walk to the answer's first token from the left, to its last from the right; (0, 0) outside"
    first, last = _context_edges(sequence_ids)
    if offsets[first][0] > start_char or offsets[last][1] < end_char:
        return 0, 0
    left = first
    while left <= last and offsets[left][0] <= start_char:
        left += 1
    right = last
    while right >= first and offsets[right][1] >= end_char:
        right -= 1
    return left - 1, right + 1


def course_train_features(examples: dict, tokenizer) -> dict:
    "The course's training features: padded to 384, labels found by walking over the offsets."
    windows = _tokenized(examples, tokenizer)
    offsets = windows.pop("offset_mapping")
    owners = windows.pop("overflow_to_sample_mapping")
    starts, ends = [], []
    for i, row in enumerate(offsets):
        answer = examples["answers"][owners[i]]
        start_char = answer["answer_start"][0]
        end_char = start_char + len(answer["text"][0])
        start, end = _course_label(row, windows.sequence_ids(i), start_char, end_char)
        starts.append(start)
        ends.append(end)
    windows["start_positions"] = starts
    windows["end_positions"] = ends
    return windows


def course_validation_features(examples: dict, tokenizer) -> dict:
    "The course's validation features: ids of the examples, offsets that are None outside."
    windows = _tokenized(examples, tokenizer)
    owners = windows.pop("overflow_to_sample_mapping")
    ids = []
    for i in range(len(windows["input_ids"])):
        ids.append(examples["id"][owners[i]])
        sequence_ids = windows.sequence_ids(i)
        offsets = windows["offset_mapping"][i]
        windows["offset_mapping"][i] = [
            offset if sequence_ids[k] == 1 else None for k, offset in enumerate(offsets)
        ]
    windows["example_id"] = ids
    return windows


# --- decoding


def course_answers(start_logits, end_logits, features, examples, n_best=20, longest=30):
    "The course's loop: all pairs of the n best starts and ends of every window."
    windows = defaultdict(list)
    for number, feature in enumerate(features):
        windows[feature["example_id"]].append(number)
    answers = []
    for example in examples:
        context, candidates = example["context"], []
        for number in windows[example["id"]]:
            starts, ends = start_logits[number], end_logits[number]
            offsets = features[number]["offset_mapping"]
            first_tokens = np.argsort(starts)[-1 : -n_best - 1 : -1].tolist()
            last_tokens = np.argsort(ends)[-1 : -n_best - 1 : -1].tolist()
            for first in first_tokens:
                for last in last_tokens:
                    if offsets[first] is None or offsets[last] is None:
                        continue
                    if last < first or last - first + 1 > longest:
                        continue
                    text = context[offsets[first][0] : offsets[last][1]]
                    candidates.append({"text": text, "score": starts[first] + ends[last]})
        best = max(candidates, key=lambda c: c["score"]) if candidates else {"text": ""}
        answers.append({"id": example["id"], "prediction_text": best["text"]})
    return answers


def _run_qa_candidates(number, logits, offsets, n_best, longest) -> list[dict]:
    "Scored spans of one window, with what run_qa keeps of each"
    starts, ends = logits
    found = []
    for first in np.argsort(starts)[-1 : -n_best - 1 : -1].tolist():
        for last in np.argsort(ends)[-1 : -n_best - 1 : -1].tolist():
            if first >= len(offsets) or last >= len(offsets):
                continue
            if not offsets[first] or not offsets[last]:
                continue
            if last < first or last - first + 1 > longest:
                continue
            found.append(
                {
                    "offsets": (offsets[first][0], offsets[last][1]),
                    "score": starts[first] + ends[last],
                    "start_logit": starts[first],
                    "end_logit": ends[last],
                }
            )
    return found


def run_qa_answers(start_logits, end_logits, features, examples, n_best=20, longest=30):
    """run_qa's post-processing: all candidates of all windows sorted, the n best given texts and
    probabilities, the first one the prediction."""
    places = {example: i for i, example in enumerate(examples["id"])}
    windows = defaultdict(list)
    for number, feature in enumerate(features):
        windows[places[feature["example_id"]]].append(number)
    predictions, n_best_of = OrderedDict(), OrderedDict()
    for i, example in enumerate(examples):
        candidates, null = [], None
        for number in windows[i]:
            logits = start_logits[number], end_logits[number]
            offsets = features[number]["offset_mapping"]
            score = logits[0][0] + logits[1][0]
            if null is None or null > score:
                null = score
            candidates += _run_qa_candidates(number, logits, offsets, n_best, longest)
        kept = sorted(candidates, key=lambda c: c["score"], reverse=True)[:n_best]
        for candidate in kept:
            begin, end = candidate.pop("offsets")
            candidate["text"] = example["context"][begin:end]
        if not kept:
            kept = [{"text": "empty", "start_logit": 0.0, "end_logit": 0.0, "score": 0.0}]
        sums = np.array([candidate.pop("score") for candidate in kept])
        powers = np.exp(sums - np.max(sums))
        for candidate, p in zip(kept, powers / powers.sum()):
            candidate["probability"] = p
        predictions[example["id"]] = kept[0]["text"]
        n_best_of[example["id"]] = [
            {k: float(v) if isinstance(v, np.floating) else v for k, v in candidate.items()}
            for candidate in kept
        ]
    return predictions, n_best_of


# --- scores


def official_normal(text: str) -> str:
    "Lower case, no punctuation, no articles, single spaces: in that order."
    marks = set(string.punctuation)
    text = "".join(sign for sign in text.lower() if sign not in marks)
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split())


def official_f1(prediction: str, gold: str) -> float:
    "Harmonic mean of precision and recall of words."
    words, wanted = official_normal(prediction).split(), official_normal(gold).split()
    shared = sum((Counter(words) & Counter(wanted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def official_scores(predictions: dict[str, str], examples) -> dict[str, float]:
    "The best score against any reference, for each question; means over all."
    exact = f1 = 0.0
    for example in examples:
        prediction, golds = predictions[example["id"]], example["answers"]["text"]
        exact += max(float(official_normal(prediction) == official_normal(g)) for g in golds)
        f1 += max(official_f1(prediction, gold) for gold in golds)
    return {"exact_match": 100 * exact / len(examples), "f1": 100 * f1 / len(examples)}


def close(one: dict[str, float], other: dict[str, float]) -> bool:
    "The same numbers, as far as sums in another order can be."
    return one.keys() == other.keys() and all(
        math.isclose(one[k], other[k], rel_tol=1e-9) for k in one
    )
