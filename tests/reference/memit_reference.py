"""MEMIT as the paper has it: float64, row by row, whole passes, dense weights, no caching."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.reference.rome_reference import Settings, log_p

Row = tuple[list[int], int, list[int]]
"""Ids without the target's last token, index of the subject's last token, target ids."""
Solve = Callable[[int, Tensor, Tensor], Tensor]
"""Number of the layer in the list, keys (f, n), residuals (d, n) to ΔW (d, f)."""


@dataclass
class Fact:
    prompts: list[list[Row]]  # per prompt all contexts, the bare one first
    essence: tuple[list[int], int]

    @property
    def rows(self) -> list[Row]:
        return [row for rows in self.prompts for row in rows]


@contextmanager
def watched(
    module: nn.Module, position: int, delta: Tensor | None = None
) -> Iterator[list[Tensor]]:
    """Sees the module's input and output at a position; adds δ to the output there."""
    seen: list[Tensor] = []

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        seen[:] = [args[0][0, position].detach(), hidden[0, position].detach()]
        if delta is None:
            return None
        mark = torch.zeros(hidden.shape[1], 1, dtype=hidden.dtype)
        mark[position] = 1.0
        hidden = hidden + mark * delta
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def negative_log_likelihood(model: nn.Module, ids: list[int], labels: list[int]) -> Tensor:
    out = log_p(model, ids)
    first = len(ids) - len(labels)
    return -torch.stack([out[first + q, t] for q, t in enumerate(labels)]).mean()


def find_delta(model: nn.Module, block: nn.Module, fact: Fact, settings: Settings) -> Tensor:
    """The shift of the block's output at the subject's last token."""
    with torch.no_grad():
        ids, last, _ = fact.rows[0]
        with watched(block, last) as seen:
            log_p(model, ids)
        v0 = seen[1]
        before = log_p(model, fact.essence[0])[fact.essence[1]]

    def loss(delta: Tensor) -> Tensor:
        losses = []
        for ids, last, labels in fact.rows:
            with watched(block, last, delta):
                losses.append(negative_log_likelihood(model, ids, labels))
        with watched(block, fact.essence[1], delta):
            now = log_p(model, fact.essence[0])[fact.essence[1]]
        kl = (now.exp() * (now - before)).sum()
        decay = norm(delta) / (v0 @ v0)
        return torch.stack(losses).mean() + settings.kl * kl + settings.weight_decay * decay

    (delta,) = descend(loss, [v0], settings)
    return delta


def norm(vector: Tensor) -> Tensor:
    """Length, with gradient zero at zero."""
    square = (vector * vector).sum()
    return square.sqrt() if float(square.detach()) > 0 else square


def descend(
    loss: Callable[..., Tensor], origins: Sequence[Tensor], settings: Settings
) -> list[Tensor]:
    """Adam on one δ per origin, each kept within its radius."""
    deltas = [torch.zeros_like(v) for v in origins]
    first, second = [torch.zeros_like(v) for v in origins], [torch.zeros_like(v) for v in origins]
    for step in range(1, settings.steps):
        points = [delta.clone().requires_grad_() for delta in deltas]
        value = loss(*points)
        if float(value.detach()) < settings.stop:
            break
        gradients = torch.autograd.grad(value, points)
        for i, gradient in enumerate(gradients):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            root = (second[i] / (1 - 0.999**step)).sqrt() + 1e-8
            deltas[i] = deltas[i] - settings.lr * first[i] / (1 - 0.9**step) / root
            radius, length = settings.clamp * float(norm(origins[i])), float(norm(deltas[i]))
            if length > radius:
                deltas[i] = deltas[i] * (radius / length)
    return deltas


def look(model: nn.Module, module: nn.Module, row: Row) -> tuple[Tensor, Tensor]:
    """Input and output of a module at the subject's last token, prompt without target."""
    ids, last, labels = row
    with torch.no_grad(), watched(module, last) as seen:
        log_p(model, ids[: len(ids) - len(labels) + 1])
    return seen[0], seen[1]


def key_of(model: nn.Module, down: nn.Module, fact: Fact) -> Tensor:
    keys = []
    for bare, *others in fact.prompts:
        key = look(model, down, bare)[0]
        if others:
            key = key / 2 + torch.stack([look(model, down, r)[0] for r in others]).mean(0) / 2
        keys.append(key)
    return torch.stack(keys).mean(0)


def value_of(model: nn.Module, site: nn.Module, fact: Fact) -> Tensor:
    return torch.stack([look(model, site, bare)[1] for bare, *_ in fact.prompts]).mean(0)


def add(module: nn.Module, change: Tensor) -> None:
    turned = change.T if type(module).__name__ == "Conv1D" else change
    module.get_parameter("weight").data += turned


def write(
    model: nn.Module,
    downs: Sequence[str],
    site: str,
    facts: Sequence[Fact],
    deltas: Sequence[Tensor],
    solve: Solve,
    share: Callable[[int], float] = lambda left: 1 / left,
) -> tuple[list[Tensor], list[Tensor], nn.Module]:
    """ΔW of each layer, the keys it was solved for (f, n), and the edited copy of the model."""
    model = copy.deepcopy(model)
    top = model.get_submodule(site)
    wanted = [value_of(model, top, f) + d for f, d in zip(facts, deltas, strict=True)]
    changes, seen = [], []
    for number, path in enumerate(downs):
        down = model.get_submodule(path)
        keys = torch.stack([key_of(model, down, fact) for fact in facts], dim=1)
        missing = [z - value_of(model, top, f) for z, f in zip(wanted, facts, strict=True)]
        residuals = share(len(downs) - number) * torch.stack(missing, dim=1)
        changes.append(solve(number, keys, residuals))
        seen.append(keys)
        add(down, changes[-1])
    return changes, seen, model


def update(keys: Tensor, residuals: Tensor, moment: Tensor, weight: float) -> Tensor:
    """R Kᵀ (λC + KKᵀ)⁻¹."""
    change: Tensor = residuals @ keys.T @ torch.linalg.inv(weight * moment + keys @ keys.T)
    return change
