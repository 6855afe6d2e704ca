"""Radii of the keys of a stack: what they leave to each other, and what they may not fall below."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

MARGIN: Final = 1e-5
"""Two balls that must not touch stay this far from the middle between their keys."""
_NOISE: Final = {torch.float32: 16.0, torch.float64: 16.0}
_NOISE_HALF: Final = 4.0
"""Smallest radius in units of the dtype's resolution times the key's norm: four times how far the
key of one and the same prompt moves when it is asked alone and padded in a batch."""
_CHUNK: Final = 256
_PAIRS: Final = 4096


def resolved(keys: Tensor, radius: Tensor, group: Tensor) -> Tensor:
    """Radii (c,) float64 in which keys that want different things leave each other their halves.

    εᵢ = min(ε⁰ᵢ, min over j of another group of ‖kᵢ − kⱼ‖/2 − 10⁻⁵). It depends on the set of keys
    only and never enlarges a radius: when a key goes, the others have what they would without it.
    For one pair it is GRACE's split (Hartvigsen et al. 2023, arXiv:2211.11031, algorithm 1).

    Args:
        keys: (c, d).
        radius: ε⁰ (c,), as the patches have it.
        group: (c,) integers.
    """
    found, wide = radius.double().clone(), keys.double()
    squares = wide.square().sum(1)
    for start in range(0, len(keys), _CHUNK):
        part = slice(start, start + _CHUNK)
        # Products lose digits where keys are close; who may be concerned is then measured exactly.
        near = (squares[part, None] + squares - 2 * wide[part] @ wide.T).clamp(min=0).sqrt()
        slack = 1e-6 * (squares[part, None] + squares).sqrt()
        limit = 2 * (found[part, None] + MARGIN) + slack
        pairs = ((near <= limit) & (group[part, None] != group)).nonzero()
        for some in range(0, len(pairs), _PAIRS):
            row, other = (pairs[some : some + _PAIRS] + torch.tensor([start, 0])).T
            halves = (wide[row] - wide[other]).square().sum(1).sqrt() / 2 - MARGIN
            found.scatter_reduce_(0, row, halves, "amin")
    return found


def floor(keys: Tensor, dtype: torch.dtype) -> Tensor:
    """The smallest radius (c,) that a key fires with reliably in a model of that dtype.

    Below it a prompt would pass or not by who else is in its batch.
    """
    share = _NOISE.get(dtype, _NOISE_HALF) * torch.finfo(dtype).eps
    return share * keys.double().square().sum(1).sqrt()
