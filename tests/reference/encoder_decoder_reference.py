"""An encoder-decoder as the other references know models: one row of ids in, logits for each out.

The row is what the encoder reads, up to its end token, and behind that what the decoder reads. The
logits at the decoder's ids are its own; those at the encoder's ids are what the decoder would say
first, wherever that is asked: it is a function of the whole prompt.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.reference.rome_reference import encode

Row = tuple[list[int], int, list[int]]


class Joined(nn.Module):
    def __init__(self, model: nn.Module, end: int) -> None:
        super().__init__()
        self.model, self.end = model, end

    def forward(self, input_ids: Tensor) -> Any:
        cut = input_ids[0].tolist().index(self.end) + 1
        read, said = input_ids[:, :cut], input_ids[:, cut:]
        logits = self.model(input_ids=read, decoder_input_ids=said).logits
        first = logits[:, :1].expand(-1, cut, -1)
        return SimpleNamespace(logits=torch.cat([first, logits], dim=1))


def rows_of(
    tokenizer: Any,
    start: int,
    templates: list[str],
    before: str,
    subject: str,
    after: str,
    target: str,
) -> list[Row]:
    """Ids of prompt and shifted target, index of the subject's last token, target ids."""
    labels = encode(tokenizer, target)
    rows = []
    for template in templates:
        left, right = template.split("{}")
        read = encode(tokenizer, left + before + subject + after + right)
        rows.append(
            ([*read, start, *labels[:-1]], last_of(tokenizer, left + before + subject), labels)
        )
    return rows


def essence_of(tokenizer: Any, start: int, subject: str) -> tuple[list[int], int]:
    """Ids of "<subject> is a" and the decoder's first, index of the subject's last token."""
    return [*encode(tokenizer, f"{subject} is a"), start], last_of(tokenizer, subject)


def last_of(tokenizer: Any, text: str) -> int:
    """Index of a text's last token, its end token not counted."""
    return len(encode(tokenizer, text)) - 2
