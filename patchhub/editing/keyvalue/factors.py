"""The payload of updates of down-projections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from patchhub.loading import LoadedBase
from patchhub.manifest import Site
from patchhub.sites import site_for

if TYPE_CHECKING:  # the joint solve writes its payload with this, too
    from patchhub.editing.joint.solver import Factors


def low_rank(
    base: LoadedBase, factors: Mapping[int, Factors]
) -> tuple[list[Site], dict[str, dict[str, Tensor]]]:
    """Sites and payload of a low-rank patch, as `Patch.build` takes them.

    Args:
        base: The base.
        factors: Block → A ``(f, n)`` and R ``(d, n)``; ΔW = R Aᵀ.
    """
    sites: list[Site] = []
    payload: dict[str, dict[str, Tensor]] = {}
    for layer, (rows, residuals) in factors.items():
        path = base.arch.path("mlp_out", layer, base.model, base.arch.reading)
        sites.append(site_for(base.model, base.fingerprint, f"{path}.weight"))
        roles = {"A": rows.T, "B": residuals}
        payload[sites[-1].tensor] = {name: one.float().contiguous() for name, one in roles.items()}
    return sites, payload
