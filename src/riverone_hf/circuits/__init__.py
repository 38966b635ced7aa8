"""How is a circuit simulated?

`Ansatz` says how many wires, layers and angles there are; `probabilities` and `expectations` simulate it. Real
amplitudes enter, every wire is turned by RX, RY and RZ, CNOTs entangle neighbours, and the chances of all 2^n basis
states (or PauliZ means) come out, differentiable in amplitudes and angles, with memory that does not grow with depth.
"""

from .ansatz import ENTANGLERS, Ansatz
from .simulate import expectations, probabilities

__all__ = ["ENTANGLERS", "Ansatz", "expectations", "probabilities"]
