"""ROME and R-ROME as the papers have them: float64, one row at a time, whole passes, no caching."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Settings:
    steps: int
    lr: float
    weight_decay: float
    clamp: float
    kl: float
    stop: float


@dataclass
class Observed:
    keys: list[Tensor]  # per row, the first one bare
    outputs: list[Tensor]
    value: Tensor  # the MLP's own output in the bare row
    delta: Tensor
    steps_taken: int

    @property
    def mean_key(self) -> Tensor:
        return torch.stack(self.keys).mean(0)

    @property
    def target(self) -> Tensor:
        return self.value + self.delta


def encode(tokenizer: Any, text: str) -> list[int]:
    return [int(i) for i in tokenizer(text)["input_ids"]]


def rows_of(
    tokenizer: Any, templates: list[str], before: str, subject: str, after: str, target: str
) -> list[tuple[list[int], int, list[int]]]:
    """Ids without the target's last token, index of the subject's last token, target ids."""
    labels = encode(tokenizer, " " + target)
    rows = []
    for template in templates:
        left, right = template.split("{}")
        ids = encode(tokenizer, left + before + subject + after + right + " " + target)
        last = len(encode(tokenizer, left + before + subject)) - 1
        if ids[-len(labels) :] != labels:
            raise ValueError("the target is not tokenised on its own")
        rows.append((ids[:-1], last, labels))
    return rows


def log_p(model: nn.Module, ids: list[int]) -> Tensor:
    return model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)  # type: ignore[no-any-return]


class _Look:
    """Sees the MLP's output and the down-projection's input and output; adds δ if there is one."""

    def __init__(self, mlp: nn.Module, down: nn.Module) -> None:
        self.delta: Tensor | None = None
        self.position = 0
        self.value = self.key = self.output = torch.empty(0)
        self._handles = [
            mlp.register_forward_hook(self._mlp),
            down.register_forward_hook(self._down),
        ]

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _mlp(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        self.value = output[0, self.position].detach()
        if self.delta is None:
            return None
        row = torch.zeros(output.shape[1], dtype=output.dtype)
        row[self.position] = 1.0
        return output + row[None, :, None] * self.delta

    def _down(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.key = args[0][0, self.position].detach()
        self.output = output[0, self.position].detach()


def observe(
    model: nn.Module,
    mlp: nn.Module,
    down: nn.Module,
    rows: list[tuple[list[int], int, list[int]]],
    essence: tuple[list[int], int],
    settings: Settings,
) -> Observed:
    look = _Look(mlp, down)
    try:
        return _observe(model, look, rows, essence, settings)
    finally:
        look.close()


def update(seen: Observed, moment: Tensor | None, mode: str) -> Tensor:
    """ΔW, (d_out, d_in)."""
    mean_key, bare_key = seen.mean_key, seen.keys[0]
    key = bare_key if mode == "prompt_keys" else mean_key
    direction = key if moment is None else torch.linalg.inv(moment) @ key
    denominator = mean_key if mode == "random_prefix" else bare_key
    residual = {
        "rome": seen.target - seen.outputs[0],
        "random_prefix": seen.target - torch.stack(seen.outputs).mean(0),
    }.get(mode, seen.delta)
    return torch.outer(residual, direction) / (direction @ denominator)


def _observe(
    model: nn.Module,
    look: _Look,
    rows: list[tuple[list[int], int, list[int]]],
    essence: tuple[list[int], int],
    settings: Settings,
) -> Observed:
    keys, outputs, values = [], [], []
    with torch.no_grad():
        for ids, last, _ in rows:
            look.position = last
            log_p(model, ids)
            keys.append(look.key)
            outputs.append(look.output)
            values.append(look.value)
        look.position = essence[1]
        essence_before = log_p(model, essence[0])[essence[1]]
    v0 = values[0]

    def loss(delta: Tensor) -> Tensor:
        look.delta = delta
        total = torch.zeros((), dtype=torch.float64)
        for ids, last, labels in rows:
            look.position = last
            out = log_p(model, ids)
            first = len(ids) - len(labels)
            for q, label in enumerate(labels):
                total = total - out[first + q, label] / len(labels) / len(rows)
        look.position = essence[1]
        now = log_p(model, essence[0])[essence[1]]
        kl = (now.exp() * (now - essence_before)).sum()
        length = (delta * delta).sum()
        norm = length.sqrt() if float(length.detach()) > 0 else length
        return total + settings.kl * kl + settings.weight_decay * norm / (v0 @ v0)

    delta, taken = _adam(loss, v0, settings)
    return Observed(keys, outputs, v0, delta, taken)


def _adam(loss: Any, v0: Tensor, settings: Settings) -> tuple[Tensor, int]:
    delta = torch.zeros_like(v0)
    first, second = torch.zeros_like(v0), torch.zeros_like(v0)
    for step in range(1, settings.steps):
        point = delta.clone().requires_grad_()
        value = loss(point)
        if float(value.detach()) < settings.stop:
            return delta, step - 1
        (gradient,) = torch.autograd.grad(value, point)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        up = first / (1 - 0.9**step)
        down = (second / (1 - 0.999**step)).sqrt() + 1e-8
        delta = delta - settings.lr * up / down
        radius = settings.clamp * math.sqrt(float(v0 @ v0))
        norm = math.sqrt(float(delta @ delta))
        if norm > radius:
            delta = delta * (radius / norm)
    return delta, settings.steps - 1
