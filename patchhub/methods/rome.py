"""ROME: one key–value pair written into one MLP, disturbing usual keys the least.

Source: Meng et al. 2022, arXiv:2202.05262, eq. 2, as in the released code:

    ΔW = (z − W k_b) uᵀ / (uᵀ k_b),   u = C⁻¹ k̄

k̄ is the key averaged over all contexts, k_b that of the bare prompt, z the target value (eq. 4).
Using two keys is the published procedure; where uᵀk_b is small the update grows without bound
(R-ROME cures that).
"""

from __future__ import annotations

from collections.abc import Sequence

from patchhub.editing.editor import MOMENTS, SUBJECT, TEMPLATES, Cost, EditContext
from patchhub.editing.joint import Form
from patchhub.editing.keyvalue import rank_one
from patchhub.editing.targets import Target
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest


def update(target: Target, whiten: rank_one.Whiten) -> rank_one.Factors:
    """The update after which the bare prompt's key leads to z."""
    keys, outputs = target.keys.double(), target.outputs.double()
    mean = keys.mean(0)
    direction = rank_one.unit(whiten(mean))
    left = (target.value.double() - outputs[0]) / (direction @ keys[0])
    return rank_one.Factors(left, direction, mean)


class Rome:
    """Rank-one model editing."""

    name = "rome"
    version = 2
    summary = "rank-one insertion of one fact into one MLP, weighted by the key covariance"
    reference = "Meng et al. 2022, arXiv:2202.05262"
    kind = Kind.LOW_RANK
    needs = frozenset({SUBJECT, TEMPLATES, MOMENTS})
    hparams = rank_one.InsertSettings
    cost = Cost(steps="steps", each=True)

    def moment_layers(self, base: LoadedBase, hparams: rank_one.InsertSettings) -> tuple[int, ...]:
        """The edited block."""
        return rank_one.moment_layers(base, hparams)

    def edit(
        self,
        context: EditContext,
        requests: Sequence[EditRequest],
        hparams: rank_one.InsertSettings,
    ) -> Patch:
        """One request after another; rank = number of requests."""
        return rank_one.insert_each(self, context, requests, hparams, update)

    def joint(self, context: EditContext, hparams: rank_one.InsertSettings) -> Form:
        """Every averaged key led to its value exactly; of ROME's two keys the one of R-ROME."""
        return rank_one.joint_form(context, hparams)


EDITOR = Rome()
