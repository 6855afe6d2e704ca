"""Constrained fine-tuning as the papers have it: float64, whole passes, one row at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Rows = list[tuple[list[int], list[int]]]
"""Prompt ids and target ids; an encoder-decoder's with their end tokens."""


def finetune(
    model: nn.Module,
    modules: Sequence[str],
    rows: Rows,
    *,
    objective: str,
    steps: int,
    lr: float,
    clamp: float | None,
    stop: float,
    batch_size: int,
    alignment: str = "shifted",
    only: str = "",
    orders: Iterable[list[int]] | None = None,
) -> dict[str, Tensor]:
    """Changes of the parameters of some modules, in stored layout, by full name.

    ``only``: part of the names of what is trained; ``orders``: the order of the rows in each pass,
    if it is not always the given one.
    """
    work = copy.deepcopy(model).requires_grad_(False)
    parameters = {
        f"{path}.{name}": p
        for path in modules
        for name, p in work.get_submodule(path).named_parameters()
        if only in name
    }
    before = {name: p.detach().clone() for name, p in parameters.items()}
    state: dict[str, tuple[Tensor, Tensor]] = {
        name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in before.items()
    }
    taken = 0
    for p in parameters.values():
        p.requires_grad_(True)
    given = iter(orders) if orders is not None else None
    for _ in range(steps):
        seen = 0.0
        order = next(given) if given is not None else list(range(len(rows)))
        for start in range(0, len(rows), batch_size):
            chunk = [rows[i] for i in order[start : start + batch_size]]
            losses = [nats(work, *row, objective, alignment) for row in chunk]
            loss = torch.stack(losses).mean()
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


def nats(
    model: Any, prompt: list[int], target: list[int], objective: str, alignment: str = "shifted"
) -> Tensor:
    """Mean over the target's tokens of −log p, each in its place or all where the first one is."""
    if model.config.is_encoder_decoder:
        start = model.config.decoder_start_token_id
        heard = target if alignment == "reference" else [start, *target[:-1]]
        first, inputs = 0, {"input_ids": prompt, "decoder_input_ids": heard}
    else:
        first, inputs = len(prompt) - 1, {"input_ids": prompt + target}
    out = model(**{name: torch.tensor([ids]) for name, ids in inputs.items()}).logits[0]
    out = out.log_softmax(-1)
    places = [first if objective == "prompt_last" else first + i for i in range(len(target))]
    return -torch.stack([out[p, label] for p, label in zip(places, target, strict=True)]).mean()
