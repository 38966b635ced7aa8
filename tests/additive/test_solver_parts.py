"""Each step of the solver against brute force or a direct solve."""

from __future__ import annotations

import itertools

import pytest
import torch
from layers import synthetic
from oracle import Reference, beam_search

from riverone_hf.additive import kernels
from riverone_hf.additive.codebook_cg import _add_sorted, add_by_code, fit_codebooks
from riverone_hf.additive.kernels import best_pairs, best_pairs_torch, near_pairs
from riverone_hf.additive.layer import Layer, Metric
from riverone_hf.additive.scales import fit_scales
from riverone_hf.additive.search import cost, search
from riverone_hf.additive.sweeps import descent_sweep, ldlq_sweep
from riverone_hf.model.codes_riverone import AdditiveScheme


def coded_layer(scheme, outputs=24, inputs=16, tokens=200, seed=0, sweep=ldlq_sweep):
    """A layer with random books, after one sweep."""
    weight, xtx, _ = synthetic(outputs, inputs, tokens, seed=seed)
    scheme = AdditiveScheme.parse(scheme)
    layer = Layer.start(weight, Metric(xtx, tokens), scheme)
    generator = torch.Generator().manual_seed(seed)
    width = scheme.in_group_size * scheme.out_group_size
    books = torch.randn(scheme.num_codebooks, 2**scheme.nbits_per_codebook, width, generator=generator)
    books /= scheme.num_codebooks**0.5
    sweep(layer, books)
    return layer, books


def approximation(layer, books):
    return layer.row_scales * layer.decode_vectors(books)


def loss(layer, weight):
    error = (layer.weight - weight).double()
    return (error @ layer.metric.gram.double() * error).sum().item()


def all_costs(lin, books, metric):
    """Costs of every combination of codes, by enumeration in float64: (U, size, ..., size)."""
    target = torch.linalg.solve(metric.double(), lin.double().T).T
    vectors = books[0].double()
    for book in books[1:].double():
        vectors = (vectors[:, None] + book[None]).flatten(0, 1)
    difference = target[:, None] - vectors[None]
    return (difference @ metric.double() * difference).sum(2).view(len(lin), *[books.shape[1]] * len(books))


