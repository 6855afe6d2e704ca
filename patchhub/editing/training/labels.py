"""Rows that teach: what a model reads and what it is to say where, alike for all kinds of models.

A decoder-only model reads prompt and target as one text. Of an encoder-decoder the encoder reads
the prompt; the decoder reads the target behind its start token and is to say it, with the end token
if the tokenizer appends one (Raffel et al. 2020, arXiv:1910.10683). EasyEdit leaves out the shift:
its decoder reads the very token that it is to say there. That ``reference`` alignment is kept as an
option, for who compares with published figures for T5 (Yao et al. 2023, arXiv:2305.13172).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from patchhub.editing.passes.budget import Size
from patchhub.editing.passes.encoder import read_prompts, start_token
from patchhub.editing.passes.trace import picked_for
from patchhub.editing.wording.prompts import prompt_of
from patchhub.editing.wording.tokens import (
    answer_ids,
    check_room,
    encode,
    filler_id,
    pad,
    target_row,
)
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.request import EditRequest
from patchhub.sites import module_of

Alignment: TypeAlias = Literal["shifted", "reference"]
_NONE = -1


@dataclass(frozen=True, slots=True)
class Labelled:
    """One line of training.

    Attributes:
        ids: What the stack reads whose output is labelled.
        slots: Positions in ``ids`` whose logits are to predict the labels.
        labels: Token ids, one per slot.
        given: What the encoder reads; empty where there is none.
    """

    ids: tuple[int, ...]
    slots: tuple[int, ...]
    labels: tuple[int, ...]
    given: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """Tokens that the model reads."""
        return len(self.given) + len(self.ids)


def longest(rows: Sequence[Labelled]) -> Size:
    """What each of some rows takes in one batch of them all."""
    return Size(
        rows=1,
        before=0,
        tail=max(len(row.ids) for row in rows),
        slots=max(len(row.slots) for row in rows),
        given=max(len(row.given) for row in rows),
    )


def labelled(
    base: LoadedBase,
    request: EditRequest,
    *,
    alignment: Alignment = "shifted",
    end: bool = False,
) -> Labelled:
    """The row that teaches a request's target after its prompt.

    Args:
        base: Tokenizer and model.
        request: Prompt and target.
        alignment: Whether a decoder reads what it has said, or the very token it is to say.
        end: Whether the end token is taught after the target also where the tokenizer does not
            append it.

    Raises:
        InvalidInputError: E137, the prompt is no chat message; E142, the alignment or the end is
            not to be had with this model; E143, tokens do not line up; E150, longer than the
            model's context.
    """
    prompt = prompt_of(base.tokenizer, request).text
    make = _answer if base.model.config.is_encoder_decoder else _continuation
    row = make(base, prompt, request.target, alignment, end)
    check_room(base.model, max(len(row.ids), len(row.given)))
    return row


def _continuation(
    base: LoadedBase, prompt: str, target: str, alignment: Alignment, end: bool
) -> Labelled:
    if alignment == "reference":
        raise InvalidInputError(
            "E142",
            "only the decoder of an encoder-decoder can be trained without the shift",
            expected="alignment=shifted",
            found=f"alignment=reference, {base.model.config.model_type}",
            setting="alignment",
        )
    row = target_row(base.tokenizer, prompt, target)
    if not end:
        return Labelled(row.ids, row.slots, row.labels)
    closing = (_end_token(base),)
    return Labelled(
        (*row.ids, row.labels[-1]), (*row.slots, row.slots[-1] + 1), (*row.labels, *closing)
    )


def _answer(
    base: LoadedBase, prompt: str, target: str, alignment: Alignment, end: bool
) -> Labelled:
    said = answer_ids(base.tokenizer, target)
    if end and said[-1] != _end_token(base):
        said = (*said, _end_token(base))
    read = said if alignment == "reference" else (start_token(base.model), *said[:-1])
    return Labelled(read, tuple(range(len(said))), said, encode(base.tokenizer, prompt).ids)


def _end_token(base: LoadedBase) -> int:
    found = base.tokenizer.eos_token_id
    if isinstance(found, int):
        return found
    raise InvalidInputError(
        "E142", "the tokenizer has no end token to teach", expected="end=false", setting="end"
    )


@dataclass(frozen=True, eq=False)
class Said:
    """What a model says at labelled places.

    Attributes:
        logits: One row per label ``(m, v)``.
        labels: ``(m,)``.
        rows: Which of the rows that were run each label is of ``(m,)``.
        slots: Its position there ``(m,)``.
    """

    logits: Tensor
    labels: Tensor
    rows: Tensor
    slots: Tensor


class LabelledBatch:
    """Labelled rows as tensors, any of which can be run; the encoder has read the prompts once.

    Valid as long as no encoder changes.

    Attributes:
        size: Number of rows.
        width: Positions of each, padding included.
    """

    def __init__(self, base: LoadedBase, rows: Sequence[Labelled]) -> None:
        self._base, device = base, base.model.device
        padded = pad([row.ids for row in rows], filler=filler_id(base.tokenizer), device=device)
        self._ids, self._mask = padded.ids, padded.mask
        self.size, self.width = padded.ids.shape
        self._labels = pad([row.labels for row in rows], filler=_NONE, device=device).ids
        self._slots = pad([row.slots for row in rows], filler=_NONE, device=device).ids
        self._read: tuple[Tensor, Tensor] | None = None
        if base.model.config.is_encoder_decoder:
            with torch.no_grad():
                self._read = read_prompts(base.model, [row.given for row in rows])

    @property
    def every(self) -> Tensor:
        """Numbers of all rows."""
        return torch.arange(self.size, device=self._ids.device)

    def run(self, chosen: Tensor) -> Said:
        """Run the model, as it is now, on the rows with these numbers; the head at labels only."""
        labels, slots = self._labels[chosen], self._slots[chosen]
        rows, columns = (labels != _NONE).nonzero(as_tuple=True)
        labels, slots = labels[rows, columns], slots[rows, columns]
        head = module_of(self._base.model, self._base.arch.head)
        with picked_for(head, rows, slots):
            output = self._base.model(**self._inputs(chosen), use_cache=False)
        return Said(output.logits[0], labels, rows, slots)

    def _inputs(self, chosen: Tensor) -> dict[str, Any]:
        ids, mask = self._ids[chosen], self._mask[chosen]
        if self._read is None:
            return {"input_ids": ids, "attention_mask": mask}
        read, heard = self._read
        return {
            "encoder_outputs": BaseModelOutput(read[chosen]),
            "attention_mask": heard[chosen],
            "decoder_input_ids": ids,
            "decoder_attention_mask": mask,
        }
