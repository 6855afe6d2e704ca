"""AlphaEdit's projector, update and memory as the paper has them: dense, general solves."""

from __future__ import annotations

import torch
from torch import Tensor


def projector(moment: Tensor, below: float) -> Tensor:
    """P = U₀U₀ᵀ, from the singular vectors of C whose values are below a threshold."""
    left, values, _ = torch.linalg.svd(moment)
    small = left[:, values < below]
    project: Tensor = small @ small.T
    return project


def update(keys: Tensor, residuals: Tensor, project: Tensor, past: Tensor, ridge: float) -> Tensor:
    """([P (KKᵀ + S) + λ₂I]⁻¹ P K Rᵀ)ᵀ with S, the sum of kkᵀ over earlier keys, (f, f)."""
    system = project @ (keys @ keys.T + past) + ridge * torch.eye(len(past), dtype=past.dtype)
    change: Tensor = torch.linalg.solve(system, project @ keys @ residuals.T).T
    return change