@pytest.mark.parametrize(("count", "size"), [(1, 16), (2, 16), (2, 64), (2, 4)])
def test_search_is_exact(count, size):
    generator = torch.Generator().manual_seed(count * size)
    books, lin = torch.randn(count, size, 4, generator=generator), torch.randn(130, 4, generator=generator)
    root = torch.randn(4, 4, generator=generator)
    metric = root @ root.T + 0.1 * torch.eye(4)
    codes = search(lin, books, books @ metric)
    table = all_costs(lin, books, metric)
    chosen = table[torch.arange(130), *codes]
    assert torch.allclose(chosen, table.flatten(1).amin(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("count", "size"), [(3, 8), (4, 16), (2, 512)])
def test_search_with_more_or_larger_books_never_loses_to_old_codes(count, size):
    generator = torch.Generator().manual_seed(1)
    books, lin = torch.randn(count, size, 4, generator=generator), torch.randn(40, 4, generator=generator)
    metric = torch.eye(4)
    first = search(lin, books, books @ metric)
    for old in (first, torch.randint(size, (count, 40), generator=generator)):
        new = search(lin, books, books @ metric, old)
        assert (cost(lin, books, books, new) <= cost(lin, books, books, old) + 1e-5).all()
    if count == 3:
        best = all_costs(lin, books, metric).flatten(1).amin(1) - lin.square().sum(1)
        assert (cost(lin, books, books, first) <= best + 0.1 * lin.square().sum(1)).float().mean() > 0.8


@pytest.mark.parametrize("rows", [1, 63, 64, 300])
@pytest.mark.parametrize("threads", [1, 2])
def test_pair_kernel_equals_torch(rows, threads, monkeypatch):
    assert kernels.prepare()  # numba comes with the dev extra
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(rows)
    left, right = (torch.randn(rows, size, generator=generator) for size in (48, 64))
    cross = torch.randn(48, 64, generator=generator).round(decimals=1)  # with ties
    expected = best_pairs_torch(left, right, cross)
    assert torch.equal(best_pairs(left, right, cross), expected)
    assert torch.equal(near_pairs(left, right, cross, 48), expected)
    worst = left.argmax(1)
    old = torch.stack([worst, (cross[worst] + right).argmin(1)])
    pull = cross - 20 * torch.nn.functional.one_hot(worst[:1], 48).float().T  # row 0 gains most from its worst code
    assert near_pairs(left[:1], right[:1], pull, 4, worst[:1]).tolist() == old[:, :1].tolist()
    listed = near_pairs(left, right, cross, 4)[0]
    assert (left.gather(1, listed[:, None]).squeeze(1) <= left.topk(4, 1, largest=False).values[:, 3]).all()


@pytest.mark.parametrize("scheme", ["1x4g4", "2x4g4", "3x4g8", "2x4g4o2"])
@pytest.mark.parametrize("sweep", [ldlq_sweep, descent_sweep])
def test_sweeps_leave_a_consistent_state(scheme, sweep):
    """Residual and quotient, which are updated piece by piece, equal what codes and books say (160 columns)."""
    layer, books = coded_layer(scheme, inputs=160, sweep=sweep)
    assert torch.allclose(layer.quotient, layer.decode_vectors(books), atol=1e-6)
    exact = (layer.weight - approximation(layer, books)) @ layer.metric.gram
    assert (layer.residual - exact).norm() < 1e-5 * exact.norm()
    assert layer.objectives()[0] == pytest.approx(loss(layer, approximation(layer, books)) / layer.energy, rel=1e-4)


def test_descent_finds_the_optimum_when_groups_do_not_interact():
    weight, xtx, _ = synthetic(20, 12, 100)
    groups = torch.block_diag(*[torch.ones(4, 4)] * 3)
    layer = Layer.start(weight, Metric(xtx * groups, 100), AdditiveScheme.parse("2x2g4"))
    books = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(3))
    for sweep in (ldlq_sweep, descent_sweep):
        sweep(layer, books)
        if sweep is descent_sweep:
            for group, block in enumerate(layer.metric.diagonal_blocks(4)):
                lin = layer.group(layer.weight, 4 * group) / layer.scales[:, None] @ block
                table = all_costs(lin, books, block)
                chosen = table[torch.arange(20), *layer.codes[:, :, group]]
                assert torch.allclose(chosen, table.flatten(1).amin(1), rtol=1e-5)


def test_ldlq_takes_the_greedy_optimum_of_the_damped_objective():
    """Group by group, over all codes: the earlier ones held, the later weights free to compensate (continuously)."""
    layer, books = coded_layer("1x3g4", outputs=6, inputs=12)
    lower = layer.metric.factor.double()
    damped = lower @ lower.T
    for row in range(6):
        error = torch.zeros(12, dtype=torch.float64)
        for group in range(3):
            free = list(range(4 * group + 4, 12))
            fixed = list(range(4 * group + 4))
            # The least cost over free later errors is the Schur complement of the damped matrix.
            metric = damped[fixed][:, fixed]
            if free:
                part = damped[fixed][:, free]
                metric = metric - part @ torch.linalg.solve(damped[free][:, free], part.T)
            costs = []
            for vector in books[0].double():
                trial = error[fixed].clone()
                trial[-4:] = layer.weight[row, 4 * group : 4 * group + 4] - layer.scales[row] * vector
                costs.append((trial @ metric @ trial).item())
            code = layer.codes[0, row, group].item()
            assert costs[code] == pytest.approx(min(costs), rel=1e-4)
            vector = books[0, code].double()
            error[4 * group : 4 * group + 4] = layer.weight[row, 4 * group : 4 * group + 4] - layer.scales[row] * vector


def test_descent_equals_the_reference_beam_search_of_width_one():
    layer, books = coded_layer("1x4g4", inputs=32)
    state = Reference(layer.codes.permute(1, 2, 0).clone(), books, layer.scales.clone())
    descent_sweep(layer, books)
    expected = beam_search(layer.weight, layer.metric.gram, state, 1, order=range(8))
    assert torch.equal(layer.codes.permute(1, 2, 0), expected)


