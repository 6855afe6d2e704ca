"""safetensors files as bytes, read strictly and written in one form only; checkpoints of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from patchhub.errors import IntegrityError, InvalidInputError, NotFoundError
from patchhub.fields import Fields, InFile
from patchhub.tensorheader import (
    BITS,
    PREFIX,
    TensorHeader,
    header_length,
    parse_header,
    size_in_bytes,
    unique,
)

__all__ = [
    "CheckpointFiles",
    "Raw",
    "TensorHeader",
    "decode",
    "encode",
    "open_checkpoint",
    "read_bytes",
    "read_header",
    "truncated",
    "write",
]

Raw: TypeAlias = "tuple[str, tuple[int, ...], bytes | bytearray | memoryview]"
"""Dtype by its safetensors name, shape, and the stored bytes of one tensor."""

Size: TypeAlias = "tuple[str, tuple[int, ...], int]"
"""Dtype, shape, and the number of stored bytes of one tensor."""

# The library stores wide dtypes first, so that every tensor lies at a multiple of its element size.
_ORDER = (
    "BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 I16 U16 F16 BF16 I32 U32 F32 C64 F64"
)
_RANK = {name: i for i, name in enumerate([*_ORDER.split(), "I64", "U64"])}
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """The weight files of a model directory.

    Attributes:
        directory: The directory, links resolved once, so that a later switch of a link does not mix
            two generations.
        shards: The files that hold tensors, sorted by name.
        tensors: Every stored tensor by its checkpoint name.
        index: The index file, or none for a single file.
    """

    directory: Path
    shards: tuple[Path, ...]
    tensors: Mapping[str, TensorHeader]
    index: Path | None


def open_checkpoint(directory: Path) -> CheckpointFiles:
    """Find and read the headers of a model's weight files, as `from_pretrained` would.

    Raises:
        NotFoundError: E109, no such directory.
        IntegrityError: E110 and E111 for a broken file; E147, no safetensors weights, a shard is
            missing, or index and shards disagree about the tensors.
    """
    real = directory.resolve()
    if not real.is_dir():
        raise NotFoundError("E109", f"{directory}: no such directory")
    if (real / SINGLE).is_file():
        single = real / SINGLE
        return CheckpointFiles(real, (single,), read_header(single), None)
    if not (real / INDEX).is_file():
        raise IntegrityError(
            "E147",
            f"{directory}: holds no safetensors weights",
            expected=f"{SINGLE} or {INDEX}",
            found=", ".join(sorted(p.name for p in real.glob("*.bin"))[:3]) or "neither",
            hint="save the model with save_pretrained, which writes safetensors",
        )
    return _sharded(real, real / INDEX)


def read_header(file: Path) -> dict[str, TensorHeader]:
    """The tensors of a file, in the order of their bytes; the tensors themselves are not read.

    Raises:
        NotFoundError: E109.
        IntegrityError: E110, not a safetensors file; E111, truncated or a wrong header.
    """
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            prefix = stream.read(PREFIX)
            length = header_length(prefix, size, str(file))
            header = stream.read(length)
    except OSError as error:
        raise NotFoundError("E109", f"{file}: cannot be read", found=error.strerror) from error
    return parse_header(header, size, file)


def decode(data: bytes, *, what: str) -> dict[str, Raw]:
    """The tensors of a file that lies in memory, as views of ``data``.

    Args:
        data: The whole file.
        what: Its name for messages.

    Raises:
        IntegrityError: E110, E111 as for `read_header`.
    """
    length = header_length(data[:PREFIX], len(data), what)
    headers = parse_header(data[PREFIX : PREFIX + length], len(data), Path(what))
    view = memoryview(data)
    return {h.name: (h.dtype, h.shape, view[h.begin : h.end]) for h in headers.values()}


def read_bytes(header: TensorHeader) -> bytes:
    """The stored bytes of one tensor.

    Raises:
        NotFoundError: E109.
        IntegrityError: E111, the file has become shorter.
    """
    try:
        with header.file.open("rb") as stream:
            stream.seek(header.begin)
            data = stream.read(header.end - header.begin)
    except OSError as error:
        raise NotFoundError(
            "E109", f"{header.file}: cannot be read", found=error.strerror
        ) from error
    if len(data) != header.end - header.begin:
        raise truncated(header)
    return data


def truncated(header: TensorHeader) -> IntegrityError:
    """The error for a file that ends before a tensor does."""
    return IntegrityError(
        "E111",
        f"{header.file}: ends inside tensor {header.name}",
        expected=f"{header.end} bytes",
        hint="was the file replaced while it was read?",
    )


def encode(tensors: Mapping[str, Raw], metadata: Mapping[str, str] | None = None) -> bytes:
    """The file's bytes; the same tensors give the same bytes, in whatever order they come."""
    sizes = _sizes(tensors)
    return b"".join(
        [header_bytes(sizes, metadata), *(tensors[name][2] for name in sort_names(sizes))]
    )


