"""The vision tower: a transformer whose blocks are stored once and picked per layer through index maps.

State that is stored: `blocks` (attention output + MLP, K of them), `qkv` (query/key/value sets) and `layers` (the
norms that each of the L layers keeps for itself). Fixed position codes are computed from the grid, so there is no
buffer that a load from a checkpoint could miss.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import can_return_tuple

from .configuration_riverone import RiverOneVisionConfig
from .generated_riverone import FreezingPreTrainedModel
from .transforms_riverone import RiverOneHeadMixing, RiverOneLocalConv


def pixel_unshuffle(hidden_states: torch.Tensor, grid: tuple[int, int], factor: int) -> torch.Tensor:
    """Join squares of patches: (T, rows*cols, C) -> (T, rows*cols/factor^2, factor^2*C).

    The channels of a square are its patches in row-major order.
    """
    tiles, _, channels = hidden_states.shape
    rows, cols = grid
    if rows % factor or cols % factor:
        raise ValueError(f"A grid of {rows}x{cols} patches cannot be joined in squares of {factor}x{factor}.")
    squares = hidden_states.reshape(tiles, rows // factor, factor, cols // factor, factor, channels)
    return squares.transpose(2, 3).reshape(tiles, -1, factor * factor * channels)


def _grid_coordinates(grid: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of every patch in raster order, two float tensors of shape (rows*cols,)."""
    rows = torch.arange(grid[0], device=device, dtype=torch.float32)
    cols = torch.arange(grid[1], device=device, dtype=torch.float32)
    row, col = torch.meshgrid(rows, cols, indexing="ij")
    return row.flatten(), col.flatten()


