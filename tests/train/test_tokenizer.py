"""The tokenizer of stage 0: reproducible, single digits, special strings in user text stay text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from riverone_hf.questions import FAMILIES, QUESTIONS, short_prompt
from riverone_hf.train.tokenizer import IMAGE, SPECIAL_TOKENS, tokenizer_hash, train_tokenizer

ARGUMENTS = (("t1", "gmm"), 1200, 20, 7)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(*ARGUMENTS)


def test_same_seed_same_hash_in_another_process(tokenizer):
    code = (
        "from riverone_hf.train.tokenizer import train_tokenizer, tokenizer_hash;"
        f"print(tokenizer_hash(train_tokenizer(*{ARGUMENTS!r})))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert other.stdout.strip() == tokenizer_hash(tokenizer)


def test_other_seed_other_hash(tokenizer):
    assert tokenizer_hash(train_tokenizer(*ARGUMENTS[:3], 8)) != tokenizer_hash(tokenizer)


def test_size_and_single_digits(tokenizer):
    assert len(tokenizer) == 1200
    assert tokenizer.tokenize("48.25") == ["4", "8", ".", "2", "5"]
    assert not [token for token in tokenizer.get_vocab() if len(token) > 1 and any(c.isdigit() for c in token)]


def test_any_text_survives(tokenizer):
    text = "T₂* ≈ 18.3 µs; |ψ⟩ → <image> \t{}\n量子"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_special_tokens_are_single(tokenizer):
    for token in SPECIAL_TOKENS:
        assert len(tokenizer(token)["input_ids"]) == 1
    assert tokenizer.image_token == IMAGE


def test_short_prompts_are_short():
    tokenizer = train_tokenizer(("t1",), 2048, 20, 0)
    for family in FAMILIES:
        for question in QUESTIONS:
            assert len(tokenizer(short_prompt(family, question))["input_ids"]) <= 24
