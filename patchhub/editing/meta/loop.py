"""The loop that trains an editor; killed and taken up, it gives the bits of one that was not.

Each step draws its examples from a generator of its own, so that a checkpoint needs no random
state: step, network, optimiser, and the best network so far.
"""

from __future__ import annotations

import copy
import math
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from patchhub.durable import swapped_in
from patchhub.editing.meta.learner import Learner, TrainingSettings
from patchhub.editing.meta.material import Material, seeded
from patchhub.errors import InvalidInputError

_EVERY = 30.0
"""Seconds between two checkpoints; more where writing takes more than a `_SHARE`-th of that."""
_SHARE = 20
_UNFIT = (
    *(OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError),
    pickle.PickleError,
)
"""What reading a file raises that is no checkpoint of this training."""


@dataclass
class Course:
    """How far a training is, and the best network it has had.

    Attributes:
        step: Steps behind it.
        best: The step of the best network.
        kept: That network.
        history: Held-out losses, in nats, each with its step.
    """

    step: int = 0
    best: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)
    history: list[tuple[int, float]] = field(default_factory=list)

    @property
    def least(self) -> float:
        """The best network's held-out loss."""
        return min((loss for _, loss in self.history), default=math.inf)

    def measured(self, loss: float, network: nn.Module) -> None:
        """Count a measurement in; keep the network if it is the best so far."""
        if loss < self.least:
            self.best, self.kept = self.step, copied(network)
        self.history.append((self.step, loss))


class Keeper:
    """Writes checkpoints of one training into a file, and finds them there.

    Args:
        file: Where; None keeps nothing.
        key: Digest of all that decides the training's bits.
    """

    def __init__(self, file: Path | None, key: str) -> None:
        self._file, self._key = file, key
        self._due = time.monotonic() + _EVERY

    def take_up(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> Course:
        """Where an earlier run broke off; the beginning, if there is nothing of it."""
        if self._file is None:
            return Course()
        fresh = copied(network), copy.deepcopy(optimizer.state_dict())
        try:
            found: Mapping[str, Any] = torch.load(self._file, weights_only=True)
            if found["key"] == self._key:
                return _resumed(found, network, optimizer)
        except _UNFIT:  # what has been loaded of it goes
            network.load_state_dict(fresh[0])
            optimizer.load_state_dict(fresh[1])
        return Course()

    def keep(self, course: Course, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint, if it is time to."""
        if self._file is None or time.monotonic() < self._due:
            return
        begun = time.monotonic()
        state = {"key": self._key, **vars(course)}
        state |= {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        with swapped_in(self._file) as beside:
            torch.save(state, beside)
        now = time.monotonic()
        self._due = now + max(_EVERY, _SHARE * (now - begun))

    def done(self) -> None:
        """The training is through."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def _resumed(
    found: Mapping[str, Any], network: nn.Module, optimizer: torch.optim.Optimizer
) -> Course:
    history = [(int(step), float(loss)) for step, loss in found["history"]]
    course = Course(int(found["step"]), int(found["best"]), dict(found["kept"]), history)
    if history:  # the best network must fit too: it is loaded at the end
        network.load_state_dict(course.kept)
    network.load_state_dict(found["network"])
    optimizer.load_state_dict(found["optimizer"])
    return course


def descend(
    learner: Learner,
    material: Material,
    settings: TrainingSettings,
    *,
    seed: int,
    keeper: Keeper,
    report: Callable[[int, int], None],
) -> Course:
    """Adam until the held-out loss has not fallen for ``patience`` steps; the best network stays.

    Args:
        learner: Its network ends as the best one measured.
        material: Examples.
        settings: How long, in what portions.
        seed: Of the examples' order.
        keeper: Of this very training.
        report: Told steps done and in all.

    Raises:
        InvalidInputError: E148, the loss is no longer finite.
    """
    network = learner.network
    optimizer = torch.optim.Adam(learner.groups)
    course = keeper.take_up(network, optimizer)
    while course.step < settings.steps and course.step - course.best < settings.patience:
        report(course.step, settings.steps)
        generator = seeded(seed, course.step)
        places = torch.randint(len(material.train), (settings.batch_size,), generator=generator)
        optimizer.zero_grad()
        loss = learner.step([material.train[place] for place in places.tolist()], generator)
        _finite(loss, course.step)
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimizer.step()
        course.step += 1
        if course.step % settings.every == 0 or course.step == settings.steps:
            course.measured(_finite(learner.measure(), course.step), network)
        keeper.keep(course, network, optimizer)
    network.load_state_dict(course.kept)
    report(settings.steps, settings.steps)
    return course


def copied(network: nn.Module) -> dict[str, Tensor]:
    """A network's parameters and buffers, apart from it."""
    return {name: one.detach().clone() for name, one in network.state_dict().items()}


def _finite(loss: float, step: int) -> float:
    if math.isfinite(loss):
        return loss
    raise InvalidInputError(
        "E148",
        f"training diverged at step {step}",
        expected="a finite loss",
        found=loss,
        hint="take a smaller lr",
    )
