"""One module per family of models that are trained here, found by the name in the recipe.

Each builds the untrained model and writes its forward pass out over the modules of the ordinary
transformers class, since transformers gives every block the same mask and training needs other
masks in lower than in upper blocks. With plain causal masks both agree (a test compares them).
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from patchhub.sandbox.recipe import Recipe
from patchhub.sandbox.world import World


class Rows(Protocol):
    """One step's rows."""

    mentions: Tensor

    def goals(self) -> tuple[Tensor, Tensor]:
        """Return what is to be predicted, (n, t), and the loss weights."""

    def to(self, device: torch.device) -> Rows:
        """Return the rows on another device."""


class Packer(Protocol):
    """Turns a step's number into rows; the same number always into the same."""

    def batch(self, step: int) -> Rows:
        """Build the rows of a step."""


class Network(Protocol):
    """What a module of this package offers."""

    def describe(self, recipe: Recipe) -> str:
        """Say in words what is built."""

    def packer(self, world: World, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Packer:
        """Return what makes rows of the kind that the family is trained on."""

    def new_model(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
        """Build the untrained model; draws from torch's global generator."""

    def rate(self, model: PreTrainedModel, name: str) -> float:
        """Return the factor on a parameter's learning rate."""

    def hidden_states(
        self, model: PreTrainedModel, batch: Rows, enriching: int
    ) -> tuple[Tensor, Tensor]:
        """Run the model under the rows' masks.

        Args:
            model: The model.
            batch: Rows of the family's packer.
            enriching: Number of blocks that work under the lower mask.

        Returns:
            The residual stream after block `enriching` - 1, where subjects are mentioned,
            (n, s, width), and the final normed states that predict the goals, (n, t, width).
        """


def network(family: str) -> Network:
    """Return the module of a family."""
    return cast("Network", import_module(f"{__name__}.{family}"))
