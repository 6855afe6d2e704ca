"""Between torch tensors and their stored bytes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from patchhub import tensorfile
from patchhub.canonical import sha256
from patchhub.errors import InvalidInputError

DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""torch's dtypes by their safetensors names."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """The safetensors name of a torch dtype.

    Raises:
        InvalidInputError: E112, the format has none.
    """
    if dtype not in _NAMES:
        raise InvalidInputError("E112", f"{dtype} cannot be stored", expected=" ".join(DTYPES))
    return _NAMES[dtype]


def view_bytes(tensor: Tensor) -> memoryview:
    """The tensor's bytes, row by row, as safetensors stores them; not copied if they lie so."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    # A single number counts as contiguous whatever its stride, but has no view as bytes then.
    flat = flat.as_strided(flat.shape, (1,))
    return flat.view(torch.uint8).numpy().data


def to_bytes(tensor: Tensor) -> bytes:
    """A copy of the tensor's bytes, row by row, as safetensors stores them."""
    return bytes(view_bytes(tensor))


def digest_of(tensor: Tensor) -> str:
    """SHA-256 of the tensor's stored bytes."""
    return sha256(view_bytes(tensor))


def from_bytes(dtype: str, shape: tuple[int, ...], data: bytes | bytearray | memoryview) -> Tensor:
    """A tensor of its own memory from stored bytes.

    Raises:
        InvalidInputError: E112, torch has no such dtype.
    """
    if dtype not in DTYPES:
        raise InvalidInputError(
            "E112", f"tensors of dtype {dtype} cannot be loaded", expected=" ".join(DTYPES)
        )
    if not len(data):
        return torch.empty(shape, dtype=DTYPES[dtype])
    return torch.frombuffer(bytearray(data), dtype=DTYPES[dtype]).reshape(shape)


def encode(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file of the tensors; the same tensors give the same bytes."""
    return tensorfile.encode(
        {n: (dtype_name(t.dtype), tuple(t.shape), to_bytes(t)) for n, t in tensors.items()}
    )


def decode(data: bytes, *, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file in memory.

    Raises:
        IntegrityError: E110, E111.
        InvalidInputError: E112, a dtype that torch lacks.
    """
    return {name: from_bytes(*raw) for name, raw in tensorfile.decode(data, what=what).items()}
