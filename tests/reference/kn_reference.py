"""Knowledge neurons as the equations have them: a full pass per block, α and token. Slow, float64.

Dai et al. 2022, arXiv:2104.08696, in the form of the port that the surveys used: activations before
the non-linearity, of the last token. Imports nothing of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Ask = Callable[[], Tensor]
"""A full forward pass: logits ``(positions, v)`` of one row."""
Places = Sequence[tuple[int, int]]
"""Positions and ids of tokens that are asked for together: their probabilities are averaged."""


def attribution(
    ask: Ask,
    firsts: Sequence[nn.Module],
    neurons: int,
    questions: Sequence[Places],
    grid: Sequence[float],
    positions: Sequence[int],
) -> Tensor:
    """``(blocks, positions, neurons)``: mean over questions of their integrated gradients.

    Args:
        ask: The model on the whole text.
        firsts: The MLPs' first projections, one per block.
        neurons: Of each MLP.
        questions: What is asked for, one after the other.
        grid: The α's.
        positions: Whose activations are scaled, together.
    """
    found = []
    for first in firsts:
        mean: Any = 0.0
        for places in questions:
            base = _activations(ask, first, neurons, positions)
            total = torch.zeros_like(base)
            for share in grid:
                total += _gradient(ask, first, share * base, places, positions)
            mean = mean + base / len(grid) * total / len(questions)
        found.append(mean)
    return torch.stack(found)


def greedy(ask: Callable[[list[int]], Tensor], begin: Sequence[int], count: int) -> list[int]:
    """The likeliest tokens, each after all before it."""
    said = list(begin)
    for _ in range(count):
        said.append(int(ask(said)[-1].argmax()))
    return said[len(begin) :]


def selected(scores: Tensor, threshold: float) -> set[tuple[int, int]]:
    """Blocks and neurons whose score at any position is above a share of the largest."""
    limit = threshold * float(scores.max())
    return {
        (block, neuron)
        for block, rows in enumerate(scores.tolist())
        for row in rows
        for neuron, score in enumerate(row)
        if score > limit
    }


def _activations(ask: Ask, first: nn.Module, neurons: int, positions: Sequence[int]) -> Tensor:
    seen: list[Tensor] = []

    def see(module: nn.Module, args: object, output: Tensor) -> None:
        seen.append(output.reshape(-1, output.shape[-1])[list(positions), :neurons].detach())

    handle = first.register_forward_hook(see)
    with torch.no_grad():
        ask()
    handle.remove()
    return seen[0]


def _gradient(
    ask: Ask,
    first: nn.Module,
    values: Tensor,
    places: Places,
    positions: Sequence[int],
) -> Tensor:
    leaf = values.clone().requires_grad_()

    def replace(module: nn.Module, args: object, output: Tensor) -> Tensor:
        flat = output.reshape(-1, output.shape[-1]).clone()
        for row, position in zip(leaf, positions, strict=True):
            flat[position, : len(row)] = row
        return flat.reshape(output.shape)

    handle = first.register_forward_hook(replace)
    with torch.enable_grad():
        probabilities = ask().softmax(-1)
        probability = sum((probabilities[place] for place in places), torch.tensor(0.0))
    handle.remove()
    (gradient,) = torch.autograd.grad(probability / len(places), leaf)
    return gradient
