"""Properties that hold for every text: generated questions, contexts and answers.

Each takes a tokenizer and one case, which is made by chance. `test_properties.py` lets hypothesis
choose, a few dozen cases that are always the same; `tools/fuzz.py` tries as many as it is told.
"""

from random import Random
from unicodedata import category

import numpy as np

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


def make_words(count: int = 4000) -> list[str]:
    "Words of these signs, the same each time: drawing whole words is much faster than signs"
    chance = Random(42)
    signs = sorted(set(SIGNS))
    return ["".join(chance.choices(signs, k=chance.randint(1, 12))) for _ in range(count)]


WORDS = make_words()


def any_sign(chance: Random) -> str:
    "Any character but NUL and the halves of pairs"
    code = chance.randint(1, 0x10FFFF - 0x800)
    return chr(code if code < 0xD800 else code + 0x800)


def make_text(chance: Random, most: int = 24) -> str:
    "Words of our signs, every fourth of any signs; never white space alone"
    words = ["0"]
    for _ in range(chance.randint(0, most - 1)):
        if chance.randint(0, 3):
            words.append(chance.choice(WORDS))
        else:
            words.append("".join(any_sign(chance) for _ in range(chance.randint(1, 6))))
    return " ".join(words[1:]).strip() or chance.choice(WORDS).strip() or words[0]


def make_case(chance: Random) -> tuple[str, str, dict]:
    "A question, a context, and an answer in it."
    context, question = make_text(chance), make_text(chance, most=5)
    start = chance.randint(0, len(context) - 1)
    end = chance.randint(start + 1, min(len(context), start + 40))
    return question, context, {"text": [context[start:end]], "answer_start": [start]}


def make_size(chance: Random) -> tuple[int, int]:
    "How much longer than the smallest window, and how much of that the windows share."
    more = chance.randint(0, 40)
    return more, chance.randint(0, more)


def smallest(tokenizer, question: str) -> int:
    "The shortest window that leaves this question room for one token of the context."
    ids = tokenizer(question.strip(), add_special_tokens=False)["input_ids"]
    return len(ids) + tokenizer.num_special_tokens_to_add(pair=True) + 1


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
    windows, length, stride = windows_of(tokenizer, question, context, size)
    labels = label_windows(windows, [answers], tokenizer)
    rows = {"question": [question], "context": [context], "answers": [answers]}
    options = {"max_length": length, "stride": stride, "padding": False}
    made = prepare_train_features(rows, tokenizer, **options)
    assert labels == {name: made[name] for name in labels}
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
    assert min(a for a, _ in touched) <= found["start"]  # at most as wide as the tokens
    owned = {p for a, b in alone["offset_mapping"] for p in range(a, b)}
    loose = {i for i, c in enumerate(context) if category(c) in ("Mn", "Me")} - owned
    end = max(b for _, b in touched)
    while end in loose:  # accents that the tokenizer drops
        end += 1
    assert found["end"] <= end and found["end"] not in loose
    known = {p for a, b in touched for p in range(max(a, first), min(b, last))}
    known = {p for p in known if not context[p].isspace()}
    assert known <= set(range(found["start"], found["end"]))


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

SCORES = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.0, 3.0)  # ties on purpose


def make_search(chance: Random) -> tuple[np.ndarray, np.ndarray, int]:
    "Start and end logits (2, tokens), which tokens are allowed, and the longest answer."
    n = chance.randint(1, 12)
    logits = np.array([[chance.choice(SCORES) for _ in range(n)] for _ in "se"], np.float32)
    return logits, np.array([bool(chance.randint(0, 1)) for _ in range(n)]), chance.randint(1, 14)


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


def one(chance: Random) -> dict:
    return {"case": make_case(chance), "size": make_size(chance)}


def many(chance: Random) -> dict:
    cases = [make_case(chance) for _ in range(chance.randint(2, 4))]
    return {"cases": cases, "size": make_size(chance)}


def any_length(chance: Random) -> dict:
    question, context, _ = make_case(chance)
    return {"question": question, "context": context, "length": chance.randint(1, 60)}


def search(chance: Random) -> dict:
    return {"case": make_search(chance)}


# what is promised: the function that checks it, and what makes its cases
OF_TOKENIZERS = {
    "windows cover every token of the context": (windows_cover, one),
    "labels hold the whole answer": (labels_round_trip, one),
    "a perfect model gives the answer": (a_perfect_model, one),
    "one and many are the same": (one_and_many, many),
    "asking cuts the windows of training": (windows_of_both_kinds, one),
    "windows or a sentence, never a panic": (windows_or_a_sentence, any_length),
}
OF_THE_SEARCH = {"the exact search is brute force": (the_search_is_brute_force, search)}
