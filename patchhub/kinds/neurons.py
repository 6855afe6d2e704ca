"""Added neurons: an MLP puts out Σⱼ act(kⱼ·x + bⱼ) vⱼ more, x being what goes into the MLP.

T-Patcher (Huang et al. 2023, arXiv:2301.09785, eq. 4 and 5) and CaliNET (Dong et al. 2022,
arXiv:2210.03329, eq. 2). A gated neuron is act(kⱼ·x + bⱼ) (uⱼ·x) vⱼ. The site is the weight of the
MLP's down-projection, whose input is not x but whose output is the MLP's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from patchhub.kinds import rows
from patchhub.kinds.protocol import PatchKind, Payload, Roles, check_roles, check_shape
from patchhub.manifest import Algebra, Kind, Site

KEYS: Final = "keys"
BIAS: Final = "bias"
VALUES: Final = "values"
UP: Final = "up"
ACTIVATION: Final = "activation"


class Neurons:
    """Rows of an MLP of d inputs and outputs, d being the site's d_out.

    ``keys`` (n, d), ``bias`` (n,), ``values`` (n, d) and, for gated neurons, ``up`` (n, d), all
    float32; ``activation`` (1,) int32, a place in `rows.ACTIVATIONS` (`rows.code` makes it).
    """

    kind: Kind = Kind.NEURONS
    roles: tuple[str, ...] = (KEYS, BIAS, VALUES, UP, ACTIVATION)
    algebra: Algebra = Algebra.OUTPUT

    def validate(self, site: Site, roles: Roles) -> None:
        """See `PatchKind.validate`."""
        wanted = dict.fromkeys((KEYS, BIAS, VALUES), torch.float32)
        if UP in roles:
            wanted[UP] = torch.float32
        check_roles(self, site, roles, {**wanted, ACTIVATION: torch.int32})
        width, _ = rows.check_matrix(site)
        found = rows.count(site, KEYS, roles)
        for role in wanted:
            check_shape(site, role, roles[role], (found,) if role == BIAS else (found, width))
        check_shape(site, ACTIVATION, roles[ACTIVATION], (1,))
        rows.check_code(site, ACTIVATION, roles[ACTIVATION], rows.ACTIVATIONS)

    def finish(self, site: Site, roles: Roles) -> Site:
        """The site with the number of neurons."""
        return replace(site, rank=len(roles[KEYS]))

    def repeated(self, roles: Roles, times: int) -> Roles:
        """See `PatchKind.repeated`."""
        return {
            role: tensor if role == ACTIVATION else tensor.repeat(times, *(1,) * (tensor.ndim - 1))
            for role, tensor in roles.items()
        }

    def to_files(self, sites: Sequence[Site], payload: Payload) -> dict[str, bytes]:
        """See `PatchKind.to_files`."""
        return rows.to_files(sites, payload)

    def from_files(
        self, sites: Sequence[Site], files: Mapping[str, bytes]
    ) -> dict[str, dict[str, Tensor]]:
        """See `PatchKind.from_files`."""
        return rows.from_files(sites, files)


KIND: PatchKind = Neurons()
