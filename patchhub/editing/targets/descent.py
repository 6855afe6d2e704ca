"""Adam on the δ of every problem of a batch at once, as if each had its own optimiser.

A problem stops when its own criterion is met: δ stays as it was when the loss that met it was
seen. Flags live on the device; problems that are done leave the batch when the host looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from patchhub.editing.targets.batch import Batch
from patchhub.editing.targets.problem import TargetSettings

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_EASED, _CLOSE = 0.1, 0.01
"""PMET: weight of the NLL once all labels are likeliest, and the drift at which it then stops."""
_LOOK = {"cpu": 1, "cuda": 4}
"""Steps between two looks of the host at a device's flags: it waits for a GPU each time."""


class Descent:
    """The loop; `run` once.

    Args:
        batch: The problems; passes begin where it says.
        sites: The modules whose outputs are changed.
        origin: The sites' unchanged outputs in each problem's first row, ``(b, k, d)``.
        settings: Of the loop.
        nll_factor: Weight of the NLL by PMET's rule: a tenth of it while all labels are likeliest,
            and stop if the drift is small then. Without a number it is 1 throughout.
    """

    def __init__(
        self,
        batch: Batch,
        sites: Sequence[nn.Module],
        origin: Tensor,
        settings: TargetSettings,
        nll_factor: float | None = None,
    ) -> None:
        self._batch, self._sites, self._settings = batch, sites, settings
        self._origin = origin
        self._essence: Tensor | None = None  # log P_0 (b, v), which the first step says
        self._left = torch.arange(len(batch), device=origin.device)
        self._active = torch.ones_like(self._left, dtype=torch.bool)
        self._delta, self._first, self._second = (
            torch.zeros_like(origin).expand(3, -1, -1, -1).clone()
        )
        self._nll_factor = nll_factor
        self._weight = origin.new_full((len(batch),), 1.0 if nll_factor is None else nll_factor)
        self._found = torch.zeros_like(origin)
        self._seen = origin.new_full((len(batch), settings.steps - 1), torch.nan)
        self._evaluations = torch.zeros_like(self._left)

    def run(self) -> tuple[Tensor, list[tuple[float, ...]]]:
        """Every problem's δ ``(b, k, d)`` and losses; the last is not finite where it diverged."""
        every = _LOOK.get(self._delta.device.type, 1)
        for step in range(1, self._settings.steps):
            point = self._delta.detach().requires_grad_()
            with torch.enable_grad():
                losses, weight, stop = self._evaluate(point)
            self._record(step, losses.detach(), stop)
            look = step % every == 0
            if look and not bool(self._active.any()):
                break
            (gradient,) = torch.autograd.grad(losses.sum(), [point])
            self._step(step, gradient)
            self._weight = weight
            if look:
                self._compact()
        self._found[self._left] = self._delta
        counts = self._evaluations.tolist()
        return self._found, [
            tuple(seen[:n]) for seen, n in zip(self._seen.tolist(), counts, strict=True)
        ]

    def _evaluate(self, delta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, the NLL's weight from the next step on, and who is done, each ``(b,)``."""
        settings = self._settings
        with self._batch.shifted(self._sites, delta):
            labels, essence = self._batch.log_p()
        if self._essence is None:
            self._essence = essence.detach()
        drift = settings.kl * (essence.exp() * (essence - self._essence)).sum(-1)
        norms = torch.linalg.vector_norm(delta, dim=-1)
        decay = settings.weight_decay * (norms / self._origin.square().sum(-1)).sum(-1)
        losses = self._weight * self._batch.nll(labels) + drift + decay
        stop = losses.detach() < settings.stop_loss
        if self._nll_factor is None:
            return losses, self._weight, stop
        best = self._batch.all_best(labels.detach())
        weight = torch.full_like(self._weight, self._nll_factor)
        weight = weight.masked_fill(best, _EASED * self._nll_factor)
        return losses, weight, stop | (best & (drift.detach() <= _CLOSE))

    def _record(self, step: int, losses: Tensor, stop: Tensor) -> None:
        self._seen[self._left, step - 1] = losses
        self._evaluations[self._left] += self._active
        self._active = self._active & losses.isfinite() & ~stop

    @torch.no_grad()
    def _step(self, step: int, gradient: Tensor) -> None:
        """Adam and the clamp, for those that go on."""
        fast, slow = _BETAS
        self._first.lerp_(gradient, 1 - fast)
        self._second.mul_(slow).addcmul_(gradient, gradient, value=1 - slow)
        scale = self._second.sqrt() / math.sqrt(1 - slow**step) + _EPSILON
        moved = self._delta - self._settings.lr / (1 - fast**step) * self._first / scale
        radius = self._settings.clamp * torch.linalg.vector_norm(self._origin, dim=-1, keepdim=True)
        norm = torch.linalg.vector_norm(moved, dim=-1, keepdim=True)
        moved = torch.where(norm > radius, moved * (radius / norm), moved)
        self._delta = torch.where(self._active[:, None, None], moved, self._delta)

    def _compact(self) -> None:
        """Let those that are done leave the batch."""
        going = self._active.nonzero()[:, 0]
        if len(going) == len(self._batch):
            return
        self._found[self._left] = self._delta
        self._batch = self._batch.kept(going.tolist())
        for name in ("left", "active", "delta", "first", "second", "weight", "origin", "essence"):
            setattr(self, f"_{name}", getattr(self, f"_{name}")[going])
