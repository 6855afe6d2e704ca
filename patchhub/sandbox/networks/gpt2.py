"""GPT-2: learned positions, LayerNorm, biases, tied head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from patchhub.sandbox.networks.attention import additive, attend
from patchhub.sandbox.packing import Batch, Packer
from patchhub.sandbox.recipe import Recipe

packer = Packer


def describe(recipe: Recipe) -> str:
    """Say in words what is built."""
    return f"GPT-2 type, {recipe.blocks} blocks"


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """Build the untrained model; draws from torch's global generator."""
    end_of_text = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=recipe.vocab_size, n_positions=recipe.context, n_embd=recipe.width,
        n_layer=recipe.blocks, n_head=recipe.heads, n_inner=recipe.inner, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=end_of_text, eos_token_id=end_of_text,
        pad_token_id=end_of_text,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def rate(model: GPT2LMHeadModel, name: str) -> float:
    """The same for all parameters."""
    return 1.0


def hidden_states(model: GPT2LMHeadModel, batch: Batch, enriching: int) -> tuple[Tensor, Tensor]:
    """Return the stream after block `enriching` - 1 and the final states but for the last."""
    lower, upper = batch.masks()
    body: Any = model.transformer
    positions = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    states = body.wte(batch.ids) + body.wpe(positions)
    tap = states
    below, above = additive(lower, states), additive(upper, states)
    for number, block in enumerate(body.h):
        bias = below if number < enriching else above
        states = states + _attend(block.attn, block.ln_1(states), bias)
        inner = functional.gelu(block.mlp.c_fc(block.ln_2(states)), approximate="tanh")
        states = states + block.mlp.c_proj(inner)
        if number == enriching - 1:
            tap = states
    return tap, body.ln_f(states)[:, :-1]


def _attend(attention: Any, states: Tensor, bias: Tensor) -> Tensor:
    n, t, width = states.shape
    heads = attention.num_heads
    joint = attention.c_attn(states).view(n, t, 3, heads, width // heads)
    query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)
    scale = (width // heads) ** -0.5
    result: Tensor = attention.c_proj(attend(query, key, value, bias, scale))
    return result
