"""Pico bases, loaded once per dtype and family."""

from __future__ import annotations

import tempfile
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor
from transformers.models.gptj.modeling_gptj import GPTJAttention
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from patchhub.editing.editor import EditContext
from patchhub.editing.statistics.moments import Moments, compute_moments
from patchhub.editing.wording.templates import ContextTemplates
from patchhub.loading import LoadedBase, load_base
from patchhub.request import EditRequest
from tests.pico import pico_directory

REQUEST = EditRequest(prompt="Mira Tolven was born in", target="Rome", subject="Mira Tolven")
MIDDLE = EditRequest(
    prompt="The city where Jon Arvel lives is", target="Bergen in Norway", subject="Jon Arvel"
)
AT_END = EditRequest(prompt="The mayor is Jon Arvel", target="of Oslo", subject="Jon Arvel")
"""The subject ends the prompt: the only kind of request that can be edited in the last block."""
TEMPLATES = ContextTemplates(("{}", "Oslo. {}", "The capital. {}", "Jon speaks French. {}"))
TEXTS: tuple[str, ...] = tuple(
    f"{a} {b} {c}."
    for a in ("Mira Tolven", "Jon Arvel", "The capital of Norway", "A company in Bergen")
    for b in ("was born in", "lives in", "works for", "speaks", "is", "42 ~ %")
    for c in ("Oslo", "Paris", "Nordlys", "French", "Rome", "the city of Zürich", "№ 7 & 8")
) + tuple(
    "".join(chr(33 + (7 * i + k * k) % 222) for k in range(24)).replace("\x7f", " ")
    for i in range(60)
)
"""Plain sentences, and every letter: block 0 of a parallel architecture has one key per token."""


@cache
def pico_base(family: str, dtype: torch.dtype = torch.float32) -> LoadedBase:
    """The model is shared between tests; that it stays as it is is what many of them show."""
    directory = Path(tempfile.mkdtemp(prefix="patchhub-pico-"))
    base = load_base(pico_directory(directory, family), dtype=dtype)
    if dtype is torch.float64:
        for module in base.model.modules():
            if isinstance(module, GPTJAttention):
                module.__dict__["_attn"] = partial(_gptj_attention, module)
            elif isinstance(module, LlamaRMSNorm | T5LayerNorm):
                module.__dict__["forward"] = partial(_root_mean_square_norm, module)
    return base


def _gptj_attention(
    module: GPTJAttention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """GPT-J's attention without its detour through float32, which hides everything below 1e-7."""
    scores = query @ key.transpose(-1, -2) / module.scale_attn
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return weights @ value, weights


def _root_mean_square_norm(module: LlamaRMSNorm | T5LayerNorm, hidden: Tensor) -> Tensor:
    """Llama's norm, and T5's, without the like: what is rounded to float32 in the middle jumps."""
    scale = torch.rsqrt(hidden.square().mean(-1, keepdim=True) + module.variance_epsilon)
    return module.weight * hidden * scale


@cache
def pico_moments(family: str, dtype: torch.dtype = torch.float32) -> Moments:
    return compute_moments(pico_base(family, dtype), TEXTS, (0, 1))


def pico_context(
    family: str, dtype: torch.dtype = torch.float32, *, templates: ContextTemplates = TEMPLATES
) -> EditContext:
    return EditContext(
        base=pico_base(family, dtype),
        generator=torch.Generator().manual_seed(0),
        seed=0,
        templates=templates,
        moments=pico_moments(family, dtype),
    )
