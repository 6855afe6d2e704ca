"""LoRA as the paper has it: float64, whole passes, one row at a time, AdamW written out."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Factors = list[tuple[Tensor, Tensor]]


def adapt(
    model: nn.Module,
    weights: list[tuple[str, bool]],
    start: list[Tensor],
    rows: list[tuple[list[int], list[int]]],
    *,
    scale: float,
    steps: int,
    lr: float,
    decay: float,
    stop: float,
    batch_size: int,
) -> Factors:
    """A and B of each weight after training.

    ``weights``: names, and whether stored as ``(d_in, d_out)``; ``start``: the first A of each;
    ``rows``: prompt ids and target ids.
    """
    work = copy.deepcopy(model).requires_grad_(False)
    stored = [work.get_parameter(name) for name, _ in weights]
    factors: list[Tensor] = []
    for w, (_, turned), a in zip(stored, weights, start, strict=True):
        factors += [a.clone(), torch.zeros(w.shape[1 if turned else 0], a.shape[0], dtype=a.dtype)]
    first = [torch.zeros_like(f) for f in factors]
    second = [torch.zeros_like(f) for f in factors]
    taken = 0
    for _ in range(steps):
        seen = 0.0
        for at in range(0, len(rows), batch_size):
            chunk = rows[at : at + batch_size]
            live = [f.clone().requires_grad_(True) for f in factors]
            changed = {}
            for i, (w, (name, turned)) in enumerate(zip(stored, weights, strict=True)):
                delta = scale * live[2 * i + 1] @ live[2 * i]
                changed[name] = w + (delta.T if turned else delta)
            losses = [_loss(work, changed, *row) for row in chunk]
            loss = torch.stack(losses).mean()
            seen += float(loss.detach()) * len(chunk)
            if float(loss.detach()) < stop:
                continue
            taken += 1
            for i, g in enumerate(torch.autograd.grad(loss, live)):
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.999 * second[i] + 0.001 * g * g
                step = first[i] / (1 - 0.9**taken)
                step = step / ((second[i] / (1 - 0.999**taken)).sqrt() + 1e-8)
                factors[i] = factors[i] * (1 - lr * decay) - lr * step
        if seen / len(rows) < stop:
            break
    return list(zip(factors[::2], factors[1::2], strict=True))


def _loss(model: Any, changed: dict[str, Tensor], prompt: list[int], target: list[int]) -> Tensor:
    first, inputs = len(prompt) - 1, {"input_ids": prompt + target}
    if model.config.is_encoder_decoder:
        heard = [model.config.decoder_start_token_id, *target[:-1]]
        first, inputs = 0, {"input_ids": prompt, "decoder_input_ids": heard}
    asked = {name: torch.tensor([ids]) for name, ids in inputs.items()}
    out = functional_call(model, changed, kwargs=asked).logits[0].log_softmax(-1)
    return -torch.stack([out[first + i, label] for i, label in enumerate(target)]).mean()