def sincos_positions(grid: tuple[int, int], native: int, dim: int, device: torch.device) -> torch.Tensor:
    """Fixed 2-D sine/cosine codes, (rows*cols, dim): a quarter of the channels each for sin/cos of column and row.

    Coordinates of another grid are scaled to the `native` one, as interpolating a table would do.
    """
    row, col = _grid_coordinates(grid, device)
    omega = 10000.0 ** -(torch.arange(dim // 4, device=device, dtype=torch.float32) / (dim // 4))
    row = torch.outer(row * (native / grid[0]), omega)
    col = torch.outer(col * (native / grid[1]), omega)
    return torch.cat([col.sin(), col.cos(), row.sin(), row.cos()], dim=1)


def rotary_positions(
    grid: tuple[int, int], head_dim: int, theta: float, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of the 2-D rotary angles, each (rows*cols, head_dim); rows and columns take half the pairs."""
    row, col = _grid_coordinates(grid, device)
    pairs = head_dim // 4
    inverse = theta ** -(torch.arange(pairs, device=device, dtype=torch.float32) / pairs)
    angles = torch.cat([torch.outer(row, inverse), torch.outer(col, inverse)], dim=1).repeat(1, 2)
    return angles.cos(), angles.sin()


def apply_rotary(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate `states` (T, heads, N, head_dim) in float32 and return them in their own dtype."""
    first, second = states.float().chunk(2, dim=-1)
    rotated = torch.cat([-second, first], dim=-1)
    return (states.float() * cos + rotated * sin).to(states.dtype)


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Plain attention: query, key, value (T, heads, N, head_dim) -> output (T, N, heads, head_dim) and the maps."""
    weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class RiverOneVisionStem(nn.Sequential):
    """Patches by a few small convolutions instead of one wide product: thin lines are learned from far fewer images.

    Non-overlapping 4x4 windows, then overlapping 3x3 steps of 2 that double the width until a patch is one vector
    ("Early Convolutions Help Transformers See Better", Xiao et al. 2021).
    """

    def __init__(self, channels: int, hidden_size: int, patch_size: int):
        steps = (patch_size // 4).bit_length() - 1
        widths = [hidden_size >> (steps - step) for step in range(steps + 1)]
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], kernel_size=4, stride=4)]
        for width in widths[1:]:
            layers += [nn.ReLU(), nn.Conv2d(width // 2, width, kernel_size=3, stride=2, padding=1)]
        super().__init__(*layers)


class RiverOneVisionEmbeddings(nn.Module):
    """Patches -> vectors, an optional LayerNorm, and positions."""

    def __init__(self, config: RiverOneVisionConfig):
        super().__init__()
        self.config = config
        channels = config.num_channels * config.temporal_patch_size
        self.patch_embedding: nn.Module
        if config.patch_stem == "conv":
            self.patch_embedding = RiverOneVisionStem(channels, config.hidden_size, config.patch_size)
        else:
            size = config.patch_size
            self.patch_embedding = nn.Conv2d(channels, config.hidden_size, kernel_size=size, stride=size)
        self.patch_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.patch_norm else None
        if config.position_embedding == "learned":
            self.position_embedding = nn.Parameter(torch.empty(config.num_position_embeddings, config.hidden_size))

    def positions(self, grid: tuple[int, int], device: torch.device) -> torch.Tensor:
        """Position vectors of a grid, (rows*cols, hidden)."""
        hidden = self.config.hidden_size
        if self.config.position_embedding == "sincos":
            return sincos_positions(grid, self.config.grid_size, hidden, device)
        side = round(self.config.num_position_embeddings**0.5)
        if grid == (side, side):
            return self.position_embedding
        table = self.position_embedding.float().reshape(1, side, side, hidden).permute(0, 3, 1, 2)
        table = nn.functional.interpolate(table, size=grid, mode="bicubic", align_corners=False)
        return table.flatten(2).squeeze(0).t()

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        frames = pixel_values.repeat(1, self.config.temporal_patch_size, 1, 1)
        patches = self.patch_embedding(frames.to(next(self.patch_embedding.parameters()).dtype))
        grid = (patches.shape[2], patches.shape[3])
        hidden_states = patches.flatten(2).transpose(1, 2)
        if self.patch_norm is not None:
            hidden_states = self.patch_norm(hidden_states)
        return hidden_states + self.positions(grid, hidden_states.device).to(hidden_states.dtype)


class RiverOneVisionQKV(nn.Module):
    """One stored set of query, key and value projections."""

    def __init__(self, config: RiverOneVisionConfig):
        super().__init__()
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.q_proj(hidden_states), self.k_proj(hidden_states), self.v_proj(hidden_states)

    def slots(self, uses: int) -> list:
        """What each of the `uses` layers of this set calls, in order; a live generator gives each its own weights."""
        return [self] * uses


class RiverOneVisionAttention(nn.Module):
    """Bidirectional attention over ready queries, keys and values, and its output projection."""

    def __init__(self, config: RiverOneVisionConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = False
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, query, key, value, rotary=None, mixing: RiverOneHeadMixing | None = None) -> torch.Tensor:
        shape = query.shape
        query, key, value = (x.view(*shape[:2], -1, self.head_dim).transpose(1, 2) for x in (query, key, value))
        if rotary is not None:
            query, key = apply_rotary(query, *rotary), apply_rotary(key, *rotary)
        dropout = self.attention_dropout if self.training else 0.0
        if mixing is not None:
            output, _ = mixing(query, key, value, self.scaling, dropout=dropout)
            return self.out_proj(output.reshape(shape))
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, _ = attention(
            self,
            query,
            key,
            value,
            None,
            scaling=self.scaling,
            dropout=dropout,
            is_causal=False,
        )
        return self.out_proj(output.reshape(shape))


class RiverOneVisionMLP(nn.Module):
    def __init__(self, config: RiverOneVisionConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(hidden_states)))


class RiverOneVisionBlock(nn.Module):
    """The weights that several layers may share, apart from q/k/v."""

    def __init__(self, config: RiverOneVisionConfig):
        super().__init__()
        self.attention = RiverOneVisionAttention(config)
        self.mlp = RiverOneVisionMLP(config)


class RiverOneVisionLayer(GradientCheckpointingLayer):
    """One of the L layers: its own norms and MiniViT transforms around a stored block and a stored q/k/v set."""

    def __init__(self, config: RiverOneVisionConfig, index: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mixing = RiverOneHeadMixing(config.num_attention_heads) if index in config.head_mixing else None
        self.local: RiverOneLocalConv | None = None
        if index in config.local_conv:
            self.local = RiverOneLocalConv(config.hidden_size, config.local_conv_size, config.layer_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        block: RiverOneVisionBlock,
        qkv: RiverOneVisionQKV,
        rotary: tuple[torch.Tensor, torch.Tensor] | None = None,
        grid: tuple[int, int] = (0, 0),
    ) -> torch.Tensor:
        states = qkv(self.norm1(hidden_states))
        hidden_states = hidden_states + block.attention(*states, rotary=rotary, mixing=self.mixing)
        if self.local is not None:
            hidden_states = self.local(hidden_states, grid)
        return hidden_states + block.mlp(self.norm2(hidden_states))


class RiverOneVisionMerger(nn.Module):
    """LayerNorm per patch, unshuffle, Linear, GELU, Linear; one weight set serves every selected layer."""

    def __init__(self, config: RiverOneVisionConfig):
        super().__init__()
        out_size, inner_size = config.merger_out_size, config.merger_hidden_size
        if out_size is None or inner_size is None:
            raise ValueError("A merger needs merger_out_size in the vision configuration: got None.")
        self.factor = config.merge_size
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.hidden_size * config.merge_size**2, inner_size)
        self.activation = nn.GELU()
        self.fc2 = nn.Linear(inner_size, out_size)

    def forward(self, hidden_states: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        joined = pixel_unshuffle(self.norm(hidden_states), grid, self.factor)
        return self.fc2(self.activation(self.fc1(joined)))


class RiverOneVisionModel(FreezingPreTrainedModel):
    """Tiles -> patch states. `hidden_states[0]` is the embedding, `hidden_states[i + 1]` the output of block i."""

    config: RiverOneVisionConfig
    config_class = RiverOneVisionConfig
    main_input_name = "pixel_values"
    input_modalities = "image"
    supports_gradient_checkpointing = True
    # Shared blocks are called from several layers, so the tower stays on one device.
    _no_split_modules = ["RiverOneVisionModel"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: RiverOneVisionConfig):
        super().__init__(config)
        self.embeddings = RiverOneVisionEmbeddings(config)
        self.layers = nn.ModuleList(RiverOneVisionLayer(config, i) for i in range(config.num_hidden_layers))
        self.blocks = nn.ModuleList(RiverOneVisionBlock(config) for _ in range(config.num_stored_blocks))
        self.qkv = nn.ModuleList(RiverOneVisionQKV(config) for _ in range(config.num_stored_qkv))
        self.merger = RiverOneVisionMerger(config) if config.merger_out_size is not None else None
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.patch_embedding

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Truncated normal weights, zero biases; patches by their fan-in, so that plots start at unit variance."""
        std = self.config.initializer_range
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            patches = isinstance(module, nn.Conv2d)
            init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5 if patches else std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, RiverOneVisionEmbeddings) and self.config.position_embedding == "learned":
            init.trunc_normal_(module.position_embedding, std=std)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, (RiverOneHeadMixing, RiverOneLocalConv)):
            module.reset_to_identity()

    def grid(self, pixel_values: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of patches of tiles (T, C, H, W). Raises ValueError on other shapes."""
        size = self.config.patch_size
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.config.num_channels:
            raise ValueError(
                f"pixel_values must have shape (tiles, {self.config.num_channels}, height, width): "
                f"got {tuple(pixel_values.shape)}."
            )
        height, width = pixel_values.shape[2:]
        if height % size or width % size:
            raise ValueError(f"Tiles must be multiples of patch_size={size}: got {height}x{width} pixels.")
        return height // size, width // size

    def projections(self) -> list:
        """Per layer, what maps its states to queries, keys and values. Generated weights are made here, once."""
        uses, sets = self.config.qkv_map, cast(list[RiverOneVisionQKV], self.qkv)
        slots = [iter(stored.slots(uses.count(index))) for index, stored in enumerate(sets)]
        return [next(slots[index]) for index in uses]

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, output_hidden_states: bool | list[int] | None = None, **kwargs
    ) -> BaseModelOutput:
        """Encode tiles.

        Args:
            pixel_values: float (T, C, H, W).
            output_hidden_states: `True` for all L+1 states, or the wanted indices (the others are `None`).
        """
        grid = self.grid(pixel_values)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if isinstance(output_hidden_states, list):
            wanted = set(output_hidden_states)
        else:
            wanted = set(range(self.config.num_hidden_layers + 1)) if output_hidden_states else set()
        head_dim = self.config.hidden_size // self.config.num_attention_heads
        rotary = None
        if self.config.rotary:
            rotary = rotary_positions(grid, head_dim, self.config.rotary_theta, pixel_values.device)

        hidden_states = self.embeddings(pixel_values)
        states: list[torch.Tensor | None] = [hidden_states if 0 in wanted else None]
        for layer, block, qkv in zip(self.layers, self.config.layer_map, self.projections()):
            hidden_states = layer(hidden_states, self.blocks[block], qkv, rotary=rotary, grid=grid)
            states.append(hidden_states if len(states) in wanted else None)
        selected: Any = tuple(states) if wanted else None
        return BaseModelOutput(last_hidden_state=hidden_states, hidden_states=selected)


RiverOneVisionModel.register_for_auto_class("AutoModel")

__all__ = ["RiverOneVisionModel", "pixel_unshuffle"]
