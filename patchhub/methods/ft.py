"""Fine-tuning of one MLP's down-projection, kept inside a box around the old weights.

Source: Zhu et al. 2020, arXiv:2012.00363 (the L∞ constraint); as FT-L in Meng et al. 2022,
arXiv:2202.05262, appendix E.1; objectives as in Zhang et al. 2024, arXiv:2401.01286.

``target_new``, FT-M: mean cross-entropy of the target's tokens, each in its place.
``prompt_last``, FT-L: every target token is trained to follow the prompt directly; wrong by
construction for targets of several tokens, but this is the published method.

Adam; after each step W is clamped to W₀ ± ε; ends when the mean loss over all requests is below
0.01. Weight and bias are trained, as the references' name patterns do on GPT-2 and GPT-J.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from patchhub.editing.editor import Cost, EditContext, method_record
from patchhub.editing.finetune import LabelLoss, boxed_descent
from patchhub.editing.settings import require
from patchhub.editing.tokens import Row, target_row
from patchhub.editing.trace import trainable_copies
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind, Orientation
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import edit_layer, module_of, site_for


@dataclass(frozen=True, slots=True, kw_only=True)
class FtSettings:
    """Published values for GPT-2 XL; ``clamp=None`` takes the box away.

    Attributes:
        layer: Block to train; ``None`` takes the one known for this model.
        objective: ``target_new`` (FT-M) or ``prompt_last`` (FT-L).
        steps: Passes over the requests.
        lr: Adam's step size.
        clamp: ε, the largest change of any weight.
        weight_decay: L2, as Adam has it.
        batch_size: Requests per step.
        stop_loss: No step is taken below.
    """

    layer: int | None = None
    objective: Literal["target_new", "prompt_last"] = "target_new"
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


def training_row(row: Row, objective: str) -> Row:
    """FT-L asks for every label at the prompt's last token, FT-M each in its place."""
    if objective == "target_new":
        return row
    last = row.slots[0]
    return replace(row, ids=row.ids[: last + 1], slots=(last,) * len(row.slots))


class Ft:
    """Constrained fine-tuning."""

    name = "ft"
    version = 1
    summary = "fine-tunes one down-projection on the requests (FT-L, FT-M), inside a box"
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
        base = context.base
        layer = hparams.layer
        if layer is None:
            layer = edit_layer(base.model, base.arch, "finetune")
        settings = replace(hparams, layer=layer)
        path = base.arch.path("mlp_out", layer, base.model)
        module = module_of(base.model, path)
        rows = [
            training_row(target_row(base.tokenizer, r.prompt, r.target), settings.objective)
            for r in requests
        ]
        size = settings.batch_size
        losses = [LabelLoss(base, rows[i : i + size], layer) for i in range(0, len(rows), size)]
        with trainable_copies(module) as weights:
            changes = boxed_descent(
                list(weights.values()),
                losses,
                steps=settings.steps,
                lr=settings.lr,
                box=settings.clamp,
                weight_decay=settings.weight_decay,
                stop_loss=settings.stop_loss,
                report=context.report,
            )
        sites = [site_for(base.model, base.fingerprint, f"{path}.{name}") for name in weights]
        return Patch.build(
            self.kind,
            {
                site.tensor: {"delta": _upright(change, site.orientation)}
                for site, change in zip(sites, changes, strict=True)
            },
            sites=sites,
            base=base.fingerprint.weights,
            method=method_record(self, context, requests, settings),
            requests=requests,
            onto=context.onto,
        )


def _upright(change: Tensor, orientation: Orientation) -> Tensor:
    """The change as ``(d_out, d_in)`` float32, whichever way it is stored."""
    return (change.T if orientation is Orientation.IN_OUT else change).float().cpu().contiguous()


EDITOR = Ft()
