"""What a stack, and the sets of a batch's requests, put into the slots at each weight.

A function of the patches alone: not of what was there before, nor of the order in which they came,
but for keys at the very same distance, of which the one further up in the stack counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from patchhub.composer.slots.radii import floor, resolved
from patchhub.composer.slots.room import Room
from patchhub.kinds import codebook as book
from patchhub.kinds import neurons
from patchhub.kinds.protocol import Roles
from patchhub.manifest import Kind, Site
from patchhub.patch import Patch

LIVE = (Kind.LOW_RANK, Kind.NEURONS, Kind.CODEBOOK)
"""Kinds that slots can hold."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into the slots at one weight.

    Attributes:
        room: How many of them that takes.
        linear: Buffers of the module that has the weight.
        mlp: Buffers of its MLP.
    """

    room: Room
    linear: Mapping[str, Tensor]
    mlp: Mapping[str, Tensor]


class Sets:
    """Patches, bottom first, and which of them each set has.

    Args:
        stack: Patches of every set.
        rows: Further patches of each set; without, there is one set.
    """

    def __init__(self, stack: Sequence[Patch], rows: Sequence[Sequence[Patch]] = ()) -> None:
        self.sets = [[*stack, *own] for own in rows] or [list(stack)]
        self.patches = list({p.id: p for one in self.sets for p in one}.values())
        self._ids = [{patch.id for patch in one} for one in self.sets]
        self._blocks: dict[str, int] = {}
        count = 0
        for patch in sorted(self.patches, key=lambda patch: patch.id):
            self._blocks[patch.id] = count
            count += max((_blocks(roles) for roles in patch.payload.values()), default=0)

    def tensors(self) -> list[str]:
        """The weights that are touched."""
        return sorted({name for patch in self.patches for name in patch.payload})

    def members(self, patches: Sequence[Patch], counts: Sequence[int]) -> Tensor:
        """Which rows each set has, (sets, Σ counts), of patches that have so many rows each."""
        has = [[patch.id in ids for patch in patches] for ids in self._ids]
        return torch.tensor(has, dtype=torch.bool).repeat_interleave(torch.tensor(counts), dim=1)

    def at(self, tensor: str, dtype: torch.dtype) -> Contents:
        """What goes into the slots at a weight.

        Args:
            tensor: Its name.
            dtype: In which the model computes there.
        """
        there = [patch for patch in self.patches if tensor in patch.payload]
        there.sort(key=lambda patch: patch.id)
        linear = {**self._ranks(tensor, there), **self._deltas(tensor, there)}
        linear |= self._keys(tensor, dtype)
        mlp = self._neurons(tensor, there)
        room = Room(
            ranks=len(linear.get("owner", ())),
            keys=len(linear.get("norms", ())),
            deltas=len(linear.get("deltas", ())),
            neurons=len(mlp.get("bias", ())),
            sets=len(self.sets),
        )
        return Contents(room, linear, mlp)

    def _ranks(self, tensor: str, there: Sequence[Patch]) -> dict[str, Tensor]:
        """Low-rank updates, those of every token and those of blocks that a gate chooses."""
        have = [patch for patch in there if book.DOWN in patch.payload[tensor]]
        if not have:
            return {}
        parts = [patch.payload[tensor] for patch in have]
        owners = [
            roles[book.OWNER].long() + self._blocks[patch.id]
            if book.OWNER in roles
            else torch.full((len(roles[book.DOWN]),), -1)
            for patch, roles in zip(have, parts, strict=True)
        ]
        return {
            "down": torch.cat([roles[book.DOWN] for roles in parts]),
            "up": torch.cat([roles[book.UP] for roles in parts], dim=1),
            "owner": torch.cat(owners),
            "mask": self.members(have, [len(one) for one in owners]).float(),
        }

    def _deltas(self, tensor: str, there: Sequence[Patch]) -> dict[str, Tensor]:
        """Sparse updates, written out."""
        have = [patch for patch in there if book.THRESHOLD in patch.payload[tensor]]
        if not have:
            return {}
        parts = [patch.payload[tensor] for patch in have]
        limits = torch.cat([roles[book.THRESHOLD] for roles in parts])
        members = self.members(have, [1] * len(have))
        deltas = [_dense(patch, tensor) for patch in have]
        return {
            "deltas": torch.stack(deltas),
            "threshold": torch.where(members, limits, torch.inf),
            "activation": torch.cat([roles[book.ACTIVATION] for roles in parts]).long(),
        }

    def _keys(self, tensor: str, dtype: torch.dtype) -> dict[str, Tensor]:
        """Codebook rows, the top of the stack first: it counts where two are equally near."""
        have = [p for p in reversed(self.patches) if book.RADIUS in p.payload.get(tensor, {})]
        if not have:
            return {}
        parts = [patch.payload[tensor] for patch in have]
        keys = torch.cat([roles[book.KEYS] for roles in parts])
        counts = [len(roles[book.KEYS]) for roles in parts]
        joined = [self._row(patch, tensor) for patch in have]
        return {
            "keys": keys,
            "norms": keys.double().square().sum(1),
            "radius": self._radii(keys, parts, self.members(have, counts), dtype),
            **{role: torch.cat([one[role] for one in joined]) for role in joined[0]},
        }

    def _row(self, patch: Patch, tensor: str) -> dict[str, Tensor]:
        """What the keys of a patch stand for: a value, or a block."""
        roles = patch.payload[tensor]
        count, width = len(roles[book.KEYS]), _site(patch, tensor).matrix_shape[0]
        none = torch.full((count,), -1)
        if book.BLOCK in roles:
            block = roles[book.BLOCK].long() + self._blocks[patch.id]
            return {"values": torch.zeros(count, width), "position": none, "block": block}
        position = roles[book.POSITION].long()
        return {"values": roles[book.VALUES], "position": position, "block": none}

    def _radii(
        self, keys: Tensor, parts: Sequence[Roles], members: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Of each set: what its keys leave each other, but never less than the dtype's floor."""
        given = torch.cat([roles[book.RADIUS] for roles in parts])
        group = torch.cat([roles[book.GROUP] for roles in parts]).long()
        least = floor(keys, dtype)
        found = torch.full(members.shape, -1.0, dtype=torch.float64)
        known: dict[bytes, Tensor] = {}
        for row, has in zip(found, members, strict=True):
            same = has.numpy().tobytes()
            if same not in known:
                own = resolved(keys[has], given[has], group[has])
                known[same] = torch.maximum(own, least[has])
            row[has] = known[same]
        return found

    def _neurons(self, tensor: str, there: Sequence[Patch]) -> dict[str, Tensor]:
        have = [patch for patch in there if neurons.BIAS in patch.payload[tensor]]
        if not have:
            return {}
        parts = [patch.payload[tensor] for patch in have]
        counts = [len(roles[neurons.BIAS]) for roles in parts]
        lone = torch.tensor([float(neurons.UP not in roles) for roles in parts])
        kinds = torch.cat([roles[neurons.ACTIVATION] for roles in parts]).long()
        return {
            "keys": torch.cat([roles[neurons.KEYS] for roles in parts]),
            "bias": torch.cat([roles[neurons.BIAS] for roles in parts]),
            "values": torch.cat([roles[neurons.VALUES] for roles in parts]),
            "up": torch.cat([r.get(neurons.UP, torch.zeros_like(r[neurons.KEYS])) for r in parts]),
            "one": lone.repeat_interleave(torch.tensor(counts)),
            "activation": kinds.repeat_interleave(torch.tensor(counts)),
            "mask": self.members(have, counts).float(),
        }


def reserved(contents: Contents | None, sets: int) -> Contents:
    """Contents of slots that may be empty, for so many sets."""
    if contents is None:
        return Contents(Room(sets=sets), {}, {})
    return replace(contents, room=replace(contents.room, sets=max(sets, contents.room.sets)))


def _blocks(roles: Roles) -> int:
    return int(roles[book.BLOCK].max()) + 1 if book.BLOCK in roles else 0


def _site(patch: Patch, tensor: str) -> Site:
    return next(site for site in patch.manifest.sites if site.tensor == tensor)


def _dense(patch: Patch, tensor: str) -> Tensor:
    roles, shape = patch.payload[tensor], _site(patch, tensor).matrix_shape
    delta = torch.zeros(shape[0] * shape[1])
    delta[roles[book.INDEX].long()] = roles[book.CHANGES]
    return delta.reshape(shape)
