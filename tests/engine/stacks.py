"""Random patches that fit a pico base, for tests of the composer and of checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from patchhub.kinds.storage import to_bytes
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind, MethodRecord
from patchhub.patch import Patch
from patchhub.sites import site_for

TENSORS = {
    "gpt2": [
        "transformer.h.0.mlp.c_proj.weight",
        "transformer.h.1.mlp.c_proj.weight",
        "transformer.h.1.mlp.c_fc.weight",
        "transformer.h.0.mlp.c_proj.bias",
        "transformer.wte.weight",
    ],
    "llama": [
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.1.self_attn.o_proj.weight",
        "model.layers.0.input_layernorm.weight",
        "lm_head.weight",
    ],
}
"""Tensors to patch, by family: matrices first, then a vector, then an embedding or head."""


def patch_on(
    base: LoadedBase,
    tensors: Sequence[str],
    *,
    seed: int = 0,
    rank: int | None = 1,
    scale: float = 0.05,
) -> Patch:
    """A random patch of the named tensors, low-rank or (without a rank) dense."""
    make = torch.Generator().manual_seed(seed)
    sites = [site_for(base.model, base.fingerprint, name) for name in tensors]
    payload = {}
    for site in sites:
        if rank is None:
            payload[site.tensor] = {"delta": torch.randn(site.matrix_shape, generator=make) * scale}
        else:
            d_out, d_in = site.matrix_shape
            payload[site.tensor] = {
                "A": torch.randn(rank, d_in, generator=make),
                "B": torch.randn(d_out, rank, generator=make) * scale,
            }
    return Patch.build(
        Kind.DENSE if rank is None else Kind.LOW_RANK,
        payload,
        sites=sites,
        base=base.fingerprint.weights,
        method=MethodRecord("test", 1, seed=seed),
        requests=(),
    )


def columns_on(
    base: LoadedBase, tensors: Sequence[str], *, seed: int = 0, scale: float = 0.05
) -> Patch:
    """A random sparse patch: two vectors on columns of matrices, both of them on one; on rows of
    vectors one number each.
    """
    make = torch.Generator().manual_seed(seed)
    sites = [site_for(base.model, base.fingerprint, name) for name in tensors]
    payload = {}
    for site in sites:
        shape = site.matrix_shape
        length, axis = (1, "rows") if len(shape) == 1 else (shape[0], "columns")
        payload[site.tensor] = {
            axis: torch.tensor([1, 1, shape[-1] - 1], dtype=torch.int32),
            "vector": torch.tensor([0, 1, 0], dtype=torch.int32),
            "values": torch.randn(2, length, generator=make) * scale,
        }
    return Patch.build(
        Kind.SPARSE,
        payload,
        sites=sites,
        base=base.fingerprint.weights,
        method=MethodRecord("test", 1, seed=seed),
        requests=(),
    )


def patches_on(base: LoadedBase, family: str, count: int) -> list[Patch]:
    """Patches of all sorts: rank 1 to 8 and dense, on one to three tensors."""
    names = TENSORS[family]
    patches = []
    for i in range(count):
        if i % 4 == 3:
            patches.append(patch_on(base, names[2 : 3 + i % 3], seed=i, rank=None))
        else:
            patches.append(patch_on(base, names[i % 2 : 2 + i % 2], seed=i, rank=1 + i % 8))
    return patches


def model_bytes(base: LoadedBase) -> str:
    """Digest of every parameter's and buffer's bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(base.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode() + to_bytes(tensor))
    return digest.hexdigest()
