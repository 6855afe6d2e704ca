"""GELU in one kernel where a model spells it out in eight, which takes memory and time in training.

The function is the same; values differ by rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from transformers.activations import NewGELUActivation

_fused = partial(nn.functional.gelu, approximate="tanh")


@contextmanager
def fused_gelu(model: nn.Module) -> Iterator[None]:
    """Let the model's activations be computed in one go inside the ``with`` block."""
    slow = [m for m in model.modules() if isinstance(m, NewGELUActivation)]
    plain = [module for module in slow if "forward" not in module.__dict__]
    for module in plain:
        module.__dict__["forward"] = _fused
    try:
        yield
    finally:
        for module in plain:
            del module.__dict__["forward"]
