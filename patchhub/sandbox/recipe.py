"""What fixes a training run: a recipe is data, shipped beside the code as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Phase:
    """What is trained on from step `start` on.

    Attributes:
        start: First step.
        documents: Kinds of documents and their shares.
        noise: Largest noise on a subject's last token between the lower and the upper blocks, in
            multiples of the hidden state's size; in rows with the funnel only.
    """

    start: int
    documents: dict[str, float]
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class Cycle:
    """A learning rate that warms up and comes down along a cosine, over `steps` from `start` on."""

    start: int
    steps: int
    learning_rate: float
    warm_up: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything a run depends on besides the code: world, shape, text, schedule, seed."""

    name: str
    world: str
    seed: int
    threads: int
    vocab_size: int
    context: int
    width: int
    blocks: int
    heads: int
    enriching_blocks: int
    rows: int
    row_length: int
    long_every: int
    long_rows: int
    floor: float
    weight_decay: float
    clip: float
    prompt_weight: float
    prompt_share: float
    funnel: float
    readout_weight: float
    cycles: tuple[Cycle, ...]
    phases: tuple[Phase, ...]

    @property
    def steps(self) -> int:
        """Length of a run."""
        return self.cycles[-1].start + self.cycles[-1].steps

    def phase(self, step: int) -> Phase:
        """Return what is trained on at a step."""
        return [phase for phase in self.phases if phase.start <= step][-1]

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step: linear warm-up, then a cosine down to the floor."""
        cycle = [cycle for cycle in self.cycles if cycle.start <= step][-1]
        step -= cycle.start
        if step < cycle.warm_up:
            return cycle.learning_rate * (step + 1) / cycle.warm_up
        share = (step - cycle.warm_up) / max(1, cycle.steps - cycle.warm_up)
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        return cycle.learning_rate * (self.floor + (1 - self.floor) * cosine)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain data."""
        return dataclasses.asdict(self)


def load_recipe(name: str) -> Recipe:
    """Read a shipped recipe by name."""
    folder = resources.files("patchhub.sandbox") / "recipes"
    data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    phases = tuple(Phase(**phase) for phase in data.pop("phases"))
    cycles = tuple(Cycle(**cycle) for cycle in data.pop("cycles"))
    return Recipe(cycles=cycles, phases=phases, **data)
