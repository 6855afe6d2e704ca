"""One rounding, and which elements may be rounded without being summed one by one."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from patchhub.composer import exact_sum
from patchhub.composer.exact_sum import compose, compose_into, largest_of
from patchhub.composer.rounding import round_once
from patchhub.composer.update import Terms, Update
from tests.engine.composer.support import DTYPES, cases, large, same, site_of
from tests.reference.exact_sum_reference import FORMATS, round_fraction


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_bound_holds_also_when_the_sum_is_as_bad_as_it_may_be(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, sign: int
) -> None:
    """An estimate that is wrong by the whole of n·u·Σ|terms| must not change a bit."""
    base, terms = large(dtype)
    wanted = compose(base, site_of(base), terms)
    honest = Update.add_to

    def worst(self: Update, total: Tensor, rows: slice, columns: slice) -> None:
        honest(self, total, rows, columns)
        total += sign * self.count * 2.0**-53 * (self.bound + largest_of(base))

    monkeypatch.setattr(Update, "add_to", worst)
    assert torch.equal(compose(base, site_of(base), terms), wanted)


def test_few_elements_are_summed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    decide = exact_sum._Tiles._decide

    def spy(self: exact_sum._Tiles, places: Tensor) -> None:
        seen.append(len(places))
        decide(self, places)

    monkeypatch.setattr(exact_sum._Tiles, "_decide", spy)
    for dtype, share in ((torch.float32, 1e-4), (torch.bfloat16, 3e-4), (torch.float16, 2e-3)):
        seen.clear()
        base, terms = large(dtype)
        compose(base, site_of(base), terms)
        assert sum(seen) <= share * base.numel() + 5
        assert seen or dtype is not torch.float16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_what_goes_into_another_dtype_is_rounded_to_the_stored_one_first(
    dtype: torch.dtype,
) -> None:
    base, terms = large(dtype)
    composed = compose(base, site_of(base), terms)
    for other in (torch.float64, torch.float32, torch.bfloat16, dtype):
        out = torch.zeros(base.shape, dtype=other)
        compose_into(out, base, site_of(base), terms)
        assert torch.equal(out, composed.to(other))


def test_strange_numbers_do_not_disturb_their_neighbours() -> None:
    base, terms = large(torch.float32)
    strange = base.clone()
    strange[5, 7], strange[40, 0], strange[41, 159] = math.inf, math.nan, -math.inf
    wanted = compose(base, site_of(base), terms)
    found = compose(strange, site_of(strange), terms)
    changed = (found != wanted).nonzero().tolist()
    assert changed == [[5, 7], [40, 0], [41, 159]]
    assert all(same(found[i, j].item(), strange[i, j].item()) for i, j in changed)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_the_bound_of_an_update_bounds_every_element(case: tuple[Tensor, Terms]) -> None:
    base, terms = case
    update = Update(terms)
    rows, columns = (
        x.reshape(-1) for x in torch.meshgrid(*map(torch.arange, base.shape), indexing="ij")
    )
    sizes = update.products(rows, columns).abs().sum(1)
    assert sizes.shape == (base.numel(),)
    assert float(sizes.max()) <= update.bound * (1 + 2.0**-20)
