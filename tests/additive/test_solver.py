"""code_linear from end to end: schemes, errors, determinism, few samples, and the reference algorithm."""

from __future__ import annotations

import pytest
import torch
from layers import synthetic
from oracle import reference_aqlm

from riverone_hf.additive import kernels
from riverone_hf.additive.coded import relative_error
from riverone_hf.additive.layer import LEAST_RIDGE, MOST_RIDGE, Metric, ridge_for
from riverone_hf.additive.solve import PRESETS, code_linear, code_linears_shared
from riverone_hf.errors import CodingError
from riverone_hf.model.codes_riverone import AdditiveScheme


def parse(text):
    return AdditiveScheme.parse(text)


@pytest.mark.parametrize(
    ("scheme", "shape"),
    [
        ("1x8g8", (96, 64)),
        ("2x8g8", (64, 96)),
        ("1x12g8", (128, 64)),
        ("1x4g4", (48, 160)),
        ("2x4g8", (32, 136)),
        ("3x4g8", (40, 64)),
        ("2x4g8o2", (48, 64)),
        ("2x2g4", (32, 64)),
        ("1x1g1", (16, 24)),
        ("2x9g16", (64, 64)),
    ],
)
def test_schemes_and_shapes(scheme, shape):
    scheme = parse(scheme)
    weight, xtx, held_out = synthetic(*shape, tokens=800, held_out=800)
    coded = code_linear(weight, xtx, scheme, n_samples=800, preset="quick", held_out_xtx=held_out)
    units, groups = shape[0] // scheme.out_group_size, shape[1] // scheme.in_group_size
    size = 2**scheme.nbits_per_codebook
    assert coded.codes.shape == (units, groups, scheme.num_codebooks) and coded.shape == shape
    assert coded.codebooks.shape == (scheme.num_codebooks, size, scheme.out_group_size, scheme.in_group_size)
    assert coded.scales.shape == (units, 1, 1, 1) and (coded.scales > 0).all()
    assert coded.codes.min() >= 0 and coded.codes.max() < size
    assert coded.errors["train"] == pytest.approx(coded.relative_error(weight, xtx), rel=1e-3)
    assert coded.errors["held_out"] == pytest.approx(coded.relative_error(weight, held_out), rel=1e-3)
    # Never as bad as coding nothing, and the better the more bits there are for a weight.
    assert coded.errors["held_out"] < (0.6 if coded.codes.shape[2] * scheme.nbits_per_codebook >= 4 else 0.9)
    half = coded.rounded(torch.float16)
    assert half.errors["train"] == coded.errors["train"]
    assert half.relative_error(weight, xtx) == pytest.approx(coded.errors["train"], rel=0.02, abs=1e-4)


@pytest.mark.parametrize(("scheme", "ratio"), [("1x6g8", 0.97), ("2x6g8", 0.85)])
def test_better_than_the_reference(scheme, ratio):
    scheme = parse(scheme)
    weight, xtx, held_out = synthetic(96, 96, tokens=768, held_out=768)
    reference = reference_aqlm(weight, xtx, scheme.num_codebooks, 6, 8, kmeans_iterations=10)
    coded = code_linear(weight, xtx, scheme, n_samples=768, held_out_xtx=held_out)
    assert coded.errors["train"] < ratio * reference.history[-1][1]
    assert coded.errors["held_out"] < relative_error(weight, reference.decode(), held_out)


def test_held_out_error_with_few_tokens_is_no_worse_than_the_reference():
    weight, xtx, held_out = synthetic(96, 128, tokens=64, held_out=2048)
    reference = reference_aqlm(weight, xtx, 1, 6, 8, kmeans_iterations=10)
    coded = code_linear(weight, xtx, parse("1x6g8"), n_samples=64, held_out_xtx=held_out)
    careless = code_linear(weight, Metric(xtx, ridge=1e-4), parse("1x6g8"), held_out_xtx=held_out)
    assert coded.errors["held_out"] < 0.9 * relative_error(weight, reference.decode(), held_out)
    assert coded.errors["held_out"] < 0.9 * careless.errors["held_out"]
    assert careless.errors["train"] < coded.errors["train"]


def test_more_work_gives_less_error():
    weight, xtx, _ = synthetic(128, 128, tokens=1024)
    errors = [code_linear(weight, xtx, parse("2x4g8"), preset=name).errors["train"] for name in PRESETS]
    assert errors == sorted(errors, reverse=True)


def test_the_best_state_is_kept_and_told():
    weight, xtx, _ = synthetic(64, 64, tokens=512)
    told = []
    coded = code_linear(weight, xtx, parse("1x4g8"), n_samples=512, progress=lambda *step: told.append(step))
    assert [step[1] for step in told] == list(range(1, told[-1][2] + 1))
    assert told[-1][3] == pytest.approx(coded.errors["train"], rel=1e-3)
    errors = [error for _, error in coded.history]
    assert errors == sorted(errors, reverse=True)
    times = [second for second, _ in coded.history]
    assert times == sorted(times) and times[-1] <= coded.seconds


