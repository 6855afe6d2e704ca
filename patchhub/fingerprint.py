"""Identity of a base model: digests of its stored bytes, independent of how they are sharded.

Three levels: L0 compares headers (milliseconds), L1 the bytes of touched tensors, L2 everything.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from patchhub import canonical
from patchhub.errors import IntegrityError, InvalidInputError
from patchhub.fields import Fields, InFile
from patchhub.tensorfile import CheckpointFiles, TensorHeader, open_checkpoint, truncated

Progress: TypeAlias = Callable[[int, int], None]
"""Called with bytes done and bytes in all, from one thread at a time."""

TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""Files that decide how text becomes token ids."""

_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """What is known of one stored tensor: dtype, shape and the SHA-256 of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str

    def to_json(self) -> dict[str, canonical.Json]:
        """The entry as it is hashed."""
        return {"dtype": self.dtype, "shape": list(self.shape), "sha256": self.sha256}


@dataclass(frozen=True)
class Fingerprint:
    """Identity of a base model, in three parts that are kept apart.

    Attributes:
        tensors: Entries by checkpoint name; aliases that the files do not store are not there.
        config: SHA-256 of the bytes of ``config.json``.
        tokenizer: SHA-256 by name of every tokenizer file.
    """

    tensors: Mapping[str, TensorEntry]
    config: str
    tokenizer: Mapping[str, str]

    @cached_property
    def weights(self) -> str:
        """The digest that patches bind to."""
        return table_digest(self.tensors)

    def to_json(self) -> dict[str, canonical.Json]:
        """The fingerprint as a record."""
        return {
            "config": self.config,
            "tensors": {name: entry.to_json() for name, entry in self.tensors.items()},
            "tokenizer": dict(self.tokenizer),
        }

    @classmethod
    def from_json(cls, value: object, *, what: str = "fingerprint") -> Fingerprint:
        """The fingerprint of a record.

        Raises:
            InvalidInputError: E113.
        """
        record = Fields(value, InFile(what, "E113", InvalidInputError))
        rows = record.table("tensors")
        files = record.inner("tokenizer")
        result = cls(
            tensors={name: _entry(row) for name, row in rows},
            config=record.sha256("config"),
            tokenizer={name: files.sha256(name) for name in files.names()},
        )
        record.end()
        return result


def table_digest(tensors: Mapping[str, TensorEntry]) -> str:
    """SHA-256 of the canonical table {name: {dtype, shape, sha256}}."""
    return canonical.digest({name: entry.to_json() for name, entry in tensors.items()})


def fingerprint(
    directory: Path, *, threads: int | None = None, progress: Progress | None = None
) -> Fingerprint:
    """Read every byte of a model directory (L2).

    Args:
        directory: A model as `save_pretrained` writes it.
        threads: How many hash at once; default is the number of cores, at most eight.
        progress: Told after every few megabytes; the last call has both numbers equal.

    Raises:
        NotFoundError: E109, no such directory.
        IntegrityError: E110, E111, E147; E147 also without ``config.json``.
    """
    files = open_checkpoint(directory)
    config, tokenizer = small_files(directory)
    digests = hash_tensors(files.tensors.values(), threads=threads, progress=progress)
    return Fingerprint(
        tensors={n: TensorEntry(h.dtype, h.shape, digests[n]) for n, h in files.tensors.items()},
        config=config,
        tokenizer=tokenizer,
    )


def small_files(directory: Path) -> tuple[str, dict[str, str]]:
    """SHA-256 of ``config.json``, and of every tokenizer file by name.

    Raises:
        IntegrityError: E147, there is no ``config.json``.
    """
    real = directory.resolve()
    if not (real / "config.json").is_file():
        raise IntegrityError("E147", f"{directory}: holds no config.json")
    tokenizer = (real / name for name in TOKENIZER_FILES)
    return (
        canonical.sha256((real / "config.json").read_bytes()),
        {f.name: canonical.sha256(f.read_bytes()) for f in tokenizer if f.is_file()},
    )


def hash_tensors(
    headers: Iterable[TensorHeader],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """SHA-256 of the stored bytes of tensors, by name.

    Raises:
        IntegrityError: E111, a file ends too early.
    """
    # The longest first: a long one that starts last would leave the other threads idle.
    work = sorted(headers, key=lambda h: (h.begin - h.end, h.name))
    tally = _Tally(sum(h.end - h.begin for h in work), progress)
    workers = threads or min(os.cpu_count() or 1, 8)
    # Imported here: commands that only look at a registry read fingerprints and hash nothing.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=workers) as pool:
        digests = list(pool.map(lambda header: _hash(header, tally), work))
    tally.add(0)
    return {header.name: digest for header, digest in zip(work, digests, strict=True)}


def check_headers(files: CheckpointFiles, expected: Fingerprint) -> None:
    """Compare names, dtypes and shapes (L0).

    Raises:
        IntegrityError: E201, naming the first tensor that differs.
    """
    for name in sorted(files.tensors.keys() | expected.tensors.keys()):
        header, entry = files.tensors.get(name), expected.tensors.get(name)
        if header and entry and (header.dtype, header.shape) == (entry.dtype, entry.shape):
            continue
        found = "no such tensor" if header is None else f"{header.dtype} {list(header.shape)}"
        wanted = "no such tensor" if entry is None else f"{entry.dtype} {list(entry.shape)}"
        if found != wanted:
            raise _other_base(files, name, wanted, found)


def check_tensors(files: CheckpointFiles, expected: Mapping[str, str]) -> None:
    """Compare the bytes of some tensors (L1).

    Args:
        files: The checkpoint.
        expected: SHA-256 of stored bytes by tensor name.

    Raises:
        IntegrityError: E201, naming the first tensor that differs.
    """
    for name in sorted(expected):
        if name not in files.tensors:
            raise _other_base(files, name, f"sha256 {expected[name]}", "no such tensor")
    digests = hash_tensors(files.tensors[name] for name in expected)
    for name in sorted(expected):
        if digests[name] != expected[name]:
            raise _other_base(files, name, f"sha256 {expected[name]}", f"sha256 {digests[name]}")


def config_differences(a: bytes, b: bytes) -> list[str]:
    """Where two ``config.json`` files differ, field by field, as lines for a message."""
    try:
        before, after = _flat(json.loads(a)), _flat(json.loads(b))
    except (ValueError, RecursionError):
        return [] if a == b else ["one of the files is not JSON"]
    return [
        f"{name}: {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


class _Tally:
    """Bytes done, summed over threads."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._lock = threading.Lock()
        self._done, self._total, self._progress = 0, total, progress

    def add(self, count: int) -> None:
        if self._progress is None:
            return
        with self._lock:
            self._done += count
            self._progress(self._done, self._total)


