"""ParamGen in a few lines: a circuit and a small network write the first layer of a two-layer classifier.

The labels follow a rule that can be learned, half of the inputs are held out, and a plain Linear of the same shape
stands beside it. Both kinds of heads are shown with what they hold: dense ones expand, small ones restrict the weight.
`frozen` is what stays after training: the dense one as an ordinary Linear.

Run: python recipes/paramgen/demo.py [--steps 200] [--noise 0.01]
"""

# /// script
# dependencies = ["riverone-hf"]
# ///

from __future__ import annotations

import argparse

import torch
from torch import nn

from riverone_hf.qgp import VQCGeneratedLinear

FEATURES, HIDDEN, CLASSES = 64, 96, 3


class Classifier(nn.Module):
    def __init__(self, first: nn.Module):
        super().__init__()
        self.first, self.second = first, nn.Linear(HIDDEN, CLASSES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(inputs)))


def accuracy(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return (model.eval()(inputs).argmax(1) == labels).float().mean().item()


def train(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.Adam(model.train().parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--noise", type=float, default=0.01, help="chance of a Pauli gate per layer and wire")
    options = parser.parse_args(arguments)

    # Data: the class is the strongest of three hidden directions.
    torch.manual_seed(0)
    inputs = torch.randn(2000, FEATURES)
    labels = (inputs @ torch.randn(FEATURES, CLASSES)).argmax(1)
    seen, held = slice(0, 1000), slice(1000, 2000)

    # Models
    sizes = {"n_wires": 6, "rank": 8, "latent": 32, "noise_prob": options.noise}
    layers = {
        "generated, dense head": VQCGeneratedLinear(FEATURES, HIDDEN, head="dense", **sizes),
        "generated, small head": VQCGeneratedLinear(FEATURES, HIDDEN, head="basis", basis_size=16, **sizes),
    }
    for name, layer in layers.items():
        counts = layer.parameter_count()
        print(f"{name}: {counts['total']:,} parameters ({counts['quantum']} angles)", end=" ")
        print(f"write {counts['weights']:,}, expansion {counts['expansion']:.2f}")
    models = {name: Classifier(layer) for name, layer in {**layers, "plain": nn.Linear(FEATURES, HIDDEN)}.items()}

    # Training
    for name, model in models.items():
        train(model, inputs[seen], labels[seen], options.steps)
        print(f"{name:22s} held-out accuracy {accuracy(model, inputs[held], labels[held]):.3f}")

    # Afterwards: no circuit
    model = models["generated, dense head"]
    model.first = layers["generated, dense head"].materialize()
    print(f"{'frozen':22s} held-out accuracy {accuracy(model, inputs[held], labels[held]):.3f}")


if __name__ == "__main__":
    main()
