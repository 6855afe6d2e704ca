"""One module per family of models that are trained here, found by the name in the recipe.

Each builds the untrained model and writes its forward pass out over the modules of the ordinary
transformers class, since transformers gives every block the same mask and training needs other
masks in lower than in upper blocks. With plain causal masks both agree (a test compares them).
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from patchhub.sandbox.recipe import Recipe


class Network(Protocol):
    """What a module of this package offers."""

    def new_model(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
        """Build the untrained model; draws from torch's global generator."""

    def hidden_states(
        self, model: PreTrainedModel, ids: Tensor, lower: Tensor, upper: Tensor, enriching: int
    ) -> tuple[Tensor, Tensor]:
        """Return the residual stream after block `enriching` - 1 and the final normed states.

        Args:
            model: The model.
            ids: Tokens, (n, t).
            lower: Mask of the blocks below `enriching`, (n, 1, t, t), true where visible.
            upper: Mask of the other blocks.
            enriching: Number of blocks that work under the lower mask.

        Returns:
            Two tensors (n, t, width).
        """


def network(family: str) -> Network:
    """Return the module of a family."""
    return cast("Network", import_module(f"{__name__}.{family}"))
