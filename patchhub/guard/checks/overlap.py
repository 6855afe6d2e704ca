"""Do this patch and those below read the same directions of the same tensor?

``keys``: over all tensors that this low-rank patch shares with one below, the largest cosine of a
principal angle between the row spaces of the two A matrices (Björck and Golub 1973, Math. Comp.
27:579). 1 means that some input which triggers the one triggers the other in full; 0, that no
input is read by both in the same direction. It needs no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from patchhub.guard.check import Case, Observed, Wants
from patchhub.guard.measurement import Finding

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Overlap:
    """The closest pair of key spaces."""

    name: ClassVar[str] = "overlap"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "keys shared with the patches below"
    measures: ClassVar[tuple[str, ...]] = ("keys",)

    def wants(self, case: Case, measure: str) -> Wants:
        """Nothing of the model."""
        return Wants()

    def find(self, case: Case, measure: str, before: Observed, after: Observed) -> Finding:
        """The largest cosine; n counts pairs of matrices."""
        cosines = [_cosine(one, other) for one, other in _pairs(case)]
        largest = max(cosines, default=0.0)
        return Finding(0.0, largest, largest, len(cosines), largest, largest)


def _pairs(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    own = {} if case.patch is None else case.patch.payload
    for below in case.below:
        for tensor, roles in below.patch.payload.items():
            if "A" in roles and "A" in own.get(tensor, {}):
                yield own[tensor]["A"], roles["A"]


def _cosine(one: Tensor, other: Tensor) -> float:
    import torch

    bases = [_row_space(matrix.double()) for matrix in (one, other)]
    if not all(len(basis) for basis in bases):
        return 0.0
    return min(1.0, float(torch.linalg.matrix_norm(bases[0] @ bases[1].T, ord=2)))


def _row_space(matrix: Tensor) -> Tensor:
    """An orthonormal basis (rank, d_in) of the rows of (r, d_in)."""
    import torch

    _, sizes, rows = torch.linalg.svd(matrix, full_matrices=False)
    tolerance = sizes[:1] * max(matrix.shape) * torch.finfo(torch.float32).eps
    kept: Tensor = rows[sizes > tolerance]
    return kept


CHECK = Overlap()
