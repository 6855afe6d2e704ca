"""Flip any byte of any file of a registry: the audit finds it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from patchhub.canonical import sha256
from patchhub.errors import PatchHubError
from patchhub_registry import Registry
from patchhub_registry.schema import Op
from patchhub_registry.stack import Change
from tests.registry import bulk
from tests.registry.lfs import large_files
from tests.registry.support import WEIGHTS, git, observed, patch_files, verdict

PER_FILE = 3


@pytest.fixture
def full(registry: Registry) -> Registry:
    """Every kind of file: patches small and large, a verdict, a policy, a stack, an asset."""
    said = verdict(sha256(patch_files("one")["patch.json"]))
    registry.add_patch(patch_files("one"), "demo", observed(), [said])
    registry.add_patch(bulk.patch(7), "fact", observed(message="lone"))
    registry.add_patch(large_files("two"), "large", observed())
    registry.add_policy(b"version = 1\n")
    registry.assets.put("moments", WEIGHTS, sha256(b"key"), {"blocks": [0, 1]}, b"sums" * 50)
    changes = [Change(Op.PUSH, "demo", guard=said.digest), Change(Op.PUSH, "large")]
    registry.change(registry.stack_or_new("prod", WEIGHTS), changes)
    registry.patches()
    assert registry.verify().ok
    return registry


@contextmanager
def flipped(file: Path, generator: random.Random) -> Iterator[None]:
    """One bit of a file is wrong; afterwards it is as it was."""
    data = file.read_bytes()
    wrong = bytearray(data)
    wrong[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    file.chmod(0o644)
    file.write_bytes(wrong)
    yield
    file.write_bytes(data)


def sound(registry: Registry) -> bool:
    registry.close()  # git must read the objects again
    try:
        return registry.audit().ok
    except PatchHubError:  # not even the commit can be read
        return False


def unpacked(file: Path) -> bytes | None:
    """What a git object says; the bits that pad its deflate stream to a byte say nothing."""
    try:
        return zlib.decompress(file.read_bytes())
    except zlib.error:
        return None


def tracked(registry: Registry) -> list[str]:
    names = git(registry.root, "ls-files").split()
    return [name for name in names if not name.startswith(".git")]


def test_in_the_work_tree(full: Registry) -> None:
    generator = random.Random(1)
    for path in tracked(full):
        for _ in range(PER_FILE):
            with flipped(full.root / path, generator):
                report = full.audit(objects=False, history=False)
                assert [one.path for one in report.findings] == [path]
    assert full.verify().ok


def test_in_the_payload_store(full: Registry) -> None:
    generator = random.Random(2)
    payloads = [p for p in (full.root / ".git/lfs/objects").rglob("*") if p.is_file()]
    assert len(payloads) == 2
    for file in payloads:
        for _ in range(PER_FILE):
            with flipped(file, generator):
                found = full.audit(objects=False, history=False).findings
                assert [file.name in one.message for one in found if one.code == "E202"] == [True]
    assert full.verify().ok


def test_in_a_commit(full: Registry) -> None:
    generator = random.Random(3)
    by_kind = {path.split("/")[0] + Path(path).name: path for path in tracked(full)}
    head = full.head
    for path in sorted(by_kind.values()):
        with flipped(full.root / path, generator):
            git(full.root, "commit", "-q", "-a", "-m", "tampered")
            report = full.audit(objects=False)
            assert path in {one.path for one in report.findings}
            git(full.root, "reset", "-q", "--hard", head)
    assert full.verify().ok


@pytest.mark.slow
def test_in_git_s_objects(full: Registry) -> None:
    generator = random.Random(4)
    reachable = set(git(full.root, "rev-list", "--objects", "--no-object-names", "HEAD").split())
    for oid in sorted(reachable):
        file = full.root / ".git/objects" / oid[:2] / oid[2:]
        held = zlib.decompress(file.read_bytes())
        with flipped(file, generator):
            assert sound(full) == (unpacked(file) == held)
    assert sound(full)
    assert full.verify().ok


def test_in_the_index(full: Registry) -> None:
    """A flip is harmless, or the file is made again, or the audit says what to do."""
    generator = random.Random(5)
    file = full.root / ".patchhub/index.sqlite"

    def answers() -> tuple[object, ...]:
        return full.patches(), full.facts(), full.history(), full.heads(), full.count()

    truth = answers()
    for _ in range(60):
        full.close()
        with flipped(file, generator):
            report = full.audit(objects=False, history=False)
            if report.ok:
                assert answers() == truth
            else:
                assert [one.path for one in report.findings] == [".patchhub/index.sqlite"]
        full.close()
    file.unlink()
    assert answers() == truth
