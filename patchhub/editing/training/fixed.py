"""What training cannot change, computed once: the part of a pass below the lowest trained module.

Below a trained down-projection lie whole blocks and, in its own block, the attention and the MLP's
input projections; of each step only the down-projection and what follows remains.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from patchhub.editing.passes.trace import replayed, seen_outputs, stopped_after
from patchhub.loading import LoadedBase
from patchhub.sites import module_of

PARTS = frozenset({"attention_in", "attention_out", "mlp_in", "mlp_out"})


class Fixed:
    """Outputs of modules for a set of rows, given back for any of them without computing.

    Valid as long as nothing changes below block ``layer`` of the decoder, and in it only ``parts``.

    Attributes:
        bytes: What is kept.
    """

    def __init__(self, base: LoadedBase, layer: int, parts: Collection[str]) -> None:
        model, arch = base.model, base.arch
        blocks = [module_of(model, arch.path("block", i, model)) for i in range(layer + 1)]
        self._top = blocks.pop()
        self._stand_ins: dict[str, list[nn.Module]] = {"blocks": blocks} if blocks else {}
        inside: list[str] = []
        if not {"attention_in", "attention_out"} & set(parts):
            inside.append(arch.path("attention", layer, model))
            if arch.decoder.cross_attention is not None:
                inside.append(arch.path("cross_attention", layer, model))
        if set(parts) == {"mlp_out"}:
            inside += arch.paths("mlp_in", layer, model)
        self._stand_ins |= {path: [module_of(model, path)] for path in inside}
        self._seen: dict[str, Any] | None = None
        self._rows = self._places = self.bytes = 0

    def record(
        self,
        run: Callable[[Tensor], object],
        every: Tensor,
        width: int,
        *,
        memory: int | None,
        size: int | None,
    ) -> None:
        """Run all rows once, and keep what is fixed unless that takes more than ``memory`` bytes.

        Args:
            run: Runs the model on the rows with these numbers.
            every: Numbers of all rows ``(n,)``.
            width: Positions of a row, padding included.
            memory: Most bytes to keep; without them every pass computes everything, to the same
                result.
            size: Most rows to run at once.
        """
        self._rows, self._places = len(every), len(every) * width
        latest = {name: modules[-1] for name, modules in self._stand_ins.items()}
        pieces: list[dict[str, Any]] = []
        chunks = torch.split(every, min(_CHUNK, size or _CHUNK))
        for chosen in chunks if latest else ():
            with torch.no_grad(), seen_outputs(latest) as seen, stopped_after(self._top):
                run(chosen)
            pieces.append(dict(seen))
            taken = sum(t.nbytes for t in _tensors(list(seen.values())))
            if memory is not None and taken * len(every) > memory * len(chosen):
                return
        if pieces:
            first = len(chunks[0])
            joined = {n: _joined([p[n] for p in pieces], first, first * width) for n in latest}
            self._seen, self.bytes = joined, sum(t.nbytes for t in _tensors(list(joined.values())))

    @contextmanager
    def replayed(self, chosen: Tensor) -> Iterator[None]:
        """Let passes over the rows with these numbers begin where something can change."""
        whole = len(chosen) == self._rows and bool((chosen.diff() == 1).all())
        with ExitStack() as stack:
            for name, output in (self._seen or {}).items():
                some = output if whole else _some(output, chosen, self._rows, self._places)
                stack.enter_context(replayed(self._stand_ins[name], some))
            yield


_CHUNK = 64
"""Rows that are recorded at once."""


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _joined(pieces: list[Any], rows: int, places: int) -> Any:
    """Outputs of several chunks as one; what does not go by row is the same in all of them."""
    first = pieces[0]
    if isinstance(first, tuple):
        return tuple(_joined(list(items), rows, places) for items in zip(*pieces, strict=True))
    if isinstance(first, Tensor) and first.shape[0] in (rows, places):
        return torch.cat(pieces)
    return first


def _some(output: Any, chosen: Tensor, rows: int, places: int) -> Any:
    """A module's output for some rows; some modules have rows and positions in one dimension."""
    if isinstance(output, tuple):
        return tuple(_some(item, chosen, rows, places) for item in output)
    if not isinstance(output, Tensor):
        return output
    if output.shape[0] == rows:
        return output[chosen]
    if output.shape[0] == places:
        return output.reshape(rows, places // rows, *output.shape[1:])[chosen].flatten(0, 1)
    return output
