"""Normalisation, exact match and F1 of other languages: hand-made pairs, properties, and five
languages of XQuAD."""

import re
import unicodedata

import pytest
from hypothesis import given, settings, strategies as st

from squadqa.data import check_examples, load_squad
from squadqa.labeling import prepare_train_features
from squadqa.languages import (
    ARTICLES,
    BY_CHARACTER,
    LANGUAGES,
    RULES,
    answer_tokens,
    drop_articles,
    exact_match_in,
    f1_in,
    fold_characters,
    language_code,
    normalize_answer_in,
    split_characters,
    squad_scores_in,
)
from squadqa.metrics import exact_match, f1, normalize_answer, squad_scores
from squadqa.validation import prepare_validation_features

# ---- hand-made pairs: the same answer, written differently

SAME = [
    ("en", "The “Old” Mill", "old mill"),
    ("en", "24–10", "24-10"),
    ("en", "１９１２", "1912"),
    ("en", "ﬁre", "fire"),
    ("en", "2½", "21/2"),
    ("es", "La Biblioteca", "biblioteca"),
    ("es", "¿unos faros?", "faros"),
    ("es", "la\u0301piz", "lápiz"),
    ("es", "los años 20", "años 20"),
    ("de", "die STRASSE", "Straße"),
    ("de", "„das Rathaus“", "Rathaus"),
    ("de", "auf dem Berg", "auf Berg"),
    ("fr", "L’école", "école"),
    ("fr", "l'École", "école"),
    ("fr", "« les phares »", "phares"),
    ("it", "un'isola", "isola"),
    ("it", "gli alberi", "alberi"),
    ("pt", "os navios", "navios"),
    ("nl", "het huis", "huis"),
    ("ro", "niște corăbii", "corăbii"),
    ("el", "ΤΗΣ ΟΔΟΣ", "οδος"),
    ("ru", "«Маяк»", "маяк"),
    ("tr", "İZMİR", "izmir"),
    ("tr", "ISPARTA", "ısparta"),
    ("tr", "I\u0307zmir", "İzmir"),
    ("tr", "i\u0307zmir", "izmir"),
    ("ar", "المكتبة", "مكتبة"),
    ("ar", "عام ١٩١٢", "عام 1912"),
    ("ar", "مَكْتَبَة", "مكتبة"),
    ("ar", "كـــتاب", "كتاب"),
    ("ar", "نعم،", "نعم"),
    ("ar", "ﻻ", "لا"),
    ("ar", "\u200fمكتبة\u200e", "مكتبة"),
    ("hi", "पुस्तकालय।", "पुस्तकालय"),
    ("hi", "१९१२", "1912"),
    ("hi", "\u0958लम", "क\u093cलम"),
    ("vi", "chiếc đèn", "đèn"),
    ("vi", unicodedata.normalize("NFD", "những con thuyền"), "con thuyền"),
    ("zh", "《红灯》", "红灯"),
    ("zh", "１９１２年", "1912 年"),
    ("zh", "红、灯。", "红灯"),
    ("ja", "ｶﾞﾗｽ", "ガラス"),
    ("ja", "「海」", "海"),
    ("ja", "東京・駅", "東京駅"),
    ("ko", "서울 시", "서울시"),
    ("ko", unicodedata.normalize("NFD", "서울"), "서울"),
    ("th", "ห้อง สมุด", "ห้องสมุด"),
    ("th", "ปี ๑๙๑๒", "ปี 1912"),
]
DIFFERENT = [
    ("en", "vitamin A", "vitamin B"),
    ("vi", "An Giang", "Hà Giang"),
    ("de", "daß", "das"),
    ("hi", "कल", "कील"),
    ("th", "มา", "ม้า"),
    ("ar", "سؤال", "سؤ"),
    ("ar", "أب", "اب"),
    ("es", "año", "ano"),
    ("tr", "ılık", "ilik"),
    ("fr", "dell’isola", "isola"),
    ("ja", "びよういん", "びょういん"),
    ("zh", "北京", "京北"),
    ("ru", "a маяк", "маяк"),
    ("en", "👍", "👎"),
]


