"""Norms of updates: against float64 written out, and where two updates nearly cancel."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from patchhub.composer.difference import Signed, apart, norm
from patchhub.kinds import weight_kind
from patchhub.manifest import Kind

LOW_RANK, DENSE = weight_kind(Kind.LOW_RANK), weight_kind(Kind.DENSE)


def _factors(d_out: int, d_in: int, rank: int, seed: int) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(seed)
    return {
        "A": torch.randn(rank, d_in, generator=made),
        "B": torch.randn(d_out, rank, generator=made),
    }


def _written(roles: dict[str, Tensor]) -> Tensor:
    return roles["B"].double() @ roles["A"].double()


def test_low_rank_and_dense_in_any_mixture() -> None:
    a, b = _factors(40, 24, 2, 1), _factors(40, 24, 3, 2)
    c = {"delta": torch.randn(40, 24, generator=torch.Generator().manual_seed(3))}
    wanted = {
        (1,): _written(a),
        (1, -1): _written(a) - _written(b),
        (1, -1, 1): _written(a) - _written(b) + c["delta"].double(),
    }
    terms = [(LOW_RANK, a), (LOW_RANK, b), (DENSE, c)]
    for signs, written in wanted.items():
        given: Signed = [(s, *term) for s, term in zip(signs, terms, strict=False)]
        assert norm(given, (40, 24)) == pytest.approx(float(written.norm()), rel=1e-13)
    assert norm([], (40, 24)) == 0.0
    bias = {"delta": torch.tensor([3.0, 4.0])}
    assert norm([(1, DENSE, bias)], (2,)) == 5.0


def test_more_rank_than_rows_is_written_out() -> None:
    a = _factors(4, 3, 5, 1)
    assert norm([(1, LOW_RANK, a)], (4, 3)) == pytest.approx(float(_written(a).norm()), rel=1e-13)


def test_no_digits_are_lost_where_two_nearly_cancel() -> None:
    """Two updates that differ in one element of one factor by 2⁻²² of it."""
    a = _factors(64, 48, 1, 5)
    b = {name: tensor.clone() for name, tensor in a.items()}
    b["B"][7, 0] *= 1 + 2.0**-22
    gap = Fraction(float(b["B"][7, 0])) - Fraction(float(a["B"][7, 0]))
    row = sum(Fraction(float(x)) ** 2 for x in a["A"][0])
    exact = float(gap * gap * row) ** 0.5
    assert norm([(1, LOW_RANK, b), (-1, LOW_RANK, a)], (64, 48)) == pytest.approx(exact, rel=1e-5)
    left = torch.cat([b["B"].double(), -a["B"].double()], 1)
    right = torch.cat([b["A"].double(), a["A"].double()])
    traces = float(((left.T @ left) * (right @ right.T)).sum())
    assert max(traces, 0.0) ** 0.5 != pytest.approx(exact, rel=1e-3)


def test_apart_counts_elements_and_holds_the_norm_against_the_base() -> None:
    base = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.bfloat16)
    after = base.clone()
    after[0, 1] = 5.0
    found = apart(base, after, base)
    assert (found.changed, found.elements, found.relative) == (1, 4, 1.0)
    assert apart(base, base, base).relative == 0.0
    zero = torch.zeros(2)
    assert apart(zero, torch.ones(2), zero).relative == float("inf")
