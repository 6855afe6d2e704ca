"""PMET's targets as the paper and its code have them: float64, one row at a time, whole passes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tests.reference.rome_reference import log_p


@dataclass
class Settings:
    steps: int
    lr: float
    weight_decay: float
    clamp: float
    kl: float
    stop: float
    nll_factor: float


@dataclass
class Observed:
    """Of the MLP: keys and outputs per row, its own output and δ; and δ of the attention."""

    keys: list[Tensor]
    outputs: list[Tensor]
    value: Tensor
    delta: Tensor
    attention_delta: Tensor
    losses: list[float] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)  # weight of the NLL at each evaluation
    reason: str = "steps"

    @property
    def target(self) -> Tensor:
        return self.value + self.delta


class _Looks:
    """Sees input and output of two modules at one position; adds a δ to each output."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self.position = 0
        self.deltas: list[Tensor] | None = None
        self.inputs: list[Any] = [None, None]
        self.outputs: list[Any] = [None, None]
        self.handles = [
            module.register_forward_hook(self._hook(i)) for i, module in enumerate(modules)
        ]

    def _hook(self, number: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
            self.inputs[number] = args[0][0, self.position].detach()
            self.outputs[number] = output[0, self.position].detach()
            if self.deltas is None:
                return None
            mark = torch.zeros(output.shape[1], dtype=output.dtype)
            mark[self.position] = 1.0
            return output + mark[None, :, None] * self.deltas[number]

        return hook


def observe(
    model: nn.Module,
    attention_out: nn.Module,
    down: nn.Module,
    rows: list[tuple[list[int], int, list[int]]],
    essence: tuple[list[int], int],
    settings: Settings,
) -> Observed:
    look = _Looks([attention_out, down])
    try:
        return _observe(model, look, rows, essence, settings)
    finally:
        for handle in look.handles:
            handle.remove()


def _observe(
    model: nn.Module,
    look: _Looks,
    rows: list[tuple[list[int], int, list[int]]],
    essence: tuple[list[int], int],
    settings: Settings,
) -> Observed:
    keys, outputs, firsts = [], [], []
    with torch.no_grad():
        for ids, last, _ in rows:
            look.position = last
            log_p(model, ids)
            keys.append(look.inputs[1])
            outputs.append(look.outputs[1])
            firsts.append(list(look.outputs))
        look.position = essence[1]
        before = log_p(model, essence[0])[essence[1]]
    origins = firsts[0]
    deltas = [torch.zeros_like(origin) for origin in origins]
    seen = Observed(keys, outputs, origins[1], deltas[1], deltas[0])
    moments = [(torch.zeros_like(o), torch.zeros_like(o)) for o in origins]
    factor = settings.nll_factor
    for step in range(1, settings.steps):
        points = [delta.clone().requires_grad_() for delta in deltas]
        look.deltas = points
        each, best = _nll(model, look, rows)
        look.position = essence[1]
        now = log_p(model, essence[0])[essence[1]]
        drift = settings.kl * (now.exp() * (now - before)).sum()
        loss = factor * torch.stack(each).mean() + drift
        for point, origin in zip(points, origins, strict=True):
            length = (point * point).sum()
            norm = length.sqrt() if float(length.detach()) > 0 else length
            loss = loss + settings.weight_decay * norm / (origin @ origin)
        seen.losses.append(float(loss.detach()))
        seen.factors.append(factor)
        if seen.losses[-1] < settings.stop:
            seen.reason = "loss"
            break
        if _mean_probability(each) == _mean_probability(best):
            factor = 0.1 * settings.nll_factor
            if float(drift.detach()) <= 0.01:
                seen.reason = "all likeliest"
                break
        else:
            factor = settings.nll_factor
        gradients = torch.autograd.grad(loss, points)
        for k in range(2):
            deltas[k] = _adam(deltas[k], gradients[k], moments[k], step, settings)
            deltas[k] = _clamped(
                deltas[k], settings.clamp * math.sqrt(float(origins[k] @ origins[k]))
            )
    seen.attention_delta, seen.delta = deltas
    return seen


def _nll(
    model: nn.Module, look: _Looks, rows: list[tuple[list[int], int, list[int]]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Per row the mean −log p of its labels, and of the likeliest tokens in their places."""
    each, best = [], []
    for ids, last, labels in rows:
        look.position = last
        out = log_p(model, ids)[len(ids) - len(labels) :]
        each.append(-torch.stack([out[q, t] for q, t in enumerate(labels)]).mean())
        best.append(-torch.stack([out[q].max() for q in range(len(labels))]).mean())
    return each, best


def _mean_probability(nll: list[Tensor]) -> float:
    return float(torch.stack([(-one).exp() for one in nll]).mean().detach())


def _adam(
    delta: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], step: int, settings: Settings
) -> Tensor:
    first, second = moments
    first.copy_(0.9 * first + 0.1 * gradient)
    second.copy_(0.999 * second + 0.001 * gradient**2)
    up = first / (1 - 0.9**step)
    down = (second / (1 - 0.999**step)).sqrt() + 1e-8
    return delta - settings.lr * up / down


def _clamped(delta: Tensor, radius: float) -> Tensor:
    norm = math.sqrt(float(delta @ delta))
    return delta * (radius / norm) if norm > radius else delta
