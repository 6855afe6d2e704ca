"""UltraEdit from the paper's equations: float64, one whole row at a time, d_in unknowns."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.reference.ft_reference import Rows

State = dict[tuple[int, int], tuple[Tensor, Tensor, int]]
"""Shape of a weight to mean, spread and count."""
EPS = 1.1920928955078125e-07
"""Of float32, in which the paper's code keeps its statistics."""


def ultraedit(
    model: nn.Module, paths: list[str], rows: Rows, *, eta: float, batch: int, state: State
) -> dict[str, Tensor]:
    """Changes ``(d_out, d_in)`` by path; ``state`` goes on and is written to."""
    model = copy.deepcopy(model).requires_grad_(True)
    seen: dict[str, list[Tensor]] = {path: [] for path in paths}
    decoder_only = not model.config.is_encoder_decoder  # type: ignore[union-attr]
    longest = sorted(rows, key=lambda r: -(len(r[0]) + len(r[1]) - decoder_only))
    for start in range(0, len(rows), batch):
        for path, found in _observe(model, paths, longest[start : start + batch]).items():
            seen[path].append(torch.cat(found, dim=1))
            _learn(state, (found[0].shape[1], found[1].shape[1]), seen[path][-1])
    changes = {}
    for path in paths:
        both = torch.cat(seen[path])
        width = both.shape[1]
        shape = next(s for s in state if sum(s) == width and s[0] == _width(model, path))
        mean, spread, count = state[shape]
        sigma = (spread / (count - 1 + EPS)).sqrt()
        normal = (both - mean) / (sigma + EPS)
        keys, plain, slopes = both[:, : shape[0]], normal[:, : shape[0]], normal[:, shape[0] :]
        wanted = torch.stack([-eta * float(k @ k) * g for k, g in zip(plain, slopes, strict=True)])
        inverse = torch.linalg.inv(keys.T @ keys + torch.eye(shape[0], dtype=keys.dtype))
        changes[path] = (inverse @ keys.T @ wanted).T
    return changes


def _width(model: nn.Module, path: str) -> int:
    module: Any = model.get_submodule(path)
    return int(module.weight.shape[0] if hasattr(module, "nf") else module.weight.shape[1])


def _learn(state: State, shape: tuple[int, int], rows: Tensor) -> None:
    mean, spread, n = state.get(shape, (torch.zeros(sum(shape)).double(),) * 2 + (0,))
    b = len(rows)
    centre = rows.sum(0) / b
    unbiased = ((rows - centre) ** 2).sum(0) / (b - 1) if b > 1 else torch.zeros_like(centre)
    delta = centre - mean
    state[shape] = (
        mean + b * delta / (n + b),
        spread + b * unbiased + n * b * delta**2 / (n + b),
        n + b,
    )


def _observe(model: Any, paths: list[str], rows: Rows) -> dict[str, list[Tensor]]:
    """Inputs and output gradients of the mean over all labels of the batch."""
    labels = sum(len(target) for _, target in rows)
    found: dict[str, list[list[Tensor]]] = {path: [[], []] for path in paths}
    for prompt, target in rows:
        if model.config.is_encoder_decoder:
            heard = [model.config.decoder_start_token_id, *target[:-1]]
            first, inputs = 0, {"input_ids": prompt, "decoder_input_ids": heard}
        else:
            first, inputs = len(prompt) - 1, {"input_ids": prompt + target[:-1]}
        caught: dict[str, tuple[Tensor, Tensor]] = {}
        handles = [
            model.get_submodule(path).register_forward_hook(partial(_catch, caught, path))
            for path in paths
        ]
        with torch.enable_grad():
            logits = model(**{k: torch.tensor([v]) for k, v in inputs.items()}).logits[0]
            log_p = logits.log_softmax(-1)
            loss = -torch.stack([log_p[first + i, t] for i, t in enumerate(target)]).sum() / labels
            gradients = torch.autograd.grad(loss, [caught[path][1] for path in paths])
        for handle in handles:
            handle.remove()
        places = slice(first, first + len(target))
        for path, gradient in zip(paths, gradients, strict=True):
            found[path][0].append(caught[path][0].detach()[0, places])
            found[path][1].append(gradient[0, places])
    return {path: [torch.cat(part) for part in both] for path, both in found.items()}


def _catch(
    caught: dict[str, tuple[Tensor, Tensor]], path: str, module: Any, args: Any, out: Tensor
) -> None:
    caught[path] = (args[0], out)
