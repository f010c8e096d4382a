"""The properties of `properties.py`, on a few dozen cases each; `make fuzz` tries 100,000."""

import os
from functools import lru_cache

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from properties import OF_THE_SEARCH, OF_TOKENIZERS, SIGNS

from squadqa.models import load_tokenizer

TOKENIZERS = ("minilm", "bert-base-cased", "xlnet-base-cased", "roberta-style")


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


def holds(check, make, cases, *fixed):
    "Try a property on cases that are the same each time; a failure is shrunk to a small one."
    quick = settings(
        max_examples=cases,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    seen = []

    def counted(chance):
        seen.append(1)
        check(*fixed, **make(chance))

    quick(given(chance=st.randoms(use_true_random=False))(counted))()
    assert len(seen) >= cases


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("promise", OF_TOKENIZERS)
def test_property(promise, tokenizer, side):
    holds(*OF_TOKENIZERS[promise], 40, tokenizer_of(tokenizer, side))


@pytest.mark.parametrize("promise", OF_THE_SEARCH)
def test_property_of_the_search(promise):
    holds(*OF_THE_SEARCH[promise], 300)


def test_a_property_can_fail():
    "A check that is wrong about some text is caught by the cases."
    _, make = OF_TOKENIZERS["windows cover every token of the context"]

    def plain(tokenizer, case, size):
        assert case[1].isascii()

    with pytest.raises(AssertionError):
        holds(plain, make, 40, None)


def test_generated_texts_are_wild_enough():
    "The signs hold combining marks, wide characters, right-to-left letters and odd spaces."
    assert len(set(SIGNS)) > 100 and any(ord(sign) > 0xFFFF for sign in SIGNS)
    assert {"\u200b", "\u202e", "\ufeff", "\u00ad", "\u3000"} <= set(SIGNS)
