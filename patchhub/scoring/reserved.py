"""Keys and values with room for the tokens to come.

The library's cache copies everything with every token; this one writes the new token only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer


def spread(read: Cache, index: Tensor, more: int) -> DynamicCache:
    """Give each of several rows its own keys and values out of one row's.

    Args:
        read: Of one row of the model: keys and values (1, heads, m, d) in each layer.
        index: Places (n, t) in that row of each row's tokens.
        more: Tokens to come.
    """
    cache = DynamicCache()
    layers: Any = read.layers
    length = index.shape[1]
    room = torch.cat([index, index.new_zeros(len(index), more)], 1)  # one copy, room included
    cache.layers = [
        _Reserved(_rows(layer.keys, room), _rows(layer.values, room), length) for layer in layers
    ]
    return cache


class _Reserved(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's.

    Args:
        keys: (n, heads, t, d), room included.
        values: Of the same form.
        length: Tokens that are there.
    """

    def __init__(self, keys: Tensor, values: Tensor, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self._length = length
        self._both = (keys, values)
        self._show()

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new states (n, heads, 1, d) behind the others; returns all."""
        end = self._length + key_states.shape[-2]
        for kept, new in zip(self._both, (key_states, value_states), strict=True):
            kept[..., self._length : end, :] = new
        self._length = end
        return self._show()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows only."""
        keys, values = self._both
        self._both = (keys[indices], values[indices])
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        keys, values = (kept[..., : self._length, :] for kept in self._both)
        self.keys, self.values = keys, values
        return keys, values


def _rows(states: Tensor, index: Tensor) -> Tensor:
    return states[0][:, index].transpose(0, 1)
