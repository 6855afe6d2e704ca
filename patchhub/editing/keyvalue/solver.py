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
    what = "the second moment of the keys is singular"
    return _cholesky(moment, what, "use a corpus with more, and more varied, text")


def _system(matrix: Tensor) -> Tensor:
    """The factor of what is solved for keys, which fails where they depend on each other (E145)."""
    return _cholesky(
        matrix,
        "the keys of the requests depend on each other",
        "leave out requests that say nearly the same, or set slack or ridge above 0",
    )


def _cholesky(matrix: Tensor, what: str, hint: str) -> Tensor:
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(matrix.double())
    if int(info) != 0 or not bool(torch.isfinite(factor).all()):
        raise InvalidInputError(
            "E145",
            what,
            expected="a positive definite matrix",
            found=f"Cholesky fails at row {int(info)} of {matrix.shape[0]}",
            hint=hint,
        )
    return factor


def solve(factor: Tensor, right: Tensor) -> Tensor:
    """``C⁻¹ right`` for ``right`` of shape ``(n,)`` or ``(n, m)``, given ``factor`` of C."""
    columns = right.double().reshape(factor.shape[0], -1)
    # Not `cholesky_solve`, which first copies the factor: for one key that is most of its time.
    half = torch.linalg.solve_triangular(factor, columns, upper=False)
    whole: Tensor = torch.linalg.solve_triangular(factor.T, half, upper=True)
    return whole.reshape(right.shape)


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
    return solve(_system(gram), whitened.T).T


def ridge_primal(factor: Tensor, keys: Tensor, ridge: float) -> Tensor:
    """`ridge_rows` by an ``(f, f)`` system: ``A = (ρC + KKᵀ)⁻¹ K``."""
    wide = keys.double()
    return solve(_system(ridge * (factor @ factor.T) + wide @ wide.T), wide)


def spectrum(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(n,)``, ascending, and eigenvectors ``(n, n)`` of C, in float64."""
    values, vectors = torch.linalg.eigh(moment.double())
    return values, vectors


def confined_rows(basis: Tensor, keys: Tensor, past: Tensor, ridge: float) -> Tensor:
    """``A`` of shape ``(f, n)`` such that the update ``R Aᵀ`` reads a subspace only.

    With ``P = basis basisᵀ`` it is AlphaEdit's ``[P(KKᵀ + SSᵀ) + ρI]⁻¹ P K``; S are the past keys,
    whose outputs should stay. There are as many unknowns as keys, or as dimensions of the subspace,
    whichever are fewer.

    Args:
        basis: Orthonormal columns that span the subspace, ``(f, r)``.
        keys: ``K``, one key per column, ``(f, n)``.
        past: ``S``, ``(f, m)``; m may be 0.
        ridge: ρ ≥ 0; with 0 the keys' parts in the subspace must be independent.

    Raises:
        InvalidInputError: E145, the system is singular.

    Source: Fang et al. 2025, arXiv:2410.02355, eq. 14.
    """
    if keys.shape[1] + past.shape[1] < basis.shape[1]:
        return confined_dual(basis, keys, past, ridge)
    return confined_primal(basis, keys, past, ridge)


def confined_dual(basis: Tensor, keys: Tensor, past: Tensor, ridge: float) -> Tensor:
    """`confined_rows` by an ``(n + m, n + m)`` system: ``Q (QᵀQ + ρI)⁻¹``, its first n columns."""
    inside = basis.T @ torch.cat([keys, past], dim=1).double()
    gram = inside.T @ inside
    gram.diagonal().add_(ridge)
    first = torch.eye(gram.shape[0], keys.shape[1], dtype=torch.float64)
    return basis @ (inside @ solve(_system(gram), first))


def confined_primal(basis: Tensor, keys: Tensor, past: Tensor, ridge: float) -> Tensor:
    """`confined_rows` by an ``(r, r)`` system: ``B (BᵀKKᵀB + BᵀSSᵀB + ρI)⁻¹ BᵀK``."""
    inside, held = basis.T @ keys.double(), basis.T @ past.double()
    system = inside @ inside.T + held @ held.T
    system.diagonal().add_(ridge)
    return basis @ solve(_system(system), inside)