def test_no_single_group_can_be_improved_after_descent():
    layer, books = coded_layer("2x2g4", outputs=8, inputs=12)
    for _ in range(12):
        descent_sweep(layer, books)
    best = loss(layer, approximation(layer, books))
    for row, group in itertools.product(range(8), range(3)):
        before = layer.codes[:, row, group].clone()
        for pair in itertools.product(range(4), repeat=2):
            layer.codes[:, row, group] = torch.tensor(pair)
            assert loss(layer, approximation(layer, books)) >= best * (1 - 1e-5)
        layer.codes[:, row, group] = before


@pytest.mark.parametrize("scheme", ["1x4g4", "2x4g4o2"])
def test_scales_equal_least_squares(scheme):
    layer, books = coded_layer(scheme)
    fit_scales(layer)
    root = torch.linalg.cholesky(layer.metric.gram.double())
    og = layer.scheme.out_group_size
    vectors = layer.decode_vectors(books).double() @ root
    wanted = layer.weight.double() @ root
    for unit in range(len(layer.scales)):
        rows = slice(unit * og, unit * og + og)
        solution = torch.linalg.lstsq(vectors[rows].reshape(-1, 1), wanted[rows].reshape(-1, 1)).solution.item()
        if solution > 0:
            assert layer.scales[unit].item() == pytest.approx(solution, rel=1e-4)
    exact = (layer.weight - approximation(layer, books)) @ layer.metric.gram
    assert torch.allclose(layer.residual, exact, atol=1e-5)


@pytest.mark.parametrize("scheme", ["1x3g4", "2x3g4", "2x2g4o2"])
def test_codebooks_equal_a_direct_solve(scheme):
    layers = [coded_layer(scheme, seed=0)[0], coded_layer(scheme, outputs=16, inputs=24, seed=1)[0]]
    books = coded_layer(scheme, seed=0)[1]
    layers[1].codes.clamp_(max=2)
    for layer in layers:
        layer.refresh(books)
    fitted = fit_codebooks(layers, books, 400)

    size = books.numel()
    normal, right = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for layer in layers:
        columns = [layer.row_scales * layer.decode_vectors(unit.view(books.shape)) for unit in torch.eye(size)]
        columns = torch.stack(columns).double()
        images = columns @ layer.metric.gram.double()
        normal += torch.einsum("aij,bij->ab", columns, images) / layer.energy
        right += torch.einsum("ij,bij->b", layer.weight.double(), images) / layer.energy
    direct = torch.linalg.lstsq(normal, right, driver="gelsd").solution.view(books.shape).float()

    def total(values):
        return sum(loss(layer, approximation(layer, values)) / layer.energy for layer in layers)

    assert total(fitted) == pytest.approx(total(direct), rel=1e-3)
    assert total(fitted) < 0.9 * total(books)
    for layer in layers:
        assert torch.allclose(layer.quotient, layer.decode_vectors(fitted), atol=1e-4)


def test_unused_codes_stay_where_they_are():
    layer, books = coded_layer("1x4g4")
    layer.codes.clamp_(max=11)
    layer.refresh(books)
    fitted = fit_codebooks([layer], books, 6)
    assert torch.equal(fitted[0, 12:], books[0, 12:]) and not torch.equal(fitted[0, :12], books[0, :12])


def test_no_step_of_the_descent_phase_raises_the_error():
    layer, books = coded_layer("2x4g8", outputs=64, inputs=64)
    errors = [layer.objectives()[0]]
    for _ in range(4):
        fit_scales(layer)
        errors.append(layer.objectives()[0])
        books = fit_codebooks([layer], books, 4)
        errors.append(layer.objectives()[0])
        descent_sweep(layer, books)
        errors.append(layer.objectives()[0])
    assert all(after <= before * (1 + 1e-5) for before, after in itertools.pairwise(errors))
    assert errors[-1] < 0.7 * errors[0]


@pytest.mark.parametrize("add", [add_by_code, _add_sorted])
def test_sums_by_code(add):
    codes, values = torch.tensor([2, 0, 2]), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    total = torch.zeros(4, 2)
    add(total, codes, values)
    assert total.tolist() == [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0], [0.0, 0.0]]
