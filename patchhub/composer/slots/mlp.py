"""An MLP with slots for neurons."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from patchhub.composer.slots.activations import activated
from patchhub.composer.slots.passes import rows_of
from patchhub.composer.slots.swap import Live


class LiveMLP(Live):
    """y = MLP(x) + Σⱼ act(kⱼ·x + bⱼ) (uⱼ·x + oⱼ) vⱼ; with empty slots, MLP(x) to the bit.

    Buffers, N being a capacity and S the number of sets: ``keys`` and ``up`` (N, d), ``bias`` (N,),
    ``one`` (N,), o, which is 1 for neurons that have no u, ``values`` (N, d), ``activation`` (N,)
    and ``mask`` (S, N).
    """

    live_keys: Tensor
    live_up: Tensor
    live_bias: Tensor
    live_one: Tensor
    live_values: Tensor
    live_activation: Tensor
    live_mask: Tensor

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The MLP's output, (…, d)."""
        own: Any = super()
        y: Tensor = own.forward(x, *args, **kwargs)
        rows = rows_of(x, self.live_state)
        wide = x.reshape(rows, -1, x.shape[-1]).to(self.live_keys.dtype)
        mask = self.live_state.of_set(self.live_mask, rows)
        fired = activated(wide @ self.live_keys.T + self.live_bias, self.live_activation)
        fired = fired * (wide @ self.live_up.T + self.live_one) * mask[:, None]
        added = (fired @ self.live_values).to(y.dtype).reshape(rows, -1, y.shape[-1])
        out = y.reshape(rows, -1, y.shape[-1])
        has = mask.ne(0).any(1)[:, None, None]
        return torch.where(has, out + added, out).reshape(y.shape)
