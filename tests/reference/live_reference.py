"""What patches that act while a model runs do, one prompt at a time, without cache or padding.

Written from the equations: neurons (T-Patcher, arXiv:2301.09785, eq. 4), codebook look-up (GRACE,
arXiv:2211.11031, section 3) with radii that leave each other their halves, routed low-rank blocks
(MELO, arXiv:2312.11795) and routing by change (WISE, arXiv:2405.14768, eq. 6). Imports nothing of
patchhub.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

ACTS: tuple[Callable[[Tensor], Tensor], ...] = (
    torch.relu,
    nn.functional.gelu,
    lambda x: nn.functional.gelu(x, approximate="tanh"),
    nn.functional.silu,
    lambda x: x,
)
Roles = dict[str, Tensor]


def neurons(x: Tensor, roles: Roles) -> Tensor:
    """Σⱼ act(kⱼ·x + bⱼ) (uⱼ·x) vⱼ for x (tokens, d), neuron by neuron."""
    act = ACTS[int(roles["activation"])]
    out = torch.zeros(len(x), roles["values"].shape[1], dtype=torch.float64)
    for j in range(len(roles["keys"])):
        fired = act(x.double() @ roles["keys"][j].double() + roles["bias"][j].double())
        if "up" in roles:
            fired = fired * (x.double() @ roles["up"][j].double())
        out += fired[:, None] * roles["values"][j].double()
    return out


def radii(books: list[Roles]) -> list[list[float]]:
    """What every key's radius is left, book by book."""
    rows = [(key, group) for book in books for key, group in _keys(book)]
    found = []
    for book in books:
        own = []
        for (key, group), radius in zip(_keys(book), book["radius"].tolist(), strict=True):
            others = [math.dist(key, other) / 2 - 1e-5 for other, its in rows if its != group]
            own.append(min([radius, *others]))
        found.append(own)
    return found


def _keys(book: Roles) -> list[tuple[list[float], int]]:
    return list(zip(book["keys"].double().tolist(), book["group"].tolist(), strict=True))


def look_up(query: Tensor, books: list[Roles]) -> tuple[int, int] | None:
    """Book and row of the nearest key, if it is inside its radius; of equals the last book's."""
    best: tuple[float, int, int] | None = None
    for b, book in enumerate(books):
        for i in range(len(book["keys"])):
            distance = math.dist(query.double().tolist(), book["keys"][i].double().tolist())
            if best is None or distance <= best[0]:
                best = (distance, b, i)
    if best is None:
        return None
    # Rounding of the model's own arithmetic: what the smallest radius is for.
    floor = 16 * torch.finfo(torch.float32).eps * float(books[best[1]]["keys"][best[2]].norm())
    limit = max(radii(books)[best[1]][best[2]], floor)
    return (best[1], best[2]) if best[0] <= limit else None


def change(x: Tensor, y: Tensor, roles: Roles) -> tuple[float, Tensor]:
    """How far above its threshold a sparse update is for a prompt, and what it adds."""
    flat = torch.zeros(y.shape[1] * x.shape[1], dtype=torch.float64)
    for place, value in zip(roles["index"].tolist(), roles["changes"].tolist(), strict=True):
        flat[place] = value
    added = x.double() @ flat.reshape(y.shape[1], x.shape[1]).T
    act = ACTS[int(roles["activation"])]
    distance = (act(y.double()) - act(y.double() + added)).norm(dim=1).mean()
    return float(distance) / float(roles["threshold"]), added


class Plain:
    """Hooks on a model for one prompt, which every pass reads from its first token on.

    Args:
        modules: Module that acts, and what: a list of (role tensors) by ``"neurons"`` (on an MLP)
            or ``"books"`` (on a Linear), ``"changes"`` and ``"ranks"`` (pairs of book and roles).
        prompt: Tokens of the prompt.
    """

    def __init__(self, modules: list[tuple[nn.Module, str, Any]], prompt: int) -> None:
        self.modules, self.prompt = modules, prompt
        self.route: tuple[int, int] | None = None
        self.books: list[Roles] = []

    def __enter__(self) -> Plain:
        self.handles = [m.register_forward_hook(self._hook(w, r)) for m, w, r in self.modules]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _hook(self, what: str, roles: Any) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            x, y = args[0][0], output[0].double()
            found: Tensor = getattr(self, what)(x, y, roles)
            return found[None].to(output.dtype)

        return hook

    def neurons(self, x: Tensor, y: Tensor, roles: list[Roles]) -> Tensor:
        return y + sum((neurons(x, one) for one in roles), torch.zeros_like(y))

    def books_here(self, x: Tensor, y: Tensor, books: list[Roles]) -> Tensor:
        self.books = books
        self.route = look_up(x[self.prompt - 1], books)
        if self.route is None or "values" not in books[self.route[0]]:
            return y
        book, row = books[self.route[0]], self.route[1]
        value, rule = book["values"][row].double(), int(book["position"][row])
        y = y.clone()
        if rule == 0:
            y[self.prompt - 1] = value
        elif rule == 1:
            y[: self.prompt - 1] = value
        else:
            y[:] = value
        return y

    def changes(self, x: Tensor, y: Tensor, roles: list[Roles]) -> Tensor:
        found = [change(x[: self.prompt], y[: self.prompt], one) for one in roles]
        best = max(range(len(found)), key=lambda i: found[i][0])
        return y + change(x, y, roles[best])[1] if found[best][0] > 1 else y

    def ranks(self, x: Tensor, y: Tensor, roles: list[tuple[int, Roles]]) -> Tensor:
        for book, one in roles:
            for r in range(len(one["A"])):
                if self.route is None or self.route[0] != book:
                    continue
                if int(self.books[book]["block"][self.route[1]]) == int(one["owner"][r]):
                    y = y + (x.double() @ one["A"][r].double())[:, None] * one["B"][:, r].double()
        return y
