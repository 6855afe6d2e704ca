"""EMMET's update as the paper has it, with explicit inverses."""

from __future__ import annotations

import torch
from torch import Tensor


def update(keys: Tensor, residuals: Tensor, moment: Tensor, weight: float, slack: float) -> Tensor:
    """R D⁻¹ Kᵀ (αC)⁻¹ with D = Kᵀ (αC)⁻¹ K, + εI where there is more than one fact."""
    inverse = torch.linalg.inv(weight * moment)
    system = keys.T @ inverse @ keys
    if keys.shape[1] > 1:
        system = system + slack * torch.eye(keys.shape[1], dtype=keys.dtype)
    change: Tensor = residuals @ torch.linalg.inv(system) @ keys.T @ inverse
    return change
