"""The KV cache of a batch: rows can be chosen, repeated, widened on the left and put together.

row 0   . . . a b c d |        "." is padding, masked out; the newest token of every row is in the last column,
row 1   e f g h i j k |        so that one decode step adds one column to all. Spare room behind it makes that a write, not a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

SPARE = 128  # columns of room added when a layer is full: a copy of the cache once in so many steps


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """keys, values: [B, H, T, D], views of buffers with room for more columns. Sliding-window layers keep all columns; the mask of
    the model limits what they see."""

    keys: Tensor
    values: Tensor
    is_initialized: bool
    buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        past = self.get_seq_length()
        total = past + key_states.shape[-2]
        if self.buffers is None or self.buffers[0].shape[-2] < total:
            self.buffers = (self._roomier(self.keys, key_states, total), self._roomier(self.values, value_states, total))
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, past:total] = states
        self.keys, self.values = (buffer[:, :, :total] for buffer in self.buffers)
        return self.keys, self.values

    def _roomier(self, old: Tensor, like: Tensor, total: int) -> Tensor:
        batch, heads, _, width = like.shape
        buffer = like.new_empty(batch, heads, total + SPARE, width)
        if old.numel():
            buffer[:, :, : old.shape[-2]] = old
        return buffer

    def replace(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values, self.buffers, self.is_initialized = keys, values, None, True
        self.dtype, self.device = keys.dtype, keys.device


def new_cache() -> Cache:
    """An empty cache whose layers come as the model asks for them."""
    return Cache(layer_class_to_replicate=GrowingLayer)


def select(cache: Cache, rows: list[int] | Tensor) -> None:
    """Keeps these rows, in this order; a row may appear several times."""
    index = torch.as_tensor(rows)
    for layer in _filled(cache):
        layer.replace(layer.keys.index_select(0, index), layer.values.index_select(0, index))


def copy_of(cache: Cache, rows: list[int] | Tensor) -> Cache:
    """A new cache with these rows of the old, which stays as it is."""
    index, copied = torch.as_tensor(rows), new_cache()
    for layer in _filled(cache):
        fresh = GrowingLayer()
        fresh.replace(layer.keys.index_select(0, index), layer.values.index_select(0, index))
        copied.layers.append(fresh)
    return copied


def join(first: Cache, second: Cache) -> None:
    """Adds the rows of `second` below those of `first`; the shorter one is widened on the left with zeros."""
    for mine, other in zip(_filled(first), _filled(second), strict=True):
        width = max(mine.keys.shape[-2], other.keys.shape[-2])
        mine.replace(
            torch.cat([_widened(mine.keys, width), _widened(other.keys, width)]),
            torch.cat([_widened(mine.values, width), _widened(other.values, width)]),
        )


def drop_left(cache: Cache, columns: int) -> None:
    """Forgets columns that are padding in every row."""
    for layer in _filled(cache):
        layer.replace(layer.keys[:, :, columns:].contiguous(), layer.values[:, :, columns:].contiguous())


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """What one token of one sequence takes: keys and values of every layer (heads x width, grouped heads counted once)."""
    config = config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * dtype.itemsize)


def _filled(cache: Cache) -> Iterator[GrowingLayer]:
    return (layer for layer in cache.layers if layer.is_initialized)


def _widened(states: Tensor, width: int) -> Tensor:
    missing = width - states.shape[-2]
    return torch.nn.functional.pad(states, (0, 0, missing, 0)) if missing else states
