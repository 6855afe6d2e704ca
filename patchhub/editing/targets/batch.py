"""Many problems as rows of one batch, and sums over each problem's own rows.

Nothing is added up across problems, and no two threads add to one place: what is found for a
problem depends neither on its neighbours nor on a device's scheduling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from patchhub.editing.passes.budget import Size
from patchhub.editing.passes.resume import CutRows
from patchhub.editing.passes.trace import by_row, changed_output, computed_at, unwrap
from patchhub.editing.passes.whole import WholeRows
from patchhub.editing.targets.problem import Wanted
from patchhub.editing.wording.tokens import Row
from patchhub.sites import Architecture


class Batch:
    """Rows of ``b`` problems in one batch, with ``m`` label slots.

    Attributes:
        wanted: The problems.
        cut: All their rows, problem by problem.
        first: Each problem's first row ``(b,)``.
        last: Modules that need to compute only where something is read: those behind the last
            exchange between positions.
    """

    last: tuple[nn.Module, ...] = ()

    def __init__(
        self, model: PreTrainedModel, arch: Architecture, wanted: Sequence[Wanted], filler: int
    ) -> None:
        rows = [row for one in wanted for row in rows_of(one)]
        kind = WholeRows if model.config.is_encoder_decoder else CutRows
        self._lay_out(wanted, kind(model, arch, rows, filler))

    def __len__(self) -> int:
        return len(self.wanted)

    def log_p(self) -> tuple[Tensor, Tensor]:
        """Log-probabilities at the label slots ``(m, v)`` and of the essences ``(b, v)``."""
        with computed_at(self.last, *self._read):
            found = self.cut.run(*self._places).log_softmax(-1)
        return found[: -len(self)], found[-len(self) :]

    def nll(self, log_p: Tensor) -> Tensor:
        """Mean over a problem's rows of the mean over a row's labels of −log p, ``(b,)``, nats."""
        chosen = log_p.gather(1, self.cut.labels[:, None])[:, 0]
        return -self._each(chosen * self._weights).sum(1)

    def all_best(self, log_p: Tensor) -> Tensor:
        """Whether all labels of a problem are the likeliest tokens where they stand, ``(b,)``."""
        chosen = log_p.gather(1, self.cut.labels[:, None])[:, 0]
        return (self._each((chosen < log_p.amax(-1)).to(log_p.dtype)) == 0).all(1)

    @contextmanager
    def shifted(self, modules: Sequence[nn.Module], delta: Tensor) -> Iterator[None]:
        """Add ``delta[:, k]`` to the k-th module's output at the lookup token of all rows.

        Args:
            modules: As many as ``delta`` has.
            delta: ``(b, k, d)``.
        """
        with ExitStack() as stack:
            for k, module in enumerate(modules):
                stack.enter_context(changed_output(module, partial(self.added, delta=delta[:, k])))
            yield

    def added(self, output: Tensor, delta: Tensor) -> Tensor:
        """A module's output with ``delta`` ``(b, d)`` added at the lookup token of all rows."""
        # Copies are made by problem and picked once each, so that gradients add up in order.
        copies = delta[:, None].expand(-1, self._most, -1).flatten(0, 1)[self._copies]
        return self.cut.shifted(by_row(output, len(copies)), copies).reshape(output.shape)

    def at_lookups(self, output: Any) -> Tensor:
        """What a module put out at the lookup token of all rows, ``(n, d)``."""
        return self.cut.at_lookups(by_row(unwrap(output), len(self._copies)))

    def kept(self, problems: Sequence[int]) -> Batch:
        """Some of the problems, with all that is known of their rows."""
        counts = [len(rows_of(one)) for one in self.wanted]
        rows = [sum(counts[:i]) + offset for i in problems for offset in range(counts[i])]
        new = copy(self)
        new._lay_out([self.wanted[i] for i in problems], self.cut.kept(rows))
        return new

    def _lay_out(self, wanted: Sequence[Wanted], cut: CutRows | WholeRows) -> None:
        self.wanted, self.cut = tuple(wanted), cut
        device = cut.model.device
        counts = [len(rows_of(one)) for one in wanted]
        begins = [sum(counts[:i]) for i in range(len(counts))]
        self.first = torch.tensor(begins, device=device)
        self._most = max(counts)
        copies = [i * self._most + j for i, count in enumerate(counts) for j in range(count)]
        self._copies = torch.tensor(copies, device=device)
        own = [
            [1 / len(one.rows) / len(r.slots) for r in one.rows for _ in r.slots] for one in wanted
        ]
        places = [(i, column) for i, each in enumerate(own) for column in range(len(each))]
        self._cells = torch.tensor(places, device=device)
        self._shape = (len(wanted), max(map(len, own)))
        flat = [weight for each in own for weight in each]
        self._weights = torch.tensor(flat, device=device, dtype=cut.model.dtype)
        # The lookup of a cut row, and the place of a decoder's first word.
        ends = [[b + essence_place(one), 0] for b, one in zip(begins, wanted, strict=True)]
        every = torch.cat([cut.slots, torch.tensor(ends, device=device)])
        self._places: tuple[Tensor, Tensor] = (every[:, 0], every[:, 1])
        once = torch.unique(every, dim=0)
        self._read: tuple[Tensor, Tensor] = (once[:, 0], once[:, 1])

    def _each(self, values: Tensor) -> Tensor:
        """Values of slots ``(m,)`` by problem, zeros where a problem has fewer, ``(b, s)``."""
        empty = values.new_zeros(self._shape)
        return empty.index_put((self._cells[:, 0], self._cells[:, 1]), values)


def rows_of(wanted: Wanted) -> tuple[Row, ...]:
    """The rows that must be run: the essence only where no other row says the same up to there."""
    own = essence_place(wanted) == len(wanted.rows)
    return (*wanted.rows, wanted.essence) if own else wanted.rows


def size_of(wanted: Wanted) -> Size:
    """What a problem takes: the longest of its rows counts for all."""
    rows = rows_of(wanted)
    before = [0 if row.said else row.lookup for row in rows]
    return Size(
        rows=len(rows),
        before=max(before),
        tail=max(len(r.ids) + len(r.said) - n for r, n in zip(rows, before, strict=True)),
        slots=1 + sum(len(row.slots) for row in rows),
    )


def essence_place(wanted: Wanted) -> int:
    """The row of which the essence is read: one that has nothing else that matters to it."""
    for place, row in enumerate(wanted.rows):
        if (row.seen, row.lookup) == (wanted.essence.seen, wanted.essence.lookup):
            return place
    return len(wanted.rows)