@pytest.mark.parametrize("language, one, other", SAME)
def test_the_same_answer_written_differently(language, one, other):
    assert normalize_answer_in(one, language) == normalize_answer_in(other, language) != ""
    assert exact_match_in(one, [other], language) == f1_in(one, [other], language) == 1


@pytest.mark.parametrize("language, one, other", DIFFERENT)
def test_different_answers_stay_different(language, one, other):
    assert exact_match_in(one, [other], language) == 0


def test_most_pairs_need_more_than_the_english_rule():
    assert {language for language, *_ in SAME} == set(LANGUAGES)
    assert sum(exact_match(one, [other]) for _, one, other in SAME) < 6


@pytest.mark.parametrize(
    "language, text, words",
    [
        ("zh", "北京2008年", ["北", "京", "2008", "年"]),
        ("zh", "Sony 公司", ["sony", "公", "司"]),
        ("zh", "𠮷野", ["𠮷", "野"]),
        ("ja", "タワーは１２月", [*"タワーは", "12", "月"]),
        ("ko", "서울은 2월", ["서", "울", "은", "2", "월"]),
        ("th", "มา ม้า", ["ม", "า", "ม้", "า"]),
        ("de", "東京 Turm", ["東京", "turm"]),
        ("hi", "में है", ["में", "है"]),
        ("ar", "والبيت الكبير", ["والبيت", "كبير"]),
        ("ar", "الالتزام", ["تزام"]),
        ("en", "❤\ufe0f x", ["❤", "x"]),
    ],
)
def test_words(language, text, words):
    assert answer_tokens(text, language) == words


def test_f1_by_hand():
    assert f1_in("北京市", ["北京"], "zh") == pytest.approx(4 / 5) and f1("北京市", ["北京"]) == 0
    assert f1_in("der rote Turm", ["das Rot des Turms", "ein Turm"], "de") == pytest.approx(2 / 3)
    assert (
        f1_in("", [], "zh") == exact_match_in("", [], "zh") == 1
        and f1_in("海", [], "ja") == exact_match_in("海", [], "ja") == 0
    )


# ---- MLQA's rules, and where this project's go beyond


@pytest.mark.parametrize(
    "language, text, plain",
    [
        ("en", "The “Old” Mill", "old mill"),
        ("es", "Unas casas, la mar", "casas mar"),
        ("de", "Die Straße des Ortes", "straße ortes"),
        ("hi", "एक घर।", "एक घर"),
        ("vi", "Chiếc đèn của tôi", "đèn tôi"),
        ("zh", "在2008年，Sony说", "在 2008 年 sony 说"),
        ("ar", "الكتاب", "كتاب"),
        ("ar", "العالم", "ع م"),
        ("ar", "والكتاب", "و كتاب"),
        ("ar", "سؤال", "سؤ"),
        ("zh", "１年", "１ 年"),
        ("zh", "𠮷𠀋", "𠮷𠀋"),
        ("zh", "々鿿", "々鿿"),
        ("en", "24–10", "2410"),
    ],
)
def test_mlqa_by_hand(language, text, plain):
    assert normalize_answer_in(text, language, "mlqa") == plain


@pytest.mark.parametrize(
    "language, one, other",
    [
        ("en", "１９１２", "1912"),
        ("ar", "عام ١٩١٢", "عام 1912"),
        ("ar", "مَكْتَبَة", "مكتبة"),
        ("de", "STRASSE", "Straße"),
        ("es", "la\u0301piz", "lápiz"),
        ("vi", unicodedata.normalize("NFD", "những con"), "con"),
        ("hi", "१९१२", "1912"),
        ("ar", "\u200fمكتبة", "مكتبة"),
    ],
)
def test_where_we_go_beyond_mlqa(language, one, other):
    assert (
        exact_match_in(one, [other], language) == 1
        and exact_match_in(one, [other], language, "mlqa") == 0
    )


