"""Run an encoder-decoder on prompts and answers, from an encoder's block on.

What is changed at the subject's last token reaches every other token of the prompt in the blocks
above, and the decoder through all of them: nothing about those can be computed once. What can is
the encoder up to the changed block.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from patchhub.editing.passes.resume import check_length, from_layer
from patchhub.editing.passes.trace import picked_for, rewrap, unwrap
from patchhub.editing.wording.tokens import Row, pad
from patchhub.sites import Architecture, module_of


class WholeRows:
    """A batch of rows of an encoder-decoder; as `CutRows`, but nothing is cut.

    Attributes:
        model: The model.
        arch: Where its parts lie.
        rows: The rows as given.
        slots: Batch index and the decoder's position of every label slot, row by row, ``(m, 2)``.
        labels: Their target ids ``(m,)``.

    Raises:
        InvalidInputError: E150, a row is longer than the model's context.
    """

    def __init__(
        self, model: PreTrainedModel, arch: Architecture, rows: Sequence[Row], filler: int
    ) -> None:
        check_length(model, rows)
        self.model, self.arch = model, arch
        self._start, self._below = 0, None
        read = pad([row.ids for row in rows], filler=filler, device=model.device)
        said = pad([row.said for row in rows], filler=filler, device=model.device)
        self._inputs = {
            "input_ids": read.ids,
            "attention_mask": read.mask,
            "decoder_input_ids": said.ids,
            "decoder_attention_mask": said.mask,
        }
        self._lay_out(rows)

    def run(self, rows: Tensor, positions: Tensor) -> Tensor:
        """One pass; logits ``(m, v)`` at the given places of the decoder only."""
        head = module_of(self.model, self.arch.head)
        below = {"output": self._below} if self._start else {}
        with (
            from_layer(self.model, self.arch, self._start, below),
            picked_for(head, rows, positions),
        ):
            output = self.model(**self._inputs, use_cache=False)
        return output.logits[0]  # type: ignore[no-any-return]

    def at_lookups(self, hidden: Tensor) -> Tensor:
        """What an encoder's module put out, ``(n, t, d)``, at each row's lookup, ``(n, d)``."""
        return hidden[self._every, self._lookups]

    def shifted(self, hidden: Tensor, shifts: Tensor) -> Tensor:
        """``hidden`` ``(n, t, d)`` with ``shifts`` ``(n, d)`` added at the lookups."""
        return hidden.index_put((self._every, self._lookups), shifts, accumulate=True)

    def start_at(self, layer: int, below: Any) -> None:
        """From now on let passes begin at block ``layer`` of the encoder; as `CutRows.start_at`."""
        self._start, self._below = layer, below

    def kept(self, rows: Sequence[int]) -> WholeRows:
        """Some of the rows, in the given order, with what is known of them.

        Padding stays: what the encoder's first block says of positions goes with the width.
        """
        index = torch.tensor(rows, device=self.model.device)
        new = copy(self)
        new._inputs = {name: value[index] for name, value in self._inputs.items()}
        new._lay_out([self.rows[i] for i in rows])
        if self._start:
            new._below = rewrap(self._below, unwrap(self._below)[index])
        return new

    def _lay_out(self, rows: Sequence[Row]) -> None:
        device = self.model.device
        self.rows = tuple(rows)
        self._every = torch.arange(len(rows), device=device)
        self._lookups = torch.tensor([row.lookup for row in rows], device=device)
        pairs = [(i, slot) for i, row in enumerate(rows) for slot in row.slots]
        self.slots = torch.tensor(pairs, dtype=torch.long, device=device).reshape(-1, 2)
        labels = [label for row in rows for label in row.labels]
        self.labels = torch.tensor(labels, dtype=torch.long, device=device)
