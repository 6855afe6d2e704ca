"""Low-rank updates, stored so that PEFT, transformers and vLLM load them as a standard LoRA.

Source: Hu et al. 2021, arXiv:2106.09685.   Δ = B A with A (r, d_in), B (d_out, r); no scaling.
Readers differ in what they make of `rank_pattern`, so one patch has one rank: shorter factors are
filled up with zeros on disk, and the manifest's site says how many rows are meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from patchhub import canonical
from patchhub.errors import IntegrityError, InvalidInputError
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
from patchhub.manifest import Algebra, Kind, Orientation, Site

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"


class LowRank:
    """Δ = B A."""

    kind: Kind = Kind.LOW_RANK
    roles: tuple[str, ...] = ("A", "B")
    algebra: Algebra = Algebra.ADDITIVE

    def validate(self, site: Site, roles: Roles) -> None:
        """See `PatchKind.validate`; sites are matrices called ``<module>.weight``."""
        check_roles(self, site, roles)
        if site.orientation is Orientation.VECTOR or not site.tensor.endswith(".weight"):
            raise InvalidInputError(
                "E112",
                f"{site.tensor}: low-rank updates act on the weight matrix of a module",
                hint="use a dense patch",
            )
        d_out, d_in = site.matrix_shape
        rank = roles["A"].shape[0] if roles["A"].ndim else 0
        if rank < 1 or site.rank not in (None, rank):
            raise InvalidInputError(
                "E112", f"{site.tensor}: wrong rank", expected=site.rank or "1 or more", found=rank
            )
        check_shape(site, "A", roles["A"], (rank, d_in))
        check_shape(site, "B", roles["B"], (d_out, rank))

    def finish(self, site: Site, roles: Roles) -> Site:
        """The site with its rank."""
        return replace(site, rank=roles["A"].shape[0])

    def factors(self, roles: Roles) -> tuple[Tensor, Tensor]:
        """See `WeightKind.factors`."""
        return roles["B"], roles["A"]

    def add_to(self, total: Tensor, roles: Roles, rows: slice, columns: slice) -> None:
        """See `WeightKind.add_to`."""
        total.addmm_(roles["B"][rows].double(), roles["A"][:, columns].double())

    def bound(self, roles: Roles) -> float:
        """See `WeightKind.bound`."""
        heights, widths = roles["B"].abs().amax(0), roles["A"].abs().amax(1)
        return float(heights.double() @ widths.double())

    def term_count(self, roles: Roles) -> int:
        """The rank."""
        return roles["A"].shape[0]

    def products(self, roles: Roles, rows: Tensor, columns: Tensor) -> Tensor:
        """See `WeightKind.products`; two float32 factors have an exact float64 product."""
        return roles["B"][rows].double() * roles["A"][:, columns].T.double()

    def repeated(self, roles: Roles, times: int) -> Roles:
        """See `PatchKind.repeated`."""
        return {"A": roles["A"].repeat(times, 1), "B": roles["B"].repeat(1, times)}

    def to_files(self, sites: Sequence[Site], payload: Payload) -> dict[str, bytes]:
        """See `PatchKind.to_files`; Conv1D and Linear sites do not go into one patch."""
        rank = max(self.term_count(payload[site.tensor]) for site in sites)
        tensors: dict[str, Tensor] = {}
        for site in sites:
            factors = payload[site.tensor]
            missing = rank - self.term_count(factors)
            tensors[_key(site, "A")] = torch.nn.functional.pad(factors["A"], (0, 0, 0, missing))
            tensors[_key(site, "B")] = torch.nn.functional.pad(factors["B"], (0, missing))
        return {CONFIG: _config(sites, rank), WEIGHTS: storage.encode(tensors)}

    def from_files(
        self, sites: Sequence[Site], files: Mapping[str, bytes]
    ) -> dict[str, dict[str, Tensor]]:
        """See `PatchKind.from_files`."""
        tensors = storage.decode(one_file(files, WEIGHTS), what=WEIGHTS)
        check_names(tensors, {_key(site, role) for site in sites for role in self.roles}, WEIGHTS)
        payload = {site.tensor: _trimmed(site, tensors) for site in sites}
        rank = max((site.rank or 0 for site in sites), default=0)
        if one_file(files, CONFIG) != _config(sites, rank):
            raise IntegrityError(
                "E118",
                f"{CONFIG}: does not describe the patch",
                expected="the configuration PatchHub writes for these sites",
                hint="loaders would apply something else than PatchHub does",
            )
        return payload


def _trimmed(site: Site, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The site's factors without the filling, which must be zero."""
    a, b = tensors[_key(site, "A")], tensors[_key(site, "B")]
    rank = site.rank or 0
    if a.ndim != 2 or b.ndim != 2 or not 0 < rank <= min(a.shape[0], b.shape[1]):
        raise InvalidInputError(
            "E112",
            f"{site.tensor}: factors do not have the site's rank",
            expected=site.rank,
            found=f"A {list(a.shape)}, B {list(b.shape)}",
        )
    if bool(a[rank:].count_nonzero()) or bool(b[:, rank:].count_nonzero()):
        raise IntegrityError("E118", f"{site.tensor}: the filling beyond rank {rank} is not zero")
    return {"A": a[:rank].contiguous(), "B": b[:, :rank].contiguous()}


def _config(sites: Sequence[Site], rank: int) -> bytes:
    """PEFT's configuration; whatever is left out has the default that changes nothing."""
    turned = {site.orientation is Orientation.IN_OUT for site in sites}
    if len(turned) > 1:
        raise InvalidInputError(
            "E112",
            "one low-rank patch cannot mix Conv1D and Linear sites",
            expected="sites of one orientation",
            found=", ".join(f"{site.tensor} {site.orientation}" for site in sites[:4]),
            hint="make two patches: the LoRA format has one setting for all modules",
        )
    return canonical.dumps(
        {
            "bias": "none",
            "fan_in_fan_out": turned == {True},
            "inference_mode": True,
            "lora_alpha": rank,
            "peft_type": "LORA",
            "r": rank,
            "target_modules": sorted(site.module for site in sites),
        }
    )


def _key(site: Site, role: str) -> str:
    return f"base_model.model.{site.module}.lora_{role}.weight"


KIND: WeightKind = LowRank()
