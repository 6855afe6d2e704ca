"""What `gc` may not take: what another repository, or a command at work, still needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patchhub.checkpoint.place import place_of
from patchhub_registry import Registry
from patchhub_registry.lfs import Payloads, Pointer
from patchhub_registry.operations.known import known, remember
from tests.registry.lfs import large_files
from tests.registry.support import git, new_registry, observed

FILES = large_files("one")


def test_payloads_of_a_shared_store_are_not_ours_to_remove(
    registry: Registry, tmp_path: Path
) -> None:
    other = new_registry(tmp_path / "other")
    for one in (registry, other):
        git(one.root, "config", "lfs.storage", str(tmp_path / "shared"))
    other.add_patch(FILES, "large", observed())
    assert registry.gc(now=True).removed == ()
    assert other.read_patch_files("large") == FILES
    other.close()


def test_a_payload_that_gc_took_before_the_commit_is_kept_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, collected = Payloads.keep, list[object]()

    def keep_then_gc(self: Payloads, pointer: Pointer, source: bytes | Path) -> None:
        keep(self, pointer, source)
        if not collected:
            collected.append("once")
            assert len(registry.gc(now=True).removed) == 1

    monkeypatch.setattr(Payloads, "keep", keep_then_gc)
    registry.add_patch(FILES, "large", observed())
    assert collected
    assert registry.read_patch_files("large") == FILES


def test_a_directory_that_is_about_to_be_made_is_not_forgotten(
    registry: Registry, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    remember(registry, model)
    (note,) = (registry.root / ".patchhub/models").iterdir()
    assert registry.gc().removed == ()
    os.utime(note, (0, 0))
    remember(registry, model)  # by the next command, long after the directory went
    assert registry.gc().removed == ()
    assert known(registry) == [place_of(model).link]
    os.utime(note, (0, 0))
    assert [each.path for each in registry.gc().removed] == [note]
