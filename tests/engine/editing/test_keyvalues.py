"""What key-value edits remember comes back as it was, and nothing damaged comes back at all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from patchhub.editing.keyvalue.keyvalues import KeyValues, read_state
from patchhub.errors import IntegrityError


def some(targets: int = 3, **more: object) -> KeyValues:
    generator = torch.Generator().manual_seed(0)
    keys = {n: torch.randn(targets, 5, generator=generator) for n in (2, 10)}
    return KeyValues(keys, torch.randn(targets, 4, generator=generator), **more)  # type: ignore[arg-type]


def same(a: KeyValues, b: KeyValues) -> bool:
    tables = ((a.keys, b.keys), (a.shares, b.shares))
    return (
        a.members() == b.members()
        and torch.equal(a.residuals, b.residuals)
        and all(list(x) == list(y) for x, y in tables)
        and all(torch.equal(x[n], y[n]) for x, y in tables for n in x)
    )


@pytest.mark.parametrize("groups", [(), (0, 1, 2), (1, 0, 2, 1)])
def test_state_is_read_as_it_was_written(groups: tuple[int, ...]) -> None:
    made = some(groups=groups, shares={2: torch.ones(3, 4), 10: torch.zeros(3, 4)})
    again = read_state(made.to_state(), len(groups) or 3)
    assert again is not None
    assert same(made, again)


def test_one_target_each_needs_no_groups_and_is_stored_without() -> None:
    assert "groups" not in some(groups=(0, 1, 2)).to_state()
    assert some().members() == ((0,), (1,), (2,))
    assert some(groups=(1, 0, 2, 1)).members() == ((1,), (0, 3), (2,))


def test_keys_are_stored_in_single_precision_whatever_they_were() -> None:
    made = KeyValues({0: torch.ones(1, 5, dtype=torch.float64)}, torch.ones(1, 4).double())
    assert {t.dtype for t in made.to_state().values()} == {torch.float32}


def test_a_state_without_residuals_is_another_methods() -> None:
    assert read_state({"past.0": torch.ones(2, 3)}, 2) is None
    assert read_state({}, 1) is None


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("residuals", torch.ones(3, 4).double(), "float64"),
        ("residuals", torch.ones(3), "residuals"),
        ("keys.2", torch.ones(2, 5), "one row per target"),
        ("keys.02", torch.ones(3, 5), "number of the block"),
        ("keys.x", torch.ones(3, 5), "number of the block"),
        ("shares.2", torch.ones(3, 4), "blocks 2, 10"),
        ("groups", torch.tensor([0, 1, 1]), "each of the 3 targets"),
        ("groups", torch.tensor([0, 1, 3]), "each of the 3 targets"),
        ("groups", torch.tensor([0, 1]), "one number per request"),
        ("groups", torch.tensor([0.0, 1.0, 2.0]), "int64"),
    ],
)
def test_damaged_state_is_refused_by_name(name: str, tensor: Tensor, said: str) -> None:
    with pytest.raises(IntegrityError, match=name.split(".")[0]) as caught:
        read_state({**some().to_state(), name: tensor}, 3)
    assert caught.value.code == "E118"
    assert said in str(caught.value)


def test_keys_and_requests_must_be_there() -> None:
    state = some().to_state()
    with pytest.raises(IntegrityError, match="E118"):
        read_state({"residuals": state["residuals"]}, 3)
    with pytest.raises(IntegrityError, match="residuals"):
        read_state(state, 4)
