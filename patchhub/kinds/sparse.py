"""Sparse updates: vectors added to some columns of a weight, or to some of its rows.

Δ = Σᵢ values[vectorᵢ] at line ``indexᵢ``. Knowledge neurons (Dai et al. 2022, arXiv:2104.08696)
change many columns by one vector, which is stored once. Two edits that change the same column are
two entries of it, so a patch of several edits is exactly the sum of a patch of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from patchhub.errors import InvalidInputError
from patchhub.kinds import storage
from patchhub.kinds.protocol import (
    Payload,
    Roles,
    WeightKind,
    check_names,
    check_roles,
    check_shape,
    one_file,
)
from patchhub.manifest import Algebra, Kind, Site

FILE: Final = "patch.safetensors"
COLUMNS, ROWS, VECTOR, VALUES = "columns", "rows", "vector", "values"
_DTYPES = {VECTOR: torch.int32, VALUES: torch.float32}


class Sparse:
    """Δ is zero but for the lines that ``columns``, or else ``rows``, name.

    ``columns`` or ``rows`` (n,) int32 and ``vector`` (n,) int32 are the entries, sorted, each once:
    row ``vector`` of ``values`` (g, length of a line) is added to that line. A bias has rows only,
    of length 1.
    """

    kind: Kind = Kind.SPARSE
    roles: tuple[str, ...] = (COLUMNS, ROWS, VECTOR, VALUES)
    algebra: Algebra = Algebra.ADDITIVE

    def validate(self, site: Site, roles: Roles) -> None:
        """See `PatchKind.validate`; entries must be sorted, each once, and every vector used."""
        axis = _axis(roles)
        check_roles(self, site, roles, {axis: torch.int32, **_DTYPES})
        shape = site.matrix_shape
        if axis == COLUMNS and len(shape) == 1:
            raise InvalidInputError("E112", f"{site.tensor}: a vector has rows and no columns")
        lines = shape[1] if axis == COLUMNS else shape[0]
        across = (shape[0] if axis == COLUMNS else shape[1]) if len(shape) == 2 else 1
        index, vector, values = roles[axis], roles[VECTOR], roles[VALUES]
        count, vectors = index.numel(), values.shape[0] if values.ndim else 0
        check_shape(site, axis, index, (count,))
        check_shape(site, VECTOR, vector, (count,))
        check_shape(site, VALUES, values, (vectors, across))
        _check_range(site, axis, index, lines)
        _check_range(site, VECTOR, vector, vectors)
        entries = index.long() * vectors + vector
        if not bool((entries.diff() > 0).all()) or not bool(
            vector.bincount(minlength=vectors).all()
        ):
            raise InvalidInputError(
                "E112",
                f"{site.tensor}: entries are not in their one form",
                expected=f"pairs of {axis} and {VECTOR}, sorted, each once, that use every vector",
            )

    def finish(self, site: Site, roles: Roles) -> Site:
        """See `PatchKind.finish`; there is nothing to add."""
        return site

    def factors(self, roles: Roles) -> None:
        """See `WeightKind.factors`; adding to a few lines is less work than a product."""

    def add_to(self, total: Tensor, roles: Roles, rows: slice, columns: slice) -> None:
        """See `WeightKind.add_to`."""
        axis = _axis(roles)
        block = total if total.ndim == 2 else total[:, None]
        if total.ndim == 1:
            columns = slice(None)
        along, across = (columns, rows) if axis == COLUMNS else (rows, columns)
        lines = block.T if axis == COLUMNS else block
        start = along.start or 0
        here = (roles[axis] >= start) & (roles[axis] < start + len(lines))
        added = roles[VALUES][roles[VECTOR][here].long()][:, across].double()
        lines.index_add_(0, roles[axis][here] - start, added)

    def bound(self, roles: Roles) -> float:
        """See `WeightKind.bound`."""
        index = roles[_axis(roles)]
        heights = roles[VALUES].abs().amax(1).double()[roles[VECTOR].long()]
        sums = torch.zeros(int(index[-1]) + 1, dtype=torch.float64)
        return float(sums.index_add_(0, index, heights).max())

    def term_count(self, roles: Roles) -> int:
        """The most entries of any line."""
        return int(roles[_axis(roles)].bincount().max())

    def products(self, roles: Roles, rows: Tensor, columns: Tensor) -> Tensor:
        """See `WeightKind.products`."""
        axis, vector = _axis(roles), roles[VECTOR].long()
        index, values = roles[axis].long(), roles[VALUES].double()
        lines, across = (columns, rows) if axis == COLUMNS else (rows, columns)
        if values.shape[1] == 1:
            across = torch.zeros_like(lines)
        first = torch.searchsorted(index, lines.contiguous())
        places = first[:, None] + torch.arange(self.term_count(roles))
        inside = places.clamp(max=len(index) - 1)
        there = (places < len(index)) & (index[inside] == lines[:, None])
        return torch.where(there, values[vector[inside], across[:, None]], 0.0)

    def repeated(self, roles: Roles, times: int) -> Roles:
        """See `PatchKind.repeated`; of the same lines, each edit with vectors of its own."""
        axis, count = _axis(roles), len(roles[VALUES])
        vector = roles[VECTOR] + count * torch.arange(times, dtype=torch.int32)[:, None]
        index = roles[axis].expand(times, -1).flatten()
        order = (index.long() * count * times + vector.flatten()).argsort()
        return {
            axis: index[order],
            VECTOR: vector.flatten()[order],
            VALUES: roles[VALUES].repeat(times, 1),
        }

    def to_files(self, sites: Sequence[Site], payload: Payload) -> dict[str, bytes]:
        """See `PatchKind.to_files`."""
        tensors = {_key(s, r): t for s in sites for r, t in payload[s.tensor].items()}
        return {FILE: storage.encode(tensors)}

    def from_files(
        self, sites: Sequence[Site], files: Mapping[str, bytes]
    ) -> dict[str, dict[str, Tensor]]:
        """See `PatchKind.from_files`."""
        tensors = storage.decode(one_file(files, FILE), what=FILE)
        payload = {}
        for site in sites:
            axis = ROWS if _key(site, ROWS) in tensors else COLUMNS
            payload[site.tensor] = (axis, VECTOR, VALUES)
        check_names(
            tensors, {_key(site, role) for site in sites for role in payload[site.tensor]}, FILE
        )
        return {s.tensor: {r: tensors[_key(s, r)] for r in payload[s.tensor]} for s in sites}


def columns(parts: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a site from what each of several edits adds to it.

    Args:
        parts: Columns (n,), each once, and what is added to them: one vector (1, d_out) for all, or
            (n, d_out).
    """
    entries: list[tuple[int, int]] = []
    vectors = 0
    for places, values in parts:
        own = range(vectors, vectors + len(values)) if len(values) > 1 else [vectors] * len(places)
        entries += zip(places.tolist(), own, strict=True)
        vectors += len(values)
    index, vector = torch.tensor(sorted(entries), dtype=torch.int32).T.contiguous()
    values = torch.cat([values.float() for _, values in parts])
    return {COLUMNS: index, VECTOR: vector, VALUES: values}


def _axis(roles: Roles) -> str:
    """Which lines the entries name; validation refuses tensors that say neither or both."""
    return ROWS if ROWS in roles else COLUMNS


def _check_range(site: Site, role: str, index: Tensor, limit: int) -> None:
    low, high = (int(index.min()), int(index.max())) if index.numel() else (0, limit)
    if low < 0 or high >= limit:
        raise InvalidInputError(
            "E112",
            f"{site.tensor}: {role} does not fit the site",
            expected=f"one entry or more, from 0 to {limit - 1}",
            found=f"{low} to {high}" if index.numel() else "none",
        )


def _key(site: Site, role: str) -> str:
    return f"{site.tensor}/{role}"


KIND: WeightKind = Sparse()
