"""A patched directory in a fresh folder: a pico base, patches, and how to look inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from patchhub.checkpoint import Generation, Ledger, materialise
from patchhub.checkpoint.files import file_digest, list_files
from patchhub.composer.composer import Composer
from patchhub.fingerprint import Fingerprint
from patchhub.kinds.storage import to_bytes
from patchhub.loading import LoadedBase, load_base
from patchhub.patch import Patch
from tests.engine.stacks import patches_on
from tests.pico import pico_directory

Snapshot = dict[str, str]


@dataclass
class Bench:
    """One base, some patches for it, and the target they are applied to."""

    base: LoadedBase
    patches: list[Patch]
    target: Path
    untouched: Snapshot = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.untouched = snapshot(self.base.directory)

    @property
    def fingerprint(self) -> Fingerprint:
        return self.base.fingerprint

    @property
    def store(self) -> Path:
        return self.target.with_name(self.target.name + ".patchhub")

    def put(self, *numbers: int, **more: Any) -> Generation:
        """Materialise the patches with these numbers."""
        stack = [self.patches[i] for i in numbers]
        return materialise(self.target, self.base.directory, self.fingerprint, stack, **more)

    def composed(self, *numbers: int) -> dict[str, bytes]:
        """Bytes of every parameter with these patches, from the composer in memory."""
        with Composer.over(self.base).applied(*(self.patches[i] for i in numbers)) as model:
            return parameter_bytes(model)

    def loaded(self, directory: Path | None = None) -> dict[str, bytes]:
        """Bytes of every parameter as `from_pretrained` reads the directory."""
        where = directory or self.target
        return parameter_bytes(
            load_base(where, dtype=self.base.model.dtype, fingerprint=self.fingerprint).model
        )

    def holds(self, *numbers: int) -> bool:
        return self.loaded() == self.composed(*numbers)


def ledger(record: Callable[[], object], holds: bool) -> Ledger:
    """A ledger with an answer that is known beforehand."""
    return Ledger({"entry": "1"}, record, lambda claim: holds and claim == {"entry": "1"})


def parameter_bytes(model: torch.nn.Module) -> dict[str, bytes]:
    named = model.named_parameters(remove_duplicate=False)
    return {name: to_bytes(parameter) for name, parameter in named}


def snapshot(directory: Path) -> Snapshot:
    """Digest of every file, with its inode's number, mode and time of change."""
    found = {}
    for name, path in list_files(directory).items():
        stat = path.stat()
        found[name] = f"{file_digest(path)} {stat.st_ino} {stat.st_mode} {stat.st_mtime_ns}"
    return found


def hashes(directory: Path) -> dict[str, str]:
    """Digest of every file but the identity."""
    files = list_files(directory.resolve())
    return {name: file_digest(path) for name, path in files.items() if name != "patchhub.json"}


def inodes(directory: Path) -> dict[str, int]:
    return {name: path.stat().st_ino for name, path in list_files(directory.resolve()).items()}


def bench(
    parent: Path,
    family: str = "gpt2",
    *,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    count: int = 4,
    patches: Sequence[Patch] = (),
) -> Bench:
    torch.set_num_threads(1)
    directory = pico_directory(parent, family, dtype=dtype, shards=shards)
    base = load_base(directory, dtype=dtype)
    return Bench(base, list(patches) or patches_on(base, family, count), parent / "served")


@pytest.fixture
def gpt2(tmp_path: Path) -> Bench:
    """A single-file base."""
    return bench(tmp_path)


@pytest.fixture
def llama(tmp_path: Path) -> Bench:
    """A base of three shards in bfloat16."""
    return bench(tmp_path, "llama", dtype=torch.bfloat16, shards=3)
