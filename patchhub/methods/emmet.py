"""EMMET: a batch of facts as equality constraints, in one layer.

Source: Gupta et al. 2024, arXiv:2403.14236, as in the authors' code:

    ΔW = R (Kᵀ C'⁻¹ K + εI)⁻¹ Kᵀ C'⁻¹,   C' = αC

By Woodbury's identity that is MEMIT's formula with λ = αε, and so it is solved. As in the authors'
code ε is for batches: a single fact is met exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from patchhub.editing.blocks import INSERT
from patchhub.editing.editor import MOMENTS, SUBJECT, TEMPLATES, Cost, EditContext
from patchhub.editing.joint.form import Form, inverse_moments
from patchhub.editing.keyvalue import spread
from patchhub.editing.keyvalue.solver import ridge_rows
from patchhub.editing.settings import require
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class EmmetSettings(spread.SpreadSettings):
    """Settings of EMMET; the defaults are those published for GPT-J.

    Attributes:
        covariance_weight: α, in tokens; published as mom2_update_weight.
        slack: ε; published as emmet_lambda.
    """

    covariance_weight: float = 1.0
    slack: float = 0.1

    def __post_init__(self) -> None:
        spread.SpreadSettings.__post_init__(self)
        weight = self.covariance_weight
        require(weight > 0, "covariance_weight", "a positive number", weight)
        require(self.slack >= 0, "slack", "zero or more", self.slack)


class Emmet:
    """Equality-constrained mass model editing."""

    name = "emmet"
    version = 1
    summary = "a batch of facts as equality constraints in one MLP"
    reference = "Gupta et al. 2024, arXiv:2403.14236"
    kind = Kind.LOW_RANK
    needs = frozenset({SUBJECT, TEMPLATES, MOMENTS})
    hparams = EmmetSettings
    cost = Cost(steps="steps")

    def moment_layers(self, base: LoadedBase, hparams: EmmetSettings) -> tuple[int, ...]:
        """The edited block."""
        return spread.resolved(base, hparams, INSERT).layers or ()

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: EmmetSettings
    ) -> Patch:
        """All requests together; rank = number of subjects."""
        settings = spread.resolved(context.base, hparams, INSERT)
        return spread.spread(self, context, requests, settings, formula(context, settings))

    def joint(self, context: EditContext, hparams: EmmetSettings) -> Form:
        """All edits in one solve: M = C⁻¹, ρ = αε, also where there is one edit only."""
        settings = spread.resolved(context.base, hparams, INSERT)
        metric, ridge = inverse_moments(context), settings.covariance_weight * settings.slack
        return spread.joint_form(context, settings, formula(context, settings), metric, ridge)


def formula(context: EditContext, settings: EmmetSettings) -> spread.Formula:
    """EMMET's closed form."""
    moments = spread.moments_of(context)

    def solve(layer: int, keys: Tensor) -> Tensor:
        slack = settings.slack if keys.shape[1] > 1 else 0.0
        return ridge_rows(moments.factor(layer), keys, settings.covariance_weight * slack)

    return spread.Formula(solve, moments.factor)


EDITOR = Emmet()
