"""The joint solve against dense linear algebra, in any order, with edits that join and leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from patchhub.editing.joint import solver as module
from patchhub.editing.joint.solver import Formula, JointSolver
from patchhub.editing.keyvalue.solver import factorise, solve
from patchhub.errors import InvalidInputError
from tests.reference import joint_reference

LAYERS, F, D = (1, 2, 4), 12, 5


@dataclass(frozen=True, eq=False)
class Made:
    name: str
    keys: dict[int, Tensor]
    shares: dict[int, Tensor]


def numbers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def target(number: int) -> Made:
    keys = {n: numbers(F, seed=100 * n + number) for n in LAYERS}
    shares = {n: numbers(D, seed=7000 + 100 * n + number) for n in LAYERS}
    return Made(f"{number * 37 % 101:03}", keys, shares)


def moment(layer: int) -> Tensor:
    root = numbers(F, F, seed=9000 + layer)
    return root @ root.T + 0.5 * torch.eye(F, dtype=torch.float64)


FACTORS = {n: factorise(moment(n)) for n in LAYERS}
SPREADS: dict[str, Callable[[int], float]] = {
    "memit": lambda left: 1 / left,
    "pmet": lambda left: left**-0.5,
}


def formula(ridge: float = 3.0, spread: str = "memit") -> Formula:
    return Formula(LAYERS, lambda n, keys: solve(FACTORS[n], keys), ridge, SPREADS[spread])


def updates(solver: JointSolver) -> list[Tensor]:
    return [residual @ rows.T for rows, residual in solver.solve().values()]


def close(a: list[Tensor], b: list[Tensor], tolerance: float = 1e-9) -> bool:
    pairs = zip(a, b, strict=True)
    return all(bool((x - y).norm() <= tolerance * max(float(y.norm()), 1e-9)) for x, y in pairs)


def reference(targets: list[Made], ridge: float, spread: str) -> list[Tensor]:
    keys = [torch.stack([one.keys[n] for one in targets], 1) for n in LAYERS]
    shares = [torch.stack([one.shares[n] for one in targets], 1) for n in LAYERS]
    parts = [SPREADS[spread](len(LAYERS) - i) for i in range(len(LAYERS))]
    return joint_reference.solve(keys, shares, [moment(n) for n in LAYERS], ridge, parts)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("ridge", [1e-3, 3.0, 500.0])
@pytest.mark.parametrize("count", [1, 6, 20])
def test_it_is_the_dense_solution(spread: str, ridge: float, count: int) -> None:
    targets = [target(n) for n in range(count)]
    found = updates(JointSolver(formula(ridge, spread), targets))
    assert close(found, reference(targets, ridge, spread))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_neither_order_nor_history_counts(data: st.DataObject) -> None:
    """Whatever joined and left, and when: what is left is as if it had been asked for at once."""
    steps = data.draw(st.lists(st.integers(0, 11), min_size=1, max_size=30))
    begun = data.draw(st.sets(st.integers(0, 11), max_size=6))
    solver, held = JointSolver(formula(), [target(n) for n in begun]), set(begun)
    for number in steps:
        if number in held:
            solver.remove(target(number).name)
        else:
            solver.add(target(number))
        held ^= {number}
    assert solver.names == tuple(sorted(target(n).name for n in held))
    listed = data.draw(st.permutations(sorted(held)))
    once = JointSolver(formula(), [target(n) for n in listed])
    assert close(updates(solver), updates(once))
    if held:
        assert close(updates(once), reference([target(n) for n in held], 3.0, "memit"))


def test_the_order_of_a_list_does_not_count_at_all() -> None:
    there, back = ([target(n) for n in order] for order in (range(9), reversed(range(9))))
    one, other = JointSolver(formula(), there).solve(), JointSolver(formula(), back).solve()
    assert all(torch.equal(x, y) for n in LAYERS for x, y in zip(one[n], other[n], strict=True))


def test_without_a_ridge_every_key_gets_exactly_its_share() -> None:
    targets = [target(n) for n in range(8)]
    for (rows, residual), n in zip(
        JointSolver(formula(0.0), targets).solve().values(), LAYERS, strict=True
    ):
        columns = [one for _, one in sorted((t.name, t) for t in targets)]
        keys = torch.stack([one.keys[n] for one in columns], 1)
        wanted = torch.stack([one.shares[n] for one in columns], 1)
        assert torch.allclose(residual @ rows.T @ keys, wanted, rtol=1e-9, atol=1e-9)


def test_one_more_edit_is_one_key_and_one_row_of_the_factor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns: list[int] = []
    inner = formula()

    def metric(layer: int, keys: Tensor) -> Tensor:
        columns.append(keys.shape[1])
        return inner.metric(layer, keys)

    counted = Formula(LAYERS, metric, inner.ridge, inner.share)
    solver = JointSolver(counted, [target(n) for n in range(9)])
    assert columns == [9, 9, 9]
    columns.clear()
    whole = [0]

    def refused(matrix: Tensor) -> Tensor:
        whole[0] = max(whole[0], len(matrix))
        return factorise(matrix)

    monkeypatch.setattr(module, "factorise", refused)
    solver.add(target(9))
    assert (columns, whole) == ([1, 1, 1], [0])
    last = solver._targets[-3].name
    solver.remove(last)
    assert (columns, whole) == ([1, 1, 1], [2])


def test_dependent_keys_need_a_ridge() -> None:
    one, other = target(1), target(2)
    double = Made("x", one.keys, other.shares)
    for ridge in (0.0, 1.0):
        solver = JointSolver(formula(ridge), [one, other])
        if ridge:
            solver.add(double)
            assert close(updates(solver), updates(JointSolver(formula(1.0), [one, other, double])))
            continue
        with pytest.raises(InvalidInputError, match="E145"):
            solver.add(double)
        with pytest.raises(InvalidInputError, match="E145"):
            JointSolver(formula(ridge), [one, other, double])
        assert solver.names == tuple(sorted((one.name, other.name)))


def test_a_target_joins_once_and_leaves_once() -> None:
    solver = JointSolver(formula(), [target(1)])
    with pytest.raises(InvalidInputError, match="E142"):
        solver.add(target(1))
    with pytest.raises(InvalidInputError, match="E142"):
        JointSolver(formula(), [target(1), target(1)])
    with pytest.raises(KeyError):
        solver.remove("nobody")
    solver.remove(target(1).name)
    assert solver.solve() == {}
