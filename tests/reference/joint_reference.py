"""All key-value edits in one solve, as the equations have it: float64, dense, one row at a time.

Entries: each target alone on the base. With h(·) the output at the method's site, bare prompts,
mean over them, while the blocks below i add their shares at the target's lookups:

    S_i = share_i (δ − (h_i − h_0)),   k_i = mean key of block i

Solve, from the lowest block up, with E what the blocks below did not give:

    R_i = S_i + share_i E,   ΔW_i = R_i K_iᵀ (ρ C_i + K_i K_iᵀ)⁻¹,   E ← E + S_i − ΔW_i K_i
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Row:
    ids: list[int]
    bare: bool
    at: int = -1  # the lookup: the last of the ids where nothing that follows matters


def entry(
    model: nn.Module,
    downs: Sequence[nn.Module],  # of the blocks to write, ascending
    site: nn.Module,
    prompts: Sequence[Sequence[Row]],
    delta: Tensor,
    shares: Sequence[float],
    mean: Callable[[list[Tensor]], Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """Keys and shares of one target."""
    keys: list[Tensor] = []
    added: list[Tensor] = []
    origin: Tensor | None = None
    for number, down in enumerate(downs):
        below = list(zip(downs[:number], added, strict=True))
        per_prompt, values = [], []
        for rows in prompts:
            seen = [_look(model, row, down, site, below) for row in rows]
            per_prompt.append(mean([key for key, _ in seen]))
            values += [value for (_, value), row in zip(seen, rows, strict=True) if row.bare]
        h = sum(values[1:], values[0]) / len(values)
        origin = h if origin is None else origin
        keys.append(sum(per_prompt[1:], per_prompt[0]) / len(per_prompt))
        added.append(shares[number] * (delta - (h - origin)))
    return keys, added


def solve(
    keys: Sequence[Tensor],  # per block (f, n)
    wanted: Sequence[Tensor],  # per block (d, n)
    moments: Sequence[Tensor],
    ridge: float,
    shares: Sequence[float],
) -> list[Tensor]:
    """ΔW of each block, (d, f)."""
    missing = torch.zeros_like(wanted[0])
    updates = []
    for k, s, c, share in zip(keys, wanted, moments, shares, strict=True):
        r = s + share * missing
        update = r @ k.T @ torch.linalg.inv(ridge * c + k @ k.T)
        missing = missing + s - update @ k
        updates.append(update)
    return updates


def _look(
    model: nn.Module,
    asked: Row,
    down: nn.Module,
    site: nn.Module,
    below: Sequence[tuple[nn.Module, Tensor]],
) -> tuple[Tensor, Tensor]:
    seen: dict[str, Tensor] = {}

    def into(module: nn.Module, args: Any) -> None:
        seen["key"] = args[0].reshape(-1, args[0].shape[-1])[asked.at]

    def out(module: nn.Module, args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        seen["value"] = hidden.reshape(-1, hidden.shape[-1])[asked.at]

    def adding(share: Tensor) -> Callable[..., Tensor]:
        def add(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            row = torch.zeros(output.reshape(-1, output.shape[-1]).shape[0], dtype=output.dtype)
            row[asked.at] = 1.0
            return output + (row[:, None] * share).reshape(output.shape)

        return add

    handles = [down.register_forward_pre_hook(into), site.register_forward_hook(out)]
    handles += [module.register_forward_hook(adding(share)) for module, share in below]
    try:
        with torch.no_grad():
            model(input_ids=torch.tensor([asked.ids]))
    finally:
        for handle in handles:
            handle.remove()
    return seen["key"], seen["value"]
