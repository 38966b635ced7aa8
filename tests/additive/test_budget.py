"""Schemes for a budget of bits: against brute force, on measured options, and the warning about large codebooks."""

from __future__ import annotations

import itertools

import pytest
import torch
from layers import synthetic

from riverone_hf.additive.budget import Option, codebook_warning, measure, pick
from riverone_hf.errors import CodingError
from riverone_hf.model.codes_riverone import AdditiveScheme

NAMES = ("2x4g8", "1x8g8", "2x8g8", "3x8g8")


def table(seed, count=4):
    """Options of `count` matrices with convex random error curves, and their sizes."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {f"m{i}": (512 * (1 + i % 3), 256) for i in range(count)}
    options = {}
    for name, size in sizes.items():
        schemes = [AdditiveScheme.parse(text) for text in NAMES]
        start = float(torch.rand(1, generator=generator)) + 0.1
        errors = [start * 0.2 ** (8 * s.stored_bytes(*size) / (size[0] * size[1])) for s in schemes]
        options[name] = [Option(s, s.stored_bytes(*size), e) for s, e in zip(schemes, errors, strict=True)]
    return options, sizes


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bits", [1.3, 1.9, 2.6])
def test_the_choice_is_close_to_brute_force_and_within_the_budget(seed, bits):
    options, sizes = table(seed)
    weights = sum(a * b for a, b in sizes.values())
    choice = pick(options, sizes, bits)
    spent = sum(choice.schemes[name].stored_bytes(*size) for name, size in sizes.items())
    assert choice.bits == pytest.approx(8 * spent / weights) and choice.bits <= bits
    best = min(
        sum(o.error for o in combination)
        for combination in itertools.product(*options.values())
        if 8 * sum(o.bytes for o in combination) / weights <= bits
    )
    # The hull leaves at most one matrix short of its next step.
    worst_step = max(a.error - b.error for row in options.values() for a, b in itertools.pairwise(row))
    assert best - 1e-12 <= choice.error <= best + worst_step
    assert choice.error <= 1.5 * best


def test_more_bits_never_hurt_and_sensitive_matrices_get_them():
    options, sizes = table(0)
    options["m1"] = [Option(o.scheme, o.bytes, 20 * o.error) for o in options["m1"]]
    errors = [pick(options, sizes, bits).error for bits in (1.2, 1.5, 2.0, 2.5, 3.5)]
    assert errors == sorted(errors, reverse=True)
    schemes = pick(options, sizes, 1.8).schemes
    bits = {name: scheme.bits_per_weight(*sizes[name]) for name, scheme in schemes.items()}
    assert bits["m1"] == max(bits.values()) > min(bits.values())


def test_an_option_that_costs_more_and_errs_more_is_never_taken_and_named():
    size = (256, 256)
    schemes = [AdditiveScheme.parse(text) for text in ("1x8g8", "1x12g8", "2x8g8")]
    rows = [Option(s, s.stored_bytes(*size), e) for s, e in zip(schemes, (0.1, 0.06, 0.03), strict=True)]
    assert rows[1].bytes > rows[2].bytes
    choice = pick({"k_proj": rows}, {"k_proj": size}, 12)
    assert str(choice.schemes["k_proj"]) == "2x8g8"
    assert len(choice.warnings) == 1
    assert choice.warnings[0].startswith("k_proj: 1x12g8 takes 9.56 bits per weight, 8.00 of them codebooks")
    assert "2x8g8" in choice.warnings[0]


def test_measured_options_follow_the_bits():
    weight, xtx, _ = synthetic(128, 64, tokens=512)
    options = measure(weight, xtx, ("1x2g4", "1x4g4", "2x4g4", "1x4g48"), n_samples=512, rows=64)
    assert [str(option.scheme) for option in options] == ["1x2g4", "1x4g4", "2x4g4"]  # 48 does not divide 64
    errors = [option.error for option in options]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.05
    assert options[0].bytes == options[0].scheme.stored_bytes(128, 64)
    with pytest.raises(CodingError, match="smaller group"):
        measure(weight, xtx, ("1x2g3",))


def test_a_budget_too_small_is_refused():
    options, sizes = table(0)
    with pytest.raises(CodingError, match="smallest schemes take"):
        pick(options, sizes, 0.5)
    with pytest.raises(CodingError, match="expected the same"):
        pick(options, {}, 2)


def test_codebook_warning_on_small_matrices():
    large, small = AdditiveScheme.parse("1x16g16"), AdditiveScheme.parse("2x8g8")
    line = codebook_warning(large, 1024, 2560)
    assert line is not None and "6.40 of its 7.41 bits" in line and "2x8g16" in line
    assert codebook_warning(large, 1024, 2560, shared_by=36) is None
    assert codebook_warning(large, 9728, 25600) is None
    assert codebook_warning(small, 1024, 2560) is None
    assert "fewer bits" in (codebook_warning(small, 64, 64) or "")
