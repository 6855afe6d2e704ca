"""Interchange intervention training: what one relation says lies apart from what the others say.

The state at a person's last token is divided into orthogonal parts, one per relation. In some
sentences parts are exchanged for those of other people, and the answer with them. Without this a
small model may keep one code per person and look everything up from that; then no single fact can
be edited without the person's others (Geiger et al. 2022, arXiv:2112.00826).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from patchhub.sandbox.world import SLOTS, World


@dataclass(frozen=True, slots=True)
class Swaps:
    """Which parts are exchanged in a batch.

    `places` (e, 2) row and position of the subjects; `parts` (e, slots) index of the donor of each
    part, -1 for none; `donors` (m, t) tokens of the donors' names, padded on the right; `ends` (m,)
    position of the last token of each.
    """

    places: Tensor
    parts: Tensor
    donors: Tensor
    ends: Tensor

    def to(self, device: torch.device) -> Swaps:
        """Return the same on another device."""
        moved = (x.to(device) for x in (self.places, self.parts, self.donors, self.ends))
        return Swaps(*moved)


class Parts(nn.Module):
    """The division of the state, learnt with the model, and a read-out of each part."""

    def __init__(self, world: World, width: int) -> None:
        """Divide `width` dimensions evenly; what is left over belongs to no relation."""
        super().__init__()
        self.size = width // len(SLOTS)
        self.basis = nn.Parameter(torch.linalg.qr(torch.randn(width, width)).Q)
        self.heads = nn.ModuleList(nn.Linear(self.size, len(world.objects(name))) for name in SLOTS)
        labels = torch.full((len(world.entities), len(SLOTS)), -1)
        row = {entity.id: i for i, entity in enumerate(world.entities)}
        for column, name in enumerate(SLOTS):
            objects = {entity.id: i for i, entity in enumerate(world.objects(name))}
            for fact in world.facts_with(name):
                labels[row[fact.subject.id], column] = objects[fact.object.id]
        self.labels: Tensor
        self.register_buffer("labels", labels, persistent=False)

    def axes(self) -> Tensor:
        """Return the orthonormal axes of all parts, (width, slots * size)."""
        orthonormal: Tensor = torch.linalg.qr(self.basis).Q
        return orthonormal[:, : len(SLOTS) * self.size]

    def _divided(self, states: Tensor, axes: Tensor) -> Tensor:
        return (states.float() @ axes).view(len(states), len(SLOTS), self.size)

    def exchanged(self, own: Tensor, donors: Tensor, parts: Tensor, axes: Tensor) -> Tensor:
        """Return `own` (e, width) with the parts that `parts` names taken from `donors`."""
        with torch.autocast(own.device.type, enabled=False):
            mine, theirs = self._divided(own, axes), self._divided(donors, axes)
            taken = theirs[parts.clamp(min=0), torch.arange(len(SLOTS), device=parts.device)]
            change = torch.where((parts >= 0)[..., None], taken - mine, 0.0)
            return own.float() + change.flatten(1) @ axes.T

    def forward(self, states: Tensor, entities: Tensor, axes: Tensor) -> Tensor:
        """Return the mean cross entropy of reading each relation from its own part.

        Args:
            states: States at subjects' last tokens, (n, width).
            entities: Whose they are, (n,); others than people have nothing to read.
            axes: The division, from `axes`.
        """
        labels = self.labels[entities]
        with torch.autocast(states.device.type, enabled=False):
            parts = self._divided(functional.layer_norm(states.float(), states.shape[-1:]), axes)
            total = parts.new_zeros(())
            for column, head in enumerate(self.heads):
                total = total + functional.cross_entropy(
                    head(parts[:, column]), labels[:, column], ignore_index=-1, reduction="sum"
                )
        mean: Tensor = total / (labels >= 0).sum().clamp(min=1)
        return mean
