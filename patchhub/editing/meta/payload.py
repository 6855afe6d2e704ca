"""Updates of several requests as the payload of one patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from patchhub.editing.meta.slopes import Factors
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind, Site
from patchhub.sites import site_for


def payload_of(
    base: LoadedBase, made: Sequence[Mapping[str, Factors]]
) -> tuple[Kind, list[Site], dict[str, dict[str, torch.Tensor]]]:
    """Kind, sites and tensors, as `Patch.build` takes them: the sum of the updates.

    A dense patch where that is smaller than the factors of all.

    Args:
        base: The base.
        made: Of each request, the updates by path; of one edit each.
    """
    parts = {path: [_rows(updates[path]) for updates in made] for path in made[0]}
    joined = {
        path: (torch.cat([a for a, _ in rows]), torch.cat([b for _, b in rows]))
        for path, rows in parts.items()
    }
    thin = sum(a.numel() + b.numel() for a, b in joined.values())
    dense = thin > sum(a.shape[1] * b.shape[1] for a, b in joined.values())
    sites, payload = [], {}
    for path, (a, b) in joined.items():
        sites.append(site_for(base.model, base.fingerprint, f"{path}.weight"))
        roles = {"delta": b.double().T @ a.double()} if dense else {"A": a, "B": b.T}
        payload[sites[-1].tensor] = {r: t.float().cpu().contiguous() for r, t in roles.items()}
    return Kind.DENSE if dense else Kind.LOW_RANK, sites, payload


def _rows(update: Factors) -> tuple[torch.Tensor, torch.Tensor]:
    """The positions of one edit that count ``(t, d_in), (t, d_out)``; one at least."""
    mask = update.used[0]
    if not bool(mask.any()):
        mask = torch.arange(len(mask), device=mask.device) == 0
    return update.inputs[0][mask], update.slopes[0][mask]
