"""LoRA: a low-rank update of some projections of every block, trained on the requests.

Source: Hu et al. 2021, arXiv:2106.09685, eq. 3 and section 4.1; as an editing method with the
settings that Zhang et al. 2024, arXiv:2401.01286, use for Llama.

    W x + (α / r) B A x,   A (r, d_in) uniform in ± 1/√d_in,   B (d_out, r) = 0

Loss: mean over requests of the mean over a target's tokens of −log p. Adam with decoupled decay,
no dropout (a handful of short rows gives it nothing to regularise); ends when the mean loss over
all requests is below ``stop_loss``. PEFT puts the adapters in; what is exported is what it would
merge, with the scaling inside B. Of an encoder-decoder, the decoder is adapted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from patchhub.editing.dropping import each_or_dropped
from patchhub.editing.editor import Cost, EditContext, method_record
from patchhub.editing.settings import require
from patchhub.editing.training.adapters import lora_adapters
from patchhub.editing.training.finetune import LabelLoss, boxed_descent
from patchhub.editing.training.labels import Labelled, labelled
from patchhub.editing.training.projections import Part, projections
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import site_for


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """As published for GPT-J (Zhang et al.: both MLP projections, rank 8, α 32), but for ``lr``.

    Attributes:
        layers: Blocks to adapt; ``None`` takes all.
        parts: Projections to adapt in each.
        rank: r.
        alpha: α; the update is scaled by α / r.
        steps: Passes over the requests; 50 are published for GPT-J, 70 for Llama.
        lr: Adam's step size. Hu et al. take 2e-4 for long training; the 5e-3 of Zhang et al. takes
            more of what lies near the fact with it.
        weight_decay: Decoupled.
        batch_size: Requests per step.
        stop_loss: No step is taken below.
    """

    layers: tuple[int, ...] | None = None
    parts: tuple[Part, ...] = ("mlp_in", "mlp_out")
    rank: int = 8
    alpha: int = 32
    steps: int = 50
    lr: float = 2e-3
    weight_decay: float = 0.0
    batch_size: int = 128
    stop_loss: float = 0.01

    def __post_init__(self) -> None:
        for name in ("rank", "alpha", "steps", "lr", "batch_size"):
            require(getattr(self, name) > 0, name, "a positive number", getattr(self, name))
        for name in ("weight_decay", "stop_loss"):
            require(getattr(self, name) >= 0, name, "zero or more", getattr(self, name))
        for name in ("layers", "parts"):
            require(getattr(self, name) != (), name, "at least one", getattr(self, name))


class Lora:
    """Low-rank adaptation."""

    name = "lora"
    version = 2
    summary = "trains low-rank adapters of attention or MLP projections on the requests"
    reference = "Hu et al. 2021, arXiv:2106.09685; Zhang et al. 2024, arXiv:2401.01286"
    kind = Kind.LOW_RANK
    needs: frozenset[str] = frozenset()
    hparams = LoraSettings
    cost = Cost(steps="steps", batch="batch_size")

    def moment_layers(self, base: LoadedBase, hparams: LoraSettings) -> tuple[int, ...]:
        """None: no statistics are used."""
        return ()

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: LoraSettings
    ) -> Patch:
        """All requests together; one rank for every site."""
        base = context.base
        layers = hparams.layers or range(base.arch.block_count(base.model))
        settings = replace(hparams, layers=tuple(sorted(set(layers))))
        paths = projections(base, settings.layers or (), settings.parts)
        sites = [site_for(base.model, base.fingerprint, f"{path}.weight") for path in paths]
        fit, rows = each_or_dropped(context, requests, lambda r: labelled(base, r))
        factors = trained(context, rows, paths, settings)
        return Patch.build(
            self.kind,
            {
                site.tensor: {"A": a.float().cpu(), "B": b.float().cpu()}
                for site, (a, b) in zip(sites, factors, strict=True)
            },
            sites=sites,
            base=base.fingerprint.weights,
            method=method_record(self, context, fit, settings),
            requests=fit,
            onto=context.onto,
        )


def trained(
    context: EditContext, rows: Sequence[Labelled], paths: Sequence[str], settings: LoraSettings
) -> list[tuple[Tensor, Tensor]]:
    """A and (α / r) B of each path."""
    lowest = min(settings.layers or (0,))
    loss = LabelLoss(context.base, rows, lowest, parts=settings.parts, memory=context.memory)
    rank, alpha = settings.rank, settings.alpha
    with lora_adapters(
        context.base.model, paths, rank=rank, alpha=alpha, generator=context.generator
    ) as factors:
        boxed_descent(
            [weight for pair in factors for weight in pair],
            loss,
            loss.in_turn(settings.batch_size),
            steps=settings.steps,
            lr=settings.lr,
            box=None,
            weight_decay=settings.weight_decay,
            decoupled=True,
            stop_loss=settings.stop_loss,
            report=context.report,
        )
        return [(a.detach(), b.detach() * (alpha / rank)) for a, b in factors]


EDITOR = Lora()
