"""Random models of GPT-2 small's shape (400 MB in fp32), and low-rank patches of their MLPs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from patchhub.fingerprint import Fingerprint
from patchhub.manifest import Kind, MethodRecord
from patchhub.patch import Patch
from patchhub.sites import site_for

HIDDEN, INNER, LAYERS = 768, 3072, 12
WORDS = 16_384
PATHS = {"gpt2": "transformer.h.{}.mlp.c_proj", "llama": "model.layers.{}.mlp.down_proj"}
"""The down-projections: Conv1D, stored (d_in, d_out), and Linear, stored (d_out, d_in)."""


def save_model(family: str, dtype: torch.dtype, directory: Path) -> Path:
    """Write a checkpoint: 97 to 125 million parameters in one file."""
    torch.manual_seed(0)
    common: dict[str, Any] = {"vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 0}
    model: PreTrainedModel
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(**common))
    else:
        sizes: dict[str, Any] = {
            "hidden_size": HIDDEN,
            "intermediate_size": INNER,
            "num_hidden_layers": LAYERS,
        }
        config = LlamaConfig(**common, **sizes, num_attention_heads=12, tie_word_embeddings=True)
        model = LlamaForCausalLM(config)
    nn.Module.to(model, dtype).save_pretrained(directory)
    return directory


def load_model(directory: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The checkpoint in memory."""
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, local_files_only=True)
    return model.requires_grad_(False)


def modules_of(family: str, layers: int) -> list[str]:
    """The down-projections of the first layers."""
    return [PATHS[family].format(layer) for layer in range(layers)]


def patch_of(
    model: PreTrainedModel, base: Fingerprint, modules: Sequence[str], rank: int, seed: int = 0
) -> Patch:
    """A random patch, about a third of the weights in size."""
    make = torch.Generator().manual_seed(seed)
    sites = [site_for(model, base, f"{module}.weight") for module in modules]
    payload: dict[str, Mapping[str, Tensor]] = {
        site.tensor: {
            "A": torch.randn(rank, site.matrix_shape[1], generator=make),
            "B": torch.randn(site.matrix_shape[0], rank, generator=make) * (0.006 / rank**0.5),
        }
        for site in sites
    }
    method = MethodRecord("bench", 1, seed=seed)
    return Patch.build(
        Kind.LOW_RANK, payload, sites=sites, base=base.weights, method=method, requests=()
    )
