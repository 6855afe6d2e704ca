"""How many slots a module has, and the buffers that are them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import torch
from torch import Tensor, nn

from patchhub.composer.slots.swap import PREFIX, Live
from patchhub.errors import InvalidInputError
from patchhub.sites import weight_matrix


@dataclass(frozen=True, slots=True)
class Room:
    """Capacities of the slots at one weight.

    Attributes:
        ranks: Of low-rank updates, all blocks together.
        keys: Rows of codebooks.
        deltas: Sparse updates that routes choose from; each takes as much memory as the weight.
        neurons: Of the MLP that the weight is the down-projection of.
        sets: Sets of patches that the requests of one batch may have.
    """

    ranks: int = 0
    keys: int = 0
    deltas: int = 0
    neurons: int = 0
    sets: int = 1

    def require(self, needed: Room, where: str) -> None:
        """Refuse to be smaller than what is needed.

        Raises:
            InvalidInputError: E163.
        """
        less = {
            field.name: (getattr(self, field.name), getattr(needed, field.name))
            for field in fields(self)
            if getattr(self, field.name) < getattr(needed, field.name)
        }
        if less:
            raise InvalidInputError(
                "E163",
                f"{where}: there are not enough slots",
                expected=", ".join(f"{wanted} {name}" for name, (_, wanted) in less.items()),
                found=", ".join(f"{has} {name}" for name, (has, _) in less.items()),
                hint="reserve more; a compiled model is compiled anew then",
            )


SETS, RANKS, KEYS, DELTAS, NEURONS, IN, OUT = "sets", "ranks", "keys", "deltas", "neurons", "i", "o"
_KEPT: Final = torch.float32
"""At least: keys are compared, and updates summed, in this precision."""

LINEAR: Final[Mapping[str, tuple[tuple[str, ...], float | int]]] = {
    "down": ((RANKS, IN), 0.0),
    "up": ((OUT, RANKS), 0.0),
    "mask": ((SETS, RANKS), 0.0),
    "owner": ((RANKS,), -1),
    "keys": ((KEYS, IN), 0.0),
    "norms": ((KEYS,), 0.0),
    "radius": ((SETS, KEYS), -1.0),
    "block": ((KEYS,), -1),
    "values": ((KEYS, OUT), 0.0),
    "position": ((KEYS,), -1),
    "deltas": ((DELTAS, OUT, IN), 0.0),
    "threshold": ((SETS, DELTAS), torch.inf),
    "activation": ((DELTAS,), 0),
}
"""Buffers of a Linear or Conv1D: their axes, and what an empty slot holds."""
MLP: Final[Mapping[str, tuple[tuple[str, ...], float | int]]] = {
    "keys": ((NEURONS, OUT), 0.0),
    "up": ((NEURONS, OUT), 0.0),
    "bias": ((NEURONS,), 0.0),
    "one": ((NEURONS,), 1.0),
    "values": ((NEURONS, OUT), 0.0),
    "activation": ((NEURONS,), 0),
    "mask": ((SETS, NEURONS), 0.0),
}
"""Buffers of an MLP, whose input and output are as wide as its down-projection's output."""


def fill(
    module: nn.Module,
    layout: Mapping[str, tuple[tuple[str, ...], float | int]],
    contents: Mapping[str, Tensor],
    room: Room,
    like: nn.Module,
) -> None:
    """Write slots, in place where the buffers are of that size already; the rest is empty.

    Args:
        module: That has the slots.
        layout: Its buffers.
        contents: What they begin with; those that are left out are empty.
        room: Their sizes.
        like: The module with the weight, for its shape, dtype and device.
    """
    weight = weight_matrix(like)
    sizes = {field.name: getattr(room, field.name) for field in fields(room)}
    sizes |= {OUT: weight.shape[0], IN: weight.shape[1]}
    device = _device(like, weight)
    for name, (axes, empty) in layout.items():
        shape = tuple(sizes[axis] for axis in axes)
        dtype = torch.long if isinstance(empty, int) else torch.promote_types(weight.dtype, _KEPT)
        values = torch.full(shape, empty, dtype=dtype)
        if name in contents:
            part = contents[name]
            values[tuple(slice(size) for size in part.shape)] = part.to(dtype)
        _write(module, name, values.to(device))


def _write(module: nn.Module, name: str, values: Tensor) -> None:
    there: Any = getattr(module, PREFIX + name, None)
    if isinstance(there, Tensor) and there.shape == values.shape and there.dtype == values.dtype:
        there.copy_(values)
    elif isinstance(module, Live):
        module.live_buffer(name, values)


def _device(module: nn.Module, weight: Tensor) -> torch.device:
    """Where the module runs, also if accelerate keeps its weight elsewhere."""
    hook: Any = module.__dict__.get("_hf_hook")
    device = getattr(hook, "execution_device", None)
    if device is None:
        return weight.device
    return torch.device(device)
