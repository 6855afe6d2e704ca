"""MEND: small networks, trained beforehand, turn the gradient of an edit into a better update.

Source: Mitchell et al. 2022, arXiv:2110.11309. The gradient of −log p(target) with respect to a
projection's weight is Σ_t d_t u_tᵀ; a network per shape of projection turns every pair
(`Transforms`) and

    W ← W − α_W Σ_t d̂_t û_tᵀ.

Trained by what the updates do (`outer_losses`): the target must follow a paraphrase, and other text
must keep its distributions.

The released code adds where the paper subtracts, and its networks have to learn the sign; here it
is the paper's (``descent``), and a trained editor records it. Each request is turned by itself: its
loss is the mean over its own labels, as in training, and a patch of several is the sum of the
patches of each. Of an encoder-decoder, the decoder's projections are edited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from patchhub.editing.dropping import each_or_dropped
from patchhub.editing.editor import TRAINED, Cost, EditContext, method_record
from patchhub.editing.meta.learner import FactorLearner, TrainingSettings, last_blocks
from patchhub.editing.meta.material import Material
from patchhub.editing.meta.payload import payload_of
from patchhub.editing.meta.slopes import gradients
from patchhub.editing.meta.transform import Transforms
from patchhub.editing.settings import parse_settings, require
from patchhub.editing.training.labels import labelled
from patchhub.editing.training.projections import projections
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class MendTraining(TrainingSettings):
    """Published values; small models want larger steps.

    Attributes:
        rank: Of the networks; ``None`` for 1920, or the width of their rows if that is less.
        lr: Adam's step size for the networks.
        rate_lr: Adam's step size for the rates α.
        rate: α at first.
        descent: Whether an update goes down the slope; without, as in the released code.
    """

    rank: int | None = None
    lr: float = 1e-6
    rate_lr: float = 1e-4
    rate: float = 1e-4
    descent: bool = True

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        for name in ("lr", "rate_lr", "rate"):
            require(getattr(self, name) > 0, name, "a positive number", getattr(self, name))
        require(self.rank is None or self.rank > 0, "rank", "positive or none", self.rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class MendSettings:
    """What an edit can choose; all else was settled in training.

    Attributes:
        trained: Digest of the trained editor, or how it begins; ``None`` takes the only one.
    """

    trained: str | None = None


class Mend:
    """Model editor networks with gradient decomposition."""

    name = "mend"
    version = 1
    summary = "trained networks turn an edit's gradient into an update; one backward pass per edit"
    reference = "Mitchell et al. 2022, arXiv:2110.11309"
    kind = Kind.LOW_RANK
    needs = frozenset({TRAINED})
    hparams = MendSettings
    training = MendTraining
    cost = Cost()

    def moment_layers(self, base: LoadedBase, hparams: MendSettings) -> tuple[int, ...]:
        """None: no statistics of keys are used."""
        return ()

    def resolved(self, base: LoadedBase, settings: MendTraining) -> MendTraining:
        """The settings with the blocks filled in (E144 no such block)."""
        return last_blocks(base, settings)

    def learner(
        self,
        base: LoadedBase,
        material: Material,
        settings: MendTraining,
        generator: torch.Generator,
    ) -> FactorLearner:
        """The networks and their loss."""
        network = networks(base, settings, generator)
        return FactorLearner(
            network,
            network.groups(settings.lr, settings.rate_lr),
            material,
            network.order,
            weights=(settings.c_edit, settings.c_loc),
            kept=settings.kept,
            n_edits=settings.n_edits,
            chunk=settings.batch_size,
        )

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: MendSettings
    ) -> Patch:
        """One backward pass and one pass through the networks per request."""
        base, trained = context.base, context.learned
        network = networks(base, parse_settings(MendTraining, trained.settings))
        network.load_state_dict(dict(trained.tensors))
        fit, rows = each_or_dropped(context, requests, lambda r: labelled(base, r))
        with torch.no_grad():
            made = [network(gradients(base, [row], network.order)) for row in rows]
        kind, sites, payload = payload_of(base, made)
        settings = replace(hparams, trained=trained.digest)
        return Patch.build(
            kind,
            payload,
            sites=sites,
            base=base.fingerprint.weights,
            method=method_record(self, context, fit, settings),
            requests=fit,
            onto=context.onto,
        )


def networks(
    base: LoadedBase, settings: MendTraining, generator: torch.Generator | None = None
) -> Transforms:
    """The networks for a base, untrained."""
    paths = projections(base, settings.layers or (), settings.parts)
    rank, rate, descent = settings.rank, settings.rate, settings.descent
    return Transforms.over(base, paths, rank, rate, descent, generator or torch.Generator())


EDITOR = Mend()
