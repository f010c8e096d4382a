"""Properties that hold for every text: generated questions, contexts and answers.

Each takes a tokenizer and one case. `test_properties.py` tries a few dozen cases, always the same
ones; `tools/fuzz.py` tries as many as it is told, new ones each time.
"""

import random

import numpy as np
from hypothesis import strategies as st

from squadqa.answering import make_windows, pair_layout, tokenize_contexts
from squadqa.labeling import answer_chars, label_windows, prepare_train_features
from squadqa.postprocessing import find_spans, postprocess
from squadqa.validation import prepare_validation_features
from squadqa.windows import check_room, context_index, tokenize_windows

# --- texts

SIGNS = (
    "abcdefghij ABC 0123456789 .,;:!?'\"()-–—  \n\t  "
    "éèüßøåñçœ ÀÉÎÕÜ αβγδ Ωμέγα абвгд שלום مرحبا हिन्दी 日本語の文 中文字符 한국어 ไทย "
    "🙂🛥️👩‍👩‍👧🇳🇴 ﬁﬂ ½ ² µ \u00ad\u200b\u200d\u202e\u2028\ufeff\u0301e\u0308 \u1680\u3000"
)
any_sign = st.characters(codec="utf-8", exclude_characters="\x00")


def make_words(count: int = 4000) -> list[str]:
    "Words of these signs, the same each time: drawing whole words is much faster than signs"
    chance = random.Random(42)
    signs = sorted(set(SIGNS))
    return ["".join(chance.choices(signs, k=chance.randint(1, 12))) for _ in range(count)]


made = st.sampled_from(make_words())
words = st.one_of(made, made, made, st.text(any_sign, min_size=1, max_size=6))
texts = st.lists(words, min_size=1, max_size=24).map(" ".join)


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


def windows_cover(tokenizer, case, size):
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


def labels_round_trip(tokenizer, case, size):
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


def a_perfect_model(tokenizer, case, size):
    "Logits that name the label decode to the answer, widened to whole tokens, without white space."
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
    assert found["prediction_text"] == context[found["start"] : found["end"]]
    alone = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    first, last = answer_chars(answers)
    touched = [(a, b) for a, b in alone["offset_mapping"] if a < last and b > first]
    start, end = min(a for a, _ in touched), max(b for _, b in touched)
    while context[start].isspace():
        start += 1
    while context[end - 1].isspace():
        end -= 1
    assert (found["start"], found["end"]) == (start, end)


def one_and_many(tokenizer, cases, size):
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


def windows_of_both_kinds(tokenizer, case, size):
    "Asking cuts the windows that training cuts: the same tokens, in the same order."
    question, context, _ = case
    windows, length, stride = windows_of(tokenizer, question, context, size)
    ids = tokenizer(question.strip(), add_special_tokens=False)["input_ids"]
    tokens = tokenize_contexts(tokenizer, [context])[context]
    found = make_windows(ids, tokens, pair_layout(tokenizer), length, stride)
    assert [w.features["input_ids"] for w in found] == windows["input_ids"]
    for i, window in enumerate(found):
        sides = windows.sequence_ids(i)
        if context_index(tokenizer) in sides:  # a text of control signs alone has no token
            assert sides.index(context_index(tokenizer)) == window.first


def windows_or_a_sentence(tokenizer, question, context, length):
    "Windows within the length or a ValueError that names what is too small; never a panic."
    try:
        check_room(tokenizer, [question.strip()], [context], length, 3, ["x"])
    except ValueError as e:
        assert "max_length" in str(e) or "stride" in str(e)
        return
    windows = tokenize_windows(tokenizer, [question], [context], max_length=length, stride=3)
    assert max(map(len, windows["input_ids"])) <= length


# --- the search, against brute force

scores = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 1.0, 3.0])  # ties on purpose


@st.composite
def searches(draw):
    n = draw(st.integers(1, 12))
    rows = [draw(st.lists(scores, min_size=n, max_size=n)) for _ in "se"]
    allowed = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array(rows, np.float32), np.array(allowed), draw(st.integers(1, 14))


def the_search_is_brute_force(case):
    "The exact search finds the score of the best span, and a span that has it."
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


ONE = {"case": questions_with_answers(), "size": lengths()}
MANY = {"cases": st.lists(questions_with_answers(), min_size=2, max_size=4), "size": lengths()}
ANY = {"question": texts.filter(str.strip), "context": texts, "length": st.integers(1, 60)}

# what is promised: the function that checks it, and what its cases are drawn from
OF_TOKENIZERS = {
    "windows cover every token of the context": (windows_cover, ONE),
    "labels hold the whole answer": (labels_round_trip, ONE),
    "a perfect model gives the answer": (a_perfect_model, ONE),
    "one and many are the same": (one_and_many, MANY),
    "asking cuts the windows of training": (windows_of_both_kinds, ONE),
    "windows or a sentence, never a panic": (windows_or_a_sentence, ANY),
}
OF_THE_SEARCH = {
    "the exact search is brute force": (the_search_is_brute_force, {"case": searches()})
}
