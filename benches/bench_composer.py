"""Composing a weight: the correctly rounded exact sum against a plain in-place update.

One down-projection of GPT-J's shape halved (768 x 3072 and 2048 x 8192) in bf16 and fp32; rank-1
patches as ROME makes them. The floor is `addmm` in float32 on a copy: one rounding less careful.
"""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from patchhub.composer.exact_sum import compose
from patchhub.kinds import weight_kind
from patchhub.kinds.storage import to_bytes
from patchhub.manifest import Kind, Orientation, Site

SHAPES = [(768, 3072), (2048, 8192)]
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}


def _problem(
    shape: tuple[int, int], dtype: str, patches: int
) -> tuple[Tensor, Site, list[dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(0)
    base = (torch.randn(shape, generator=generator) * 0.02).to(DTYPES[dtype])
    site = Site("w.weight", Orientation.OUT_IN, shape, dtype, "0" * 64)
    roles = [
        {
            "A": torch.randn(1, shape[1], generator=generator) * 0.05,
            "B": torch.randn(shape[0], 1, generator=generator) * 0.05,
        }
        for _ in range(patches)
    ]
    return base, site, roles


@pytest.mark.parametrize("patches", [1, 10])
@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def bench_exact_sum(
    benchmark: BenchmarkFixture, shape: tuple[int, int], dtype: str, patches: int
) -> None:
    base, site, roles = _problem(shape, dtype, patches)
    kind = weight_kind(Kind.LOW_RANK)
    forward = benchmark(compose, base, site, [(kind, one) for one in roles])
    backward = compose(base, site, [(kind, one) for one in reversed(roles)])
    benchmark.extra_info["bytes"] = base.nbytes
    assert to_bytes(forward) == to_bytes(backward)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def bench_floor_plain_addmm(
    benchmark: BenchmarkFixture, shape: tuple[int, int], dtype: str
) -> None:
    base, _, (roles,) = _problem(shape, dtype, 1)

    def plain() -> Tensor:
        return base.float().addmm_(roles["B"], roles["A"]).to(base.dtype)

    assert benchmark(plain).shape == base.shape