def test_same_arguments_same_bits_and_about_the_same_without_numba(monkeypatch):
    weight, xtx, _ = synthetic(96, 64, tokens=512)
    runs = [code_linear(weight, xtx, parse("2x4g8"), seed=seed) for seed in (0, 0, 1)]
    monkeypatch.setattr(kernels, "_compiled", lambda: None)
    plain = code_linear(weight, xtx, parse("2x4g8"), seed=0)
    for name in ("codes", "codebooks", "scales"):
        assert torch.equal(getattr(runs[0], name), getattr(runs[1], name))
    assert not torch.equal(runs[0].codes, runs[2].codes)
    assert plain.errors["train"] == pytest.approx(runs[0].errors["train"], rel=0.06)


def test_a_metric_can_be_shared_and_a_sum_serves_as_well_as_a_mean():
    weight, xtx, _ = synthetic(32, 64, tokens=512)
    metric = Metric(xtx, 512)
    coded = [code_linear(weight, x, parse("1x4g8"), n_samples=512) for x in (xtx, metric, 512 * xtx.double())]
    assert torch.equal(coded[0].codes, coded[1].codes) and torch.equal(coded[0].codes, coded[2].codes)
    assert coded[1].errors["train"] == pytest.approx(coded[0].errors["train"], rel=1e-3)


def test_shared_codebooks():
    """One set of books for three matrices: close to own books in error, and better than the books of the first."""
    parts = [synthetic(64, inputs, tokens=512, seed=seed)[:2] for seed, inputs in enumerate((64, 128, 64))]
    weights, xtxs = zip(*parts, strict=True)
    weights = (weights[0], 50 * weights[1], weights[2])
    shared = code_linears_shared(weights, xtxs, parse("1x6g8"), n_samples=512, held_out_xtxs=xtxs)
    own = [code_linear(w, x, parse("1x6g8"), n_samples=512) for w, x in zip(weights, xtxs, strict=True)]
    for one, alone, weight, xtx in zip(shared, own, weights, xtxs, strict=True):
        assert one.codebooks is shared[0].codebooks
        assert one.errors["train"] == pytest.approx(one.relative_error(weight, xtx), rel=1e-3)
        assert alone.errors["train"] < one.errors["train"] < 2 * alone.errors["train"]
    scheme = shared[0].scheme
    assert scheme.bits_per_weight(64, 64, shared_by=3) < 0.7 * scheme.bits_per_weight(64, 64)


@pytest.mark.parametrize("kind", ["one token", "dead inputs", "zero rows", "loud input", "no correlation"])
def test_difficult_statistics(kind):
    weight, xtx, _ = synthetic(48, 64, tokens=1 if kind == "one token" else 256)
    if kind == "dead inputs":
        xtx[:20], xtx[:, :20] = 0, 0
    elif kind == "zero rows":
        weight[5:9] = 0
    elif kind == "loud input":
        xtx[3] *= 1e3
        xtx[:, 3] *= 1e3
    elif kind == "no correlation":
        xtx = torch.eye(64)
    coded = code_linear(weight, xtx, parse("2x4g8"), n_samples=256)
    assert torch.isfinite(coded.decode()).all()
    assert coded.errors["train"] < 0.35
    if kind == "zero rows":
        assert coded.decode()[5:9].abs().max() < 1e-4 * weight.abs().max()


def test_ridge_falls_with_samples_and_rises_with_rank():
    inputs = 128
    flat, steep = (synthetic(8, inputs, tokens=64, decay=decay)[1] for decay in (0.2, 2.0))
    assert ridge_for(flat, 64) > 3 * ridge_for(steep, 64)
    ridges = [ridge_for(flat, count) for count in (1, 64, 256, 1024, 10**9)]
    assert ridges == sorted(ridges, reverse=True)
    assert ridges[0] == MOST_RIDGE and ridges[-1] == LEAST_RIDGE == ridge_for(flat, None)
    assert ridge_for(torch.eye(8), 10) == MOST_RIDGE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(weight=torch.randn(32, 60), xtx=torch.eye(60)), "do not divide"),
        (lambda a: a.update(weight=torch.randn(32, 72)), "which do not fit"),
        (lambda a: a.update(weight=torch.randn(32, 8, 8)), r"\(out, in\) of a Linear"),
        (lambda a: a.update(weight=torch.zeros(32, 64)), "all zero"),
        (lambda a: a["weight"].fill_(float("nan")), "infinite or undefined"),
        (lambda a: a["xtx"].fill_(float("inf")), "infinite or undefined"),
        (lambda a: a["xtx"].zero_(), "no token reached"),
        (lambda a: a.update(xtx=torch.randn(64, 60)), r"expected \(in, in\)"),
        (lambda a: a["xtx"].diagonal()[:10].neg_(), "not positive semi-definite"),
        (lambda a: a.update(preset="best"), "expected one of quick, default, high"),
        (lambda a: a.update(n_samples=0), "n_samples=0"),
    ],
)
def test_errors_name_what_was_got(change, message):
    arguments = {"weight": torch.randn(32, 64), "xtx": torch.eye(64), "scheme": parse("1x4g8"), "preset": "quick"}
    change(arguments)
    with pytest.raises(CodingError, match=message):
        code_linear(**arguments)


def test_every_weight_needs_its_statistic():
    with pytest.raises(CodingError, match="one statistic per weight"):
        code_linears_shared([torch.randn(8, 8)] * 2, [torch.eye(8)], parse("1x4g8"))
