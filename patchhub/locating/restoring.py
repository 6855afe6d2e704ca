"""Runs of one group of prompts: clean, with noise on the subjects, and with some states put back.

Blocks below what is put back hand up what they did in the run with noise; nothing is computed
there again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from patchhub.editing.passes.trace import (
    by_row,
    changed_output,
    replayed,
    rewrap,
    seen_outputs,
    unwrap,
)
from patchhub.loading import LoadedBase
from patchhub.locating.facts import Fact
from patchhub.locating.reading import Rows
from patchhub.sites import module_of

BLOCK = "block"


class Run:
    """See the module.

    Attributes:
        clean: Probability of each answer, ``(n,)``.
        corrupted: The same with noise, ``(n, samples)``.

    Args:
        base: The model.
        facts: Of the group.
        noise: Per fact ``(samples, tokens of the subject, d)``, added to the embeddings.
        parts: Parts of a block, as the architecture names them, that will be put back.
    """

    def __init__(
        self,
        base: LoadedBase,
        facts: Sequence[Fact],
        noise: Sequence[Tensor],
        parts: Sequence[str],
    ) -> None:
        self._rows = rows = Rows(base, facts)
        self._stack = base.arch.reading
        self._blocks = range(base.arch.block_count(base.model, self._stack))
        self._modules = {
            (part, block): module_of(
                base.model, base.arch.path(part, block, base.model, self._stack)
            )
            for part in (BLOCK, *parts)
            for block in self._blocks
        }
        n, samples = len(facts), len(noise[0])
        self.shape = n, samples
        every = torch.arange(n, device=rows.embeddings.device)
        named = {f"{part}.{block}": module for (part, block), module in self._modules.items()}
        with seen_outputs(named) as seen:
            self.clean = rows.log_p(every, rows.embeddings).exp()
        self._states = {
            place: by_row(unwrap(seen[name]), n)
            for place, name in zip(self._modules, named, strict=True)
        }
        self._index = every.repeat_interleave(samples)
        self._embeddings = rows.embeddings[self._index]
        for i, (fact, added) in enumerate(zip(facts, noise, strict=True)):
            here = slice(i * samples, (i + 1) * samples), list(fact.subject)
            self._embeddings[here] += added.to(self._embeddings)
        with seen_outputs({str(b): self._modules[BLOCK, b] for b in self._blocks}) as self._noisy:
            self.corrupted = self._run()

    def restored(self, part: str, blocks: Sequence[int], tokens: Sequence[Sequence[int]]) -> Tensor:
        """Probability of each answer, ``(n, samples)``, with some states as in the clean run.

        Args:
            part: What is put back.
            blocks: In which blocks, in ascending order.
            tokens: At which positions of each fact.
        """
        kept = torch.zeros(self._embeddings.shape[:2], dtype=torch.bool, device=self._index.device)
        kept = kept.view(*self.shape, -1)
        for i, positions in enumerate(tokens):
            kept[i, :, list(positions)] = True
        where = kept.view(len(self._index), -1, 1)

        def put_back(block: int, states: Tensor) -> Tensor:
            clean = self._states[part, block][self._index]
            rows = by_row(states, len(self._index))
            return torch.where(where, clean, rows).reshape(states.shape)

        with ExitStack() as stack:
            if part == BLOCK:
                top = blocks[-1]
                noisy = self._noisy[str(top)]
                stack.enter_context(
                    self._from(top + 1, rewrap(noisy, put_back(top, unwrap(noisy))))
                )
            else:
                first = blocks[0]
                below = self._noisy[str(first - 1)] if first else None
                stack.enter_context(self._from(first, below))
                for block in blocks:
                    change = partial(put_back, block)
                    stack.enter_context(changed_output(self._modules[part, block], change))
            return self._run()

    def _from(self, block: int, output: Any) -> Any:
        below: list[nn.Module] = [self._modules[BLOCK, b] for b in range(block)]
        return replayed(below, output)

    def _run(self) -> Tensor:
        return self._rows.log_p(self._index, self._embeddings).exp().view(self.shape)
