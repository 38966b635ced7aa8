"""Muon and AdamW behind one Optimizer: split, schedule, save, resume."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

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
