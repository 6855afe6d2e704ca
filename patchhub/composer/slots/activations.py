"""Activations that are chosen by a number in a tensor, so that another choice compiles nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from patchhub.kinds.rows import ACTIVATIONS


def _gelu_tanh(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": functional.silu,
}


def activated(x: Tensor, which: Tensor) -> Tensor:
    """The activation of each element of ``x``.

    Args:
        x: (…, n).
        which: Places in `patchhub.kinds.rows.ACTIVATIONS`, (n,) or one for all.
    """
    found = x  # "identity"
    for name, function in _FUNCTIONS.items():
        found = torch.where(which == ACTIVATIONS.index(name), function(x), found)
    return found
