"""PMET: MEMIT whose targets are the MLP's own, found together with the attention's.

Source: Li et al. 2023, arXiv:2308.08742, eq. 10 to 13, as in the released code:

    ΔW_l = R Kᵀ (λC + KKᵀ)⁻¹,   R = (m + δ_m − m_now) / √(number of layers left)

δ_m shifts what the MLP of the last layer puts out and δ_a what its attention does; both are found
together, only δ_m is written. m is the MLP's output before the edit, m_now on the layers so far
written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

from torch import Tensor

from patchhub.editing.editor import MOMENTS, SUBJECT, TEMPLATES, Cost, EditContext
from patchhub.editing.joint.form import Form, inverse_moments
from patchhub.editing.keyvalue import spread
from patchhub.editing.keyvalue.solver import ridge_rows
from patchhub.editing.settings import require
from patchhub.editing.targets import Target, TwinSettings, Wanted, find_twin_targets
from patchhub.editing.wording.tokens import filler_id
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class PmetSettings(spread.SpreadSettings):
    """Settings of PMET; the defaults are those published for GPT-J.

    Attributes:
        covariance_weight: λ, in tokens; published as mom2_update_weight.
        nll_factor: Weight of the NLL, as long as not all labels are the likeliest tokens.
    """

    steps: int = 30
    lr: float = 0.2
    kl: float = 1.0
    covariance_weight: float = 6000.0
    nll_factor: float = 1.0

    def __post_init__(self) -> None:
        spread.SpreadSettings.__post_init__(self)
        weight = self.covariance_weight
        require(weight > 0, "covariance_weight", "a positive number", weight)
        require(self.nll_factor > 0, "nll_factor", "a positive number", self.nll_factor)

    def twin(self) -> TwinSettings:
        """Those of the optimiser."""
        return TwinSettings(**{one.name: getattr(self, one.name) for one in fields(TwinSettings)})


class Pmet:
    """Precise model editing in a transformer."""

    name = "pmet"
    version = 1
    summary = "MEMIT with targets of the MLP's own output; attention is optimised but not written"
    reference = "Li et al. 2023, arXiv:2308.08742"
    kind = Kind.LOW_RANK
    needs = frozenset({SUBJECT, TEMPLATES, MOMENTS})
    hparams = PmetSettings
    cost = Cost(steps="steps")

    def moment_layers(self, base: LoadedBase, hparams: PmetSettings) -> tuple[int, ...]:
        """The edited blocks."""
        return spread.resolved(base, hparams).layers or ()

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: PmetSettings
    ) -> Patch:
        """All requests together; rank = number of subjects."""
        settings = spread.resolved(context.base, hparams)
        return spread.spread(self, context, requests, settings, formula(context, settings))

    def joint(self, context: EditContext, hparams: PmetSettings) -> Form:
        """All edits in one solve: M = C⁻¹, ρ = λ."""
        settings = spread.resolved(context.base, hparams)
        metric, ridge = inverse_moments(context), settings.covariance_weight
        return spread.joint_form(context, settings, formula(context, settings), metric, ridge)


def formula(context: EditContext, settings: PmetSettings) -> spread.Formula:
    """PMET's closed form, share and targets."""
    moments = spread.moments_of(context)

    def solve(layer: int, keys: Tensor) -> Tensor:
        return ridge_rows(moments.factor(layer), keys, settings.covariance_weight)

    targets = partial(twin_targets, twin=settings.twin())
    return spread.Formula(solve, moments.factor, by_root, "mlp_out", targets)


def by_root(left: int) -> float:
    """What is missing, over the root of the number of layers left."""
    return 1.0 / math.sqrt(left)


def twin_targets(
    context: EditContext,
    wanted: Sequence[Wanted],
    settings: spread.SpreadSettings,
    *,
    twin: TwinSettings,
) -> list[Target | InvalidInputError]:
    """Targets for what the last MLP puts out."""
    return find_twin_targets(
        context.base.model,
        context.base.arch,
        wanted,
        twin,
        layer=(settings.layers or (0,))[-1],
        filler=filler_id(context.base.tokenizer),
        memory=context.memory,
        progress=partial(context.report, "targets"),
    )


EDITOR = Pmet()
