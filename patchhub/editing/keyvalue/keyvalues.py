"""What a key-value edit remembers: the keys it wrote at, and what was to be added there.

Stored in the patch's ``state.safetensors``, so that many edits can later be solved together as if
they had been one (`patchhub.editing.joint`). Tensors, all float32 but the last:

    keys.<layer>    (t, f)  input of the block's down-projection, averaged over contexts
    residuals       (t, d)  δ at the method's site: the target less the model's own output
    shares.<layer>  (t, d)  what each block is to add; see `KeyValues`
    groups          (n,)    int64, the target that each request belongs to; left out where request
                            i has target i

Requests on one subject share a key and therefore a target: t targets serve n ≥ t requests, in the
order of the patch's requests. Which module the residual is of follows from the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from patchhub.errors import IntegrityError

if TYPE_CHECKING:
    from patchhub.patch import Patch

KEYS, RESIDUALS, SHARES, GROUPS = "keys.", "residuals", "shares.", "groups"


@dataclass(frozen=True, eq=False)
class KeyValues:
    """Keys and residuals of the targets behind a patch.

    Attributes:
        keys: Block → ``(t, f)``, as the edit used them.
        residuals: δ per target, ``(t, d)``: before any block was written, whole (not a share).
        groups: Per request the row of its target; empty where request i has target i.
        shares: Block → ``(t, d)``, what the block is to add for each target while all lower blocks
            add theirs for this target alone. Only with these are keys and shares free of what
            else was written, so that a joint solve can take them as they are.
    """

    keys: Mapping[int, Tensor]
    residuals: Tensor
    groups: tuple[int, ...] = ()
    shares: Mapping[int, Tensor] = field(default_factory=dict)

    def to_state(self) -> dict[str, Tensor]:
        """Tensors for `Patch.build(state=…)`."""
        state = {f"{KEYS}{layer}": _stored(rows) for layer, rows in self.keys.items()}
        state[RESIDUALS] = _stored(self.residuals)
        state |= {f"{SHARES}{layer}": _stored(rows) for layer, rows in self.shares.items()}
        if self.groups and self.groups != tuple(range(len(self.residuals))):
            state[GROUPS] = torch.tensor(self.groups, dtype=torch.int64)
        return state

    @classmethod
    def from_state(cls, patch: Patch) -> KeyValues | None:
        """What a patch remembers; None if it remembers no residuals.

        Raises:
            IntegrityError: E118, the tensors do not go together or not with the requests.
        """
        return read_state(patch.state, len(patch.requests))

    def members(self) -> tuple[tuple[int, ...], ...]:
        """Per target, the places of its requests."""
        rows: list[list[int]] = [[] for _ in range(len(self.residuals))]
        for request, row in enumerate(self.groups or range(len(self.residuals))):
            rows[row].append(request)
        return tuple(map(tuple, rows))


def read_state(state: Mapping[str, Tensor], requests: int) -> KeyValues | None:
    """`KeyValues.from_state` of tensors and a number of requests."""
    if RESIDUALS not in state:
        return None
    residuals = state[RESIDUALS]
    if residuals.dtype != torch.float32 or residuals.ndim != 2 or not len(residuals):
        _wrong(RESIDUALS, "float32 (targets, d)", residuals)
    keys, shares = (_layers(state, prefix, len(residuals)) for prefix in (KEYS, SHARES))
    if not keys:
        _wrong(f"{KEYS}<layer>", "keys of at least one block", None)
    if shares and shares.keys() != keys.keys():
        _wrong(SHARES + "<layer>", f"blocks {_spelt(keys)}", _spelt(shares))
    for layer, rows in shares.items():
        if rows.shape != residuals.shape:
            _wrong(f"{SHARES}{layer}", f"shape {tuple(residuals.shape)}", rows)
    return KeyValues(keys, residuals, _groups(state, len(residuals), requests), shares)


def _stored(rows: Tensor) -> Tensor:
    return rows.detach().to("cpu", torch.float32).contiguous()


def _layers(state: Mapping[str, Tensor], prefix: str, targets: int) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}
    for name in sorted(n for n in state if n.startswith(prefix)):
        number, rows = name.removeprefix(prefix), state[name]
        if not (number.isdecimal() and str(int(number)) == number):
            _wrong(name, f"{prefix}<number of the block>", name)
        if rows.dtype != torch.float32 or rows.ndim != 2 or len(rows) != targets:
            _wrong(name, f"float32 ({targets}, …), one row per target", rows)
        found[int(number)] = rows
    return dict(sorted(found.items()))


def _groups(state: Mapping[str, Tensor], targets: int, requests: int) -> tuple[int, ...]:
    if GROUPS not in state:
        if targets != requests:
            _wrong(RESIDUALS, f"one row for each of {requests} requests", f"{targets} rows")
        return ()
    groups = state[GROUPS]
    if groups.dtype != torch.int64 or groups.shape != (requests,):
        _wrong(GROUPS, f"int64 ({requests},), one number per request", groups)
    numbers = tuple(int(one) for one in groups)
    if set(numbers) != set(range(targets)):
        _wrong(GROUPS, f"each of the {targets} targets, and no other", sorted(set(numbers))[:8])
    return numbers


def _spelt(layers: Sequence[int] | Mapping[int, object]) -> str:
    return ", ".join(map(str, layers))


def _wrong(name: str, expected: str, found: object) -> NoReturn:
    if isinstance(found, Tensor):
        found = f"{str(found.dtype).removeprefix('torch.')} {tuple(found.shape)}"
    raise IntegrityError(
        "E118",
        f"state.safetensors: {name} is not what a key-value edit stores",
        expected=expected,
        found=found,
        hint="the state was written by another program or is damaged; make the edit again",
    )
