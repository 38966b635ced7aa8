"""Sizes are those on disk, errors those of the matrices, a swapped part comes back, and loops are seen."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_lms import batches, simple_coder, tiny_lm

from riverone_hf.additive.quantize import quantize
from riverone_hf.additive.tools import matrix_errors, perplexity, size_table, size_text, swap_diagnosis, swapped
from riverone_hf.additive.tools_text import before_and_after, collapse_check
from riverone_hf.errors import CompressError
from riverone_hf.model.quantization_riverone import coded_layers
from tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def pair():
    """A model and its coded twin, the first layer coded more coarsely."""
    coded = tiny_lm()
    overrides = {r"layers\.0\.": "1x1g8"}
    quantize(coded, "2x6g4", batches(2), overrides=overrides, say=lambda line: None, coder=simple_coder)
    return tiny_lm(), coded


def test_size_table_is_what_is_written(pair, tmp_path):
    _, coded = pair
    coded.save_pretrained(tmp_path)
    rows = size_table(coded)
    from safetensors.torch import load_file

    stored = load_file(tmp_path / "model.safetensors")
    assert rows[-1].name == "total" and rows[-1].bytes == sum(t.nbytes for t in stored.values())
    assert rows[-1].weights == sum(p.numel() for p in tiny_lm().parameters())
    layer = coded.model.layers[1].mlp.up_proj
    row = next(row for row in rows if row.name.endswith("mlp 2x6g4"))
    bits = [layer.scheme.bits_per_weight(48, 32)] * 2 + [layer.scheme.bits_per_weight(32, 48)]
    assert row.bits == pytest.approx(sum(bits) / 3)
    text = size_text(rows)
    assert text.count("\n") == len(rows) and "1x1g8" in text and len({len(line) for line in text.splitlines()}) == 1


def test_matrix_errors_worst_first(pair):
    original, coded = pair
    rows = matrix_errors(original, coded)
    assert len(rows) == 14 and [row.error for row in rows] == sorted((row.error for row in rows), reverse=True)
    assert all("layers.0" in row.name for row in rows[:7]) and all(row.scheme == "1x1g8" for row in rows[:7])
    one = next(row for row in rows if row.name == "model.layers.1.mlp.up_proj")
    a, b = original.model.layers[1].mlp.up_proj.weight.detach(), coded.model.layers[1].mlp.up_proj.weight
    assert one.error == pytest.approx(float((a - b).norm() ** 2 / a.norm() ** 2), rel=1e-4)
    assert one.cosine == pytest.approx(float((a * b).sum() / a.norm() / b.norm()), rel=1e-4)
    with pytest.raises(CompressError, match="no module"):
        matrix_errors(tiny_model(), coded)


def test_swapping_finds_the_damage(pair):
    original, coded = pair
    ids = batches(1)[0]["input_ids"]
    with torch.no_grad():
        wanted = original(ids).logits

        def damage(model):
            return float((model(ids).logits - wanted).square().mean())

        before = damage(coded)
        rows = swap_diagnosis(original, coded, damage, [r"layers\.0$", r"layers\.1$"])
        assert damage(original) == 0 and damage(coded) == before
    assert rows[0] == {"part": "whole", "alone": before, "without": 0.0}
    first, second = rows[1:]
    assert first["alone"] > second["alone"] > 0 and first["without"] < second["without"]
    with pytest.raises(CompressError, match="no module matches"), swapped(original, coded, "nothing"):
        pass
    with pytest.raises(ZeroDivisionError), swapped(original, coded, "mlp") as names:
        assert names == ["model.layers.0.mlp", "model.layers.1.mlp"] and coded_layers(original)
        raise ZeroDivisionError
    assert not coded_layers(original)


def test_perplexity_by_hand():
    model, batch = tiny_lm(), batches(2)[1]  # three pads
    with torch.no_grad():
        logs = model(**batch).logits.log_softmax(-1)
    lost = [
        -float(logs[row, i, batch["input_ids"][row, i + 1]])
        for row in range(2)
        for i in range(11)
        if batch["attention_mask"][row, i + 1]
    ]
    assert len(lost) == 19
    assert perplexity(model, [batch]) == pytest.approx(math.exp(sum(lost) / 19), rel=1e-4)
    with pytest.raises(CompressError, match="no token"):
        perplexity(model, [batch | {"labels": torch.full((2, 12), -100)}])


@pytest.mark.parametrize(
    ("tokens", "text", "reason"),
    [
        ([], " \n", "empty"),
        ([5] * 20, "aaaa", "one token is 20 of 20"),
        ([*range(30), *[1, 2, 3] * 4], "x", "loop of 3 tokens"),
        (list(range(9)), "a\ufffd", "broken characters"),
        (list(range(40)), "fine", None),
        ([1, 2, 3, 4] * 2 + list(range(30)), "it repeats early, then goes on", None),
        ([7] * 6, "short: no verdict", None),
    ],
)
def test_collapse_signs(tokens, text, reason):
    reasons = collapse_check(tokens, text).reasons
    assert reasons == () if reason is None else any(reason in r for r in reasons)


def test_before_and_after():
    model, broken = tiny_model(), tiny_model()
    with torch.no_grad():
        broken.lm_head.weight.zero_()
        broken.lm_head.weight[70] = 1  # tied: every token is embedded alike and token 70 wins or loses everywhere
    rows = before_and_after(model, broken, tiny_tokenizer(), ["hello", "T1?"], new_tokens=20)
    same = before_and_after(model, model, tiny_tokenizer(), ["hello"], new_tokens=20)
    assert same[0]["before"] == same[0]["after"] and same[0]["agree"] == len(same[0]["before"]) > 0
    assert [row["prompt"] for row in rows] == ["hello", "T1?"] and all(row["collapse"] for row in rows)
    assert rows[0]["before"] == same[0]["before"] != rows[0]["after"]
