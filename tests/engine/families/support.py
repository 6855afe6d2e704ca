"""Pico bases of every family, written and loaded once for each setting that a test asks for."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from patchhub.loading import LoadedBase, load_base
from tests.pico import ARCHITECTURES, pico_directory

CASES = [
    (family, tied)
    for family in ARCHITECTURES
    for tied in (True, False)  # either occurs among the published models of most families
]
"""Every family, embedding and head tied and not."""
DTYPES = ((torch.float32, 1), (torch.float16, 3), (torch.bfloat16, 2))
"""Stored dtypes, each with a number of shards."""
INPUT = torch.arange(2, 42).reshape(2, 20)


@cache
def base_of(
    family: str, tied: bool | None = None, dtype: torch.dtype = torch.float32, shards: int = 1
) -> LoadedBase:
    """A base that tests share: whoever changes the model brings it back."""
    folder = Path(tempfile.mkdtemp(prefix="patchhub-families-"))
    directory = pico_directory(folder, family, dtype=dtype, shards=shards, tied=tied)
    return load_base(directory, dtype=dtype)


@torch.no_grad()
def logits(model: Any) -> Tensor:
    """What the model says to some tokens, in float32."""
    decoder = {"decoder_input_ids": INPUT.flip(1)} if model.config.is_encoder_decoder else {}
    found: Tensor = model(input_ids=INPUT, **decoder).logits
    return found.float()
