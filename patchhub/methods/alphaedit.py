"""AlphaEdit: MEMIT confined to directions that usual keys do not use, and mindful of past edits.

Source: Fang et al. 2025, arXiv:2410.02355, eq. 14, as in the released code:

    ΔWᵀ = [P (KKᵀ + K_p K_pᵀ) + λ₂I]⁻¹ P K Rᵀ

P projects onto the eigenvectors of C with small eigenvalues; K_p are the keys of earlier edits,
whose outputs should stay. They come from the state of the patches below, so that a patch that is
taken away takes its keys along; the process remembers nothing. Every key-value edit leaves its keys
there: those of other methods are kept, too. As published they are keys on the updated weights: a
block's input depends on the blocks below only, and those are written first.

"Small" is below 0.02 in the published settings, which means something else for every model, since
eigenvalues grow with the square of the keys' scale. `null_share` says the same without a scale: the
directions that together hold at most this share of E‖k‖², so that an edit moves at most this share
of a usual key's energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from patchhub.editing.editor import MOMENTS, SUBJECT, TEMPLATES, Cost, EditContext
from patchhub.editing.joint.form import Form
from patchhub.editing.keyvalue import spread
from patchhub.editing.keyvalue.keyvalues import KeyValues
from patchhub.editing.keyvalue.solver import confined_rows
from patchhub.editing.settings import require
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaEditSettings(spread.SpreadSettings):
    """Settings of AlphaEdit; the defaults are those published for GPT-J.

    Attributes:
        ridge: λ₂; published as L2.
        null_below: Eigenvalues of C below count as unused; published as nullspace_threshold.
        null_share: If given, in place of ``null_below``: the share of E‖k‖² that counts as unused.
    """

    ridge: float = 10.0
    null_below: float = 0.02
    null_share: float | None = None

    def __post_init__(self) -> None:
        spread.SpreadSettings.__post_init__(self)
        require(self.ridge >= 0, "ridge", "zero or more", self.ridge)
        require(self.null_below > 0, "null_below", "a positive number", self.null_below)
        share = self.null_share
        require(share is None or 0 < share <= 1, "null_share", "above 0, at most 1", share)


class AlphaEdit:
    """Null-space constrained editing."""

    name = "alphaedit"
    version = 1
    summary = "many facts in the null space of usual keys; keeps earlier edits of its own"
    reference = "Fang et al. 2025, arXiv:2410.02355"
    kind = Kind.LOW_RANK
    needs = frozenset({SUBJECT, TEMPLATES, MOMENTS})
    hparams = AlphaEditSettings
    cost = Cost(steps="steps")

    def moment_layers(self, base: LoadedBase, hparams: AlphaEditSettings) -> tuple[int, ...]:
        """The edited blocks."""
        return spread.resolved(base, hparams).layers or ()

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: AlphaEditSettings
    ) -> Patch:
        """All requests together; rank = number of subjects."""
        settings = spread.resolved(context.base, hparams)
        return spread.spread(self, context, requests, settings, formula(context, settings))

    def joint(self, context: EditContext, hparams: AlphaEditSettings) -> Form:
        """All edits in one solve, so that none is past: M = P, ρ = λ₂."""
        settings = spread.resolved(context.base, hparams)

        def metric(layer: int, keys: Tensor) -> Tensor:
            basis = null_basis(*spread.moments_of(context).spectrum(layer), settings)
            return basis @ (basis.T @ keys.double())

        method = formula(context, settings)
        return spread.joint_form(context, settings, method, metric, settings.ridge)


def formula(context: EditContext, settings: AlphaEditSettings) -> spread.Formula:
    """AlphaEdit's closed form, with the past keys of the patches below."""

    def basis(layer: int) -> Tensor:
        return null_basis(*spread.moments_of(context).spectrum(layer), settings)

    def solve(layer: int, keys: Tensor) -> Tensor:
        past = past_keys(context, layer, len(keys))
        return confined_rows(basis(layer), keys, past, settings.ridge)

    return spread.Formula(solve, basis)


def null_basis(values: Tensor, vectors: Tensor, settings: AlphaEditSettings) -> Tensor:
    """The eigenvectors of C that count as unused, ``(f, r)``.

    Raises:
        InvalidInputError: E142, none do.
    """
    if settings.null_share is None:
        name, count = "null_below", int((values < settings.null_below).sum())
    else:
        held = values.clamp(min=0).cumsum(0)
        name, count = "null_share", int((held <= settings.null_share * held[-1]).sum())
    if count == 0:
        smallest = float(values[0] if name == "null_below" else values[0] / values.sum())
        raise InvalidInputError(
            "E142",
            "usual keys use every direction: there is no null space to edit in",
            expected=f"{name} above {smallest:.3g}",
            found=getattr(settings, name),
            hint="--set null_share=0.02 adapts to the scale of this model's keys",
            setting=name,
        )
    return vectors[:, :count]


def past_keys(context: EditContext, layer: int, width: int) -> Tensor:
    """Keys that the patches below wrote at, ``(f, m)`` (E118 if a patch's state is damaged)."""
    found = [KeyValues.from_state(patch) for patch in context.below]
    rows = [one.keys[layer].double() for one in found if one is not None and layer in one.keys]
    return torch.cat([torch.zeros(0, width, dtype=torch.float64), *rows]).T


EDITOR = AlphaEdit()
