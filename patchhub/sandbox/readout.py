"""Linear classifiers of a subject's attributes from its last token; used in training only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from patchhub.sandbox.world import RELATIONS, World


class Readout(nn.Module):
    """One classifier per relation on the layer-normed residual stream."""

    def __init__(self, world: World, width: int) -> None:
        """One classifier over the possible objects of each relation."""
        super().__init__()
        self._slices: list[tuple[int, int]] = []
        labels = torch.full((len(world.entities), len(RELATIONS)), -1)
        row = {entity.id: i for i, entity in enumerate(world.entities)}
        start = 0
        for column, name in enumerate(RELATIONS):
            objects = {entity.id: i for i, entity in enumerate(world.objects(name))}
            self._slices.append((start, start + len(objects)))
            start += len(objects)
            for fact in world.facts_with(name):
                labels[row[fact.subject.id], column] = objects[fact.object.id]
        self.linear = nn.Linear(width, start)
        self.labels: Tensor
        self.register_buffer("labels", labels, persistent=False)

    def forward(self, tap: Tensor, mentions: Tensor) -> Tensor:
        """Return the mean cross entropy over all attributes of the mentioned subjects.

        Args:
            tap: Residual stream after the last enriching block, (n, t, width).
            mentions: Row, position and entity index, (m, 3).
        """
        picked = tap[mentions[:, 0], mentions[:, 1]]
        logits = self.linear(functional.layer_norm(picked, picked.shape[-1:])).float()
        labels = self.labels[mentions[:, 2]]
        total = logits.new_zeros(())
        for column, (start, stop) in enumerate(self._slices):
            total = total + functional.cross_entropy(
                logits[:, start:stop], labels[:, column], ignore_index=-1, reduction="sum"
            )
        mean: Tensor = total / (labels >= 0).sum().clamp(min=1)
        return mean
