"""ROME's and MEMIT's procedures as the released code runs them: the yardstick of what is saved.

Per request one right-padded batch of all rows; every step is a whole pass, forward and backward,
with the head at all positions; keys come from passes of their own. In eval mode, parameters frozen,
one optimiser per request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from patchhub.editing.targets import TargetSettings, Wanted
from patchhub.editing.wording.tokens import Row
from patchhub.loading import LoadedBase
from patchhub.sites import module_of, weight_matrix


@dataclass(frozen=True, eq=False)
class Plain:
    """δ, the unchanged output, and the losses."""

    delta: Tensor
    origin: Tensor
    losses: tuple[float, ...]


class _Rows:
    def __init__(self, rows: Sequence[Row], filler: int) -> None:
        width = max(len(row.ids) for row in rows)
        self.ids = torch.tensor([[*row.ids, *[filler] * (width - len(row.ids))] for row in rows])
        self.mask = torch.tensor(
            [[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows]
        )
        self.lookups = torch.tensor([row.lookup for row in rows])
        self.labels = torch.full((len(rows), width), -100)
        for i, row in enumerate(rows):
            self.labels[i, list(row.slots)] = torch.tensor(row.labels, dtype=torch.long)

    def logits(self, model: Any) -> Tensor:
        found: Tensor = model(input_ids=self.ids, attention_mask=self.mask).logits
        return found

    def log_p(self, model: Any) -> Tensor:
        return self.logits(model).log_softmax(-1)

    def nll(self, log_p: Tensor, rows: int) -> Tensor:
        wanted = self.labels[:rows]
        there = wanted != -100
        chosen = log_p[:rows].gather(2, wanted.clamp(min=0)[..., None])[..., 0] * there
        return -(chosen.sum(1) / there.sum(1)).mean()


class _Seen:
    output: Tensor


@contextmanager
def _watched(module: nn.Module, rows: _Rows, delta: Tensor | None) -> Iterator[_Seen]:
    seen = _Seen()

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        every = torch.arange(len(hidden))
        seen.output = hidden[every, rows.lookups].detach()
        if delta is None:
            return None
        changed = hidden.clone()
        changed[every, rows.lookups] += delta
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def plain_target(
    base: LoadedBase, wanted: Wanted, settings: TargetSettings, *, layer: int, site: str
) -> Plain:
    """One target by whole passes."""
    rows, count = _Rows([*wanted.rows, wanted.essence], 0), len(wanted.rows)
    module = module_of(base.model, base.arch.path(site, layer, base.model))
    with torch.no_grad(), _watched(module, rows, None) as seen:
        before = rows.log_p(base.model)[-1, wanted.essence.lookup]
    origin = seen.output[0]
    delta = torch.zeros_like(origin).requires_grad_()
    optimizer = torch.optim.Adam([delta], lr=settings.lr)
    losses: list[float] = []
    for _ in range(settings.steps - 1):
        optimizer.zero_grad()
        with torch.enable_grad(), _watched(module, rows, delta):
            log_p = rows.log_p(base.model)
            now = log_p[-1, wanted.essence.lookup]
            loss = rows.nll(log_p, count) + settings.kl * (now.exp() * (now - before)).sum()
            loss = loss + settings.weight_decay * delta.norm() / origin.square().sum()
        losses.append(float(loss.detach()))
        if losses[-1] < settings.stop_loss:
            break
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            norm, radius = delta.norm(), settings.clamp * origin.norm()
            if norm > radius:
                delta.mul_(radius / norm)
    return Plain(delta.detach(), origin, tuple(losses))


@torch.no_grad()
def plain_keys(base: LoadedBase, rows: Sequence[Row], layer: int) -> tuple[Tensor, Tensor]:
    """Inputs and outputs of the down-projection at the lookup tokens, by a whole pass."""
    batch = _Rows(rows, 0)
    down = module_of(base.model, base.arch.path("mlp_out", layer, base.model))
    inputs: list[Tensor] = []
    handle = down.register_forward_hook(
        lambda module, args, output: inputs.append(args[0][torch.arange(len(rows)), batch.lookups])
    )
    with _watched(down, batch, None) as seen:
        batch.logits(base.model)
    handle.remove()
    return inputs[0], seen.output


@torch.no_grad()
def plain_output(base: LoadedBase, rows: Sequence[Row], layer: int) -> Tensor:
    """What a block puts out at the lookup tokens, by a whole pass."""
    batch = _Rows(rows, 0)
    with _watched(
        module_of(base.model, base.arch.path("block", layer, base.model)), batch, None
    ) as seen:
        batch.logits(base.model)
    return seen.output


def plain_rome(
    base: LoadedBase,
    wanted: Wanted,
    settings: TargetSettings,
    layer: int,
    inverse: Tensor,
) -> tuple[Tensor, Tensor]:
    """ΔW as two factors: a pass for u, the target, a pass for the bare key and its output."""
    keys, _ = plain_keys(base, wanted.rows, layer)
    direction = inverse @ keys.mean(0)
    target = plain_target(base, wanted, settings, layer=layer, site="mlp")
    key, output = plain_keys(base, wanted.rows[:1], layer)
    residual = target.origin + target.delta - output[0]
    return residual / (direction @ key[0]), direction


@torch.no_grad()
def plain_memit(
    base: LoadedBase,
    every: Sequence[Wanted],
    deltas: Tensor,
    moments: Mapping[int, Tensor],
    weight: float,
) -> dict[int, Tensor]:
    """ΔW of each block in ``moments``: all passes of one request before those of the next.

    In the released code passes for keys take several hundred rows at once, which saves nothing on a
    processor: they are padded to the longest.

    Args:
        base: Its weights are written, layer by layer, and put back.
        every: The requests.
        deltas: Of their targets, at what the last of the blocks puts out, ``(n, d)``.
        moments: Block → C, ascending.
        weight: λ.
    """
    last = max(moments)
    targets, updates, before = deltas, {}, {}
    for done, (layer, moment) in enumerate(moments.items()):
        keys = []
        for one in every:
            found, _ = plain_keys(base, one.rows, layer)
            keys.append((found[0] + found[1:].mean(0)) / 2)
        now = torch.cat([plain_output(base, one.rows[:1], last) for one in every])
        targets = targets if done else now + deltas
        columns = torch.stack(keys, dim=1).double()
        residuals = (targets - now).T.double() / (len(moments) - done)
        system = weight * moment + columns @ columns.T
        updates[layer] = residuals @ torch.linalg.solve(system, columns).T
        down = module_of(base.model, base.arch.path("mlp_out", layer, base.model))
        matrix = weight_matrix(down)
        before[layer] = matrix.clone()
        matrix += updates[layer].to(matrix.dtype)
    for layer, matrix in before.items():
        down = module_of(base.model, base.arch.path("mlp_out", layer, base.model))
        weight_matrix(down).copy_(matrix)
    return updates
