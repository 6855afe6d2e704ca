"""The target value: what a module should put out at the subject's last token.

Source: Meng et al. 2022, arXiv:2202.05262, eq. 4; loop, clamp and decay as in the released code.

    L(δ) = mean NLL of the target  +  β KL(P_δ ‖ P_0)  +  w ‖δ‖ / ‖v₀‖²

P is the next-token distribution at the subject's last token of an essence row ("<subject> is a").
Adam on δ, at most ``steps − 1`` updates; the stop test sees the loss before the step; the clamp
‖δ‖ ≤ c ‖v₀‖ is outside the gradient. Where we differ from the references: ids, not decoded
strings; the model's own head, and only where its logits are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from patchhub.editing.resume import CutRows, from_layer, recorded_below
from patchhub.editing.settings import require
from patchhub.editing.tokens import Row
from patchhub.editing.trace import by_row, changed_output, seen_inputs, seen_outputs, unwrap
from patchhub.errors import InvalidInputError
from patchhub.sites import Architecture, module_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """Settings of the optimiser; the defaults are those published for GPT-2 XL and GPT-J.

    Attributes:
        steps: Evaluations of the loss; one more than updates.
        lr: Adam's step size.
        weight_decay: w.
        clamp: c; the radius of δ in multiples of ‖v₀‖.
        kl: β.
        stop_loss: The loop ends when the loss is below.
    """

    steps: int = 20
    lr: float = 0.5
    weight_decay: float = 0.5
    clamp: float = 4.0
    kl: float = 0.0625
    stop_loss: float = 0.05

    def __post_init__(self) -> None:
        require(self.steps >= 2, "steps", "at least 2: one update", self.steps)
        require(self.lr > 0, "lr", "a positive number", self.lr)
        require(self.clamp > 0, "clamp", "a positive number", self.clamp)
        for name in ("weight_decay", "kl", "stop_loss"):
            require(getattr(self, name) >= 0, name, "zero or more", getattr(self, name))


@dataclass(frozen=True, eq=False)
class Target:
    """Result of the optimiser and what its first pass saw at the lookup tokens.

    Attributes:
        delta: δ, ``(d,)``.
        origin: v₀, the site's unchanged output in the first row, ``(d,)``.
        keys: Input of the down-projection per row (without the essence row), ``(j, f)``.
        outputs: Output of the down-projection per row, ``(j, d)``.
        losses: Loss at each evaluation, in nats.
    """

    delta: Tensor
    origin: Tensor
    keys: Tensor
    outputs: Tensor
    losses: tuple[float, ...]

    @property
    def value(self) -> Tensor:
        """The wanted output, v₀ + δ, ``(d,)``."""
        return self.origin + self.delta


@dataclass(frozen=True, eq=False)
class _Start:
    """What the pass with δ = 0 leaves for the loop."""

    origin: Tensor
    keys: Tensor
    outputs: Tensor
    essence: Tensor  # log P_0, (v,)


def find_target(
    model: PreTrainedModel,
    arch: Architecture,
    rows: Sequence[Row],
    essence: Row,
    settings: TargetSettings,
    *,
    layer: int,
    filler: int,
    site: str = "mlp",
) -> Target:
    """Optimise δ at the lookup tokens of ``rows`` so that their labels become likely.

    Args:
        model: In evaluation mode, parameters without gradient, float32 or float64.
        arch: Where its parts lie.
        rows: Rows with labels; the first is the bare prompt.
        essence: A row without labels that ends at the subject's last token.
        settings: Of the loop.
        layer: Block whose output is changed.
        filler: Id to pad with.
        site: ``mlp`` (ROME) or ``block`` (MEMIT).

    Raises:
        InvalidInputError: E148, the loss became infinite or undefined.
    """
    batch, count = CutRows(model, arch, [*rows, essence], filler), len(rows) + 1
    places, positions = _places(batch, len(rows))
    weights = torch.tensor(
        [1.0 / (len(rows) * len(row.slots)) for row in rows for _ in row.slots],
        dtype=model.dtype,
        device=places.device,
    )
    module = module_of(model, arch.path(site, layer, model))
    down = module_of(model, arch.path("mlp_out", layer, model))
    with torch.no_grad(), recorded_below(model, arch, layer) as below:
        with (
            seen_outputs({"site": module, "down": down}) as out,
            seen_inputs({"down": down}) as into,
        ):
            logits = batch.run(places, positions)
        start = _Start(
            origin=by_row(unwrap(out["site"]), count)[0, 0].clone(),
            keys=by_row(into["down"], count)[: len(rows), 0].clone(),
            outputs=by_row(unwrap(out["down"]), count)[: len(rows), 0].clone(),
            essence=logits[-1].log_softmax(-1),
        )
    delta = torch.zeros_like(start.origin).requires_grad_()

    def shifted(output: Tensor) -> Tensor:
        hidden = by_row(output, count)
        return torch.cat([hidden[:, :1] + delta, hidden[:, 1:]], dim=1).reshape(output.shape)

    def loss() -> Tensor:
        log_p = batch.run(places, positions).log_softmax(-1)
        nll = -(log_p[:-1].gather(1, batch.labels[:, None])[:, 0] * weights).sum()
        drift = (log_p[-1].exp() * (log_p[-1] - start.essence)).sum()
        decay = torch.linalg.vector_norm(delta) / start.origin.square().sum()
        total: Tensor = nll + settings.kl * drift + settings.weight_decay * decay
        return total

    with from_layer(model, arch, layer, below), changed_output(module, shifted):
        losses = _descend(
            delta, loss, settings, settings.clamp * torch.linalg.vector_norm(start.origin)
        )
    return Target(delta.detach(), start.origin, start.keys, start.outputs, losses)


def _descend(
    delta: Tensor, loss: Callable[[], Tensor], settings: TargetSettings, radius: Tensor
) -> tuple[float, ...]:
    """Adam with projection; returns the losses seen."""
    optimizer = torch.optim.Adam([delta], lr=settings.lr)
    losses: list[float] = []
    for _ in range(settings.steps - 1):
        with torch.enable_grad():
            current = loss()
        losses.append(float(current.detach()))
        if not math.isfinite(losses[-1]):
            raise InvalidInputError(
                "E148",
                "the loss of the target vector is not a number",
                expected="a finite loss",
                found=losses[-1],
                hint="take a smaller lr, or check that the base answers sensibly",
            )
        if losses[-1] < settings.stop_loss:
            break
        (delta.grad,) = torch.autograd.grad(current, [delta])
        optimizer.step()
        with torch.no_grad():
            norm = torch.linalg.vector_norm(delta)
            if norm > radius:
                delta.mul_(radius / norm)
    return tuple(losses)


def _places(batch: CutRows, essence: int) -> tuple[Tensor, Tensor]:
    """Batch indices and positions of all label slots, then of the essence row's token."""
    last = torch.tensor([[essence, 0]], dtype=torch.long, device=batch.slots.device)
    every = torch.cat([batch.slots, last])
    return every[:, 0], every[:, 1]
