"""What an encoder-decoder's two halves begin with: the encoded prompt, and the start token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from patchhub.composer.slots.passes import joined
from patchhub.composer.slots.plane import state_of
from patchhub.editing.wording.tokens import pad
from patchhub.errors import InvalidInputError

_READ = 1024
"""Tokens that the encoder reads at once: more gains nothing and outgrows the processor's cache."""


def read_prompts(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], size: int | None = None
) -> tuple[Tensor, Tensor]:
    """What the encoder makes of prompts ``(n, t, d)``, and the mask of real tokens ``(n, t)``.

    Args:
        model: An encoder-decoder.
        rows: Ids of the prompts.
        size: Prompts it reads at once; as many as fill its cache where not given.
    """
    given = pad(rows, filler=0, device=model.device)
    size = size or max(1, _READ // given.ids.shape[1])
    encoder: Any = model.get_encoder()
    state, parts, routes = state_of(model), [], []
    for ids, mask in zip(torch.split(given.ids, size), torch.split(given.mask, size), strict=True):
        parts.append(encoder(input_ids=ids, attention_mask=mask).last_hidden_state)
        routes.append({} if state is None else state.encoded)
    if state is not None:
        state.encoded = joined(routes)
    return torch.cat(parts), given.mask


def decoder_start(model: PreTrainedModel) -> int | None:
    """As `start_token`; None for a model that goes on with what it reads."""
    return start_token(model) if model.config.is_encoder_decoder else None


def start_token(model: PreTrainedModel) -> int:
    """The id that an encoder-decoder's decoder reads first.

    Raises:
        InvalidInputError: E140, the model does not say.
    """
    for settings in (getattr(model, "generation_config", None), model.config):
        found = getattr(settings, "decoder_start_token_id", None)
        if isinstance(found, int):
            return found
    raise InvalidInputError(
        "E140",
        "this model does not say with which token its decoder begins",
        expected="decoder_start_token_id in config.json or generation_config.json",
        found=model.config.model_type,
    )