def _hash(header: TensorHeader, tally: _Tally) -> str:
    digest = hashlib.sha256()
    with header.file.open("rb") as stream:
        stream.seek(header.begin)
        left = header.end - header.begin
        while left:
            data = stream.read(min(left, _CHUNK))
            if not data:
                raise truncated(header)
            digest.update(data)
            left -= len(data)
            tally.add(len(data))
    return digest.hexdigest()


def _entry(row: Fields) -> TensorEntry:
    entry = TensorEntry(row.filled("dtype"), row.integers("shape"), row.sha256("sha256"))
    row.end()
    return entry


def _other_base(files: CheckpointFiles, name: str, expected: str, found: str) -> IntegrityError:
    return IntegrityError(
        "E201",
        f"{files.directory}: is another base: tensor {name} differs",
        expected=expected,
        found=found,
        hint="a cast or fine-tuned copy is another base; add it under a name of its own",
        tensor=name,
    )


def _flat(value: object, path: str = "") -> dict[str, str]:
    """Leaves of a JSON value by dotted path, each as JSON text."""
    if isinstance(value, dict) and value:
        result: dict[str, str] = {}
        for key, item in value.items():
            result |= _flat(item, f"{path}.{key}" if path else str(key))
        return result
    return {path or "$": json.dumps(value, sort_keys=True)}
