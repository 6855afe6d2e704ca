"""Live patches for pico bases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from patchhub.kinds.codebook import group_of
from patchhub.kinds.rows import ACTIVATIONS, POSITIONS, code
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind, MethodRecord
from patchhub.patch import Patch
from patchhub.sites import site_for
from tests.reference.live_reference import change

MLP_OUT = {
    "gpt2": "transformer.h.{}.mlp.c_proj.weight",
    "llama": "model.layers.{}.mlp.down_proj.weight",
    "opt": "model.decoder.layers.{}.fc2.weight",
    "t5": "encoder.block.{}.layer.1.DenseReluDense.wo.weight",
    "t5 decoder": "decoder.block.{}.layer.2.DenseReluDense.wo.weight",
}
PROMPTS = (
    "Mira Tolven was born in",
    "The capital of Norway is",
    "Jon Arvel works for Nordlys, a company in",
    "Mira Tolven lives in Paris and speaks",
)


def built(base: LoadedBase, kind: Kind, payload: dict[str, dict[str, Tensor]]) -> Patch:
    """A patch whose sites are found by their names; the payload may use runtime names."""
    sites = {name: site_for(base.model, base.fingerprint, name) for name in payload}
    return Patch.build(
        kind,
        {sites[name].tensor: roles for name, roles in payload.items()},
        sites=list(sites.values()),
        base=base.fingerprint.weights,
        method=MethodRecord("test", 1),
        requests=(),
    )


def shape_of(base: LoadedBase, tensor: str) -> tuple[int, ...]:
    return site_for(base.model, base.fingerprint, tensor).matrix_shape


def neurons_on(
    base: LoadedBase, tensor: str, seed: int = 0, *, count: int = 2, gated: bool = False
) -> Patch:
    make = torch.Generator().manual_seed(seed)
    width = shape_of(base, tensor)[0]
    rows = {r: torch.randn(count, width, generator=make) for r in ("keys", "values", "up")}
    if not gated:
        del rows["up"]
    rows["values"] *= 0.5
    word = ACTIVATIONS[seed % len(ACTIVATIONS)]
    bias = {"bias": torch.randn(count, generator=make), "activation": code(ACTIVATIONS, word)}
    return built(base, Kind.NEURONS, {tensor: {**rows, **bias}})


def ids_of(base: LoadedBase, text: str) -> Tensor:
    ids: Tensor = base.tokenizer(text, return_tensors="pt").input_ids
    return ids


def through(base: LoadedBase, tensor: str, text: str, **inputs: Any) -> tuple[Tensor, Tensor]:
    """What goes into the tensor's module and what comes out, (tokens, d), on the model as it is."""
    seen: list[tuple[Tensor, Tensor]] = []
    module = base.model.get_submodule(tensor.removesuffix(".weight"))

    def watch(_: nn.Module, args: Any, output: Tensor) -> None:
        x = args[0]
        seen.append((x.reshape(-1, x.shape[-1]), output.reshape(-1, output.shape[-1])))

    handle = module.register_forward_hook(watch)
    with torch.no_grad():
        base.model(ids_of(base, text), **inputs)
    handle.remove()
    return seen[0]


def key_of(base: LoadedBase, tensor: str, text: str, **inputs: Any) -> Tensor:
    """What goes into the tensor's module at the last token of a prompt."""
    return through(base, tensor, text, **inputs)[0][-1].float()


def values_on(
    base: LoadedBase,
    tensor: str,
    texts: Sequence[str],
    *,
    position: str = "last",
    radius: float = 0.5,
    seed: int = 0,
    **inputs: Any,
) -> Patch:
    """A codebook with the key of each text and a random value."""
    make = torch.Generator().manual_seed(seed)
    keys = torch.stack([key_of(base, tensor, text, **inputs) for text in texts])
    roles = {
        "keys": keys,
        "radius": torch.full((len(texts),), radius),
        "group": torch.tensor([group_of(f"{seed} {t}") for t in texts], dtype=torch.int32),
        "values": 3 * torch.randn(len(texts), shape_of(base, tensor)[0], generator=make),
        "position": code(POSITIONS, position).repeat(len(texts)),
    }
    return built(base, Kind.CODEBOOK, {tensor: roles})


def blocks_on(
    base: LoadedBase,
    gate: str,
    others: Sequence[str],
    texts: Sequence[str],
    *,
    seed: int = 0,
    **inputs: Any,
) -> Patch:
    """A codebook whose keys choose low-rank blocks of other modules, one block for each text."""
    make = torch.Generator().manual_seed(seed)
    keys = torch.stack([key_of(base, gate, text, **inputs) for text in texts])
    payload = {
        gate: {
            "keys": keys,
            "radius": torch.full((len(texts),), 0.5),
            "group": torch.tensor([group_of(f"{seed} {t}") for t in texts], dtype=torch.int32),
            "block": torch.arange(len(texts), dtype=torch.int32),
        }
    }
    owner = torch.arange(len(texts), dtype=torch.int32).repeat_interleave(2)
    for name in others:
        d_out, d_in = shape_of(base, name)
        ranks = {
            "A": torch.randn(len(owner), d_in, generator=make),
            "B": torch.randn(d_out, len(owner), generator=make) * 0.3,
            "owner": owner,
        }
        payload[name] = payload.get(name, {}) | ranks
    return built(base, Kind.CODEBOOK, payload)


def change_on(base: LoadedBase, tensor: str, texts: Sequence[str], seed: int = 0) -> Patch:
    """A sparse update that half of the texts choose."""
    make = torch.Generator().manual_seed(seed)
    d_out, d_in = shape_of(base, tensor)
    index = torch.randperm(d_out * d_in, generator=make)[: d_out * d_in // 5].sort().values
    roles = {
        "index": index.int(),
        "changes": torch.randn(len(index), generator=make) * 0.3,
        "threshold": torch.ones(1),
        "activation": code(ACTIVATIONS, "silu"),
    }
    far = sorted(change(*through(base, tensor, text), roles)[0] for text in texts)
    roles["threshold"] *= (far[len(far) // 2 - 1] + far[len(far) // 2]) / 2
    return built(base, Kind.CODEBOOK, {tensor: roles})


def batch(base: LoadedBase, texts: Sequence[str], side: str) -> dict[str, Tensor]:
    """Texts padded to the left or to the right."""
    rows = [ids_of(base, text)[0].tolist() for text in texts]
    width = max(map(len, rows))
    ids, mask = [], []
    for row in rows:
        filler, real = [0] * (width - len(row)), [1] * len(row)
        ids.append(filler + row if side == "left" else row + filler)
        mask.append(filler + real if side == "left" else real + filler)
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