def write(
    path: Path,
    tensors: Mapping[str, Raw],
    metadata: Mapping[str, str] | None = None,
    *,
    fsync: bool = False,
) -> None:
    """Write the file in place (callers that need atomicity write beside and rename).

    Raises:
        InvalidInputError: E112, bytes do not fit dtype and shape; E113, more than one metadata key,
            which the standard writers put in random order.
    """
    sizes = _sizes(tensors)
    header = header_bytes(sizes, metadata)
    with path.open("wb") as stream:
        stream.write(header)
        for name in sort_names(sizes):
            stream.write(tensors[name][2])
        stream.flush()
        if fsync:
            os.fsync(stream.fileno())


def _sizes(tensors: Mapping[str, Raw]) -> dict[str, Size]:
    return {name: (d, shape, memoryview(data).nbytes) for name, (d, shape, data) in tensors.items()}


def sort_names(sizes: Mapping[str, Size]) -> list[str]:
    """The tensors in the order in which their bytes lie in a file."""
    return sorted(sizes, key=lambda name: (-_RANK[sizes[name][0]], name))


def header_bytes(sizes: Mapping[str, Size], metadata: Mapping[str, str] | None = None) -> bytes:
    """Length and header, padded with spaces to a multiple of eight bytes.

    Raises:
        InvalidInputError: E112, E113 as for `write`.
    """
    if metadata and len(metadata) > 1:
        raise InvalidInputError("E113", "metadata has at most one key", found=len(metadata))
    for name, (dtype, shape, size) in sizes.items():
        if dtype not in BITS or size_in_bytes(dtype, shape) != size:
            raise InvalidInputError(
                "E112",
                f"tensor {name}: bytes do not fit dtype and shape",
                expected=f"{dtype} {list(shape)}",
                found=f"{size} bytes",
            )
    table: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name in sort_names(sizes):
        dtype, shape, size = sizes[name]
        end = place + size
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(PREFIX, "little") + text


def _sharded(directory: Path, index: Path) -> CheckpointFiles:
    weight_map = _weight_map(index)
    shards = tuple(directory / name for name in sorted(set(weight_map.values())))
    tensors: dict[str, TensorHeader] = {}
    for shard in shards:
        if not shard.is_file():
            raise IntegrityError(
                "E147", f"{directory}: shard {shard.name} is missing", hint="fetch it again"
            )
        for name, header in read_header(shard).items():
            if name in tensors:
                raise IntegrityError(
                    "E147",
                    f"{directory}: tensor {name} lies in two shards",
                    found=f"{tensors[name].file.name} and {shard.name}",
                    hint="loaders disagree about which one counts; save the model again",
                )
            tensors[name] = header
    for name in sorted(tensors.keys() | weight_map.keys()):
        found = tensors[name].file.name if name in tensors else None
        if found != weight_map.get(name):
            raise IntegrityError(
                "E147",
                f"{directory}: index and shards disagree about tensor {name}",
                expected=weight_map.get(name, "not in the index"),
                found=found or "in no shard",
            )
    return CheckpointFiles(directory, shards, tensors, index)


def _weight_map(index: Path) -> dict[str, str]:
    try:
        value = json.loads(index.read_bytes(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise IntegrityError("E147", f"{index}: is not JSON", found=str(error)[:200]) from error
    rows = Fields(value, InFile(str(index), "E147", IntegrityError)).inner("weight_map")
    files = {name: rows.filled(name) for name in rows.names()}
    for name, file in files.items():
        if Path(file).name != file:
            raise rows.error(name, "is not a plain file name", found=file)
    return files
