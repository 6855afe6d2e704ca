"""Llama: rotary positions, RMSNorm, gated MLP, grouped-query attention, untied head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from patchhub.sandbox.networks.attention import additive, attend
from patchhub.sandbox.packing import Batch, Packer
from patchhub.sandbox.recipe import Recipe

packer = Packer


def describe(recipe: Recipe) -> str:
    """Say in words what is built."""
    return f"Llama type, {recipe.blocks} blocks, {recipe.key_value_heads} key-value heads"


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Build the untrained model; draws from torch's global generator."""
    config = LlamaConfig(
        vocab_size=recipe.vocab_size, max_position_embeddings=recipe.context,
        hidden_size=recipe.width, intermediate_size=recipe.inner,
        num_hidden_layers=recipe.blocks, num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads, tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def rate(model: LlamaForCausalLM, name: str) -> float:
    """The same for all parameters."""
    return 1.0


def hidden_states(model: LlamaForCausalLM, batch: Batch, enriching: int) -> tuple[Tensor, Tensor]:
    """Return the stream after block `enriching` - 1 and the final states but for the last."""
    lower, upper = batch.masks()
    body: Any = model.model
    states = body.embed_tokens(batch.ids)
    tap = states
    below, above = additive(lower, states), additive(upper, states)
    cos, sin = body.rotary_emb(
        states, torch.arange(batch.ids.shape[1], device=batch.ids.device)[None]
    )
    turn = cos.to(below.dtype)[:, None], sin.to(below.dtype)[:, None]
    for number, block in enumerate(body.layers):
        bias = below if number < enriching else above
        states = states + _attend(block.self_attn, block.input_layernorm(states), bias, turn)
        states = states + block.mlp(block.post_attention_layernorm(states))
        if number == enriching - 1:
            tap = states
    return tap, body.norm(states)[:, :-1]


def _attend(attention: Any, states: Tensor, bias: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    n, t, _ = states.shape
    cos, sin = turn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (
        project(states).view(n, t, -1, attention.head_dim).transpose(1, 2)
        for project in projections
    )
    query, key = (x * cos + _quarter_turn(x) * sin for x in (query, key))
    mixed = attend(query, key, value, bias, float(attention.scaling))
    result: Tensor = attention.o_proj(mixed)
    return result


def _quarter_turn(states: Tensor) -> Tensor:
    """Turn each pair (i, i + d/2) of coordinates by 90 degrees."""
    first, second = states.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)
