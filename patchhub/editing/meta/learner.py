"""What trains: an editor's network with its loss, and the settings that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from patchhub.editing.meta.material import Material, seeded
from patchhub.editing.meta.outer import outer_losses
from patchhub.editing.meta.slopes import Factors, gradients
from patchhub.editing.settings import require
from patchhub.editing.training.projections import Part, projections
from patchhub.loading import LoadedBase
from patchhub.request import EditRequest

T = TypeVar("T", bound="TrainingSettings")
_POSITIVE = (
    *("c_edit", "c_loc", "kept", "n_edits"),
    *("steps", "batch_size", "every", "patience", "held", "clip"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """What is edited, what an edit is judged by, and how long is learned, in optimiser steps.

    The values published for MEND.

    Attributes:
        layers: Blocks of the decoder to edit; ``None`` takes the last three.
        parts: Projections to edit in each.
        c_edit: Weight of the new answer's loss.
        c_loc: Weight of the loss of what must stay.
        kept: Rows per example on which nothing may change.
        n_edits: Examples whose updates lie on the model together.
        steps: Most steps.
        batch_size: Examples per step.
        every: Steps between two measurements of the held-out examples.
        patience: Steps without a better one after which training ends; ``every`` or more.
        held: Most held-out examples; never more than a fifth of all.
        clip: Largest norm of a gradient.
    """

    layers: tuple[int, ...] | None = None
    parts: tuple[Part, ...] = ("mlp_in", "mlp_out")
    c_edit: float = 0.1
    c_loc: float = 1.0
    kept: int = 1
    n_edits: int = 1
    steps: int = 50_000
    batch_size: int = 10
    every: int = 500
    patience: int = 2_000
    held: int = 500
    clip: float = 100.0

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            require(getattr(self, name) > 0, name, "a positive number", getattr(self, name))
        for name in ("layers", "parts"):
            require(getattr(self, name) != (), name, "at least one", getattr(self, name))
        fits = self.batch_size % self.n_edits == 0
        require(fits, "batch_size", f"a multiple of {self.n_edits}", self.batch_size)
        fits = self.patience >= self.every  # nothing is measured before that
        require(fits, "patience", f"{self.every} (every) or more", self.patience)


def last_blocks(base: LoadedBase, settings: T) -> T:
    """The settings with the blocks filled in (E144 no such block)."""
    count = base.arch.block_count(base.model)
    layers = settings.layers or tuple(range(max(0, count - 3), count))
    projections(base, layers, settings.parts)
    return replace(settings, layers=tuple(sorted(set(layers))))


class Learner(Protocol):
    """An editor in training.

    Attributes:
        network: What is learned: parameters and buffers.
        groups: Parameters and step sizes, as Adam takes them.
    """

    network: nn.Module
    groups: list[dict[str, Any]]

    def step(self, examples: Sequence[EditRequest], generator: torch.Generator) -> float:
        """Leave the gradient of the examples' loss in the network, and return the loss."""
        ...

    def measure(self) -> float:
        """The loss of the held-out examples, always on the same rows."""
        ...


class Trainable(Protocol):
    """An editor that must be trained; what it has beside `patchhub.editing.editor.Editor`.

    Attributes:
        training: Frozen dataclass of its settings in training, a `TrainingSettings`.
    """

    training: type[Any]

    def learner(
        self, base: LoadedBase, material: Material, settings: Any, generator: torch.Generator
    ) -> Learner:
        """A new one; ``settings`` are resolved."""
        ...

    def resolved(self, base: LoadedBase, settings: Any) -> Any:
        """The settings with what they leave open filled in for a base."""
        ...


@dataclass(eq=False)
class FactorLearner:
    """Learns to turn gradients into updates by what the updates do.

    Attributes:
        network: Gradients to updates; told whether it learns.
        groups: Parameters and step sizes.
        material: Examples.
        paths: Projections that are edited.
        weights: Of the edit's loss and of the loss of what stays.
        kept: Rows per example on which nothing may change.
        n_edits: Examples whose updates lie on the model together.
        chunk: Held-out examples measured at once.
    """

    network: nn.Module
    groups: list[dict[str, Any]]
    material: Material
    paths: Sequence[str]
    weights: tuple[float, float]
    kept: int
    n_edits: int
    chunk: int

    def step(self, examples: Sequence[EditRequest], generator: torch.Generator) -> float:
        """See `Learner.step`."""
        with torch.enable_grad():
            loss = self._loss(examples, generator, learn=True)
            torch.autograd.backward([loss])
        return float(loss.detach())

    @torch.no_grad()
    def measure(self) -> float:
        """See `Learner.measure`."""
        held, total = self.material.held, 0.0
        for start in range(0, len(held), self.chunk):
            some = held[start : start + self.chunk]
            total += float(self._loss(some, seeded("held", start), learn=False)) * len(some)
        return total / len(held)

    def _loss(
        self, examples: Sequence[EditRequest], generator: torch.Generator, *, learn: bool
    ) -> Tensor:
        drawn = self.material.draw(examples, self.kept, generator)
        found = gradients(self.material.base, drawn.edits, self.paths)
        made: Mapping[str, Factors] = self.network(found, learn=learn)
        together = self.n_edits if len(examples) % self.n_edits == 0 else len(examples)
        joined = {path: one.joined(together) for path, one in made.items()}
        edited, stayed = outer_losses(self.material.base, drawn, joined, together)
        return self.weights[0] * edited + self.weights[1] * stayed
