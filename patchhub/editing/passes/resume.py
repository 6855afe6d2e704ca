"""Run a model only where something can change: rows cut at a token, blocks cut at a layer.

Activations before the looked-up token never depend on what is changed there, so their keys and
values are computed once and cached; rows are aligned at that token, which every later pass sees as
position 0. Blocks below the changed layer are replayed from their recorded output. Results equal
full passes up to rounding (methods-level tests hold them against a plain reference in float64).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from patchhub.editing.passes.prefixes import cache_of, read
from patchhub.editing.passes.trace import picked_for, replayed, rewrap, seen_outputs, unwrap
from patchhub.editing.wording.tokens import Row, check_room, pad
from patchhub.sites import Architecture, module_of


class CutRows:
    """A batch of rows, each cut in front of its lookup token, which becomes position 0.

    Attributes:
        model: The model.
        arch: Where its parts lie.
        rows: The rows as given.
        slots: Batch index and position (after the cut) of every label slot, row by row, ``(m, 2)``.
        labels: Their target ids ``(m,)``.

    Raises:
        InvalidInputError: E150, a row is longer than the model's context.
    """

    def __init__(
        self, model: PreTrainedModel, arch: Architecture, rows: Sequence[Row], filler: int
    ) -> None:
        check_length(model, rows)
        self.model, self.arch, self._filler = model, arch, filler
        self._start, self._below = 0, None
        self._lay_out(rows)
        self._past = read(model, [row.ids[: row.lookup] for row in rows], filler)

    def run(self, rows: Tensor, positions: Tensor) -> Tensor:
        """One pass over what follows the cuts; logits ``(m, v)`` at the given places only."""
        extra: dict[str, Any] = {}
        if self._past:
            extra = {"past_key_values": cache_of(self._past), "use_cache": True}
        head = module_of(self.model, self.arch.head)
        below = {"output": self._below} if self._start else {}
        with (
            from_layer(self.model, self.arch, self._start, below),
            picked_for(head, rows, positions),
        ):
            output = self.model(
                input_ids=self._ids,
                attention_mask=self._mask,
                position_ids=self._positions,
                **extra,
            )
        return output.logits[0]  # type: ignore[no-any-return]

    def at_lookups(self, hidden: Tensor) -> Tensor:
        """What a module put out, ``(n, t, d)``, at each row's lookup, ``(n, d)``."""
        return hidden[:, 0]

    def shifted(self, hidden: Tensor, shifts: Tensor) -> Tensor:
        """``hidden`` ``(n, t, d)`` with ``shifts`` ``(n, d)`` added at the lookups."""
        return torch.cat([hidden[:, :1] + shifts[:, None], hidden[:, 1:]], dim=1)

    def start_at(self, layer: int, below: Any) -> None:
        """From now on let passes begin at block ``layer``.

        Args:
            layer: 0 to the number of blocks.
            below: What the block below put out in a pass over these rows; any value for block 0.
        """
        self._start, self._below = layer, below
        # The model asks block 0 for its length; nobody reads what blocks that do not run know.
        self._past = [
            (keys, values) if i >= layer else (_hollow(keys), _hollow(values))
            for i, (keys, values) in enumerate(self._past)
        ]

    def kept(self, rows: Sequence[int]) -> CutRows:
        """Some of the rows, in the given order, with what is known of them and less padding."""
        index = torch.tensor(rows, device=self.model.device)
        new = copy(self)
        new._lay_out([self.rows[i] for i in rows])
        length, width = new._ids.shape[1], new._mask.shape[1] - new._ids.shape[1]
        if self._start:
            hidden = unwrap(self._below)[index, :length]
            new._below = rewrap(self._below, hidden)
        new._past = [
            (_last(keys, width)[index], _last(values, width)[index])
            if i >= self._start
            else (_hollow(_last(keys, width)[index]), _hollow(_last(values, width)[index]))
            for i, (keys, values) in enumerate(self._past)
            if width
        ]
        return new

    def _lay_out(self, rows: Sequence[Row]) -> None:
        device = self.model.device
        self.rows = tuple(rows)
        cuts = torch.tensor([row.lookup for row in rows])
        tails = pad([row.ids[row.lookup :] for row in rows], filler=self._filler, device=device)
        # Rows meet at the cut: prefixes are padded on the left, tails on the right.
        before = torch.arange(-int(cuts.max()), 0) >= -cuts[:, None]
        self._ids, self._mask = tails.ids, torch.cat([before.long().to(device), tails.mask], dim=1)
        ends = torch.tensor([len(row.ids) - 1 for row in rows])
        steps = torch.arange(tails.ids.shape[1])
        self._positions = torch.minimum(cuts[:, None] + steps, ends[:, None]).to(device)
        pairs = [(i, slot - row.lookup) for i, row in enumerate(rows) for slot in row.slots]
        self.slots = torch.tensor(pairs, dtype=torch.long, device=device).reshape(-1, 2)
        labels = [label for row in rows for label in row.labels]
        self.labels = torch.tensor(labels, dtype=torch.long, device=device)


def _last(entries: Tensor, width: int) -> Tensor:
    return entries[:, :, entries.shape[2] - width :]


def _hollow(entries: Tensor) -> Tensor:
    """The same shape without memory of its own."""
    return entries.new_zeros(1).expand(entries.shape)


def check_length(model: PreTrainedModel, rows: Iterable[Row]) -> None:
    """Refuse rows too long for the model (E150)."""
    check_room(model, max(max(len(row.ids), len(row.said)) for row in rows))


@contextmanager
def recorded_below(
    model: PreTrainedModel, arch: Architecture, layer: int
) -> Iterator[dict[str, Any]]:
    """Record what the blocks below ``layer`` hand up; give the result to `from_layer`."""
    below: dict[str, nn.Module] = {}
    if layer:
        path = arch.path("block", layer - 1, model, arch.reading)
        below["output"] = module_of(model, path)
    with seen_outputs(below) as seen:
        yield seen


@contextmanager
def from_layer(
    model: PreTrainedModel, arch: Architecture, layer: int, seen: dict[str, Any]
) -> Iterator[None]:
    """Let passes begin at block ``layer`` with the recorded output of the blocks below."""
    paths = [arch.path("block", i, model, arch.reading) for i in range(layer)]
    blocks = [module_of(model, path) for path in paths]
    with replayed(blocks, seen.get("output")):
        yield
