"""The lifelong normaliser of UltraEdit: running mean and spread of what edits have seen.

Source: Gu et al. 2025, arXiv:2505.14679, as in the released code. For b new rows X after n others

    n' = n + b    δ = mean(X) − μ    μ' = μ + b δ / n'
    V' = V + b var(X) + n b δ² / n'  σ = √(V / (n − 1 + ε))

with the unbiased variance var(X) where the exact recurrence has (b − 1) / b of it: σ is slightly
too large, as published, and depends on how rows come in batches, and on their order. The variance
of a single row, NaN in the released code, is 0 here: it has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from patchhub.editing.editor import EditContext
from patchhub.editing.training.labels import Labelled
from patchhub.editing.training.observing import observed
from patchhub.errors import IntegrityError

Shape = tuple[int, int]
"""d_in and d_out; all modules of one shape share a normaliser."""
_PREFIX = "normaliser."
_NAMED = re.compile(r"normaliser\.([1-9][0-9]*)x([1-9][0-9]*)")
_EPS = torch.finfo(torch.float32).eps
_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False)
class Normaliser:
    """What rows ``(keys, gradients)`` of width d_in + d_out have been so far, in float64.

    Attributes:
        mean: μ.
        spread: V, the sum of squared differences from the mean.
        count: n.
    """

    mean: Tensor
    spread: Tensor
    count: int

    @classmethod
    def empty(cls, width: int) -> Normaliser:
        """One that has seen nothing."""
        nothing = torch.zeros(width, dtype=torch.float64)
        return cls(nothing, nothing, 0)

    def after(self, rows: Tensor) -> Normaliser:
        """The normaliser once it has seen these rows ``(b, d_in + d_out)``, too."""
        new = rows.double().cpu()
        added, count = len(new), self.count + len(new)
        step = new.mean(0) - self.mean
        within = new.var(0) if added > 1 else torch.zeros_like(step)
        return Normaliser(
            self.mean + added * step / count,
            self.spread + added * within + self.count * added * step**2 / count,
            count,
        )

    def normalised(self, rows: Tensor, split: int) -> tuple[Tensor, Tensor]:
        """Keys ``(n, d_in)`` and gradients ``(n, d_out)``, each coordinate centred and scaled.

        A row that is the only one ever seen is its own mean and would vanish: keys and gradients
        are then brought to mean square 1 and not centred.

        Args:
            rows: Keys and gradients side by side.
            split: d_in.
        """
        wide = rows.double()
        if self.count < 2:
            return _scaled(wide[:, :split]), _scaled(wide[:, split:])
        spread = (self.spread / (self.count - 1 + _EPS)).sqrt().to(wide.device)
        found = (wide - self.mean.to(wide.device)) / (spread + _EPS)
        return found[:, :split], found[:, split:]


def normalisers_after(
    context: EditContext, rows: Sequence[Labelled], paths: Sequence[str], size: int
) -> tuple[dict[Shape, Normaliser], dict[str, tuple[Tensor, Tensor]]]:
    """The normalisers once they have seen some rows in batches, the longest rows first.

    They go on from the newest patch below that holds any.

    Args:
        context: Of the edit.
        rows: What is to be learnt.
        paths: Of the projections that are looked at.
        size: Rows of a batch.

    Returns:
        The normalisers, and per path the keys and gradients of all labels that they have seen now.
    """
    known = next((n for n in (from_state(p.state) for p in context.below[::-1]) if n), {})
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {path: [] for path in paths}
    longest_first = sorted(rows, key=lambda row: -row.length)
    for start in range(0, len(rows), size):
        context.report("edit", start, len(rows))
        batch = longest_first[start : start + size]
        seen = observed(context.base, batch, paths, context.memory)
        for path, (keys, gradients) in seen.items():
            shape = (keys.shape[1], gradients.shape[1])
            before = known.get(shape, Normaliser.empty(sum(shape)))
            known[shape] = before.after(torch.cat([keys, gradients], 1))
            parts[path].append((keys, gradients))
    context.report("edit", len(rows), len(rows))
    return known, {
        path: (torch.cat([keys for keys, _ in some]), torch.cat([slopes for _, slopes in some]))
        for path, some in parts.items()
    }


def _scaled(rows: Tensor) -> Tensor:
    return rows / rows.square().mean(1, keepdim=True).sqrt().clamp(min=_TINY)


def to_state(normalisers: Mapping[Shape, Normaliser]) -> dict[str, Tensor]:
    """The normalisers as tensors of a patch's state."""
    state: dict[str, Tensor] = {}
    for (d_in, d_out), one in normalisers.items():
        name = f"{_PREFIX}{d_in}x{d_out}"
        state[f"{name}.mean"], state[f"{name}.spread"] = one.mean, one.spread
        state[f"{name}.count"] = torch.tensor([one.count])
    return state


def from_state(state: Mapping[str, Tensor]) -> dict[Shape, Normaliser]:
    """The normalisers in a patch's state; none where it holds none.

    Raises:
        IntegrityError: E118, the tensors are not what `to_state` writes.
    """
    stems = {name.rpartition(".")[0] for name in state if name.startswith(_PREFIX)}
    return dict(_read(state, stem) for stem in sorted(stems))


def _read(state: Mapping[str, Tensor], stem: str) -> tuple[Shape, Normaliser]:
    found = _NAMED.fullmatch(stem)
    if found is None:
        _wrong(stem, f"{_PREFIX}<d_in>x<d_out>", stem)
    d_in, d_out = int(found[1]), int(found[2])
    read: list[Tensor] = []
    for part, shape, dtype in (
        ("mean", (d_in + d_out,), torch.float64),
        ("spread", (d_in + d_out,), torch.float64),
        ("count", (1,), torch.int64),
    ):
        one = state.get(f"{stem}.{part}")
        if one is None or one.dtype != dtype or one.shape != shape:
            shown = None if one is None else f"{one.dtype} {tuple(one.shape)}"
            _wrong(f"{stem}.{part}", f"{dtype} {shape}", shown)
        read.append(one)
    mean, spread, count = read
    usable = bool(mean.isfinite().all() and spread.isfinite().all() and (spread >= 0).all())
    if int(count) < 1 or not usable:
        _wrong(stem, "finite numbers, spreads of 0 or more, of at least one row", int(count))
    return (d_in, d_out), Normaliser(mean, spread, int(count))


def _wrong(name: str, expected: str, found: object) -> NoReturn:
    raise IntegrityError(
        "E118",
        f"state.safetensors: {name} is not what a normaliser stores",
        expected=expected,
        found=found,
        hint="the state was written by another program or is damaged; make the edit again",
    )
