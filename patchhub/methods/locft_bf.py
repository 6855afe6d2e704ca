"""LocFT-BF: ordinary mini-batch fine-tuning of one MLP's down-projection on all requests.

Source: Yang et al. 2025, arXiv:2509.22072, sections 3 and 5, as in the released code: passes over
the whole edit set in random order, a step of Adam per mini-batch ("breadth-first"), where earlier
uses of fine-tuning trained one edit to its end after another. Loss: mean over requests of the mean
over a target's tokens, the end token included, of −log p. No step is taken on a mini-batch whose
loss is below ``stop_loss``; ends when the mean over all is.

One call is one edit set. Called again, it goes on from the model as it is, and what earlier calls
taught may be overwritten; with ``replay`` (ours) requests of the patches below are trained on again
beside the new ones. A request below whose prompt has a newer answer is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from patchhub.editing.blocks import edit_layer
from patchhub.editing.dropping import each_or_dropped
from patchhub.editing.editor import Cost, EditContext
from patchhub.editing.passes.trace import trainable_copies
from patchhub.editing.settings import require
from patchhub.editing.training.dense import dense_patch
from patchhub.editing.training.finetune import LabelLoss, boxed_descent
from patchhub.editing.training.labels import Labelled, labelled
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class LocFtBfSettings:
    """As published for Llama-3-8B.

    Attributes:
        layer: Block to train; ``None`` takes the one known for this model.
        steps: Passes over the requests.
        lr: Adam's step size.
        weight_decay: L2, as Adam has it.
        batch_size: Requests per step.
        stop_loss: No step is taken below.
        end: Whether the end token is taught after the target.
        replay: Most requests of the patches below to train on again; drawn at random from more.
    """

    layer: int | None = None
    steps: int = 25
    lr: float = 5e-4
    weight_decay: float = 0.0
    batch_size: int = 100
    stop_loss: float = 0.01
    end: bool = True
    replay: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "lr", "batch_size"):
            require(getattr(self, name) > 0, name, "a positive number", getattr(self, name))
        for name in ("weight_decay", "stop_loss", "replay"):
            require(getattr(self, name) >= 0, name, "zero or more", getattr(self, name))


class LocFtBf:
    """Localised, breadth-first fine-tuning."""

    name = "locft_bf"
    version = 1
    summary = "mini-batch fine-tuning of one down-projection over all requests at once"
    reference = "Yang et al. 2025, arXiv:2509.22072"
    kind = Kind.DENSE
    needs: frozenset[str] = frozenset()
    hparams = LocFtBfSettings
    cost = Cost(steps="steps", batch="batch_size")

    def moment_layers(self, base: LoadedBase, hparams: LocFtBfSettings) -> tuple[int, ...]:
        """None: no statistics are used."""
        return ()

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: LocFtBfSettings
    ) -> Patch:
        """All requests together."""
        base, layer = context.base, hparams.layer
        if layer is None:
            layer = edit_layer(base.model, base.arch, "minibatch")
        settings = replace(hparams, layer=layer)
        path = base.arch.path("mlp_out", layer, base.model)
        fit, rows = each_or_dropped(context, requests, lambda r: row_of(base, r, settings))
        rows += replayed(context, fit, settings)
        loss = LabelLoss(base, rows, layer, parts=("mlp_out",), memory=context.memory)
        with trainable_copies(base.model, [path]) as copies:
            weight = f"{path}.weight"
            (change,) = boxed_descent(
                [copies[weight]],
                loss,
                loss.at_random(settings.batch_size, context.generator),
                steps=settings.steps,
                lr=settings.lr,
                box=None,
                weight_decay=settings.weight_decay,
                stop_loss=settings.stop_loss,
                report=context.report,
            )
        return dense_patch(self, context, fit, settings, {weight: change})


def row_of(base: LoadedBase, request: EditRequest, settings: LocFtBfSettings) -> Labelled:
    """What the request teaches (E143 tokens do not line up, E150 too long)."""
    return labelled(base, request, end=settings.end)


def replayed(
    context: EditContext, requests: Sequence[EditRequest], settings: LocFtBfSettings
) -> list[Labelled]:
    """Rows of what the patches below were to make true, without what is asked anew.

    A request that is no row for this method (another one could edit it) is not trained on.
    """
    latest = {r.question: r for patch in context.below for r in patch.requests}
    old = [r for r in latest.values() if r.question not in {new.question for new in requests}]
    order = torch.randperm(len(old), generator=context.generator).tolist() if old else []
    rows: list[Labelled] = []
    for i in order[: settings.replay]:
        with suppress(InvalidInputError):
            rows.append(row_of(context.base, old[i], settings))
    return rows


EDITOR = LocFtBf()
