"""What the numbers are worth when nothing is left of the model: next tokens at random.

Two random likelihoods compare like coins, so ES, PS and NS are near 50 without any knowledge; a
table that shows this row cannot pass off fifty as half a success.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


@contextmanager
def collapsed(model: PreTrainedModel, seed: int = 0) -> Iterator[None]:
    """Inside, the logits of every token are independent standard normal numbers.

    Drawn on the CPU by a generator of its own, so that the same calls in the same order give the
    same numbers on every device; asked again, the model says something else, and other batches draw
    other numbers. Nothing said inside belongs in a cache of the model's answers.

    Args:
        model: A language model of any kind; it is as before afterwards, also after an error.
        seed: Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)

    def replace(_: nn.Module, __: Any, output: Any) -> Any:
        old = output.logits
        new = torch.randn(old.shape, generator=generator, dtype=torch.float32)
        output.logits = new.to(old.device, old.dtype)
        return output

    hook = model.register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()
