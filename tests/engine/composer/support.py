"""Bases and stacks for tests of the composer, and what the rational numbers say about them."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from patchhub.composer.update import Terms
from patchhub.kinds import Roles, weight_kind
from patchhub.loading import LoadedBase, load_base
from patchhub.manifest import Kind, Orientation, Site
from tests.pico import pico_directory
from tests.reference.exact_sum_reference import FORMATS, compose_element, low_rank_delta

DTYPES = {name: getattr(torch, name) for name in FORMATS}
STORED = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
LOW_RANK, DENSE, SPARSE = map(weight_kind, (Kind.LOW_RANK, Kind.DENSE, Kind.SPARSE))


def site_of(base: Tensor, orientation: Orientation = Orientation.OUT_IN) -> Site:
    if base.ndim == 1:
        orientation = Orientation.VECTOR
    name = STORED[str(base.dtype).removeprefix("torch.")]
    return Site("m.weight", orientation, tuple(base.shape), name, "0" * 64)


def same(a: float, b: float) -> bool:
    return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))


def expected(base: Tensor, terms: Terms) -> list[list[float]]:
    """The reference on every element of a matrix in (d_out, d_in)."""
    deltas: list[list[list[Fraction]]] = []
    for _, roles in terms:
        if "delta" in roles:
            deltas.append([[Fraction(x) for x in row] for row in roles["delta"].tolist()])
        elif "values" in roles:
            deltas.append(_lines(roles, *base.shape))
        else:
            deltas.append(low_rank_delta(roles["A"].tolist(), roles["B"].tolist()))
    form = str(base.dtype).removeprefix("torch.")
    return [
        [
            compose_element(x, [delta[i][j] for delta in deltas], form) if math.isfinite(x) else x
            for j, x in enumerate(row)
        ]
        for i, row in enumerate(base.tolist())
    ]


def _lines(roles: Roles, d_out: int, d_in: int) -> list[list[Fraction]]:
    """What a sparse patch adds."""
    found = [[Fraction()] * d_in for _ in range(d_out)]
    for line, which in zip(roles["columns"].tolist(), roles["vector"].tolist(), strict=True):
        for row, x in zip(found, roles["values"][which].tolist(), strict=True):
            row[line] += Fraction(x)
    return found


def low_rank(A: Any, B: Any) -> tuple[Any, dict[str, Tensor]]:
    return LOW_RANK, {"A": torch.as_tensor(A).float(), "B": torch.as_tensor(B).float()}


def dense(delta: Any) -> tuple[Any, dict[str, Tensor]]:
    return DENSE, {"delta": torch.as_tensor(delta).float()}


def columns(entries: set[tuple[int, int]], values: Any) -> tuple[Any, dict[str, Tensor]]:
    """A sparse update by pairs of a column and the vector added to it."""
    index, vector = torch.tensor(sorted(entries), dtype=torch.int32).T.contiguous()
    return SPARSE, {"columns": index, "vector": vector, "values": torch.as_tensor(values).float()}


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Terms]:
    """A small base and a stack of up to 20 patches, on scales from subnormal to overflow."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    d_out, d_in = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    make = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    scale = 2.0 ** draw(st.sampled_from([0, 0, 0, -24, -126, -149, 15, 120]))
    grid = draw(st.booleans())

    def numbers(*shape: int, scale: float) -> Tensor:
        # Small integers times a power of two make ties and cancellation the rule.
        values = torch.randn(*shape, generator=make, dtype=torch.float64)
        values = (values * 3).round() / 2 if grid else values
        return (values * scale).float().nan_to_num(posinf=3e38, neginf=-3e38)

    base = numbers(d_out, d_in, scale=scale).to(dtype)
    terms = []
    for _ in range(draw(st.integers(1, 20))):
        shift = 2.0 ** draw(st.sampled_from([0, 0, -1, -8, -9, -11, -12, -24, -25, -40]))
        choice = draw(st.integers(0, 3))
        if choice == 0:
            terms.append(dense(numbers(d_out, d_in, scale=scale * shift)))
        elif choice == 1:
            places = draw(st.sets(st.integers(0, d_in - 1), min_size=1))
            entries = {(place, which) for place in places for which in (0, 1)}
            terms.append(columns(entries, numbers(2, d_out, scale=scale * shift)))
        else:
            rank = draw(st.integers(1, 8))
            A = numbers(rank, d_in, scale=shift)
            terms.append(low_rank(A, numbers(d_out, rank, scale=scale)))
    return base, terms


def large(dtype: torch.dtype) -> tuple[Tensor, Terms]:
    make = torch.Generator().manual_seed(7)
    base = (torch.randn(96, 160, generator=make) * 0.02).to(dtype)
    terms = [
        low_rank(
            torch.randn(r, 160, generator=make) * 0.1, torch.randn(96, r, generator=make) * 0.02
        )
        for r in (1, 2, 3, 8, 64)
    ]
    shared = columns({(9, 0), (9, 1), (150, 1)}, torch.randn(2, 96, generator=make) * 0.01)
    return base, [*terms, shared, dense(torch.randn(96, 160, generator=make) * 1e-3)]


def loaded(parent: Path, family: str = "gpt2", dtype: torch.dtype = torch.float32) -> LoadedBase:
    return load_base(pico_directory(parent, family, dtype=dtype), dtype=dtype)