def test_arabic_prefix_is_cut_at_the_start_of_a_word_only():
    assert (
        exact_match_in("سؤال", ["سؤ"], "ar", "mlqa") == 1
        and exact_match_in("سؤال", ["سؤ"], "ar") == 0
    )
    assert (
        normalize_answer_in("العالم", "ar") == "عالم" and normalize_answer_in("الي", "ar") == "الي"
    )


# ---- errors


def test_unknown_languages_and_rules_are_told():
    for wrong in ("xx", "", None, "english"):
        with pytest.raises(
            ValueError,
            match=r"no rules='unicode' for language .*known are ar \(Arabic\), de \(Ger.*zh \(Chi",
        ):
            language_code(wrong)
    with pytest.raises(ValueError, match="rules='mlqa' for language 'fr'"):
        normalize_answer_in("x", "fr", "mlqa")
    with pytest.raises(ValueError, match="'official' is none of 'unicode', 'mlqa'"):
        language_code("de", "official")
    for call in (
        answer_tokens,
        normalize_answer_in,
        lambda text, language: f1_in(text, [text], language),
        lambda text, language: exact_match_in(text, [text], language),
        lambda text, language: squad_scores_in({}, [], language),
    ):
        with pytest.raises(ValueError, match="known are"):
            call("text", "xx")


def test_codes_may_have_a_region_or_a_script():
    assert [language_code(c) for c in ("DE", "de-AT", "zh_Hans", "pt-BR")] == [
        "de",
        "de",
        "zh",
        "pt",
    ]
    assert (
        set(RULES["mlqa"])
        == set("en es hi vi de ar zh".split())
        <= set(RULES["unicode"])
        == set(LANGUAGES)
    )
    assert set(ARTICLES) | set(BY_CHARACTER) <= set(LANGUAGES)


def test_scores_of_a_set():
    references = [
        {"id": "1", "answers": {"text": ["das Rathaus"], "answer_start": [0]}},
        {"id": "2", "answers": {"text": [], "answer_start": []}},
    ]
    assert squad_scores_in({"1": "Rathaus!", "2": ""}, references, "de-CH") == {
        "exact_match": 100,
        "f1": 100,
    }
    rows = [{"id": "1", "prediction_text": "altes Rathaus"}, {"id": "2", "prediction_text": "x"}]
    assert squad_scores_in(rows, references, "de", "mlqa") == {
        "exact_match": 0,
        "f1": pytest.approx(100 / 3),
    }
    with pytest.raises(ValueError, match="1 example without a prediction, the first is '2'"):
        squad_scores_in({"1": ""}, references, "de")


# ---- properties

ODD = (
    "aAIiİıßẞΣςά\u0301\u0307\u0308\u0345'’ʼ-–.،。lLthenuদلا"
    "١٣３Ａｶﾞが\u3099漢字가\u11a8นำ้\u200d❤\ufe0f👍🏽ŉﬁ½ﷺﻻ\u064e\u0640\u0654ªº™\u00a0 "
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.text(ODD, max_size=12),
    st.lists(
        st.sampled_from(
            [w for a in ARTICLES.values() for w in a.split()] + ["ال", "الـكتاب", "x", "漢", "l'"]
        ),
        max_size=6,
    ).map(" ".join),
)
CODES = st.sampled_from(sorted(LANGUAGES))


@settings(max_examples=400, deadline=None)
@given(TEXTS, CODES)
def test_normalisation_is_idempotent(text, language):
    plain = normalize_answer_in(text, language)
    assert normalize_answer_in(plain, language) == plain == " ".join(plain.split())
    assert exact_match_in(text, [text], language) == exact_match_in(text, [plain], language) == 1
    assert not any(
        unicodedata.category(c) in ("Nd", "Cf")
        and not c.isascii()
        or unicodedata.category(c).startswith("P")
        for c in plain
    )


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([(c, r) for r, codes in RULES.items() for c in codes]))
def test_scores_are_symmetric_and_bounded(one, other, rule):
    score, exact = f1_in(one, [other], *rule), exact_match_in(one, [other], *rule)
    assert (
        0 <= score <= 1
        and score == f1_in(other, [one], *rule)
        and exact == exact_match_in(other, [one], *rule)
    )
    if exact and answer_tokens(one, *rule):
        assert score == 1  # where nothing is left, EM is 1 and F1 is 0, as in SQuAD v1.1
    assert f1_in(one, [one], *rule) == float(bool(answer_tokens(one, *rule)))


