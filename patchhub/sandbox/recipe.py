"""What fixes a training run: a recipe is data, shipped beside the code as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Phase:
    """What the text consists of from step `start` on: kinds of documents and their shares."""

    start: int
    documents: dict[str, float]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything a run depends on besides the code: world, shape, text, schedule, seed.

    `bare` is the share of rows that begin without the token that starts a text: tools written for
    GPT-2 give such prompts, those for Llama never do. An encoder-decoder model has `blocks` of one
    kind and `decoder_blocks` of the other, and `prefix` is the share of its texts that are cut
    anywhere and not in front of an answer. The learning rate reaches its floor at step `horizon`,
    which may lie behind the last of the `steps`. `settings` are what the finished model recommends
    to editing methods, by their names: step sizes published for models of 1,600 and more dimensions
    are too large for one of 256.
    """

    name: str
    family: str
    tokenizer: str
    world: str
    seed: int
    threads: int
    vocab_size: int
    context: int
    width: int
    blocks: int
    decoder_blocks: int
    heads: int
    key_value_heads: int
    inner: int
    enriching_blocks: int
    steps: int
    horizon: int
    rows: int
    row_length: int
    bare: float
    prefix: float
    long_every: int
    long_rows: int
    learning_rate: float
    floor: float
    warm_up: int
    weight_decay: float
    clip: float
    prompt_weight: float
    prompt_share: float
    funnel: float
    readout_weight: float
    settings: dict[str, dict[str, Any]]
    phases: tuple[Phase, ...]

    def documents(self, step: int) -> dict[str, float]:
        """Return the shares of the kinds of documents at a step."""
        return [phase.documents for phase in self.phases if phase.start <= step][-1]

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain data."""
        return dataclasses.asdict(self)


def load_recipe(name: str) -> Recipe:
    """Read a shipped recipe by name."""
    folder = resources.files("patchhub.sandbox") / "recipes"
    data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    phases = tuple(Phase(**phase) for phase in data.pop("phases"))
    return Recipe(phases=phases, **data)
