"""What is not committed yet: read and built on like the rest, and in git with the next commit."""

from __future__ import annotations

import pytest

from patchhub.canonical import sha256
from patchhub.errors import ConflictError, NotFoundError
from patchhub_registry import Registry
from patchhub_registry.foreseen import Foreseen
from patchhub_registry.patching import NewPatch, patches
from patchhub_registry.schema import Op
from patchhub_registry.stack import Change
from tests.registry.lfs import large_files
from tests.registry.support import WEIGHTS, add, observed, patch_files, verdict

CREATED = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("size", ["small", "large"])
def test_patches_and_the_stack_that_they_enter_are_one_commit(
    registry: Registry, size: str
) -> None:
    add(registry, "old")
    files = patch_files("new") if size == "small" else large_files("new")
    new, pid = NewPatch(files, "demo", observed(created=CREATED)), sha256(files["patch.json"])
    before = registry.head
    with Foreseen(registry, patches([new], [verdict(pid)])) as there:
        for ref in ("demo@2", "demo", f"ph:{pid}"):
            assert there.resolve(ref).id == pid
        assert there.read_patch_files("demo") == files
        assert [one.type for one in there.statements(pid)] == ["guard"]
        state = there.stack_or_new("prod", WEIGHTS)
        changes = [Change(Op.PUSH, "demo@1"), Change(Op.PUSH, "demo@2", guard=verdict(pid).digest)]
        planned = there.preview(state, changes)
        assert registry.head == before
        with pytest.raises(NotFoundError):
            registry.resolve("demo@2")
        assert there.change(state, changes) == planned
        assert there.stack("prod") == planned  # from here on it is like any other
        add(there, "later")
    assert registry.stack("prod").ids == planned.ids
    assert registry.read_patch_files("demo@2") == files
    with registry.repository as repository:
        assert [len(one.parents) for one in repository.iter_commits(f"{before}..HEAD")] == [1, 1]
    assert registry.verify().ok


def test_a_version_that_was_taken_meanwhile_changes_nothing(registry: Registry) -> None:
    new = NewPatch(patch_files("new"), "demo", observed(created=CREATED))
    with Foreseen(registry, patches([new], [])) as there:
        state = there.stack_or_new("prod", WEIGHTS)
        add(registry, "other", "demo")
        head = registry.head
        with pytest.raises(ConflictError, match="E305"):
            there.change(state, [Change(Op.PUSH, "demo@1")])
    assert registry.head == head
    assert registry.stacks() == []
    with Foreseen(registry, patches([], [])) as there:  # of what is there already
        there.change(state, [Change(Op.PUSH, "demo@1")])
    assert registry.stack("prod").seq == 1
