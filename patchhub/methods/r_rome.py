"""R-ROME: ROME with one and the same key throughout, which removes its disabling edits.

Source: Gupta et al. 2024, arXiv:2403.07175, eq. 4 and 5.

    ΔW = r uᵀ / (uᵀ k),   u = C⁻¹ k

``random_prefix``: k = k̄ and r = z − v̄, means over all contexts (the paper's r-ROME).
``prompt_keys``:   k = k_b and r = δ, the bare prompt only (p-ROME).
``original``:      ROME's own mixture, u from k̄ and the denominator from k_b.
With C positive definite the denominator is positive in the first two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

from patchhub.editing.editor import MOMENTS, SUBJECT, TEMPLATES, Cost, EditContext
from patchhub.editing.joint import Form
from patchhub.editing.keyvalue import rank_one
from patchhub.editing.targets import Target
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest

Mode: TypeAlias = Literal["random_prefix", "prompt_keys", "original"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RRomeSettings(rank_one.InsertSettings):
    """ROME's settings and which key is used."""

    mode: Mode = "random_prefix"


def update(target: Target, whiten: rank_one.Whiten, *, mode: Mode) -> rank_one.Factors:
    """The update by one of the three formulas."""
    keys, outputs = target.keys.double(), target.outputs.double()
    mean, bare = keys.mean(0), keys[0]
    key = bare if mode == "prompt_keys" else mean
    direction = rank_one.unit(whiten(key))
    if mode == "random_prefix":
        left = (target.value.double() - outputs.mean(0)) / (direction @ mean)
    else:
        left = target.delta.double() / (direction @ bare)
    return rank_one.Factors(left, direction, key)


class RRome:
    """Rank-one model editing with consistent keys."""

    name = "r_rome"
    version = 2
    summary = "ROME with the same key in numerator and denominator; safe in long sequences"
    reference = "Gupta et al. 2024, arXiv:2403.07175"
    kind = Kind.LOW_RANK
    needs = frozenset({SUBJECT, TEMPLATES, MOMENTS})
    hparams = RRomeSettings
    cost = Cost(steps="steps", each=True)

    def moment_layers(self, base: LoadedBase, hparams: RRomeSettings) -> tuple[int, ...]:
        """The edited block."""
        return rank_one.moment_layers(base, hparams)

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: RRomeSettings
    ) -> Patch:
        """One request after another; rank = number of requests."""
        chosen = partial(update, mode=hparams.mode)
        return rank_one.insert_each(self, context, requests, hparams, chosen)

    def joint(self, context: EditContext, hparams: RRomeSettings) -> Form:
        """Every averaged key led to its value exactly, or every bare prompt's."""
        return rank_one.joint_form(context, hparams, bare=hparams.mode == "prompt_keys")


EDITOR = RRome()
