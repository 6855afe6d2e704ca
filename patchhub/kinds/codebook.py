"""A codebook: a gate, decided once per prompt, and what acts on the rows of a batch that pass it.

A gate by *keys* compares what goes into its module at the prompt's last token with keys, and
chooses the nearest if it lies inside its radius (GRACE, Hartvigsen et al. 2023, arXiv:2211.11031,
eq. 1; MELO, Yu et al. 2024, arXiv:2312.11795). A gate by *change* compares what its module puts
out with the payload and without (WISE, Wang et al. 2024, arXiv:2405.14768, eq. 6). The payload is
a value put in the place of the module's output, a sparse update of its weight, or low-rank updates
of this and later modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from patchhub.canonical import sha256
from patchhub.errors import InvalidInputError
from patchhub.kinds import rows
from patchhub.kinds.protocol import PatchKind, Payload, Roles, check_roles, check_shape
from patchhub.manifest import Algebra, Kind, Site

KEYS: Final = "keys"
RADIUS: Final = "radius"
GROUP: Final = "group"
POSITION: Final = "position"
BLOCK: Final = "block"
VALUES: Final = "values"
DOWN: Final = "A"
UP: Final = "B"
OWNER: Final = "owner"
THRESHOLD: Final = "threshold"
ACTIVATION: Final = "activation"
INDEX: Final = "index"
CHANGES: Final = "changes"

_F, _I = torch.float32, torch.int32
_GATE = {KEYS: _F, RADIUS: _F, GROUP: _I}
_VALUE = {VALUES: _F, POSITION: _I}
_LOW_RANK = {DOWN: _F, UP: _F, OWNER: _I}
_CHANGE = {THRESHOLD: _F, ACTIVATION: _I, INDEX: _I, CHANGES: _F}


class Codebook:
    """Tensors of a site (d_out, d_in); a patch has one gate, and low-rank sites if that needs them.

    A gate by keys: ``keys`` (c, d_in), ``radius`` (c,), not negative, ``group`` (c,) int32 (rows
    that want the same have the same group; `group_of` makes it), and either

    - ``values`` (c, d_out) and ``position`` (c,) int32, places in `rows.POSITIONS`, or
    - ``block`` (c,) int32: which of the blocks 0, 1, … of low-rank updates a row chooses.

    A low-rank site, which may be the gate's own: ``A`` (r, d_in), ``B`` (d_out, r) and ``owner``
    (r,) int32, sorted: the block that each rank belongs to. A chosen block adds B A x at every
    token, with the scale folded into B.

    A gate by change: ``index`` (n,) int32, sorted places d_in · row + column in the weight,
    ``changes`` (n,), what is added there, ``threshold`` (1,) and ``activation`` (1,) int32. It
    passes if the mean over the prompt's tokens of ‖act(W x) − act((W + Δ) x)‖ is above the
    threshold; of several that pass, the one furthest above (by ratio) is taken for every token.
    """

    kind: Kind = Kind.CODEBOOK
    roles: tuple[str, ...] = tuple({**_GATE, **_VALUE, BLOCK: _I, **_LOW_RANK, **_CHANGE})
    algebra: Algebra = Algebra.OVERRIDE

    def validate(self, site: Site, roles: Roles) -> None:
        """See `PatchKind.validate`."""
        wanted: dict[str, torch.dtype] = {}
        if THRESHOLD in roles:
            wanted |= _CHANGE
        elif KEYS in roles:
            wanted |= _GATE | ({BLOCK: _I} if BLOCK in roles else _VALUE)
        if OWNER in roles or not wanted:
            wanted |= _LOW_RANK
        check_roles(self, site, roles, wanted)
        d_out, d_in = rows.check_matrix(site)
        if KEYS in roles:
            _check_gate(site, roles, d_out, d_in)
        if OWNER in roles:
            _check_low_rank(site, roles, d_out, d_in)
        if THRESHOLD in roles:
            _check_change(site, roles, d_out * d_in)

    def finish(self, site: Site, roles: Roles) -> Site:
        """The site with the number of its rows: keys, else ranks, else changed weights."""
        return replace(site, rank=_rows(roles))

    def repeated(self, roles: Roles, times: int) -> Roles:
        """See `PatchKind.repeated`; a sparse update is as large for many edits as for one."""
        if THRESHOLD in roles:
            return roles
        return {
            role: _again(role, tensor, times)
            if role in (BLOCK, OWNER)
            else _more(role, tensor, times)
            for role, tensor in roles.items()
        }

    def to_files(self, sites: Sequence[Site], payload: Payload) -> dict[str, bytes]:
        """See `PatchKind.to_files`; a patch has one gate, and the blocks that it names."""
        gates = [s for s in sites if {KEYS, THRESHOLD} & set(payload[s.tensor])]
        low_rank = [s for s in sites if OWNER in payload[s.tensor]]
        if len(gates) != 1 or len({*gates, *low_rank}) != len(sites):
            raise InvalidInputError(
                "E112",
                "a codebook has one gate",
                expected="one site with keys or a threshold",
                found=", ".join(site.tensor for site in gates) or "none",
                hint="make a patch of each",
            )
        gate = payload[gates[0].tensor]
        named = set(gate[BLOCK].tolist()) if BLOCK in gate else set()
        owned = {one for s in low_rank for one in payload[s.tensor][OWNER].tolist()}
        if named != owned or named != set(range(len(named))):
            raise InvalidInputError(
                "E112",
                f"{gates[0].tensor}: the blocks that keys choose are not those that there are",
                expected="blocks 0, 1, …, each chosen by a key and with ranks at some site",
                found=f"chosen {sorted(named)[:8]}, with ranks {sorted(owned)[:8]}",
            )
        return rows.to_files(sites, payload)

    def from_files(
        self, sites: Sequence[Site], files: Mapping[str, bytes]
    ) -> dict[str, dict[str, Tensor]]:
        """See `PatchKind.from_files`."""
        return rows.from_files(sites, files)


def group_of(wanted: str) -> int:
    """The group of rows that all want ``wanted``: 31 bits of its SHA-256."""
    return int(sha256(wanted.encode())[:8], 16) >> 1


def _rows(roles: Roles) -> int:
    return len(roles[next(role for role in (KEYS, OWNER, INDEX) if role in roles)])


def _check_gate(site: Site, roles: Roles, d_out: int, d_in: int) -> None:
    found = rows.count(site, KEYS, roles)
    check_shape(site, KEYS, roles[KEYS], (found, d_in))
    for role in (RADIUS, GROUP, BLOCK if BLOCK in roles else POSITION):
        check_shape(site, role, roles[role], (found,))
    if bool((roles[RADIUS] < 0).any()):
        raise InvalidInputError("E112", f"{site.tensor}: a radius is negative")
    if VALUES in roles:
        check_shape(site, VALUES, roles[VALUES], (found, d_out))
        rows.check_code(site, POSITION, roles[POSITION], rows.POSITIONS)


def _check_low_rank(site: Site, roles: Roles, d_out: int, d_in: int) -> None:
    rank = roles[OWNER].numel() if KEYS in roles else rows.count(site, OWNER, roles)
    check_shape(site, OWNER, roles[OWNER], (rank,))
    check_shape(site, DOWN, roles[DOWN], (rank, d_in))
    check_shape(site, UP, roles[UP], (d_out, rank))
    if not rank or bool((roles[OWNER].diff() < 0).any()):
        raise InvalidInputError("E112", f"{site.tensor}: ranks are not sorted by their block")


def _check_change(site: Site, roles: Roles, elements: int) -> None:
    found = rows.count(site, INDEX, roles)
    for role, length in ((INDEX, found), (CHANGES, found), (THRESHOLD, 1), (ACTIVATION, 1)):
        check_shape(site, role, roles[role], (length,))
    rows.check_code(site, ACTIVATION, roles[ACTIVATION], rows.ACTIVATIONS)
    index = roles[INDEX]
    inside = int(index[0]) >= 0 and int(index[-1]) < elements
    if not inside or bool((index.diff() <= 0).any()) or float(roles[THRESHOLD]) <= 0:
        raise InvalidInputError(
            "E112",
            f"{site.tensor}: is no sparse update with a threshold",
            expected=f"sorted places below {elements}, each once, and a threshold above 0",
        )


def _more(role: str, tensor: Tensor, times: int) -> Tensor:
    if role == UP:
        return tensor.repeat(1, times)
    return tensor.repeat(times, *(1,) * (tensor.ndim - 1))


def _again(role: str, tensor: Tensor, times: int) -> Tensor:
    """Block numbers of each further edit count on."""
    step = int(tensor.max()) + 1
    return (tensor + step * torch.arange(times, dtype=_I)[:, None]).flatten()


KIND: PatchKind = Codebook()
