"""UltraEdit: one backward pass, normalised over all edits so far, solved in closed form.

Source: Gu et al. 2025, arXiv:2505.14679, section 3, as in the released code. At each token of the
targets, with h the input of a projection and g the gradient of the loss with respect to its output,

    ĥ, ĝ = normalised (h, g)    v = − η ‖ĥ‖² ĝ    ΔWᵀ = (HᵀH + I)⁻¹ Hᵀ V

with raw h in the rows of H. The normaliser (`normaliser.Normaliser`) has first seen all requests of
the call, batch by batch, the longest first; it goes on from the newest patch below that holds one
and is stored with the patch. All shifts are computed from the same unchanged model.

With n tokens, ΔWᵀ = Hᵀ (HHᵀ + I)⁻¹ V: rank n, and stored so unless the dense matrix is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from patchhub.editing.dropping import each_or_dropped
from patchhub.editing.editor import Cost, EditContext, method_record
from patchhub.editing.keyvalue.solver import factorise, solve
from patchhub.editing.profiles import profile_values
from patchhub.editing.settings import parse_settings, require
from patchhub.editing.training.labels import labelled
from patchhub.editing.training.normaliser import Normaliser, normalisers_after, to_state
from patchhub.editing.training.projections import Part, projections
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import site_for


@dataclass(frozen=True, slots=True, kw_only=True)
class UltraEditSettings:
    """Published values; what is edited is ``modules``, else ``layers``, else as published.

    Attributes:
        modules: Paths of the projections to edit.
        layers: Blocks of the decoder to edit.
        parts: Projections to edit in each of ``layers``.
        eta: η; as ‖ĥ‖² goes with the width, small models need a larger one.
        batch_size: Requests per pass; the normaliser's result depends on it.
    """

    modules: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None
    parts: tuple[Part, ...] = ("mlp_out",)
    eta: float = 1e-6
    batch_size: int = 10

    def __post_init__(self) -> None:
        for name in ("eta", "batch_size"):
            require(getattr(self, name) > 0, name, "a positive number", getattr(self, name))
        for name in ("modules", "layers", "parts"):
            require(getattr(self, name) != (), name, "at least one", getattr(self, name))


class UltraEdit:
    """Shifts from normalised keys and gradients."""

    name = "ultraedit"
    version = 1
    summary = "one backward pass, normalised over the edits so far; no subject, no statistics"
    reference = "Gu et al. 2025, arXiv:2505.14679"
    kind = Kind.LOW_RANK
    needs: frozenset[str] = frozenset()
    hparams = UltraEditSettings
    cost = Cost()

    def moment_layers(self, base: LoadedBase, hparams: UltraEditSettings) -> tuple[int, ...]:
        """None: no statistics are used."""
        return ()

    def edit(
        self, context: EditContext, requests: Sequence[EditRequest], hparams: UltraEditSettings
    ) -> Patch:
        """All requests together, one turn of the published procedure."""
        base = context.base
        settings = resolved(base, hparams)
        fit, rows = each_or_dropped(context, requests, lambda r: labelled(base, r))
        known, seen = normalisers_after(context, rows, settings.modules or (), settings.batch_size)
        dense = sum(h.numel() + g.numel() for h, g in seen.values()) > sum(
            h.shape[1] * g.shape[1] for h, g in seen.values()
        )
        payload, sites = {}, []
        for path, (keys, gradients) in seen.items():
            wanted = shift(known[keys.shape[1], gradients.shape[1]], keys, gradients, settings.eta)
            roles = update(keys, wanted, dense)
            sites.append(site_for(base.model, base.fingerprint, f"{path}.weight"))
            payload[sites[-1].tensor] = {r: t.float().cpu().contiguous() for r, t in roles.items()}
        return Patch.build(
            Kind.DENSE if dense else Kind.LOW_RANK,
            payload,
            sites=sites,
            base=base.fingerprint.weights,
            method=method_record(self, context, fit, settings),
            requests=fit,
            onto=context.onto,
            state=to_state(known),
        )


def resolved(base: LoadedBase, settings: UltraEditSettings) -> UltraEditSettings:
    """The settings with what is edited (E142 nothing is published, E144 no such block)."""
    if settings.modules is not None:
        return settings
    if settings.layers is not None:
        paths = projections(base, settings.layers, settings.parts)
        return replace(settings, modules=tuple(paths))
    try:
        published = profile_values(EDITOR.name, EDITOR.name, base)
    except NotFoundError as error:
        raise InvalidInputError(
            "E142",
            "nothing is published on what to edit in this model",
            expected="layers, or modules",
            hint="for example --set layers=8,9,10; late middle blocks are the usual choice",
        ) from error
    return replace(settings, modules=parse_settings(UltraEditSettings, published).modules)


def shift(normaliser: Normaliser, keys: Tensor, gradients: Tensor, eta: float) -> Tensor:
    """V ``(n, d_out)``, by how much each token's output is to change."""
    plain, slopes = normaliser.normalised(torch.cat([keys, gradients], 1), keys.shape[1])
    return -eta * plain.square().sum(1, keepdim=True) * slopes


def update(keys: Tensor, wanted: Tensor, dense: bool) -> dict[str, Tensor]:
    """ΔW for H ``(n, d_in)`` and V ``(n, d_out)``; solved with as few unknowns as there are."""
    wide = keys.double()
    count, width = wide.shape
    if dense and count >= width:
        gram = wide.T @ wide + torch.eye(width, dtype=wide.dtype, device=wide.device)
        return {"delta": solve(factorise(gram), wide.T @ wanted).T}
    gram = wide @ wide.T + torch.eye(count, dtype=wide.dtype, device=wide.device)
    rows = solve(factorise(gram), wide)
    return {"delta": wanted.T @ rows} if dense else {"A": rows, "B": wanted.T}


EDITOR = UltraEdit()
