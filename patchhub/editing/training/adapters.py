"""PEFT's adapters in a model for the length of a ``with`` block; nothing of them stays behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from patchhub.sites import is_in_out, module_of

_ADAPTER = "edit"


@contextmanager
def lora_adapters(
    model: PreTrainedModel,
    paths: Sequence[str],
    *,
    rank: int,
    alpha: int,
    generator: torch.Generator,
) -> Iterator[list[tuple[nn.Parameter, nn.Parameter]]]:
    """Let PEFT put LoRA adapters at ``paths``; afterwards the modules are the model's own again.

    A is uniform within ± 1/√d_in, as PEFT draws it, but from ``generator``; B is zero.

    Args:
        model: Its weights are not written to.
        paths: Modules that hold one matrix each, of one orientation.
        rank: r.
        alpha: α; what a module adds to its output is α/r B A x.
        generator: The only source of randomness; a CPU generator.

    Yields:
        Parameters A ``(r, d_in)`` and B ``(d_out, r)`` of each path.

    Raises:
        NotFoundError: E144, there is no such module.
    """
    from peft import LoraConfig, inject_adapter_in_model  # two seconds: only for who trains

    own = {path: module_of(model, path) for path in paths}
    attributes = set(model.__dict__)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=list(paths),
        fan_in_fan_out=is_in_out(own[paths[0]]),
    )
    try:
        inject_adapter_in_model(config, model, adapter_name=_ADAPTER)
        layers: list[Any] = [module_of(model, path) for path in paths]
        factors = [(x.lora_A[_ADAPTER].weight, x.lora_B[_ADAPTER].weight) for x in layers]
        for a, b in factors:
            draw = torch.rand(a.shape, generator=generator)
            a.data.copy_((2 * draw - 1) / a.shape[1] ** 0.5)
            b.data.zero_()
        yield factors
    finally:
        for path, module in own.items():
            parent, _, name = path.rpartition(".")
            module_of(model, parent)._modules[name] = module
        for name in model.__dict__.keys() - attributes:
            del model.__dict__[name]
