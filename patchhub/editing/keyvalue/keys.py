"""Keys at the lookups of many requests, layer after layer, while the layers are being written.

The key of a target is the input of a down-projection at the subject's last token: over contexts the
mean of the bare prompt's and of the others' mean, then the mean over the target's prompts. What a
layer writes changes every position, so nothing about a row is constant but the blocks below the
first edited one. Rows end at the lookup (but for an encoder, where what follows matters, too),
their residual stream is kept below the layer where the last reading was, and only the bare prompts
go on to the layer at which targets are set; the head never runs.

Source: Meng et al. 2023, arXiv:2210.07229, section 4.3 and algorithm 1; weights of the contexts as
    in the released code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from patchhub.editing.passes.budget import Budget
from patchhub.editing.passes.resume import from_layer
from patchhub.editing.passes.trace import by_row, seen_inputs, seen_outputs, stopped_after, unwrap
from patchhub.editing.wording.tokens import Row, pad
from patchhub.sites import Architecture, module_of, weight_matrix

Reading = tuple[tuple[int, ...], int]
"""Ids, and at which of them is looked."""
Use = tuple[int, float, float]
"""A target, a row's share in its key, and in its value."""
_TOKENS = 4096
"""Read in one pass where no budget is given."""


def context_shares(count: int) -> list[float]:
    """What each of a prompt's contexts counts in its key: the bare one, the first, one half."""
    return [0.5, *[0.5 / (count - 1)] * (count - 1)] if count > 1 else [1.0]


def averaged(keys: Tensor) -> Tensor:
    """Keys of one prompt in all contexts ``(j, f)``, the bare one first, to its key ``(f,)``."""
    return torch.tensor(context_shares(len(keys)), dtype=keys.dtype, device=keys.device) @ keys


@dataclass(frozen=True, slots=True)
class Prompts:
    """Where one target is looked up.

    Attributes:
        rows: Per prompt its rows in all contexts, the bare one first; only what the lookup can see
            is read.
    """

    rows: tuple[tuple[Row, ...], ...]

    def weights(self) -> Iterator[tuple[Reading, float, float]]:
        """Per row what the lookup can see, its share in the key, its share in the value."""
        for contexts in self.rows:
            for number, (row, share) in enumerate(
                zip(contexts, context_shares(len(contexts)), strict=True)
            ):
                bare = 1.0 if number == 0 else 0.0
                yield (row.seen, row.lookup), share / len(self.rows), bare / len(self.rows)


@dataclass(eq=False)
class _Chunk:
    """Rows read in one pass, what they count for, and what they left below block ``at``."""

    ids: Tensor
    mask: Tensor
    last: Tensor
    rows: Tensor  # of this chunk, one entry per use of a row
    targets: Tensor
    shares: Tensor  # in the target's key
    bare: Tensor  # in the target's value
    at: int = 0
    below: dict[str, Any] = field(default_factory=dict)

    def seen(self, found: Any) -> Tensor:
        """Hidden states at the lookups, one row per use, in float64 on the CPU."""
        hidden = by_row(unwrap(found), len(self.last))
        picked = hidden[torch.arange(len(self.last), device=hidden.device), self.last]
        return picked.cpu().double()[self.rows]


