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
from patchhub.editing.targets.problem import Target, TargetSettings, Wanted
from patchhub.editing.tokens import Row
from patchhub.editing.trace import by_row, changed_output, seen_inputs, seen_outputs, unwrap
from patchhub.errors import InvalidInputError
from patchhub.sites import Architecture, module_of


@dataclass(frozen=True, eq=False)
class _Start:
    """What the pass with δ = 0 leaves for the loop."""

    origin: Tensor
    keys: Tensor
    outputs: Tensor
    essence: Tensor  # log P_0, (v,)


def find_targets(
    model: PreTrainedModel,
    arch: Architecture,
    wanted: Sequence[Wanted],
    settings: TargetSettings,
    *,
    layer: int,
    filler: int,
    site: str = "mlp",
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Target | InvalidInputError]:
    """Optimise one δ per element of ``wanted`` so that the labels of its rows become likely.

    Args:
        model: In evaluation mode, parameters without gradient, float32 or float64.
        arch: Where its parts lie.
        wanted: What to find; results do not depend on what else is asked for.
        settings: Of the loop.
        layer: Block whose output is changed.
        filler: Id to pad with.
        site: ``mlp`` (ROME) or ``block`` (MEMIT).
        memory: Bytes to use beside the model; ``None`` for a sensible amount.
        progress: Told how many are found, and of how many.

    Returns:
        In the order of ``wanted`` a target, or why there is none: E148, its loss became infinite or
        undefined; E150, it is longer than the model's context.

    Raises:
        InvalidInputError: E140, the model does not continue its input.
    """
    found: list[Target | InvalidInputError] = []
    for one in wanted:
        if progress is not None:
            progress(len(found), len(wanted))
        try:
            rows, essence = one.rows, one.essence
            found.append(_find(model, arch, rows, essence, settings, layer, filler, site))
        except InvalidInputError as error:
            if error.code not in ("E148", "E150"):
                raise
            found.append(error)
    return found


def _find(
    model: PreTrainedModel,
    arch: Architecture,
    rows: Sequence[Row],
    essence: Row,
    settings: TargetSettings,
    layer: int,
    filler: int,
    site: str,
) -> Target:
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