@settings(max_examples=400, deadline=None)
@given(
    *[
        st.one_of(
            st.text(st.characters(max_codepoint=127), max_size=20),
            st.lists(
                st.sampled_from(["a", "an", "the", "The", "cat", "-", ".", "'", "\t", "$", "U.S."]),
                max_size=6,
            ).map(" ".join),
        )
    ]
    * 2
)
def test_english_equals_the_official_rule_on_ascii(one, other):
    for rules in RULES:
        assert normalize_answer_in(one, "en", rules) == normalize_answer(one)
        assert f1_in(one, [other], "en", rules) == f1(one, [other]) and exact_match_in(
            one, [other], "en", rules
        ) == exact_match(one, [other])


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(categories=["L", "Nd", "P", "Zs"]), max_size=12), CODES)
def test_composed_or_decomposed_width_and_case_do_not_matter(text, language):
    plain = normalize_answer_in(text, language)
    for form in ("NFC", "NFD"):
        assert normalize_answer_in(unicodedata.normalize(form, text), language) == plain
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    assert normalize_answer_in(wide, language) == plain
    assert normalize_answer_in(text.casefold(), language) == plain or language == "tr"


def test_every_assigned_character_is_stable():
    found = 0
    for code in range(0x110000):
        c = chr(code)
        if unicodedata.category(c) in ("Cn", "Cs", "Co") or 0x3400 <= code <= 0xD7A3:
            continue
        plain, found = normalize_answer_in(f"x{c}y", "en"), found + 1
        assert normalize_answer_in(plain, "en") == plain
    assert found > 50_000


def test_the_parts_do_what_they_say():
    assert (
        fold_characters("Ｗeiß!", "de") == "weiss"
        and fold_characters("I", "tr") == "ı"
        and fold_characters("I", "en") == "i"
    )
    assert (
        drop_articles("die ein boot", "de").split() == ["boot"]
        and drop_articles("die boot", "ru") == "die boot"
    )
    assert (
        split_characters("海ab", "ja").split() == ["海", "ab"]
        and split_characters("海ab", "en") == "海ab"
    )


# ---- XQuAD: 1,190 questions in each of five languages

XQUAD = ("en", "es", "de", "zh", "ar")
WIDE = {c: c + 0xFEE0 for c in range(ord("!"), ord("~") + 1)}
ARABIC_DIGITS = {ord("0") + i: chr(0x660 + i) for i in range(10)}
CHANGES = {  # another way to write the same answer
    "en": lambda t: f"The “{t}”.",
    "es": lambda t: f"¿«Los {t}»?",
    "de": lambda t: f"„Die {t}“ –",
    "zh": lambda t: "《" + re.sub("([一-龥])", r" \1 ", t).translate(WIDE) + "》。",
    "ar": lambda t: ("ال" if t[:2].isalpha() else "") + t.translate(ARABIC_DIGITS) + "؟",
}


@pytest.fixture(scope="module")
def xquad(shared) -> dict:
    return {
        code: next(iter(load_squad(shared / "xquad" / f"xquad.{code}.json").values()))
        for code in XQUAD
    }


def gold_texts(examples) -> dict:
    return {i: answers["text"][0] for i, answers in zip(examples["id"], examples["answers"])}


@pytest.mark.parametrize("code", XQUAD)
def test_xquad_is_read_and_fit(xquad, code):
    examples, report = xquad[code], check_examples(xquad[code])
    assert (
        len(examples) == report.examples == 1190
        and report.contexts == 240
        and report.ok
        and report.unanswerable == 0
    )
    for row in examples:
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"]):
            assert row["context"][start : start + len(text)] == text


