"""T5 as of version 1.1: relative positions, RMSNorm, gated GELU, an encoder and a decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from patchhub.sandbox.networks.attention import additive, attend
from patchhub.sandbox.pairing import Batch, Pairer
from patchhub.sandbox.recipe import Recipe

packer = Pairer

_SPREAD = 0.02  # of initial weights, as in the other families
_POSITION_RATE = 10.0


def describe(recipe: Recipe) -> str:
    """Say in words what is built."""
    return f"T5 v1.1 type, {recipe.blocks} encoder and {recipe.decoder_blocks} decoder blocks"


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> T5ForConditionalGeneration:
    """Build the untrained model; draws from torch's global generator."""
    special: dict[str, Any] = {
        "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id, "tie_word_embeddings": False,
    }  # fmt: skip
    config = T5Config(
        vocab_size=recipe.vocab_size, d_model=recipe.width, d_kv=recipe.width // recipe.heads,
        d_ff=recipe.inner, num_layers=recipe.blocks, num_decoder_layers=recipe.decoder_blocks,
        num_heads=recipe.heads, feed_forward_proj="gated-gelu", dropout_rate=0.0, **special,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    # The library ties the head whatever the configuration says; checkpoints may hold both.
    model.lm_head.weight = nn.Parameter(torch.empty_like(model.shared.weight))
    model.all_tied_weights_keys.pop("lm_head.weight")
    for name, parameter in model.named_parameters():
        if "relative_attention_bias" in name:
            nn.init.normal_(parameter)  # heads begin by looking to different places
        elif parameter.ndim > 1:
            nn.init.normal_(parameter, std=_SPREAD * rate(model, name))
    return model


def rate(model: T5ForConditionalGeneration, name: str) -> float:
    """Factor on a parameter's learning rate.

    T5 has no scale on its scores: it is in the query weights, whose steps must be smaller by it.
    Position biases are scores themselves and would take thousands of ordinary steps.
    """
    if name.endswith("Attention.q.weight"):
        return float(model.config.d_kv**-0.5)
    return _POSITION_RATE if "relative_attention_bias" in name else 1.0


def hidden_states(
    model: T5ForConditionalGeneration, batch: Batch, enriching: int
) -> tuple[Tensor, Tensor]:
    """Return the encoder's stream after block `enriching` - 1 and the decoder's final states."""
    masks = batch.masks()
    tap, read = _encode(model.encoder, batch.ids, masks.lower, masks.upper, enriching)
    decoder: Any = model.decoder
    states = decoder.embed_tokens(batch.before)
    own = _biased(decoder, masks.causal, states)
    cross = additive(masks.cross, states)
    for block in decoder.block:
        states = states + _attend(block.layer[0], states, None, own)
        states = states + _attend(block.layer[1], states, read, cross)
        states = states + _feed(block.layer[2], states)
    return tap, decoder.final_layer_norm(states)


def _encode(
    encoder: Any, ids: Tensor, lower: Tensor, upper: Tensor, enriching: int
) -> tuple[Tensor, Tensor]:
    states = encoder.embed_tokens(ids)
    tap = states
    below, above = _biased(encoder, lower, states), _biased(encoder, upper, states)
    for number, block in enumerate(encoder.block):
        bias = below if number < enriching else above
        states = states + _attend(block.layer[0], states, None, bias)
        states = states + _feed(block.layer[1], states)
        if number == enriching - 1:
            tap = states
    return tap, encoder.final_layer_norm(states)


def _biased(stack: Any, mask: Tensor, states: Tensor) -> Tensor:
    """Position biases, which the first block has for all, and the mask, (n, heads, t, t)."""
    bias = additive(mask, states)
    length = states.shape[1]
    positions = stack.block[0].layer[0].SelfAttention.compute_bias(length, length)
    result: Tensor = bias + positions.to(bias.dtype)
    return result


def _attend(layer: Any, states: Tensor, read: Tensor | None, bias: Tensor) -> Tensor:
    attention = layer.SelfAttention if read is None else layer.EncDecAttention
    normed = layer.layer_norm(states)
    source = normed if read is None else read
    query, key, value = (
        project(x).unflatten(-1, (attention.n_heads, -1)).transpose(1, 2)
        for project, x in ((attention.q, normed), (attention.k, source), (attention.v, source))
    )
    result: Tensor = attention.o(attend(query, key, value, bias, 1.0))
    return result


def _feed(layer: Any, states: Tensor) -> Tensor:
    mlp, normed = layer.DenseReluDense, layer.layer_norm(states)
    inner = functional.gelu(mlp.wi_0(normed), approximate="tanh") * mlp.wi_1(normed)
    result: Tensor = mlp.wo(inner)
    return result
