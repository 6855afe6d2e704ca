"""Every composed element is the exact rational sum, rounded once: against `fractions`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from patchhub.composer import exact_sum
from patchhub.composer.exact_sum import compose
from patchhub.composer.update import Terms
from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.manifest import Orientation
from tests.engine.composer.support import (
    DTYPES,
    cases,
    dense,
    expected,
    large,
    low_rank,
    same,
    site_of,
)
from tests.reference.exact_sum_reference import FORMATS


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def check(base: Tensor, terms: Terms) -> None:
    found = compose(base, site_of(base), terms)
    assert found.dtype == base.dtype
    for got_row, want_row in zip(found.tolist(), expected(base, terms), strict=True):
        for got, want in zip(got_row, want_row, strict=True):
            assert same(got, want), f"{got.hex()} instead of {want.hex()} ({base.dtype})"


@settings(max_examples=400, deadline=None)
@given(cases())
def test_equals_the_rational_reference(case: tuple[Tensor, Terms]) -> None:
    base, terms = case
    check(base, terms)
    turned = base.T.contiguous()
    found = compose(turned, site_of(turned, Orientation.IN_OUT), terms)
    assert torch.equal(found.T.contiguous().view(torch.uint8), bits_of(base, terms))


def bits_of(base: Tensor, terms: Terms) -> Tensor:
    return compose(base, site_of(base), terms).view(torch.uint8)


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


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_nothing_added_to_nothing_keeps_the_sign_of_zero(dtype: torch.dtype) -> None:
    base = torch.tensor([[-0.0, 0.0], [0.0, -0.0]], dtype=dtype)
    found = compose(base, site_of(base), [low_rank([[0.0, 0.0]], [[1.0], [0.0]])])
    assert torch.equal(found.signbit(), base.signbit())


# --- what must not matter ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_order_threads_tiles_and_layout_do_not_matter(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, terms = large(dtype)
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
