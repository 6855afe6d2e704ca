"""MEND as the paper has it: full gradients, dense updates, one token and one row at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Row = Mapping[str, Any]
"""Inputs of one pass, positions that are asked, and what they are to say."""


def nll(model: nn.Module, row: Row, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    """Mean over a row's labels of −log p."""
    log_p = _log_p(model, row, weights)
    return -torch.stack(
        [log_p[s, y] for s, y in zip(row["slots"], row["labels"], strict=True)]
    ).mean()


def full_gradients(model: nn.Module, row: Row, names: list[str]) -> list[Tensor]:
    """Autograd's gradient of `nll` with respect to whole weights, as stored."""
    work = copy.deepcopy(model).requires_grad_(False)
    wanted = [work.get_parameter(name).requires_grad_(True) for name in names]
    return list(torch.autograd.grad(nll(work, row), wanted))


def divergence(model: nn.Module, row: Row, weights: Mapping[str, Tensor]) -> Tensor:
    """Mean over a row's positions of KL(before ‖ after)."""
    before, after = _log_p(model, row, None), _log_p(model, row, weights)
    terms = [(p.exp() * (p - q)).sum() for p, q in zip(before, after, strict=True)]
    return torch.stack([terms[slot] for slot in row["slots"]]).mean()


def statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (n − 1) of all rows at once."""
    mean = rows.sum(0) / len(rows)
    return mean, (((rows - mean) ** 2).sum(0) / (len(rows) - 1)).sqrt()


def transformed(
    u: Tensor,
    d: Tensor,
    mean: Tensor,
    deviation: Tensor,
    layers: list[Mapping[str, Tensor]],
) -> tuple[Tensor, Tensor]:
    """One token's factors after the network; ``layers`` hold A, B, b, s and t."""
    z = (torch.cat([u, d]) - mean) / (deviation + 1e-7)
    for layer in layers:
        inside = layer["s"] * (layer["A"] @ (layer["B"] @ z) + layer["b"]) + layer["t"]
        z = z + torch.maximum(inside, torch.zeros_like(inside))
    return z[: len(u)], z[len(u) :]


def delta(
    us: Tensor,
    ds: Tensor,
    mean: Tensor,
    deviation: Tensor,
    layers: list[Mapping[str, Tensor]],
    rate: Tensor,
) -> Tensor:
    """−α Σ d̂ ûᵀ ``(d_out, d_in)``, over the tokens of which neither factor is zero."""
    total = torch.zeros(ds.shape[1], us.shape[1], dtype=us.dtype)
    for u, d in zip(us, ds, strict=True):
        if bool((u == 0).all()) or bool((d == 0).all()):
            continue
        u_hat, d_hat = transformed(u, d, mean, deviation, layers)
        total = total - rate * torch.outer(d_hat, u_hat)
    return total


def _log_p(model: nn.Module, row: Row, weights: Mapping[str, Tensor] | None) -> Tensor:
    output = functional_call(model, dict(weights or {}), kwargs=dict(row["inputs"]))
    logits: Tensor = output.logits[0]
    return logits.log_softmax(-1)
