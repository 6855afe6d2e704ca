"""Closed forms in float64: positive definite systems by Cholesky, never an explicit inverse.

ROME, MEMIT, EMMET and PMET share one solver: with ridge ρ,
``R Kᵀ (ρC + K Kᵀ)⁻¹ = R (Kᵀ C⁻¹ K + ρI)⁻¹ Kᵀ C⁻¹``.

Source: Meng et al. 2023, arXiv:2210.07229, eq. 14; the identity is Woodbury's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from patchhub.errors import InvalidInputError


def factorise(moment: Tensor) -> Tensor:
    """Lower Cholesky factor ``(n, n)`` of a symmetric positive definite matrix, in float64.

    Raises:
        InvalidInputError: E145, the matrix is not positive definite.
    """
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(moment.double())
    if int(info) != 0 or not bool(torch.isfinite(factor).all()):
        raise InvalidInputError(
            "E145",
            "the second moment of the keys is singular",
            expected="a positive definite matrix",
            found=f"Cholesky fails at row {int(info)} of {moment.shape[0]}",
            hint="use a corpus with more, and more varied, text",
        )
    return factor


def solve(factor: Tensor, right: Tensor) -> Tensor:
    """``C⁻¹ right`` for ``right`` of shape ``(n,)`` or ``(n, m)``, given ``factor`` of C."""
    columns = right.double().reshape(factor.shape[0], -1)
    solution: Tensor = torch.cholesky_solve(columns, factor).reshape(right.shape)
    return solution


def ridge_rows(factor: Tensor, keys: Tensor, ridge: float) -> Tensor:
    """``A`` of shape ``(f, n)`` such that the update for residuals ``R`` is ``R Aᵀ``.

    Args:
        factor: Lower Cholesky factor of C, ``(f, f)``.
        keys: ``K``, one key per column, ``(f, n)``.
        ridge: ρ ≥ 0; with 0 the keys must be independent and the update fits them exactly.

    Raises:
        InvalidInputError: E145, the system is singular.
    """
    if keys.shape[1] * 2 > keys.shape[0] and ridge > 0:
        return ridge_primal(factor, keys, ridge)
    return ridge_dual(factor, keys, ridge)


def ridge_dual(factor: Tensor, keys: Tensor, ridge: float) -> Tensor:
    """`ridge_rows` by an ``(n, n)`` system: ``A = C⁻¹K (KᵀC⁻¹K + ρI)⁻¹``."""
    half = torch.linalg.solve_triangular(factor, keys.double(), upper=False)
    gram = half.T @ half
    gram.diagonal().add_(ridge)
    whitened = torch.linalg.solve_triangular(factor.T, half, upper=True)
    return solve(factorise(gram), whitened.T).T


def ridge_primal(factor: Tensor, keys: Tensor, ridge: float) -> Tensor:
    """`ridge_rows` by an ``(f, f)`` system: ``A = (ρC + KKᵀ)⁻¹ K``."""
    wide = keys.double()
    return solve(factorise(ridge * (factor @ factor.T) + wide @ wide.T), wide)
