"""Muon and AdamW behind one Optimizer: split, schedule, save, resume."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, multiprocessing, nn
from torch.optim import _muon

from riverone_hf.train import optimizer as room
from riverone_hf.train.optimizer import MuonAdamW, muon_adamw


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(8, 6)
        self.hidden = nn.Linear(6, 6)
        self.lm_head = nn.Linear(6, 8, bias=False)

    def forward(self, ids):
        return self.lm_head(torch.tanh(self.hidden(self.embed(ids))))


def train(net, optimizer, steps):
    ids = torch.arange(8)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(ids), ids)
        loss.backward()
        optimizer.step()
    return loss.item()


def test_only_hidden_matrices_get_muon():
    net = Net()
    muon, adamw = muon_adamw(net, 1e-3, 1e-2, 0.0).children
    assert [id(p) for g in muon.param_groups for p in g["params"]] == [id(net.hidden.weight)]
    assert sum(p.numel() for g in adamw.param_groups for p in g["params"]) == 48 + 48 + 6


def test_it_learns_and_follows_a_schedule():
    torch.manual_seed(0)
    net = Net()
    optimizer = muon_adamw(net, 4e-2, 8e-2, 0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    first = train(net, optimizer, 1)
    schedule.step()
    assert [group["lr"] for child in optimizer.children for group in child.param_groups] == [4e-2, 2e-2]
    assert train(net, optimizer, 60) < 0.3 * first


@pytest.mark.parametrize("has", [True, False])
def test_matrices_are_made_orthogonal_in_bfloat16_only_where_the_cpu_has_it(monkeypatch, has):
    """torch's Muon asks for bfloat16 by itself, which takes a hundred times as long on a CPU without it."""
    monkeypatch.setattr(room, "cpu_has_bf16", lambda: has)
    kinds, real = set(), torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *args, **kwargs: kinds.add(args[1].dtype) or real(*args, **kwargs))
    weight = nn.Parameter(torch.zeros(6, 4))
    weight.grad = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    given = weight.grad.clone()
    MuonAdamW([weight], [], lr=1.0, muon_lr=1.0).step()
    assert kinds == {torch.bfloat16 if has else torch.float32}
    assert torch.equal(weight.grad, given)
    # Rows of a tall matrix come out nearly orthonormal, scaled by torch's factor of 0.2 * sqrt(6).
    values = torch.linalg.svdvals(weight.detach()) / (0.2 * 6**0.5)
    assert values.min() > 0.6 and values.max() < 1.3


def test_resume_is_exact():
    torch.manual_seed(0)
    net = Net()
    optimizer = muon_adamw(net, 1e-2, 1e-2, 0.0)
    train(net, optimizer, 5)
    twin = copy.deepcopy(net)
    resumed = muon_adamw(twin, 1e-2, 1e-2, 0.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(net, optimizer, 5), train(twin, resumed, 5)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_foreign_state_is_refused():
    net = Net()
    with pytest.raises(ValueError, match="1 parts, expected 2"):
        muon_adamw(net, 1e-2, 1e-2, 0.0).load_state_dict({"children": [{}]})
    with pytest.raises(ValueError, match="no closure"):
        MuonAdamW([], [nn.Parameter(torch.zeros(2))], 1e-3, 1e-3).step(lambda: None)


def train_shared(rank, folder):
    """Four steps; without a rank in one process. Leaves weights, momenta and the shapes made orthogonal here."""
    if rank is not None:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    shapes, orthogonal = [], _muon._zeropower_via_newtonschulz
    _muon._zeropower_via_newtonschulz = lambda update, *rest: (
        shapes.append([*update.shape]),
        orthogonal(update, *rest),
    )[1]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 6))
    net[4].weight.requires_grad_(False)
    optimizer = muon_adamw(net, 1e-2, 1e-2, 0.01)
    for step in range(4):
        optimizer.zero_grad()
        net(torch.randn(5, 6, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()
    _muon._zeropower_via_newtonschulz = orthogonal
    momenta = {f"momentum.{k}": v["momentum_buffer"] for k, v in optimizer.children[0].state_dict()["state"].items()}
    save_file({**net.state_dict(), **momenta}, f"{folder}/{rank}.safetensors")
    Path(f"{folder}/{rank}.json").write_text(json.dumps(shapes))


def test_processes_share_the_work_of_muon_and_end_alike(tmp_path):
    multiprocessing.start_processes(train_shared, (str(tmp_path),), nprocs=2, start_method="spawn")
    train_shared(None, str(tmp_path))
    one = load_file(tmp_path / "None.safetensors")
    assert sum(name.startswith("momentum") for name in one) == 2
    for rank in (0, 1):
        two = load_file(tmp_path / f"{rank}.safetensors")
        assert two.keys() == one.keys()
        assert all(torch.equal(two[name], one[name]) for name in one)
    done = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1, None)]
    assert done == [[[9, 12]] * 4, [[12, 6]] * 4, [[12, 6], [9, 12]] * 4]
