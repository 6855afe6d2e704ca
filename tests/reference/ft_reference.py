"""Constrained fine-tuning as the papers have it: float64, whole passes, one row at a time."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def finetune(
    model: nn.Module,
    module_path: str,
    rows: list[tuple[list[int], list[int]]],
    *,
    objective: str,
    steps: int,
    lr: float,
    clamp: float | None,
    stop: float,
    batch_size: int,
) -> dict[str, Tensor]:
    """Changes of the module's parameters, in stored layout.

    ``rows``: prompt ids and target ids.
    """
    work = copy.deepcopy(model).requires_grad_(False)
    module = work.get_submodule(module_path)
    parameters = dict(module.named_parameters())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    state: dict[str, tuple[Tensor, Tensor]] = {
        name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in before.items()
    }
    taken = 0
    for p in parameters.values():
        p.requires_grad_(True)
    for _ in range(steps):
        seen = 0.0
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            loss = sum((_loss(work, *row, objective) for row in chunk), torch.zeros(())) / len(
                chunk
            )
            seen += float(loss.detach()) * len(chunk)
            if float(loss.detach()) >= stop:
                taken += 1
                gradients = torch.autograd.grad(loss, list(parameters.values()))
                for (name, p), g in zip(parameters.items(), gradients, strict=True):
                    m, v = state[name]
                    m = 0.9 * m + 0.1 * g
                    v = 0.999 * v + 0.001 * g * g
                    state[name] = (m, v)
                    step = (m / (1 - 0.9**taken)) / ((v / (1 - 0.999**taken)).sqrt() + 1e-8)
                    p.data = p.data - lr * step
            if clamp is not None:
                for name, p in parameters.items():
                    low, high = before[name] - clamp, before[name] + clamp
                    p.data = torch.minimum(torch.maximum(p.data, low), high)
        if seen / len(rows) < stop:
            break
    return {name: p.detach() - before[name] for name, p in parameters.items()}


def _loss(model: Any, prompt: list[int], target: list[int], objective: str) -> Tensor:
    out = model(input_ids=torch.tensor([prompt + target])).logits[0].log_softmax(-1)
    last = len(prompt) - 1
    total = torch.zeros((), dtype=out.dtype)
    for i, label in enumerate(target):
        place = last if objective == "prompt_last" else last + i
        total = total - out[place, label] / len(target)
    return total
