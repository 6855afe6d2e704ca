"""The header of a safetensors file, parsed strictly: no gap, overlap or surprise.

Source: the safetensors format (huggingface/safetensors, README): an 8-byte little-endian header
length, a JSON header, the tensors' bytes without gaps.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from patchhub.errors import IntegrityError
from patchhub.fields import Fields, InFile

BITS = {
    **{"C64": 64, "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32},
    **{"BF16": 16, "F16": 16, "I16": 16, "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8},
    **{"I8": 8, "U8": 8, "BOOL": 8, "F6_E3M2": 6, "F6_E2M3": 6, "F4": 4},
}
"""Bits per element of every dtype of the format, by its name there."""

_ROW = {"dtype", "shape", "data_offsets"}
_HEADER_LIMIT = 100_000_000
_STRANGERS = (
    (b"PK\x03\x04", "a PyTorch archive (pickle)", "save it with safetensors"),
    (b"\x80\x02\x8a", "a PyTorch file (pickle)", "save it with safetensors"),
    (b"\x80\x04\x95", "a Python pickle", "save it with safetensors"),
    (b"\x80\x05\x95", "a Python pickle", "save it with safetensors"),
    (b"version ", "a Git LFS pointer", "fetch the content with `git lfs pull`"),
)
PREFIX = 8
"""Bytes of the header's length."""


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """Where one tensor lies: ``begin`` to ``end`` are byte offsets from the start of ``file``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    end: int


def size_in_bytes(dtype: str, shape: tuple[int, ...]) -> int | None:
    """Stored size of a tensor, or none when its bits do not fill whole bytes."""
    bits = BITS[dtype] * math.prod(shape)
    return None if bits % 8 else bits // 8


def header_length(prefix: bytes, size: int, what: str) -> int:
    """Length of the header, once it is known that this can be a safetensors file.

    Args:
        prefix: The first eight bytes (fewer when the file is shorter).
        size: Bytes of the whole file.
        what: Its name for messages.

    Raises:
        IntegrityError: E110, E111.
    """
    length = int.from_bytes(prefix, "little")
    for magic, name, hint in _STRANGERS:
        if prefix.startswith(magic) and length > size:
            raise IntegrityError(
                "E110", f"{what}: is not a safetensors file", found=name, hint=hint
            )
    if len(prefix) == PREFIX and length > _HEADER_LIMIT:
        raise IntegrityError(
            "E110",
            f"{what}: is not a safetensors file",
            expected=f"a header of at most {_HEADER_LIMIT} bytes",
            found=f"{length} bytes",
        )
    if len(prefix) < PREFIX or PREFIX + length > size:
        raise IntegrityError(
            "E111",
            f"{what}: ends inside its header",
            expected=f"at least {PREFIX + length} bytes",
            found=f"{size} bytes",
            hint="was a download or copy cut short?",
        )
    return length


def parse_header(header: bytes, size: int, file: Path) -> dict[str, TensorHeader]:
    """The tensors in the order of their bytes, checked against the file's size.

    Raises:
        IntegrityError: E110, E111.
    """
    start = PREFIX + len(header)

    if not header.startswith(b"{"):
        raise IntegrityError("E110", f"{file}: is not a safetensors file", found="no JSON header")
    try:
        table = json.loads(header.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            "E111", f"{file}: header is not JSON", found=str(error).splitlines()[0][:200]
        ) from error
    rows = Fields(table, InFile(f"{file}: header", "E111", IntegrityError))
    if "__metadata__" in rows:
        keys = rows.inner("__metadata__")
        for name in keys.names():
            keys.text(name)
    headers = [
        _plain(name, value, file, start) or _tensor(name, rows.inner(name), file, start)
        for name, value in table.items()
        if name != "__metadata__"
    ]
    headers.sort(key=lambda h: (h.begin, h.end))
    _check_layout(headers, start, size, file)
    return {header.name: header for header in headers}


def _plain(name: str, row: object, file: Path, start: int) -> TensorHeader | None:
    """The same as `_tensor` for a row without fault, ten times as fast; none for any other."""
    if type(row) is not dict or row.keys() != _ROW:
        return None
    dtype, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if type(dtype) is not str or type(shape) is not list or type(offsets) is not list:
        return None
    if dtype not in BITS or len(offsets) != 2:
        return None
    if not all(type(number) is int and 0 <= number < 2**53 for number in (*shape, *offsets)):
        return None
    if size_in_bytes(dtype, tuple(shape)) != offsets[1] - offsets[0]:
        return None
    return TensorHeader(name, dtype, tuple(shape), file, start + offsets[0], start + offsets[1])


def _tensor(name: str, row: Fields, file: Path, start: int) -> TensorHeader:
    dtype = row.text("dtype")
    if dtype not in BITS:
        raise row.error("dtype", "is not known", expected=" ".join(BITS), found=dtype)
    shape, offsets = row.integers("shape"), row.integers("data_offsets")
    row.end()
    if len(offsets) != 2 or size_in_bytes(dtype, shape) != offsets[1] - offsets[0]:
        raise row.error(
            "data_offsets",
            "do not fit dtype and shape",
            expected=f"{size_in_bytes(dtype, shape)} bytes for {dtype} {list(shape)}",
            found=list(offsets),
        )
    return TensorHeader(name, dtype, shape, file, start + offsets[0], start + offsets[1])


def _check_layout(headers: list[TensorHeader], start: int, size: int, file: Path) -> None:
    place = start
    for header in headers:
        if header.begin != place:
            what = "overlaps with another" if header.begin < place else "leaves a gap before it"
            raise IntegrityError(
                "E111",
                f"{file}: tensor {header.name} {what}",
                expected=f"begin at byte {place - start} of the data",
                found=header.begin - start,
            )
        place = header.end
    if place != size:
        what = "is truncated" if place > size else "has bytes that belong to no tensor"
        raise IntegrityError(
            "E111", f"{file}: {what}", expected=f"{place} bytes", found=f"{size} bytes"
        )


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """For `json.loads`: an object in which no name occurs twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result
