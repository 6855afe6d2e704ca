"""What a kind of patch must be able to do, and the checks that all weight kinds share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from patchhub.errors import IntegrityError, InvalidInputError
from patchhub.manifest import Algebra, Kind, Site

Roles: TypeAlias = Mapping[str, Tensor]
"""The tensors of one site by their role."""
Payload: TypeAlias = Mapping[str, Roles]
"""Roles by the site's tensor name: float32, indices int32; all contiguous, on the CPU."""


class PatchKind(Protocol):
    """How patches of one kind are checked and stored.

    Attributes:
        kind: Its name.
        roles: Names of the tensors a site may have.
        algebra: How such patches meet others in a stack.
    """

    kind: Kind
    roles: tuple[str, ...]
    algebra: Algebra

    def validate(self, site: Site, roles: Roles) -> None:
        """Refuse tensors that do not fit the site.

        Raises:
            InvalidInputError: E112, wrong roles, dtype, shape or site; E115, NaN or infinity.
        """
        ...

    def finish(self, site: Site, roles: Roles) -> Site:
        """The site with what only the tensors tell (such as the rank)."""
        ...

    def repeated(self, roles: Roles, times: int) -> Roles:
        """The tensors of a patch of as many edits like this one; for forecasts of its size."""
        ...

    def to_files(self, sites: Sequence[Site], payload: Payload) -> dict[str, bytes]:
        """The files that carry the payload, always the same bytes for the same payload.

        Raises:
            InvalidInputError: E112, the sites cannot go into one patch.
        """
        ...

    def from_files(
        self, sites: Sequence[Site], files: Mapping[str, bytes]
    ) -> dict[str, dict[str, Tensor]]:
        """The payload in the files.

        Raises:
            IntegrityError: E110, E111, E117, E118.
            InvalidInputError: E112.
        """
        ...


class WeightKind(PatchKind, Protocol):
    """A kind that adds to weights: Δ(d_out, d_in), or Δ(n,), as a sum of exact terms per element.

    Its algebra is one that is `Algebra.on_weights`; the others act while the model runs.
    """

    def factors(self, roles: Roles) -> tuple[Tensor, Tensor] | None:
        """Matrices (d_out, r) and (r, d_in) whose product Δ is; none if it is no such product."""
        ...

    def add_to(self, total: Tensor, roles: Roles, rows: slice, columns: slice) -> None:
        """Add a block of Δ to ``total`` in place, float64 of shape (rows, columns) or (rows,)."""
        ...

    def bound(self, roles: Roles) -> float:
        """Upper bound of the sum of |terms| of any element, up to the rounding of this bound."""
        ...

    def term_count(self, roles: Roles) -> int:
        """Number of terms per element."""
        ...

    def products(self, roles: Roles, rows: Tensor, columns: Tensor) -> Tensor:
        """The terms of some elements, exact in float64: (elements, terms).

        Args:
            roles: The site's tensors.
            rows: Row of each element.
            columns: Column of each element; ignored for vectors.
        """
        ...


def check_roles(
    kind: PatchKind, site: Site, roles: Roles, dtypes: Mapping[str, torch.dtype] | None = None
) -> None:
    """The part of `PatchKind.validate` that is the same for all: roles, dtype, finite numbers.

    Args:
        kind: Whose tensors they are.
        site: Where they act.
        roles: The tensors.
        dtypes: Of each role; by default those of the kind, all float32.
    """
    wanted = dict.fromkeys(kind.roles, torch.float32) if dtypes is None else dtypes
    if set(roles) != set(wanted):
        raise InvalidInputError(
            "E112",
            f"{site.tensor}: a {kind.kind} patch has other tensors",
            expected=", ".join(wanted),
            found=", ".join(sorted(roles)) or "none",
        )
    if site.expert is not None:
        raise InvalidInputError(
            "E112", f"{site.tensor}: {kind.kind} patches cannot act on one expert of a fused tensor"
        )
    for role, tensor in roles.items():
        if tensor.dtype != wanted[role] or tensor.device.type != "cpu":
            name = str(wanted[role]).removeprefix("torch.")
            raise InvalidInputError(
                "E112",
                f"{site.tensor}: {role} must be {name} on the CPU",
                found=f"{tensor.dtype} on {tensor.device}",
                hint="round it yourself: what is lost is the method's decision",
            )
        check_finite(tensor, f"{site.tensor}: {role}")


def check_finite(tensor: Tensor, what: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        InvalidInputError: E115.
    """
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        bad = int((~tensor.isfinite()).sum())
        raise InvalidInputError(
            "E115",
            f"{what} holds NaN or infinity",
            found=f"{bad} of {tensor.numel()} numbers",
            hint="did the method diverge?",
        )


def check_shape(site: Site, role: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of the wrong shape.

    Raises:
        InvalidInputError: E112.
    """
    if tuple(tensor.shape) != shape:
        raise InvalidInputError(
            "E112",
            f"{site.tensor}: {role} does not fit the site",
            expected=list(shape),
            found=list(tensor.shape),
        )


def one_file(files: Mapping[str, bytes], name: str) -> bytes:
    """The file ``name``.

    Raises:
        IntegrityError: E117, it is missing.
    """
    if name not in files:
        raise IntegrityError("E117", f"{name} is missing", found=", ".join(sorted(files)))
    return files[name]


def check_names(found: Mapping[str, Tensor], expected: set[str], what: str) -> None:
    """Refuse a tensor file that holds other tensors than the manifest's sites need.

    Raises:
        IntegrityError: E118.
    """
    for name in sorted(found.keys() ^ expected):
        raise IntegrityError(
            "E118",
            f"{what}: holds other tensors than the manifest says",
            found=f"{name} {'is foreign' if name in found else 'is missing'}",
        )
