"""What does head mixing cost? Attention without it (fused, plain), with it, and its other exact form, which is fused.

That form gives each head a query as wide as the model (all heads' queries, scaled by its row of `before`), keys
and values of all heads, and mixes the outputs by `after`: fused, but with H times the operations.

Run: python benchmarks/head_mixing.py [--device cpu] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention

from riverone_hf.model.transforms_riverone import RiverOneHeadMixing
from riverone_hf.model.vision_riverone import eager_attention_forward

SIZES = {"small (100 patches, 6 x 32)": (24, 6, 100, 32), "full (784 patches, 16 x 72)": (1, 16, 784, 72)}


def forms(mixing: RiverOneHeadMixing, scaling: float) -> dict[str, Callable[..., torch.Tensor]]:
    """Name -> function of query, key, value (T, H, N, D) -> (T, N, H, D)."""

    def folded(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        heads = query.shape[1]
        wide = torch.einsum("hg,tgnd->thngd", mixing.before, query).flatten(3)
        keys, values = (x.transpose(1, 2).flatten(2)[:, None].expand(-1, heads, -1, -1) for x in (key, value))
        each = scaled_dot_product_attention(wide, keys, values, scale=scaling).unflatten(3, (heads, -1))
        return torch.einsum("hg,tgnhd->tnhd", mixing.after, each)

    return {
        "fused, no mixing": lambda q, k, v: scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2),
        "plain, no mixing": lambda q, k, v: eager_attention_forward(mixing, q, k, v, None, scaling)[0],
        "plain, mixing": lambda q, k, v: mixing(q, k, v, scaling)[0],
        "fused, mixing folded into wide heads": folded,
    }


def seconds(function: Callable[..., torch.Tensor], states: torch.Tensor, backward: bool, rounds: int = 7) -> float:
    """Median time of a call after a first one; on a CPU the time of this process, so that others do not count."""
    on_gpu, times = states.is_cuda, []
    clock = time.perf_counter if on_gpu else time.process_time
    for _ in range(rounds + 1):
        start = clock()
        with torch.set_grad_enabled(backward):
            output = function(*states)
            if backward:
                output.sum().backward()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for size, (tiles, heads, patches, width) in SIZES.items():
        mixing = RiverOneHeadMixing(heads).to(arguments.device)
        with torch.no_grad():
            for mix in mixing.parameters():
                mix.add_(0.1 * torch.randn_like(mix))
        states = torch.randn(3, tiles, heads, patches, width, device=arguments.device, requires_grad=True)
        functions = forms(mixing, width**-0.5)
        wanted, other = functions["plain, mixing"](*states), functions["fused, mixing folded into wide heads"](*states)
        assert torch.allclose(wanted, other, atol=1e-4), "the two forms of mixing differ"
        base = None
        for name, function in functions.items():
            forward, both = seconds(function, states, False), seconds(function, states, True)
            base = base or (forward, both)
            print(
                f"{size:30s} {name:38s} forward {1e3 * forward:8.2f} ms ({forward / base[0]:4.1f} x)   "
                f"forward+backward {1e3 * both:8.2f} ms ({both / base[1]:4.1f} x)"
            )


if __name__ == "__main__":
    main()
