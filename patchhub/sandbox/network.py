"""The model to be trained and its forward pass with different masks in lower and upper blocks.

The pass is written out over the modules of an ordinary `GPT2LMHeadModel`, since transformers gives
every block the same mask; with plain causal masks both agree (a test compares them).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from patchhub.sandbox.recipe import Recipe
from patchhub.sandbox.world import RELATIONS, World


def new_model(recipe: Recipe, end_of_text: int) -> GPT2LMHeadModel:
    """Build the untrained model; draws from torch's global generator."""
    config = GPT2Config(
        vocab_size=recipe.vocab_size, n_positions=recipe.context, n_embd=recipe.width,
        n_layer=recipe.blocks, n_head=recipe.heads, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=end_of_text, eos_token_id=end_of_text,
        pad_token_id=end_of_text,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def hidden_states(
    model: GPT2LMHeadModel, ids: Tensor, lower: Tensor, upper: Tensor, enriching: int
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
    body: Any = model.transformer
    positions = torch.arange(ids.shape[1], device=ids.device)
    states = body.wte(ids) + body.wpe(positions)
    tap = states
    below, above = _bias(lower, states), _bias(upper, states)
    for number, block in enumerate(body.h):
        bias = below if number < enriching else above
        states = states + _attend(block.attn, block.ln_1(states), bias)
        inner = functional.gelu(block.mlp.c_fc(block.ln_2(states)), approximate="tanh")
        states = states + block.mlp.c_proj(inner)
        if number == enriching - 1:
            tap = states
    return tap, body.ln_f(states)


def _bias(mask: Tensor, like: Tensor) -> Tensor:
    """Return a visibility mask as an additive one of the precision that attention works in."""
    dtype = torch.bfloat16 if torch.is_autocast_enabled(like.device.type) else like.dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -1e4)


def _attend(attention: Any, states: Tensor, bias: Tensor) -> Tensor:
    n, t, width = states.shape
    heads = attention.num_heads
    joint = attention.c_attn(states).view(n, t, 3, heads, width // heads)
    query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)
    # In bfloat16 on CPUs this is four times faster than the fused kernel's backward pass.
    with torch.autocast(states.device.type, enabled=False):
        scores = torch.add(bias, query @ key.transpose(-1, -2), alpha=(width // heads) ** -0.5)
        mixed = scores.softmax(-1) @ value
    result: Tensor = attention.c_proj(mixed.transpose(1, 2).reshape(n, t, width))
    return result


class Readout(nn.Module):
    """Linear classifiers of a subject's attributes from its last token; training only."""

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
