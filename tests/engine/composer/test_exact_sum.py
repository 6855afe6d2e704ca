"""Every composed element is the exact rational sum, rounded once: against `fractions`."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from patchhub.composer import exact_sum
from patchhub.composer.exact_sum import Terms, compose, round_once
from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.kinds import kind_of
from patchhub.manifest import Kind, Orientation, Site
from tests.reference.exact_sum_reference import (
    FORMATS,
    compose_element,
    low_rank_delta,
    round_fraction,
)

DTYPES = {name: getattr(torch, name) for name in FORMATS}
STORED = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
LOW_RANK, DENSE = kind_of(Kind.LOW_RANK), kind_of(Kind.DENSE)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def check(base: Tensor, terms: Terms) -> None:
    found = compose(base, site_of(base), terms)
    assert found.dtype == base.dtype
    for got_row, want_row in zip(found.tolist(), expected(base, terms), strict=True):
        for got, want in zip(got_row, want_row, strict=True):
            assert same(got, want), f"{got.hex()} instead of {want.hex()} ({base.dtype})"


def low_rank(A: Any, B: Any) -> tuple[Any, dict[str, Tensor]]:
    return LOW_RANK, {"A": torch.as_tensor(A).float(), "B": torch.as_tensor(B).float()}


def dense(delta: Any) -> tuple[Any, dict[str, Tensor]]:
    return DENSE, {"delta": torch.as_tensor(delta).float()}


# --- random shapes, scales and stacks ------------------------------------------------------------


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
        if draw(st.booleans()):
            terms.append(dense(numbers(d_out, d_in, scale=scale * shift)))
        else:
            rank = draw(st.integers(1, 8))
            A = numbers(rank, d_in, scale=shift)
            terms.append(low_rank(A, numbers(d_out, rank, scale=scale)))
    return base, terms


@settings(max_examples=400, deadline=None)
@given(cases())
def test_equals_the_rational_reference(case: tuple[Tensor, Terms]) -> None:
    check(*case)


@settings(max_examples=300, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(sorted(FORMATS)))
def test_round_once_equals_the_reference_on_any_float(value: float, form: str) -> None:
    got = round_once(torch.tensor([value], dtype=torch.float64), DTYPES[form]).item()
    want = round_fraction(Fraction(value), form) if value else value
    assert same(got, want)


@pytest.mark.parametrize("form", ["float16", "bfloat16"])
def test_round_once_on_every_tie_and_its_neighbours(form: str) -> None:
    dtype = DTYPES[form]
    numbers = torch.arange(0, 0x7FFF, dtype=torch.int16).view(dtype).double()
    numbers = numbers[numbers.isfinite()]
    low, high = numbers[:-1], numbers[1:]
    middle = (low + high) / 2
    even = torch.where(low.to(dtype).view(torch.int16) % 2 == 0, low, high)
    above = torch.nextafter(middle, torch.tensor(math.inf, dtype=torch.float64))
    below = torch.nextafter(middle, torch.tensor(-math.inf, dtype=torch.float64))
    for sign in (1, -1):
        assert torch.equal(round_once(sign * middle, dtype).double(), sign * even)
        assert torch.equal(round_once(sign * above, dtype).double(), sign * high)
        assert torch.equal(round_once(sign * below, dtype).double(), sign * low)


# --- adversarial cases ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("whole", [1.0, 1.5, -1.0, -1.5])
def test_ties_and_what_lies_a_hair_beside_them(form: str, whole: float) -> None:
    half = 2.0 ** -FORMATS[form][0]
    base = torch.tensor([[whole, whole, whole]], dtype=DTYPES[form])
    for sign in (1.0, -1.0):
        # half a unit, plus and minus a product far below float64's reach beside the base
        hair = low_rank([[0.0, 2.0**-60, -(2.0**-60)]], [[2.0**-60]])
        check(base, [dense([[sign * half] * 3]), hair])
        check(base, [hair, dense([[sign * 3 * half] * 3])])


def test_double_rounding_trap() -> None:
    """1 + 2⁻⁸ + 2⁻⁴⁰ rounds up in bf16; by way of float32 it would tie and round down to even."""
    base = torch.tensor([[1.0]], dtype=torch.bfloat16)
    terms = [dense([[2.0**-8]]), dense([[2.0**-40]])]
    assert compose(base, site_of(base), terms).item() == 1 + 2.0**-7
    trap = torch.tensor(1 + 2.0**-8 + 2.0**-40, dtype=torch.float64).to(torch.bfloat16)
    assert trap.item() == 1.0


def test_cancellation_that_float64_cannot_see() -> None:
    base = torch.tensor([[1.0, 2.0**-126]])
    big = [low_rank([[2.0**60, 2.0**60]], [[2.0**60]]), low_rank([[2.0**60] * 2], [[-(2.0**60)]])]
    check(base, [big[0], dense([[2.0**-24, 2.0**-149]]), big[1]])
    check(base, [*big, dense([[-1.0, -(2.0**-126)]])])


@pytest.mark.parametrize("form", ["float16", "bfloat16", "float32"])
def test_overflow_follows_ieee(form: str) -> None:
    precision, _, highest = FORMATS[form]
    largest = torch.finfo(DTYPES[form]).max
    half_unit = 2.0 ** (highest - precision)
    base = torch.tensor([[largest, largest, -largest]], dtype=DTYPES[form])
    just_below = half_unit * (1 - 2.0**-23)
    check(base, [dense([[half_unit, just_below, -half_unit]])])
    found = compose(base, site_of(base), [dense([[half_unit, just_below, -half_unit]])])
    assert found.tolist() == [[math.inf, largest, -math.inf]]


def test_subnormals_round_like_the_rest() -> None:
    for form, unit in (("float16", 2.0**-24), ("bfloat16", 2.0**-133), ("float32", 2.0**-149)):
        base = torch.tensor([[unit, unit, 3 * unit, 0.0]], dtype=DTYPES[form])
        half = low_rank([[2.0**-1, -(2.0**-1), 2.0**-1, 2.0**-1]], [[unit]])
        check(base, [half])
        check(base, [half, low_rank([[2.0**-80] * 4], [[2.0**-80]])])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_zeros_infinities_and_nan(dtype: torch.dtype) -> None:
    base = torch.tensor([[-0.0, 0.0, -0.0, 2.0, math.inf, math.nan, -0.0]], dtype=dtype)
    terms = [
        dense([[0.0, -0.0, 1.0, -2.0, 5.0, 5.0, -(2.0**-148)]]),
        dense([[0.0, -0.0, -1.0, 0.0, 5.0, 5.0, 0.0]]),
    ]
    found = compose(base, site_of(base), terms)[0]
    bits = {torch.float32: torch.int32}.get(dtype, torch.int16)
    assert torch.equal(found[:3].view(bits), base[0, :3].view(bits))  # nothing was added to them
    assert same(found[3].item(), 0.0)  # 2 - 2 is +0
    assert torch.equal(found[4:6].view(bits), base[0, 4:6].view(bits))
    tiny = -(2.0**-148) if dtype is torch.float32 else -0.0  # negative, rounded to what there is
    assert same(found[6].item(), tiny)


# --- what must not matter ------------------------------------------------------------------------


def _large(dtype: torch.dtype) -> tuple[Tensor, Terms]:
    make = torch.Generator().manual_seed(7)
    base = (torch.randn(96, 160, generator=make) * 0.02).to(dtype)
    terms = [
        low_rank(
            torch.randn(r, 160, generator=make) * 0.1, torch.randn(96, r, generator=make) * 0.02
        )
        for r in (1, 2, 3, 8, 64)
    ]
    return base, [*terms, dense(torch.randn(96, 160, generator=make) * 1e-3)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_order_threads_tiles_and_layout_do_not_matter(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, terms = _large(dtype)
    wanted = compose(base, site_of(base), terms)
    assert not torch.equal(wanted, base)
    assert torch.equal(compose(base, site_of(base), terms[::-1]), wanted)
    turned = base.T.contiguous()
    stored = compose(turned, site_of(turned, Orientation.IN_OUT), terms)
    assert stored.shape == turned.shape
    assert torch.equal(stored.T, wanted)
    torch.set_num_threads(3)
    assert torch.equal(compose(base, site_of(base), terms), wanted)
    for tile in (1, 1000, 1 << 30):
        monkeypatch.setattr(exact_sum, "TILE", tile)
        assert torch.equal(compose(base, site_of(base), terms), wanted)
    monkeypatch.setattr(exact_sum, "TABLE", 1)
    assert torch.equal(compose(base, site_of(base), terms), wanted)


def test_the_bound_holds_also_when_the_sum_is_as_bad_as_it_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An estimate that is wrong by the whole of n·u·Σ|terms| must not change a bit."""
    base, terms = _large(torch.float32)
    wanted = compose(base, site_of(base), terms)
    honest = type(DENSE).add_to
    for sign in (1, -1):

        def worst(self: Any, total: Tensor, roles: Any, rows: slice, sign: int = sign) -> None:
            honest(self, total, roles, rows)
            total += sign * _sizes(base, terms)[rows] * (80 * 2.0**-53)

        monkeypatch.setattr(type(DENSE), "add_to", worst)
        assert torch.equal(compose(base, site_of(base), terms), wanted)


