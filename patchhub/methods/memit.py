"""MEMIT: many facts at once, spread over the layers that enrich subjects.

Source: Meng et al. 2023, arXiv:2210.07229, eq. 14 and 20, as in the released code:

    ΔW_l = R Kᵀ (λC + KKᵀ)⁻¹,   R = (Z − H) / (number of layers left)

K are the keys on the layers written so far, H what the last layer puts out on them, Z what it shall
put out. C is a mean over tokens, λ its weight: as much as that many tokens' usual keys. Nothing
forces the last residual to zero: a larger λ keeps other keys and meets the targets less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

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
class MemitSettings(spread.SpreadSettings):
    """Settings of MEMIT; the defaults are those published for GPT-J.

    Attributes:
        covariance_weight: λ, in tokens; published as mom2_update_weight.
    """

    covariance_weight: float = 15000.0

    def __post_init__(self) -> None:
        spread.SpreadSettings.__post_init__(self)
        weight = self.covariance_weight
        require(weight > 0, "covariance_weight", "a positive number", weight)


class Memit:
    """Mass editing memory in a transformer."""

    name = "memit"
    version = 1
    summary = "many facts in one solve, spread over several MLPs"
    reference = "Meng et al. 2023, arXiv:2210.07229"
    kind = Kind.LOW_RANK
    needs = frozenset({SUBJECT, TEMPLATES, MOMENTS})
    hparams = MemitSettings
    cost = Cost(steps="steps")

    def moment_layers(self, base: LoadedBase, hparams: MemitSettings) -> tuple[int, ...]:
        """The edited blocks."""
        return spread.resolved(base, hparams).layers or ()

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: MemitSettings
    ) -> Patch:
        """All requests together; rank = number of subjects."""
        settings = spread.resolved(context.base, hparams)
        return spread.spread(self, context, requests, settings, formula(context, settings))

    def joint(self, context: EditContext, hparams: MemitSettings) -> Form:
        """All edits in one solve: M = C⁻¹, ρ = λ."""
        settings = spread.resolved(context.base, hparams)
        metric, ridge = inverse_moments(context), settings.covariance_weight
        return spread.joint_form(context, settings, formula(context, settings), metric, ridge)


def formula(context: EditContext, settings: MemitSettings) -> spread.Formula:
    """MEMIT's closed form."""
    moments = spread.moments_of(context)

    def solve(layer: int, keys: Tensor) -> Tensor:
        return ridge_rows(moments.factor(layer), keys, settings.covariance_weight)

    return spread.Formula(solve, moments.factor)


EDITOR = Memit()
