from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.editing.keyvalue.solver import (
    confined_dual,
    confined_primal,
    confined_rows,
    factorise,
    ridge_dual,
    ridge_primal,
    ridge_rows,
    solve,
    spectrum,
)
from patchhub.errors import InvalidInputError


def problem(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    samples = torch.randn(200, 24, generator=g, dtype=torch.float64)
    keys = torch.randn(24, n, generator=g, dtype=torch.float64)
    residuals = torch.randn(8, n, generator=g, dtype=torch.float64)
    return samples.T @ samples / 200, keys, residuals


@pytest.mark.parametrize("n", [1, 5, 23, 40])
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 100.0])
def test_primal_dual_and_the_textbook_formula_agree(n: int, ridge: float) -> None:
    moment, keys, residuals = problem(n)
    factor = factorise(moment)
    textbook = residuals @ keys.T @ torch.linalg.inv(ridge * moment + keys @ keys.T)
    for rows in (ridge_rows, ridge_primal, ridge_dual):
        update = residuals @ rows(factor, keys, ridge).T
        assert torch.allclose(update, textbook, rtol=1e-9, atol=1e-12)


def test_a_ridge_beyond_bounds_leaves_nothing_of_the_update() -> None:
    moment, keys, residuals = problem(5)
    sizes = [
        float((residuals @ ridge_rows(factorise(moment), keys, ridge).T).norm())
        for ridge in (1.0, 1e6, 1e12)
    ]
    assert sizes[0] > 0.1
    assert sizes[1] < 1e-4
    assert sizes[2] < 1e-10


def test_without_ridge_the_residuals_are_met_exactly() -> None:
    moment, keys, residuals = problem(5)
    update = residuals @ ridge_rows(factorise(moment), keys, 0.0).T
    assert torch.allclose(update @ keys, residuals, rtol=1e-10, atol=1e-12)


def test_without_ridge_the_update_is_the_least_in_the_metric_of_c() -> None:
    """Among all ΔW with ΔW K = R, tr(ΔW C ΔWᵀ) is smallest: any change in K's null space costs."""
    moment, keys, residuals = problem(3)
    update = residuals @ ridge_rows(factorise(moment), keys, 0.0).T
    g = torch.Generator().manual_seed(9)
    other = torch.randn(8, 24, generator=g, dtype=torch.float64)
    other = other - other @ keys @ torch.linalg.pinv(keys)

    def cost(change: Tensor) -> float:
        return float((change @ moment @ change.T).trace())

    for step in (1e-3, -1e-3, 1.0):
        assert cost(update + step * other) > cost(update)


def test_solve_takes_vectors_and_matrices() -> None:
    moment, keys, _ = problem(4)
    factor = factorise(moment)
    assert torch.allclose(moment @ solve(factor, keys), keys, rtol=1e-10)
    assert torch.allclose(moment @ solve(factor, keys[:, 0]), keys[:, 0], rtol=1e-10)


def test_a_singular_matrix_is_a_typed_error() -> None:
    _, keys, _ = problem(4)
    with pytest.raises(InvalidInputError) as error:
        factorise(keys @ keys.T)
    assert error.value.code == "E145"


@pytest.mark.parametrize("rows", [ridge_dual, confined_dual, confined_primal])
def test_keys_that_depend_on_each_other_are_named_as_what_is_wrong(rows: Any) -> None:
    moment, keys, _ = problem(2)
    twice = torch.cat([keys, keys], dim=1)
    given = (half_space(), twice, keys[:, :0]) if rows is not ridge_dual else (moment, twice)
    with pytest.raises(InvalidInputError, match="keys of the requests depend") as error:
        rows(*given, 0.0)
    assert error.value.code == "E145"
    assert "slack or ridge" in str(error.value.hint)
    assert "text" not in str(error.value.hint)


def half_space(seed: int = 1) -> Tensor:
    """Eigenvectors of the smaller half of a random moment's eigenvalues, ``(24, 12)``."""
    values, vectors = spectrum(problem(1, seed)[0])
    assert bool((values[:-1] <= values[1:]).all())
    return vectors[:, :12]


@pytest.mark.parametrize(("n", "m"), [(1, 0), (3, 5), (9, 30), (20, 0)])
@pytest.mark.parametrize("ridge", [1e-3, 10.0])
def test_confined_updates_by_both_forms_equal_the_published_one(
    n: int, m: int, ridge: float
) -> None:
    basis, keys, residuals = half_space(), *problem(n)[1:]
    past = problem(m or 1, 7)[1][:, :m]
    project = basis @ basis.T
    system = project @ (keys @ keys.T + past @ past.T) + ridge * torch.eye(24, dtype=torch.float64)
    published = torch.linalg.solve(system, project @ keys @ residuals.T).T
    for rows in (confined_rows, confined_dual, confined_primal):
        update = residuals @ rows(basis, keys, past, ridge).T
        assert torch.allclose(update, published, rtol=1e-9, atol=1e-12)
        assert float((update - update @ project).abs().max()) < 1e-12 * float(update.abs().max())


def test_confined_without_ridge_meets_the_residuals_inside_and_keeps_the_past() -> None:
    basis, keys, residuals = half_space(), *problem(4)[1:]
    past = problem(3, 7)[1]
    update = residuals @ confined_rows(basis, keys, past, 0.0).T
    assert torch.allclose(update @ keys, residuals, rtol=1e-9, atol=1e-11)
    assert float((update @ past).abs().max()) < 1e-10