def _sizes(base: Tensor, terms: Terms) -> Tensor:
    rows = slice(0, len(base))
    return sum((kind.magnitude(roles, rows) for kind, roles in terms), base.double().abs())


def test_few_elements_are_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    decide = exact_sum._decide

    def spy(base: Tensor, terms: Terms, rows: slice, undecided: Tensor, result: Tensor) -> None:
        seen.append(int(undecided.sum()))
        decide(base, terms, rows, undecided, result)

    monkeypatch.setattr(exact_sum, "_decide", spy)
    for dtype, share in ((torch.float32, 1e-4), (torch.bfloat16, 2e-4), (torch.float16, 1e-3)):
        seen.clear()
        base, terms = _large(dtype)
        compose(base, site_of(base), terms)
        assert sum(seen) <= share * base.numel() + 5


def test_vectors() -> None:
    base = torch.tensor([1.0, -2.0, 0.5], dtype=torch.bfloat16)
    found = compose(base, site_of(base), [dense([2.0**-9, 2.0**-8, 0.0]), dense([0.0, 0.0, 1.0])])
    assert found.tolist() == [1.0, -2.0, 1.5]
    found = compose(base, site_of(base), [dense([2.0**-8 + 2.0**-20, 2.0**-7, 0.0])])
    assert found.tolist() == [1 + 2.0**-7, -2 + 2.0**-7, 0.5]


def test_no_terms_give_the_base_itself() -> None:
    base = torch.tensor([[-0.0, math.nan]])
    assert compose(base, site_of(base), []) is base


def test_what_cannot_be_patched_is_refused() -> None:
    whole = torch.ones(2, 2, dtype=torch.int32)
    site = site_of(torch.ones(2, 2))
    with pytest.raises(InvalidInputError, match="E112"):
        compose(whole, site, [dense(torch.ones(2, 2))])
    with pytest.raises(InvalidInputError, match="E112"):
        compose(torch.ones(2, 3), site, [dense(torch.ones(2, 2))])


def test_flushed_subnormals_are_refused() -> None:
    base = torch.ones(2, 2)
    torch.set_flush_denormal(True)
    try:
        with pytest.raises(PatchHubError, match="E703"):
            compose(base, site_of(base), [dense(torch.ones(2, 2))])
    finally:
        torch.set_flush_denormal(False)
    assert compose(base, site_of(base), [dense(torch.ones(2, 2))]).tolist() == [[2.0] * 2] * 2
