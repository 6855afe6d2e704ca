"""Large payloads lie where Git LFS looks for them, and are read without it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from patchhub.canonical import sha256
from patchhub.errors import IntegrityError, PatchHubError
from patchhub_registry import Registry
from patchhub_registry.lfs import LIMIT, Payloads, Pointer, split
from patchhub_registry.paths import patch_dir
from tests.registry.lfs import User, large_files, with_git_lfs
from tests.registry.support import add, git, observed, patch_files, status

HERE = patch_dir("large", 1)
FILES = large_files("one")
PAYLOAD = FILES["patch.safetensors"]
OID = sha256(PAYLOAD)


@pytest.fixture
def large(registry: Registry) -> Registry:
    add(registry, "small")
    registry.add_patch(FILES, "large", observed())
    return registry


def stored(root: Path, oid: str = OID) -> Path:
    return root / ".git/lfs/objects" / oid[:2] / oid[2:4] / oid


def test_the_pointer_is_that_of_the_specification() -> None:
    # the example of github.com/git-lfs/git-lfs, docs/spec.md
    text = (
        b"version https://git-lfs.github.com/spec/v1\n"
        b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
        b"size 12345\n"
    )
    pointer = Pointer("4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393", 12345)
    assert pointer.to_bytes() == text
    assert Pointer.read(text) == pointer
    for other in (text[:-1], text + b"\n", text.replace(b"4d", b"4D"), text[1:], b""):
        assert Pointer.read(other) is None


def test_what_is_large_goes_to_lfs_and_the_rest_to_git() -> None:
    files = {
        "a.safetensors": b"x" * LIMIT,
        "b.safetensors": b"x" * (LIMIT + 1),
        "c.json": b"x" * LIMIT * 2,
    }
    held, payloads = split(files)
    assert held["a.safetensors"] == files["a.safetensors"]
    assert held["c.json"] == files["c.json"]
    pointer = Pointer(sha256(files["b.safetensors"]), LIMIT + 1)
    assert held["b.safetensors"] == pointer.to_bytes()
    assert held[".gitattributes"] == b"b.safetensors filter=lfs diff=lfs -text\n"
    assert payloads == {pointer: files["b.safetensors"]}
    assert split({"c.json": b"{}"}) == ({"c.json": b"{}"}, {})


def test_tree_store_and_work_tree(large: Registry) -> None:
    pointer = Pointer(OID, len(PAYLOAD)).to_bytes()
    root = large.root
    assert git(root, "show", f"HEAD:{HERE}/patch.safetensors").encode() == pointer
    assert stored(root).read_bytes() == PAYLOAD
    assert (root / HERE / "patch.safetensors").read_bytes() == pointer
    assert not (root / patch_dir("demo", 1) / ".gitattributes").exists()
    assert status(root) == ""
    os.utime(root / HERE / "patch.safetensors")
    assert status(root) == ""
    assert large.read_patch_files("large") == FILES
    assert large.verify().ok
    assert list((root / ".git/lfs/tmp").iterdir()) == []


def test_the_same_payload_is_stored_once(large: Registry) -> None:
    os.utime(stored(large.root), (0, 0))
    before = stored(large.root).stat()
    large.add_patch(FILES, "other", observed())
    after = stored(large.root).stat()
    assert before.st_ino == after.st_ino
    assert after.st_mtime > 0  # young again: a `gc` at work lets it be
    assert large.read_patch_files("other") == FILES


def test_every_directory_on_the_way_to_a_payload_is_on_the_disk(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[Path]()
    monkeypatch.setattr("patchhub.durable.sync_directory", synced.append)
    Payloads(registry.at().payloads._git).keep(Pointer(OID, len(PAYLOAD)), PAYLOAD)
    way = stored(registry.root).relative_to(registry.root).parents
    assert {path.relative_to(registry.root) for path in synced} == set(way[:-1])


def test_a_clone_without_the_payload_says_how_to_fetch_it(large: Registry, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(large.root), "clone")
    with Registry.open(tmp_path / "clone") as clone:
        assert len(clone.patches()) == 2
        assert clone.resolve("large").id == sha256(FILES["patch.json"])
        assert clone.read_patch_files("demo") == patch_files("small")
        with pytest.raises(PatchHubError, match="git lfs pull") as caught:
            clone.read_patch_files("large")
        assert (caught.value.code, caught.value.exit) == ("E120", 7)
        found = clone.audit().findings
        assert [(one.code, one.path) for one in found] == [("E120", HERE)]
        with pytest.raises(IntegrityError):
            clone.verify().require()
        assert status(clone.root) == ""
        clone.add_patch(FILES, "again", observed())  # who has the patch can bring the payload back
        assert clone.read_patch_files("large") == FILES
        assert clone.verify().ok


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_payload_is_found_and_replaced(large: Registry, damage: str) -> None:
    file = stored(large.root)
    flipped = bytes([PAYLOAD[0] ^ 1]) + PAYLOAD[1:]
    file.write_bytes({"flip": flipped, "cut": PAYLOAD[:-1], "empty": b""}[damage])
    with pytest.raises(IntegrityError) as caught:
        large.read_patch_files("large")
    assert (caught.value.code, caught.value.exit) == ("E202", 5)
    assert [(one.code, one.path) for one in large.audit().findings] == [("E202", HERE)]
    large.add_patch(FILES, "again", observed())
    assert file.read_bytes() == PAYLOAD
    assert large.verify().ok


def test_a_payload_that_is_not_what_it_should_be_is_not_stored(
    registry: Registry, tmp_path: Path
) -> None:
    payloads = registry.at().payloads
    source = tmp_path / "file"
    source.write_bytes(b"other")
    for wrong in (b"other", source):
        with pytest.raises(IntegrityError, match="E202"):
            payloads.keep(Pointer(OID, 5), wrong)
    assert not stored(registry.root).exists()
    payloads.keep(Pointer(sha256(b"other"), 5), source)
    assert payloads.read(Pointer(sha256(b"other"), 5), "it") == b"other"


@pytest.mark.parametrize(
    ("path", "change", "code"),
    [
        ("patch.safetensors", lambda data: data.replace(b"size ", b"size 1"), "E202"),
        ("patch.safetensors", lambda data: data[:-1], "E204"),
        ("patch.safetensors", lambda data: PAYLOAD, "E204"),
        (".gitattributes", lambda data: data + b"*.json filter=lfs\n", "E204"),
        (".gitattributes", lambda data: b"", "E204"),
    ],
    ids=["size", "cut", "inline", "more", "none"],
)
def test_a_tampered_pointer_is_found(large: Registry, path: str, change: object, code: str) -> None:
    assert callable(change)
    file = large.root / HERE / path
    file.write_bytes(change(file.read_bytes()))
    git(large.root, "commit", "-q", "-a", "-m", "tampered")
    assert [one.code for one in large.audit(history=False).findings] == [code]


def test_lfs_storage_may_lie_elsewhere(registry: Registry, tmp_path: Path) -> None:
    git(registry.root, "config", "lfs.storage", str(tmp_path / "elsewhere"))
    registry.add_patch(FILES, "large", observed())
    assert (tmp_path / "elsewhere/objects" / OID[:2] / OID[2:4] / OID).read_bytes() == PAYLOAD
    assert registry.read_patch_files("large") == FILES


def test_linked_work_trees_share_their_payloads(large: Registry, tmp_path: Path) -> None:
    git(large.root, "worktree", "add", "-q", "-b", "trial", str(tmp_path / "linked"))
    with Registry.open(tmp_path / "linked") as linked:
        assert linked.read_patch_files("large") == FILES
        other = large_files("two")
        linked.add_patch(other, "other", observed())
        assert stored(large.root, sha256(other["patch.safetensors"])).exists()
        assert linked.verify().ok
        assert status(linked.root) == ""


def test_what_a_kill_left_is_overwritten(large: Registry) -> None:
    left = large.root / ".git/lfs/tmp/patchhub"
    left.write_bytes(b"half")
    large.add_patch(large_files("two"), "other", observed())
    assert not left.exists()
    assert large.verify().ok


@with_git_lfs
def test_push_and_fetch_between_two_clones_through_git_lfs(
    large: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = User(tmp_path / "user", lfs=True)
    remote = tmp_path / "remote.git"
    user.git(tmp_path, "init", "-q", "--bare", "-b", "main", str(remote))
    user.git(large.root, "remote", "add", "origin", remote.as_uri())
    assert re.findall(r"- \S+patch.safetensors", user.git(large.root, "lfs", "ls-files"))
    assert user.git(large.root, "status", "--porcelain") == ""
    user.git(large.root, "lfs", "push", "origin", "main")
    user.git(large.root, "push", "-q", "origin", "main")
    kept = remote / "lfs/objects" / OID[:2] / OID[2:4] / OID
    assert kept.read_bytes() == PAYLOAD
    shutil.rmtree(large.root / ".git/lfs")  # what the other clone gets comes from the remote

    user.git(tmp_path, "clone", "-q", remote.as_uri(), "clone")
    user.become(monkeypatch)
    with Registry.open(tmp_path / "clone") as clone:
        assert clone.read_patch_files("large") == FILES
        assert (clone.root / HERE / "patch.safetensors").read_bytes() == PAYLOAD
        assert clone.verify().ok
        assert user.git(clone.root, "status", "--porcelain") == ""
        other = large_files("two")
        clone.add_patch(other, "other", observed())
        where = clone.root / clone.resolve("other").path
        assert (where / "patch.safetensors").read_bytes() == other["patch.safetensors"]
        assert user.git(clone.root, "status", "--porcelain") == ""
        assert user.git(clone.root, "lfs", "fsck").strip() == "Git LFS fsck OK"
        assert clone.verify().ok
        user.git(clone.root, "push", "-q", "origin", "main")  # git-lfs's own hook sends payloads

    user.git(large.root, "pull", "-q", "--ff-only", "origin", "main")
    user.git(large.root, "lfs", "pull", "origin")
    assert large.read_patch_files("other") == other
    assert large.read_patch_files("large") == FILES
    assert large.verify().ok


@with_git_lfs
def test_a_plain_clone_is_completed_by_git_lfs_pull(large: Registry, tmp_path: Path) -> None:
    plain, user = User(tmp_path / "plain", lfs=False), User(tmp_path / "user", lfs=True)
    plain.git(tmp_path, "clone", "-q", large.root.as_uri(), "clone")
    with Registry.open(tmp_path / "clone") as clone:
        assert plain.git(clone.root, "status", "--porcelain") == ""
        with pytest.raises(PatchHubError, match="E120"):
            clone.read_patch_files("large")
        user.git(clone.root, "lfs", "pull")
        assert clone.read_patch_files("large") == FILES
        assert clone.verify().ok
        assert user.git(clone.root, "status", "--porcelain") == ""


def test_git_lfs_counts_as_set_up_only_where_it_is(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    payloads = Payloads(registry.at().payloads._git)
    assert not payloads.is_set_up()
    git(registry.root, "config", "filter.lfs.clean", "git-lfs clean -- %f")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = tmp_path / "git-lfs"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    assert payloads.is_set_up()
    registry.add_patch(FILES, "large", observed())  # a broken git-lfs is no obstacle
    assert registry.read_patch_files("large") == FILES
    git(registry.root, "config", "filter.lfs.clean", "")
    assert not payloads.is_set_up()
