"""Dense updates: one number per weight or bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from torch import Tensor

from patchhub.kinds import storage
from patchhub.kinds.protocol import (
    Payload,
    Roles,
    WeightKind,
    check_names,
    check_roles,
    check_shape,
    one_file,
)
from patchhub.manifest import Algebra, Kind, Site

FILE: Final = "patch.safetensors"


class Dense:
    """Δ = delta, of shape (d_out, d_in) or (n,)."""

    kind: Kind = Kind.DENSE
    roles: tuple[str, ...] = ("delta",)
    algebra: Algebra = Algebra.ADDITIVE

    def validate(self, site: Site, roles: Roles) -> None:
        """See `PatchKind.validate`."""
        check_roles(self, site, roles)
        check_shape(site, "delta", roles["delta"], site.matrix_shape)

    def finish(self, site: Site, roles: Roles) -> Site:
        """See `PatchKind.finish`; there is nothing to add."""
        return site

    def factors(self, roles: Roles) -> None:
        """See `WeightKind.factors`; there are none."""

    def add_to(self, total: Tensor, roles: Roles, rows: slice, columns: slice) -> None:
        """See `WeightKind.add_to`."""
        delta = roles["delta"]
        total += delta[rows] if delta.ndim == 1 else delta[rows, columns]

    def bound(self, roles: Roles) -> float:
        """See `WeightKind.bound`."""
        delta = roles["delta"]
        return float(delta.abs().amax()) if delta.numel() else 0.0

    def term_count(self, roles: Roles) -> int:
        """See `WeightKind.term_count`."""
        return 1

    def products(self, roles: Roles, rows: Tensor, columns: Tensor) -> Tensor:
        """See `WeightKind.products`."""
        delta = roles["delta"]
        return (delta[rows] if delta.ndim == 1 else delta[rows, columns])[:, None].double()

    def repeated(self, roles: Roles, times: int) -> Roles:
        """See `PatchKind.repeated`; there is one number per weight whatever is added up."""
        return roles

    def to_files(self, sites: Sequence[Site], payload: Payload) -> dict[str, bytes]:
        """See `PatchKind.to_files`."""
        return {FILE: storage.encode({_key(s): payload[s.tensor]["delta"] for s in sites})}

    def from_files(
        self, sites: Sequence[Site], files: Mapping[str, bytes]
    ) -> dict[str, dict[str, Tensor]]:
        """See `PatchKind.from_files`."""
        tensors = storage.decode(one_file(files, FILE), what=FILE)
        check_names(tensors, {_key(site) for site in sites}, FILE)
        return {site.tensor: {"delta": tensors[_key(site)]} for site in sites}


def _key(site: Site) -> str:
    return f"{site.tensor}/delta"


KIND: WeightKind = Dense()
