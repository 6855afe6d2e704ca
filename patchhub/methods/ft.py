"""Fine-tuning of MLPs' down-projections, kept inside a box around the old weights.

Source: Zhu et al. 2020, arXiv:2012.00363 (the L∞ constraint); as FT-L in Meng et al. 2022,
arXiv:2202.05262, appendix E.1; objectives as in Zhang et al. 2024, arXiv:2401.01286.

``target_new``, FT-M: mean cross-entropy of the target's tokens, each in its place.
``prompt_last``, FT-L: every target token is trained to follow the prompt directly; wrong by
construction for targets of several tokens, but this is the published method.

Adam; after each step W is clamped to W₀ ± ε; ends when the mean loss over all requests is below
0.01. Weight and bias are trained, as the references' name patterns do on GPT-2 and GPT-J. Of an
encoder-decoder, the decoder's down-projections are trained on targets with their end token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from patchhub.editing.blocks import edit_layers
from patchhub.editing.dropping import each_or_dropped
from patchhub.editing.editor import Cost, EditContext
from patchhub.editing.passes.trace import trainable_copies
from patchhub.editing.settings import require
from patchhub.editing.training.dense import dense_patch
from patchhub.editing.training.finetune import LabelLoss, boxed_descent
from patchhub.editing.training.labels import Alignment, Labelled, labelled
from patchhub.editing.training.projections import projections
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class FtSettings:
    """Published values for GPT-2 XL; ``clamp=None`` takes the box away.

    Attributes:
        layers: Blocks to train; ``None`` takes those known for this model.
        objective: ``target_new`` (FT-M) or ``prompt_last`` (FT-L).
        alignment: Of an encoder-decoder: ``reference`` leaves out the shift, as published.
        steps: Passes over the requests.
        lr: Adam's step size.
        clamp: ε, the largest change of any weight.
        weight_decay: L2, as Adam has it.
        batch_size: Requests per step.
        stop_loss: No step is taken below.
    """

    layers: tuple[int, ...] | None = None
    objective: Literal["target_new", "prompt_last"] = "target_new"
    alignment: Alignment = "shifted"
    steps: int = 25
    lr: float = 5e-4
    clamp: float | None = 5e-4
    weight_decay: float = 0.0
    batch_size: int = 128
    stop_loss: float = 0.01

    def __post_init__(self) -> None:
        for name in ("steps", "lr", "batch_size"):
            require(getattr(self, name) > 0, name, "a positive number", getattr(self, name))
        require(self.clamp is None or self.clamp > 0, "clamp", "positive or none", self.clamp)
        for name in ("weight_decay", "stop_loss"):
            require(getattr(self, name) >= 0, name, "zero or more", getattr(self, name))
        require(self.layers != (), "layers", "at least one", self.layers)
        unshifted_last = (self.alignment, self.objective) == ("reference", "prompt_last")
        require(not unshifted_last, "objective", "target_new without the shift", self.objective)


def training_row(row: Labelled, objective: str) -> Labelled:
    """FT-L asks for every label where the first one follows, FT-M each in its place."""
    if objective == "target_new":
        return row
    last = row.slots[0]
    return replace(row, ids=row.ids[: last + 1], slots=(last,) * len(row.slots))


class Ft:
    """Constrained fine-tuning."""

    name = "ft"
    version = 2
    summary = "fine-tunes down-projections on the requests (FT-L, FT-M), inside a box"
    reference = "Zhu et al. 2020, arXiv:2012.00363; Meng et al. 2022, arXiv:2202.05262"
    kind = Kind.DENSE
    needs: frozenset[str] = frozenset()
    hparams = FtSettings
    cost = Cost(steps="steps", batch="batch_size")

    def moment_layers(self, base: LoadedBase, hparams: FtSettings) -> tuple[int, ...]:
        """None: no statistics are used."""
        return ()

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: FtSettings
    ) -> Patch:
        """All requests together."""
        base, settings = context.base, resolved(context.base, hparams)
        layers = settings.layers or ()
        fit, rows = each_or_dropped(
            context,
            requests,
            lambda r: labelled(base, r, alignment=settings.alignment),
        )
        taught = [training_row(row, settings.objective) for row in rows]
        loss = LabelLoss(base, taught, layers[0], parts=("mlp_out",), memory=context.memory)
        with trainable_copies(base.model, projections(base, layers, ("mlp_out",))) as weights:
            changes = boxed_descent(
                list(weights.values()),
                loss,
                loss.in_turn(settings.batch_size),
                steps=settings.steps,
                lr=settings.lr,
                box=settings.clamp,
                weight_decay=settings.weight_decay,
                stop_loss=settings.stop_loss,
                report=context.report,
            )
        changed = dict(zip(weights, changes, strict=True))
        return dense_patch(self, context, fit, settings, changed)


def resolved(base: LoadedBase, settings: FtSettings) -> FtSettings:
    """``settings`` with the blocks filled in, ascending (E142 none are known)."""
    layers = settings.layers or edit_layers(base.model, base.arch, "finetune")
    return replace(settings, layers=tuple(sorted(set(layers))))


EDITOR = Ft()
