"""Properties that hold for every text: generated questions, contexts and answers, real tokenizers.

SQUADQA_CASES says how many cases each property sees (`make fuzz`: 100,000 on each tokenizer); by
default there are a few dozen, always the same ones.
"""

import os
from functools import lru_cache

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings, strategies as st

from squadqa.labeling import answer_chars, label_windows, prepare_train_features
from squadqa.metrics import exact_match, f1, normalize_answer
from squadqa.models import load_tokenizer
from squadqa.postprocessing import find_spans, postprocess
from squadqa.validation import prepare_validation_features
from squadqa.windows import check_room, context_index, tokenize_windows

CASES = int(os.environ.get("SQUADQA_CASES", 40))
TOKENIZERS = ("minilm", "bert-base-cased", "xlnet-base-cased", "roberta-style")
many = settings(
    max_examples=CASES,
    deadline=None,
    derandomize="SQUADQA_CASES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@lru_cache
def tokenizer_of(name: str, side: str):
    if name == "minilm":
        found = load_tokenizer(name)
    else:
        folder = os.environ.get("SQUADQA_DATA")
        if not folder:
            pytest.skip(f"SQUADQA_DATA is not set: it names the folder with {name}")
        found = load_tokenizer(os.path.join(folder, "tokenizers", name))
    found.padding_side = side
    return found


@pytest.fixture(params=[(n, s) for n in TOKENIZERS for s in ("right", "left")], ids="-".join)
def tokenizer(request):
    "Each tokenizer at hand, on the padding side that it has and on the other one."
    return tokenizer_of(*request.param)


# --- texts

SIGNS = (
    "abcdefghij ABC 0123456789 .,;:!?'\"()-–—  \n\t  "
    "éèüßøåñçœ ÀÉÎÕÜ αβγδ Ωμέγα абвгд שלום مرحبا हिन्दी 日本語の文 中文字符 한국어 ไทย "
    "🙂🛥️👩‍👩‍👧🇳🇴 ﬁﬂ ½ ² µ \u00ad\u200b\u200d\u202e\u2028\ufeff\u0301e\u0308 \u1680\u3000"
)
letters = st.sampled_from(sorted(set(SIGNS)))
any_sign = st.characters(codec="utf-8", exclude_characters="\x00")
words = st.text(st.one_of(letters, letters, any_sign), min_size=1, max_size=12)
texts = st.lists(words, min_size=1, max_size=40).map(" ".join)


@st.composite
def questions_with_answers(draw):
    "A question, a context, and the place of an answer in it."
    context = draw(texts.filter(str.strip))
    question = draw(st.lists(words, min_size=1, max_size=5).map(" ".join).filter(str.strip))
    start = draw(st.integers(0, len(context) - 1))
    end = draw(st.integers(start + 1, min(len(context), start + 40)))
    answers = {"text": [context[start:end]], "answer_start": [start]}
    return question, context, answers


def smallest(tokenizer, question: str) -> int:
    "The shortest window that leaves this question room for one token of the context."
    ids = tokenizer(question.strip(), add_special_tokens=False)["input_ids"]
    return len(ids) + tokenizer.num_special_tokens_to_add(pair=True) + 1


@st.composite
def lengths(draw):
    "How much longer than the smallest window, and how much of that the windows share."
    more = draw(st.integers(0, 40))
    return more, draw(st.integers(0, more))


def windows_of(tokenizer, question, context, size):
    more, stride = size
    length = smallest(tokenizer, question) + more
    windows = tokenize_windows(
        tokenizer, [question], [context], max_length=length, stride=stride, padding=False
    )
    return windows, length, stride


# --- properties


@many
@given(case=questions_with_answers(), size=lengths())
def check_windows_cover(tokenizer, case, size):
    "Every token of the context is in a window, in order; neighbours share the stride."
    question, context, _ = case
    windows, length, stride = windows_of(tokenizer, question, context, size)
    alone = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    wanted, found, side = alone["input_ids"], [], context_index(tokenizer)
    for i, ids in enumerate(windows["input_ids"]):
        assert len(ids) <= length
        part = [t for t, s in zip(ids, windows.sequence_ids(i)) if s == side]
        if i:
            assert part[:stride] == found[len(found) - stride :]
            part = part[stride:]
        found += part
    assert found == wanted


@many
@given(case=questions_with_answers(), size=lengths())
def check_labels_round_trip(tokenizer, case, size):
    "A label's tokens hold the whole answer, and no token at its edges is without a part of it."
    question, context, answers = case
    windows, *_ = windows_of(tokenizer, question, context, size)
    labels = label_windows(windows, [answers], tokenizer)
    chars = answer_chars(answers)
    for i in range(len(windows["input_ids"])):
        first, last = labels["start_positions"][i], labels["end_positions"][i]
        sides, offsets = windows.sequence_ids(i), windows["offset_mapping"][i]
        assert 0 <= first <= last < len(sides)
        if sides[first] is None:
            assert first == last
            continue
        assert chars is not None and sides[first] == sides[last] == context_index(tokenizer)
        inside = [o for o in offsets[first : last + 1] if o[0] < o[1]]
        covered = {p for a, b in inside for p in range(a, b)}
        side = context_index(tokenizer)
        known = {p for o, s in zip(offsets, sides) if s == side for p in range(*o)}
        assert set(range(*chars)) & known <= covered
        assert offsets[first][0] < chars[1] and offsets[last][1] > chars[0]


@many
@given(case=questions_with_answers(), size=lengths())
def check_a_perfect_model(tokenizer, case, size):
    "Logits that name the label decode to the answer, as the metric reads it, from some window."
    question, context, answers = case
    more, stride = size
    length = smallest(tokenizer, question) + more
    rows = {"id": ["x"], "question": [question], "context": [context], "answers": [answers]}
    options = {"max_length": length, "stride": stride, "padding": False}
    train = prepare_train_features(rows, tokenizer, **options)
    features = prepare_validation_features(rows, tokenizer, **options)
    width = max(map(len, features["input_ids"]))
    logits = np.full((2, len(features["input_ids"]), width), -10.0, np.float32)
    labelled = 0
    for i, (first, last) in enumerate(zip(train["start_positions"], train["end_positions"])):
        if features["offset_mapping"][i][first] is not None:
            logits[0, i, first] = logits[1, i, last] = 10.0
            labelled += 1
    if not labelled:
        return
    table = [dict(zip(features, values)) for values in zip(*features.values())]
    example = {"id": "x", "context": context, "question": question, "answers": answers}
    (found,) = postprocess(*logits, table, [example], max_answer_length=width)
    text, gold = found["prediction_text"], answers["text"][0]
    assert text == context[found["start"] : found["end"]]
    if f1(text, [gold]) or exact_match(text, [gold]) or not normalize_answer(gold).strip():
        return
    squeezed, wanted = "".join(text.split()), "".join(gold.split())
    assert wanted in squeezed or squeezed in wanted, (text, gold)


@many
@given(cases=st.lists(questions_with_answers(), min_size=2, max_size=4), size=lengths())
def check_one_and_many(tokenizer, cases, size):
    "A batch of one gives what it gives among others."
    more, stride = size
    length = more + max(smallest(tokenizer, question) for question, *_ in cases)
    options = {"max_length": length, "stride": stride, "padding": False}
    names = ("question", "context", "answers")
    rows = [dict(zip(names, case)) | {"id": str(i)} for i, case in enumerate(cases)]

    def features(some):
        columns = {key: [row[key] for row in some] for key in (*names, "id")}
        return prepare_train_features(columns, tokenizer, **options)

    together, alone = features(rows), [features([row]) for row in rows]
    for key in together:
        assert together[key] == [value for part in alone for value in part[key]], key


PROPERTIES = {
    "windows cover every token of the context": check_windows_cover,
    "labels round trip": check_labels_round_trip,
    "a perfect model gives the answer": check_a_perfect_model,
    "one and many are the same": check_one_and_many,
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_property(name, tokenizer):
    PROPERTIES[name](tokenizer)


# --- the search, against brute force

scores = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 1.0, 3.0])  # ties on purpose


