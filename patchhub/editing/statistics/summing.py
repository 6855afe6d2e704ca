"""One pass over text that sums k kᵀ of every wanted block; it can be taken up where it broke off.

Batches follow from the texts alone, each batch's product is summed in the model's dtype and added
in float64 in their order: a pass that was cut off and taken up gives the bits of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from patchhub import canonical
from patchhub.durable import swapped_in
from patchhub.editing.passes.trace import by_row, each_input, stopped_after
from patchhub.editing.wording.tokens import filler_id, pad
from patchhub.loading import LoadedBase
from patchhub.sites import module_of, weight_matrix

LENGTH_CAP = 2048
"""Tokens kept per text; the references' cap is the model's context, which can be 131,072."""
_WINDOW = 2048
"""Texts that are sorted by length together."""
_ON_CPU, _ON_GPU = 4096, 16384
"""Tokens of a batch, padding included."""
_EVERY = 30.0
"""Seconds between two checkpoints; more where writing takes more than a `_SHARE`-th of that."""
_SHARE = 20
_SPARE = 0.5
"""Of a GPU's free memory, the share that sums may take."""

Row = tuple[int, ...]


@dataclass
class Sums:
    """How far a pass is.

    Attributes:
        batches: Batches behind it.
        texts: Texts behind it, empty ones not among them.
        count: Tokens behind it.
        sums: Block → ``(f, f)`` float64 where the model lies.
    """

    batches: int = 0
    texts: int = 0
    count: int = 0
    sums: dict[int, Tensor] = field(default_factory=dict)


class Checkpoint:
    """A file from which a pass can be taken up; it knows which pass it is of.

    Args:
        file: Where; None keeps nothing.
        content: What decides the bits of the sums, layers included.
    """

    def __init__(self, file: Path | None, content: canonical.Json) -> None:
        self._file = file
        self._content = canonical.dumps(content).decode()
        self._due = time.monotonic() + _EVERY

    def load(self, device: torch.device) -> Sums:
        """Where an earlier pass broke off; the beginning, if there is nothing of it."""
        if self._file is not None:
            with suppress(OSError, SafetensorError, KeyError, ValueError):
                found, content = _read(self._file)
                if content == self._content:
                    batches, texts, count = found.pop("at").tolist()
                    sums = {int(name): one.to(device) for name, one in found.items()}
                    return Sums(batches, texts, count, sums)
        return Sums()

    def keep(self, state: Sums) -> None:
        """Write the state, if it is time to."""
        if self._file is None or time.monotonic() < self._due:
            return
        begun = time.monotonic()
        tensors = {str(layer): one.cpu().contiguous() for layer, one in state.sums.items()}
        tensors["at"] = torch.tensor([state.batches, state.texts, state.count])
        with swapped_in(self._file) as beside:
            safetensors.torch.save_file(tensors, beside, metadata={"content": self._content})
        now = time.monotonic()
        self._due = now + max(_EVERY, _SHARE * (now - begun))

    def done(self) -> None:
        """The pass is through."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


@torch.no_grad()
def summed(
    base: LoadedBase,
    texts: Sequence[str],
    layers: Sequence[int],
    checkpoint: Checkpoint,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sums:
    """Sums of some blocks over the first ``limit`` tokens of texts; see `Sums`.

    Args:
        base: The model; nothing above the highest of the blocks is run.
        texts: In their order.
        layers: The blocks.
        checkpoint: Of this very pass.
        limit: Tokens; None for all.
        progress: Told tokens of ``limit``, or texts of all.
    """
    paths = {n: base.arch.path("mlp_out", n, base.model, base.arch.reading) for n in layers}
    modules = {str(n): module_of(base.model, path) for n, path in paths.items()}
    state = checkpoint.load(base.model.device)
    todo = islice(batches(base, texts, limit), state.batches, None)
    for rows in todo:
        batch = pad(rows, filler=filler_id(base.tokenizer), device=base.model.device)
        real = batch.mask.bool()

        def add(name: str, hidden: Tensor, real: Tensor = real) -> None:
            keys = by_row(hidden, len(real))[real]
            product = keys.T @ keys
            known = state.sums.get(int(name))
            state.sums[int(name)] = product.double() if known is None else known.add_(product)

        with each_input(modules, add), stopped_after(modules[str(max(layers))]):
            base.model.base_model(input_ids=batch.ids, attention_mask=batch.mask)
        state.batches += 1
        state.texts += len(rows)
        state.count += sum(map(len, rows))
        checkpoint.keep(state)
        if progress is not None:
            done, total = (state.texts, len(texts)) if limit is None else (state.count, limit)
            progress(done, total)
    return state


def grouped(base: LoadedBase, layers: Sequence[int], memory: int | None) -> list[tuple[int, ...]]:
    """Blocks whose sums fit into memory together, a pass for each group.

    Args:
        base: The base.
        layers: The blocks.
        memory: Bytes for sums; None for as many as there are, or on a GPU as many as are free.
    """
    wanted = sorted(layers)
    if memory is None and base.model.device.type == "cuda":
        memory = int(torch.cuda.mem_get_info(base.model.device)[0] * _SPARE)
    if memory is None or not wanted:
        return [tuple(wanted)] if wanted else []
    path = base.arch.path("mlp_out", wanted[0], base.model, base.arch.reading)
    width = weight_matrix(module_of(base.model, path)).shape[1]
    each = max(1, memory // (12 * width**2))  # float64, and a product on its way
    return [tuple(wanted[i : i + each]) for i in range(0, len(wanted), each)]


def length_cap(base: LoadedBase) -> int:
    """Tokens kept per text."""
    context = getattr(base.model.config, "max_position_embeddings", LENGTH_CAP)
    return min(int(context), LENGTH_CAP)


def batches(base: LoadedBase, texts: Sequence[str], limit: int | None) -> Iterator[list[Row]]:
    """Token rows packed by length, so that little is padding; the texts alone fix the order."""
    most = _ON_CPU if base.model.device.type == "cpu" else _ON_GPU
    left = limit
    for start in range(0, len(texts), _WINDOW):
        rows = _encoded(base, texts[start : start + _WINDOW])
        if left is not None:
            rows = _cut(rows, left)
            left -= sum(map(len, rows))
        batch: list[Row] = []
        for ids in sorted(rows, key=len, reverse=True):
            if batch and len(batch[0]) * (len(batch) + 1) > most:
                yield batch
                batch = []
            batch.append(ids)
        if batch:
            yield batch
        if left == 0:
            return


def _read(file: Path) -> tuple[dict[str, Tensor], str]:
    """Tensors of a file, and what its header says of the content."""
    with safetensors.safe_open(file, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        return tensors, (stored.metadata() or {}).get("content", "")


def _encoded(base: LoadedBase, texts: Sequence[str]) -> list[Row]:
    """The texts as the model is asked them, empty ones left out."""
    cap = length_cap(base)
    found = base.tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
    return [tuple(ids[:cap]) for ids in found if ids]


def _cut(rows: list[Row], limit: int) -> list[Row]:
    """The first rows, ``limit`` tokens together."""
    kept: list[Row] = []
    for ids in rows:
        if limit <= 0:
            break
        kept.append(ids[:limit])
        limit -= len(kept[-1])
    return kept