@pytest.mark.parametrize("code", XQUAD)
def test_xquad_gold_against_gold(xquad, code):
    texts = gold_texts(xquad[code])
    for rules in RULES:
        assert squad_scores_in(texts, xquad[code], code, rules) == {"exact_match": 100, "f1": 100}


@pytest.mark.parametrize("code", XQUAD)
def test_xquad_gold_written_differently(xquad, code):
    texts = {i: CHANGES[code](t) for i, t in gold_texts(xquad[code]).items()}
    assert all(texts[i] != t for i, t in gold_texts(xquad[code]).items())
    assert squad_scores_in(texts, xquad[code], code) == {"exact_match": 100, "f1": 100}
    assert squad_scores(texts, xquad[code])["exact_match"] < 5
    wrong = dict(
        zip(texts, [*list(texts.values())[1:], ""])
    )  # each question gets its neighbour's answer
    assert squad_scores_in(wrong, xquad[code], code)["exact_match"] < 5


def test_xquad_words(xquad):
    "Words are characters in Chinese; the figures that the lesson tells."
    golds = {code: list(gold_texts(xquad[code]).values()) for code in XQUAD}

    def mean(words):
        return round(sum(map(len, words)) / len(words), 2)

    for text in golds["zh"]:
        words = answer_tokens(text, "zh")
        assert (
            all(len(w) == 1 for w in words if re.search("[一-龥]", w))
            and answer_tokens(text, "zh", "mlqa") == words
        )
        assert "".join(words) == normalize_answer_in(text, "zh").replace(" ", "")
    assert (
        mean([answer_tokens(t, "zh") for t in golds["zh"]]) == 5.51
        and mean([normalize_answer(t).split() for t in golds["zh"]]) == 1.14
    )
    differ = {
        code: sum(normalize_answer_in(t, code) != normalize_answer(t) for t in golds[code])
        for code in XQUAD
    }
    assert differ == {"en": 11, "es": 277, "de": 236, "zh": 1040, "ar": 613}
    assert (
        sum(
            normalize_answer_in(t, "ar") != normalize_answer_in(t, "ar", "mlqa")
            for t in golds["ar"]
        )
        == 217
    )


@pytest.mark.parametrize("code, unknown, mlqa", [("zh", 0.609, 100), ("ar", 0.0, 100)])
def test_xquad_labels_with_the_minilm_tokenizer(xquad, minilm, code, unknown, mlqa):
    """The ceiling that the lesson tells: what the labels themselves score, and the share of unknown
    tokens."""
    batch, options = xquad[code][:], dict(max_length=384, stride=128, padding=False)
    train, validation = (
        prepare(batch, minilm, **options)
        for prepare in (prepare_train_features, prepare_validation_features)
    )
    contexts, texts, tokens = (
        dict(zip(batch["id"], batch["context"])),
        dict.fromkeys(batch["id"], ""),
        [],
    )
    for i, offsets, ids, first, last in zip(
        validation["example_id"],
        validation["offset_mapping"],
        validation["input_ids"],
        train["start_positions"],
        train["end_positions"],
    ):
        tokens += [token for token, offset in zip(ids, offsets) if offset]
        if offsets[first]:
            texts[i] = contexts[i][offsets[first][0] : offsets[last][1]]
    assert round(tokens.count(minilm.unk_token_id) / len(tokens), 3) == unknown
    assert squad_scores_in(texts, xquad[code], code) == {"exact_match": 100, "f1": 100}
    assert round(squad_scores_in(texts, xquad[code], code, "mlqa")["exact_match"], 2) == mlqa


def test_answers_that_are_null_are_told_by_id():
    with pytest.raises(ValueError, match="the answers of 'lost' are None"):
        squad_scores_in({"lost": "x"}, [{"id": "lost", "answers": None}], "de")