@st.composite
def searches(draw):
    n = draw(st.integers(1, 12))
    rows = [draw(st.lists(scores, min_size=n, max_size=n)) for _ in "se"]
    allowed = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array(rows, np.float32), np.array(allowed), draw(st.integers(1, 14))


@settings(many, max_examples=max(CASES, 300))
@given(case=searches())
def test_the_exact_search_is_brute_force(case):
    (start, end), allowed, longest = case
    spans = [
        (start[i] + end[j], i, j)
        for i in range(len(start))
        for j in range(i, min(len(start), i + longest))
        if allowed[i] and allowed[j]
    ]
    first, last, score = find_spans(
        start[None], end[None], allowed[None], max_answer_length=longest, search="exact"
    )
    if not spans:
        assert score[0, 0] == -np.inf
        return
    assert score[0, 0] == max(spans)[0]
    assert (score[0, 0], first[0, 0], last[0, 0]) in spans


@many
@given(question=texts.filter(str.strip), context=texts, length=st.integers(1, 60))
def test_windows_that_cannot_be_made_are_refused(question, context, length):
    "A ValueError or windows, never a panic; without room for the stride there is an error."
    tokenizer = tokenizer_of("minilm", "right")
    try:
        check_room(tokenizer, [question.strip()], [context], length, 3, ["x"])
    except ValueError as e:
        assert "max_length" in str(e) or "stride" in str(e)
        return
    windows = tokenize_windows(tokenizer, [question], [context], max_length=length, stride=3)
    assert max(map(len, windows["input_ids"])) <= length


def test_generated_texts_are_wild_enough():
    "The signs hold combining marks, wide characters, right-to-left letters and odd spaces."
    assert len(set(SIGNS)) > 100 and any(ord(sign) > 0xFFFF for sign in SIGNS)
    assert {"\u200b", "\u202e", "\ufeff", "\u00ad", "\u3000"} <= set(SIGNS)
    assert (ROOT / "tests").is_dir() and CASES >= 1
