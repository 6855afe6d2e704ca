"""The files of a model directory: which there are, whether one changed, one digest over all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from patchhub.canonical import digest
from patchhub.identityfile import IDENTITY

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".ckpt", ".gguf", ".onnx")
_INDEX = ".index.json"
_ADAPTER = "adapter_"


def list_files(directory: Path) -> dict[str, Path]:
    """Every file of a directory by its name relative to it, sorted; hidden ones are left out.

    Symbolic links to files count as files; those to directories are not followed.
    """
    found: dict[str, Path] = {}
    for folder, folders, names in os.walk(directory):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
        for name in names:
            path = Path(folder) / name
            if not name.startswith(".") and path.is_file():
                found[path.relative_to(directory).as_posix()] = path
    return dict(sorted(found.items()))


def holds_weights(name: str) -> bool:
    """Whether a file holds model weights, in whatever format, or says where they lie."""
    last = name.rpartition("/")[2]
    return last.endswith((*_WEIGHTS, _INDEX)) and not last.startswith(_ADAPTER)


def other_files(base: Path, shards: Collection[str], *, drop_weights: bool) -> dict[str, Path]:
    """The base's files besides its weights, by name, that a generation has too.

    Args:
        base: The base's directory.
        shards: Names of its files of weights.
        drop_weights: Leave out the index, and copies of the weights in other formats: where the
            weights are not the base's, these would mislead.
    """
    return {
        name: path
        for name, path in list_files(base).items()
        if name not in shards and name != IDENTITY and not (drop_weights and holds_weights(name))
    }


def stamp(path: Path) -> str:
    """Device, inode, size and time of change: while they are the same, so are the bytes.

    The time of the last status change is left out, because a new hard link changes it. So whoever
    writes into a file and puts its time back is not seen here; reading the bytes tells.
    """
    found = path.stat()
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def directory_digest(directory: Path) -> str:
    """One SHA-256 over name and content of everything that `from_pretrained` can read here.

    That is every file, hidden ones and ``patchhub.json`` excepted: weights, index, configuration,
    tokenizer, code. A directory whose stack is empty has the digest of its base.
    """
    real = directory.resolve()
    files = {name: path for name, path in list_files(real).items() if name != IDENTITY}
    return digest([[name, file_digest(path)] for name, path in files.items()])
