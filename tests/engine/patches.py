"""Small patches of every weight kind, drawn by hypothesis or made from a seed."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from patchhub.manifest import Kind, MethodRecord, Orientation, Site
from patchhub.patch import Patch
from patchhub.request import EditRequest

BASE = "b" * 64
REQUESTS = (
    EditRequest("Mira was born in", "Oslo", "Mira"),
    EditRequest("Jon works in", "Malmö", target_old="東京"),
)


def site(name: str, shape: tuple[int, ...], orientation: Orientation | None = None) -> Site:
    """A site whose checkpoint shape is ``shape``."""
    chosen = orientation or (Orientation.VECTOR if len(shape) == 1 else Orientation.OUT_IN)
    return Site(name, chosen, shape, "BF16", "c" * 64)


def low_rank(ranks: tuple[int, ...] = (1, 3), seed: int = 0, **more: Any) -> Patch:
    """A patch of two or more 5×4 sites."""
    made = torch.Generator().manual_seed(seed)
    sites = [site(f"h.{i}.fc.weight", (5, 4)) for i in range(len(ranks))]
    payload = {
        s.tensor: {
            "A": torch.randn(r, 4, generator=made),
            "B": torch.randn(5, r, generator=made),
        }
        for s, r in zip(sites, ranks, strict=True)
    }
    return build(Kind.LOW_RANK, payload, sites, **more)


def dense(seed: int = 0, **more: Any) -> Patch:
    """A patch of a weight stored (d_in, d_out) and a bias."""
    made = torch.Generator().manual_seed(seed)
    sites = [site("h.0.fc.weight", (4, 5), Orientation.IN_OUT), site("h.0.fc.bias", (5,))]
    payload = {s.tensor: {"delta": torch.randn(s.matrix_shape, generator=made)} for s in sites}
    return build(Kind.DENSE, payload, sites, **more)


def sparse(seed: int = 0, **more: Any) -> Patch:
    """A patch of two columns by one vector, of rows of their own, and of a bias."""
    made = torch.Generator().manual_seed(seed)
    sites = [
        site("h.0.fc.weight", (4, 5), Orientation.IN_OUT),
        site("h.1.fc.weight", (5, 4)),
        site("h.1.fc.bias", (5,)),
    ]
    entries = {
        "h.0.fc.weight": ("columns", (1, 3), (0, 0), 5),
        "h.1.fc.weight": ("rows", (0, 2, 2, 4), (0, 1, 2, 0), 4),
        "h.1.fc.bias": ("rows", (0, 3), (1, 0), 1),
    }
    payload = {
        name: {
            axis: torch.tensor(index, dtype=torch.int32),
            "vector": torch.tensor(vector, dtype=torch.int32),
            "values": torch.randn(max(vector) + 1, length, generator=made),
        }
        for name, (axis, index, vector, length) in entries.items()
    }
    return build(Kind.SPARSE, payload, sites, **more)


def build(
    kind: Kind, payload: dict[str, dict[str, Tensor]], sites: list[Site], **more: Any
) -> Patch:
    """`Patch.build` with everything else filled in."""
    rest: dict[str, Any] = {
        "base": BASE,
        "method": MethodRecord("rome", 1, {"clamp": "4.0", "layer": 2}),
        "requests": REQUESTS,
        **more,
    }
    return Patch.build(kind, payload, sites=sites, **rest)


@st.composite
def patches(draw: st.DrawFn) -> Patch:
    """Patches of any weight kind, some with state and a context."""
    seed = draw(st.integers(0, 10_000))
    more: dict[str, Any] = {"onto": draw(st.sampled_from([(), ("d" * 64, "a" * 64)]))}
    if draw(st.booleans()):
        counts = torch.arange(draw(st.integers(0, 4)))
        more["state"] = {"keys": torch.full((2, 3), 0.1).bfloat16(), "counts": counts}
    kind = draw(st.sampled_from([Kind.DENSE, Kind.SPARSE, Kind.LOW_RANK]))
    if kind is not Kind.LOW_RANK:
        return dense(seed, **more) if kind is Kind.DENSE else sparse(seed, **more)
    return low_rank(tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))), seed, **more)
