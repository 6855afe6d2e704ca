"""Which shards a generation consists of; a name says what is inside: same name, same bytes.

A tensor may be in one listed shard only: transformers reads every tensor of every listed shard, and
where two disagree the later one wins. So touched tensors are split off: each lies in a shard of its
own, and what remains of the base's shard in another. After one such rewrite every change of the
same tensors writes these tensors only.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from patchhub.canonical import digest
from patchhub.tensorfile import CheckpointFiles

METADATA = {"format": "pt"}
"""transformers refuses shards that do not say which library wrote them."""


class Source(Enum):
    """Where a shard's bytes come from."""

    BASE = auto()
    """The base's own file."""
    REST = auto()
    """A base file without the tensors that were split off."""
    OWN = auto()
    """One tensor, composed or (with no patch on it) as in the base."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of weights of a generation.

    Attributes:
        name: File name.
        source: Where the bytes come from.
        tensors: What it holds.
        ids: For a tensor of its own, the patches that touch it, sorted.
    """

    name: str
    source: Source
    tensors: tuple[str, ...]
    ids: tuple[str, ...] = ()


def plan_shards(
    base: CheckpointFiles,
    weights: str,
    ids: Mapping[str, tuple[str, ...]],
    split: Collection[str],
) -> list[Shard]:
    """The shards of a generation.

    Args:
        base: The base's files.
        weights: Digest of the base's weights.
        ids: For every touched tensor the ids of the patches that touch it, sorted.
        split: Tensors that have a shard of their own, the touched ones among them. Without touched
            tensors the base's own files are taken.
    """
    shards: list[Shard] = []
    for file in base.shards:
        inside = [name for name, header in base.tensors.items() if header.file == file]
        own = [name for name in inside if ids and name in split]
        rest = tuple(name for name in inside if name not in own)
        if not own:
            shards.append(Shard(file.name, Source.BASE, rest))
            continue
        if rest:
            key = digest({"base": weights, "tensors": sorted(rest)})[:16]
            shards.append(Shard(f"model-rest-{key}.safetensors", Source.REST, rest))
        for name in own:
            patches = ids.get(name, ())
            key = digest({"base": weights, "tensor": name, "patches": list(patches)})[:16]
            file_name = f"model-patched-{key}.safetensors"
            shards.append(Shard(file_name, Source.OWN, (name,), patches))
    return shards


def index_bytes(base: CheckpointFiles, shards: Sequence[Shard]) -> bytes:
    """The index file where shards are not the base's; keeps what the base's index says besides."""
    old = _metadata(base.index)
    size = sum(header.end - header.begin for header in base.tensors.values())
    weight_map = {name: shard.name for shard in shards for name in shard.tensors}
    value = {
        "metadata": {**old, "total_size": old.get("total_size", size)},
        "weight_map": dict(sorted(weight_map.items())),
    }
    return (json.dumps(value, indent=2) + "\n").encode()


def _metadata(index: Path | None) -> dict[str, object]:
    if index is None:
        return {}
    found = json.loads(index.read_bytes()).get("metadata")
    return dict(found) if isinstance(found, dict) else {}
