"""Which optimizer? Muon for hidden matrices, AdamW for the rest, stepped as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer


class MuonAdamW(Optimizer):
    """torch's Muon and AdamW behind one `Optimizer`, so that Trainer schedules, saves and resumes them together.

    torch.optim.Muon takes 2-D parameters only and leaves the combination to its user. `lr` is AdamW's; Muon's rate is
    `muon_lr` (scheduled by the same factor). Source: K. Jordan, Muon (2024), torch.optim.Muon.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        muon_lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.98),
    ):
        self.children: list[Optimizer] = []
        matrices, others = list(matrices), list(others)
        super().__init__([{"params": [*matrices, *others]}], {})
        if matrices:
            self.children.append(Muon(matrices, lr=muon_lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
        if others:
            self.children.append(AdamW(others, lr=lr, weight_decay=0.0, betas=betas))
        self._link()

    def _link(self) -> None:
        # The same dict objects: a scheduler that sets param_groups[i]["lr"] reaches the child.
        self.param_groups = [group for child in self.children for group in child.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step both optimizers; parameters without a gradient (frozen ones) are left alone."""
        if closure is not None:
            raise ValueError("MuonAdamW takes no closure; call backward() before step()")
        for child in self.children:
            child.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of both."""
        for child in self.children:
            child.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """{"children": [...]}: one state dict per child."""
        return {"children": [child.state_dict() for child in self.children]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both; raises ValueError when the state belongs to another split of parameters."""
        states = state_dict.get("children", [])
        if len(states) != len(self.children):
            raise ValueError(f"optimizer state has {len(states)} parts, expected {len(self.children)}: other recipe?")
        for child, state in zip(self.children, states, strict=True):
            child.load_state_dict(state)
        self._link()


def muon_adamw(model: nn.Module, lr: float, muon_lr: float, weight_decay: float) -> MuonAdamW:
    """MuonAdamW over `model`: Muon gets the 2-D weights of Linears except embeddings and the LM head."""
    embeddings = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) or (isinstance(module, nn.Linear) and name.endswith("lm_head"))
    }
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in model.parameters():
        is_matrix = parameter.ndim == 2 and id(parameter) not in embeddings
        (matrices if is_matrix else others).append(parameter)
    return MuonAdamW(matrices, others, lr=lr, muon_lr=muon_lr, weight_decay=weight_decay)
