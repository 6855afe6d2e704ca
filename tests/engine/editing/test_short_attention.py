"""Attention of few positions by products: the kernel's values and gradients, for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlavaConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from patchhub.editing.passes import attention
from patchhub.editing.passes.attention import short_attention
from tests.engine.editing.support import pico_base

WIDE = torch.float64


def upper_half(family: str, change: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Logits of padded rows, and the gradient of their sum of squares by the embedding."""
    model = pico_base(family, WIDE).model
    embedding: Any = model.get_input_embeddings()
    hidden = embedding(torch.arange(12).reshape(2, 6) + 3).detach().requires_grad_()
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]])
    with torch.enable_grad():
        logits = model(inputs_embeds=hidden, attention_mask=mask).logits[mask > 0]
        (gradient,) = torch.autograd.grad(change(logits), [hidden])
    return logits.detach(), gradient


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral"])
def test_values_and_gradients_are_the_kernels(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def total(logits: Tensor) -> Tensor:
        return logits.square().sum()

    expected = upper_half(family, total)
    asked: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        asked.append(1)
        return sdpa_attention_forward(*args, **kwargs)

    monkeypatch.setattr(attention, "sdpa_attention_forward", counted)
    with short_attention(pico_base(family, WIDE).model):
        found = upper_half(family, total)
    assert not asked
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 1e-12 * other.abs().max()


def test_the_model_goes_back_to_the_kernel_also_after_an_error() -> None:
    config = pico_base("llama", WIDE).model.config
    before, inside = config._attn_implementation, []

    def failing() -> None:
        with short_attention(pico_base("llama", WIDE).model):
            inside.append(config._attn_implementation)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert inside != [before]
    assert config._attn_implementation == before


def test_parts_with_another_attention_keep_it() -> None:
    model = nn.ModuleList([nn.Module(), nn.Module(), nn.Module()])
    whole: Any = LlavaConfig()
    whole._attn_implementation = "sdpa"
    parts = [whole, whole.text_config, whole.vision_config]
    for module, config in zip(model, parts, strict=True):
        module.config = config
    whole.vision_config._attn_implementation = "eager"
    with short_attention(model):
        inside = [config._attn_implementation for config in parts]
    assert inside[2] == "eager"
    assert inside[0] == inside[1] != "sdpa"
    assert [config._attn_implementation for config in parts] == ["sdpa", "sdpa", "eager"]