class KeyStream:
    """Reads keys and values of targets, from lower to higher layers.

    Args:
        model: In evaluation mode; its weights count as they are when a layer is read.
        arch: Where its parts lie.
        targets: Where each is looked up; a row that occurs twice is read once.
        top: Block whose output are the values.
        site: ``block``, or ``mlp`` for the MLP's output.
        filler: Id to pad with.
        memory: Bytes to use beside the model, which bound the rows of a pass; where the residual
            streams do not fit in half of them, none is kept and passes begin at block 0. ``None``
            keeps them and reads a few thousand tokens at once.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        arch: Architecture,
        targets: Sequence[Prompts],
        *,
        top: int,
        site: str = "block",
        filler: int,
        memory: int | None = None,
    ) -> None:
        self._model, self._arch, self._count = model, arch, len(targets)
        self._top = module_of(model, arch.path(site, top, model, arch.reading))
        self._width = weight_matrix(self._down(top)).shape[0]
        uses: dict[Reading, list[Use]] = {}
        for number, prompts in enumerate(targets):
            for reading, share, bare in prompts.weights():
                uses.setdefault(reading, []).append((number, share, bare))
        kept = sum(len(ids) for ids, _ in uses) * self._width * model.dtype.itemsize
        self._keep = memory is None or 2 * kept <= memory
        tokens = _TOKENS
        if memory is not None:
            tokens = Budget(model, arch, top, arch.reading).tokens(memory - kept * self._keep)
        bare_rows = [one for one, found in uses.items() if any(bare for _, _, bare in found)]
        others = uses.keys() - set(bare_rows)
        self._chunks = [
            self._chunk(some, uses, filler)
            for rows in (bare_rows, [one for one in uses if one in others])
            for some in _packed(rows, tokens)
        ]

    @torch.no_grad()
    def read(self, layers: Sequence[int]) -> tuple[dict[int, Tensor], Tensor]:
        """Keys at ``layers`` and values at the top, on the weights as they are now.

        Args:
            layers: Ascending, none above the top. From here on no weight below the first may
                change, and no later call may ask for a lower block.

        Returns:
            Block → keys ``(n, f)``; values ``(n, d)``; in float64 on the CPU.
        """
        downs = {str(n): self._down(n) for n in layers}
        keys = {
            n: torch.zeros(self._count, weight_matrix(self._down(n)).shape[1], dtype=torch.float64)
            for n in layers
        }
        values = torch.zeros(self._count, self._width, dtype=torch.float64)
        for chunk in self._chunks:
            bare = bool(chunk.bare.any())
            with ExitStack() as stack:
                stack.enter_context(from_layer(self._model, self._arch, chunk.at, chunk.below))
                below = stack.enter_context(seen_outputs(self._below(layers[0], chunk)))
                into = stack.enter_context(seen_inputs(downs))
                out = stack.enter_context(seen_outputs({"top": self._top}))
                stack.enter_context(stopped_after(self._top if bare else downs[str(layers[-1])]))
                self._model.base_model(
                    input_ids=chunk.ids, attention_mask=chunk.mask, use_cache=False
                )
            for n in layers:
                part = chunk.seen(into[str(n)]) * chunk.shares[:, None]
                keys[n].index_add_(0, chunk.targets, part)
            if bare:
                part = chunk.seen(out["top"]) * chunk.bare[:, None]
                values.index_add_(0, chunk.targets, part)
            if below:
                chunk.at, chunk.below = layers[0], dict(below)
        return keys, values

    def _below(self, layer: int, chunk: _Chunk) -> dict[str, nn.Module]:
        """The block whose output is to be kept, if it is not kept already."""
        if not self._keep or layer == chunk.at:
            return {}
        return {"output": self._module("block", layer - 1)}

    def _down(self, layer: int) -> nn.Module:
        return self._module("mlp_out", layer)

    def _module(self, part: str, layer: int) -> nn.Module:
        path = self._arch.path(part, layer, self._model, self._arch.reading)
        return module_of(self._model, path)

    def _chunk(
        self, rows: Sequence[Reading], uses: Mapping[Reading, Sequence[Use]], filler: int
    ) -> _Chunk:
        batch = pad([ids for ids, _ in rows], filler=filler, device=self._model.device)
        every = [(i, *use) for i, one in enumerate(rows) for use in uses[one]]
        numbers, targets, shares, bare = torch.tensor(every, dtype=torch.float64).T
        last = torch.tensor([lookup for _, lookup in rows], device=self._model.device)
        return _Chunk(batch.ids, batch.mask, last, numbers.long(), targets.long(), shares, bare)


def _packed(rows: Sequence[Reading], tokens: int) -> Iterator[list[Reading]]:
    """Rows of like length together, as many as have ``tokens`` tokens, but at least one."""
    batch: list[Reading] = []
    for reading in sorted(rows, key=lambda one: len(one[0]), reverse=True):
        if batch and len(batch[0][0]) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(reading)
    if batch:
        yield batch
