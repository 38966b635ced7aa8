"""Which layer uses which stored block? Layer maps by name, and the check that a map is one."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import MultiplexError


def groups(num_layers: int, stored: int) -> list[int]:
    """`stored` groups of consecutive layers, as even as possible: groups(5, 2) = [0, 0, 0, 1, 1]."""
    if not 1 <= stored <= num_layers:
        raise MultiplexError(f"{num_layers} layers cannot use {stored} stored blocks: give 1 to {num_layers}")
    return [layer * stored // num_layers for layer in range(num_layers)]


def pairs(num_layers: int) -> list[int]:
    """Consecutive pairs, a last odd layer alone: pairs(5) = [0, 0, 1, 1, 2]."""
    return [layer // 2 for layer in range(num_layers)]


def repo_map(num_layers: int) -> list[int]:
    """One shared pair, as in the original's code (27 layers: layer 24 uses block 23): layer L-3 that of layer L-4."""
    if num_layers < 4:
        raise MultiplexError(f"the map 'repo' shares layers L-4 and L-3 and needs 4 layers: got {num_layers}")
    shared = num_layers - 3
    return [layer - (layer >= shared) for layer in range(num_layers)]


def named_map(name: str, num_layers: int, stored: int | None = None) -> list[int]:
    """The map called `name`: identity, pairs, repo, paper, or groups (which needs the number of `stored` blocks).

    `paper` are the consecutive pairs that its parameter counts imply (27 layers, 14 blocks). A map of kind `search`
    depends on weights and images: see `search_map`. Raises MultiplexError for other names.
    """
    if name == "groups" and stored is not None:
        return groups(num_layers, stored)
    known = {"identity": lambda n: list(range(n)), "pairs": pairs, "paper": pairs, "repo": repo_map}
    if name not in known:
        raise MultiplexError(
            f"unknown layer map {name!r} with stored={stored}. Expected one of {', '.join(known)}, groups (with "
            "stored=K), or a list with the stored block of every layer"
        )
    return known[name](num_layers)


def check_map(layer_map: Sequence[int], num_layers: int) -> list[int]:
    """`layer_map` as a list. Raises MultiplexError unless it gives every layer a block and uses 0..K-1 without gaps."""
    given = [int(block) for block in layer_map]
    if len(given) != num_layers:
        raise MultiplexError(f"the layer map has {len(given)} entries, expected one for each of {num_layers} layers")
    if sorted(set(given)) != list(range(max(given) + 1)):
        raise MultiplexError(f"the layer map must use every block from 0 to its maximum without gaps: got {given}")
    return given


def members(layer_map: Sequence[int]) -> list[list[int]]:
    """The layers of every stored block, in order: members([0, 0, 1]) = [[0, 1], [2]]."""
    found: list[list[int]] = [[] for _ in range(max(layer_map) + 1)]
    for layer, block in enumerate(layer_map):
        found[block].append(layer)
    return found
