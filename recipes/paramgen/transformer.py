"""A toy transformer whose second feed-forward layers are generated, beside the same model with plain layers.

The task is the original's, smaller: label (x0 + 7 x1) mod 3 of sequences of 8 tokens, a quarter held out.

Run: python recipes/paramgen/transformer.py [--steps 300] [--head dense]
"""

# /// script
# dependencies = ["riverone-hf"]
# ///

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import nn

from riverone_hf.qgp import VQCGeneratedLinear

VOCABULARY, LENGTH, WIDTH, INNER, HEADS, LAYERS, CLASSES = 12, 8, 32, 64, 4, 2, 3


class Classifier(nn.Module):
    def __init__(self, second: Callable[[], nn.Module]):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(0.5 * torch.randn(LENGTH, WIDTH))
        self.layers = nn.ModuleList()
        for _ in range(LAYERS):
            layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, dropout=0.0, batch_first=True, norm_first=True)
            layer.linear2 = second()
            # The fused inference path reads linear2.weight at every call; the plain path is what is trained.
            layer.activation_relu_or_gelu = 0
            self.layers.append(layer)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.tokens(ids) + self.places
        for layer in self.layers:
            hidden = layer(hidden)
        return self.head(hidden[:, 0])


def accuracy(model: nn.Module, ids: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return (model.eval()(ids).argmax(1) == labels).float().mean().item()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--head", choices=("dense", "basis"), default="dense")
    options = parser.parse_args(arguments)

    # Data
    torch.manual_seed(0)
    ids = torch.randint(VOCABULARY, (4000, LENGTH))
    labels = (ids[:, 0] + 7 * ids[:, 1]) % CLASSES
    seen, held = slice(0, 3000), slice(3000, 4000)

    # Models
    def generated() -> VQCGeneratedLinear:
        return VQCGeneratedLinear(INNER, WIDTH, n_wires=6, rank=8, latent=32, head=options.head)

    models: dict[str, Callable[[], nn.Module]] = {"generated": generated, "plain": lambda: nn.Linear(INNER, WIDTH)}
    counts = generated().parameter_count()
    print(f"one generated layer: {counts['total']:,} parameters write {counts['weights']:,}", end=" ")
    print(f"(expansion {counts['expansion']:.2f})")

    # Training
    for name, second in models.items():
        torch.manual_seed(1)
        model = Classifier(second)
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        for _ in range(options.steps):
            batch = torch.randint(3000, (64,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(ids[batch]), labels[batch]).backward()
            optimizer.step()
        scores = [accuracy(model, ids[part], labels[part]) for part in (seen, held)]
        print(f"{name:10s} training accuracy {scores[0]:.3f}, held-out {scores[1]:.3f}")


if __name__ == "__main__":
    main()
