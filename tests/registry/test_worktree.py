"""A user's own edits, staged changes, untracked files and locks survive what PatchHub commits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from patchhub_registry import Registry, worktree, writer
from patchhub_registry.paths import patch_dir
from tests.registry.support import add, git, status


def test_edits_staged_changes_and_untracked_files_survive(registry: Registry) -> None:
    root = registry.root
    (root / "README.md").write_text("first\n")
    git(root, "add", "README.md")
    git(root, "commit", "-q", "-m", "notes")
    (root / "README.md").write_text("second\n")
    (root / ".gitattributes").write_text("# mine\n")
    git(root, "add", ".gitattributes")
    (root / "untracked.txt").write_text("mine\n")
    (root / "staged.txt").write_text("mine\n")
    git(root, "add", "staged.txt")
    before = status(root)
    assert before.splitlines() == [
        "M  .gitattributes",
        " M README.md",
        "A  staged.txt",
        "?? untracked.txt",
    ]
    add(registry, "one")
    assert status(root) == before
    assert (root / "README.md").read_text() == "second\n"
    assert (root / "untracked.txt").read_text() == "mine\n"
    assert registry.verify().ok


def test_a_file_of_the_user_in_the_way_is_kept(registry: Registry) -> None:
    target = registry.root / patch_dir("demo", 1) / "patch.json"
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    add(registry, "one")
    assert target.read_text() == "mine"
    assert status(registry.root) == f" M {patch_dir('demo', 1)}/patch.json\n"
    assert registry.read_patch_files("demo")["patch.json"] != b"mine"
    assert [finding.code for finding in registry.verify().findings] == ["E202"]
    git(registry.root, "checkout", "--", ".")
    assert registry.verify().ok


def test_the_same_bytes_in_the_way_are_no_conflict(registry: Registry, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(registry.root), "clone")
    add(registry, "one")
    folder = registry.root / patch_dir("demo", 1)
    with Registry.open(tmp_path / "clone") as clone:
        target = clone.root / patch_dir("demo", 1) / "patch.json"
        target.parent.mkdir(parents=True)
        target.write_bytes((folder / "patch.json").read_bytes())
        add(clone, "one")
        assert status(clone.root) == ""


def test_nothing_is_written_through_a_link(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (registry.root / "patches").symlink_to(tmp_path / "elsewhere")
    add(registry, "one")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert registry.resolve("demo").version == 1
    (registry.root / "patches").unlink()
    git(registry.root, "checkout", "--", "patches")
    assert status(registry.root) == ""


def test_a_file_where_a_directory_should_be_is_kept(registry: Registry) -> None:
    (registry.root / "patches").write_text("mine")
    assert add(registry, "one") == "demo@1"
    assert (registry.root / "patches").read_text() == "mine"


def test_removed_copies_do_not_matter(registry: Registry) -> None:
    add(registry, "one")
    copy = registry.root / patch_dir("demo", 1) / "patch.json"
    copy.unlink()
    assert add(registry, "two") == "demo@2"
    assert not copy.exists()
    assert len(registry.read_patch_files("demo@1")) == 3
    assert registry.verify().ok


def test_without_hard_links_files_are_copied(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    add(registry, "one")
    (registry.root / patch_dir("demo", 2)).mkdir(parents=True)
    mine = registry.root / patch_dir("demo", 2) / "patch.json"
    mine.write_text("mine")
    add(registry, "two")
    assert mine.read_text() == "mine"
    assert status(registry.root) == f" M {patch_dir('demo', 2)}/patch.json\n"
    assert not (registry.root / ".git/index.lock").exists()


def test_while_a_users_git_holds_the_index_the_commit_counts_and_the_rest_follows(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_PATIENCE", 0.1)
    held = registry.root / ".git/index.lock"
    held.write_bytes(b"DIRC of the user")
    assert add(registry, "one") == "demo@1"
    assert registry.resolve("demo").version == 1
    assert held.read_bytes() == b"DIRC of the user"
    with Registry.open(registry.root):
        assert held.exists()
    held.unlink()
    with Registry.open(registry.root):
        assert status(registry.root) == ""
    assert list((registry.root / ".patchhub/journal").iterdir()) == []


def test_what_waits_for_the_index_is_waited_for_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_PATIENCE", 0.1)
    held = registry.root / ".git/index.lock"
    held.write_bytes(b"DIRC of the user")
    for text in ("one", "two", "three"):
        add(registry, text)
    waits, refresh = list[float](), worktree.refresh

    def noted(*arguments: Any) -> None:
        waits.append(arguments[-1])
        refresh(*arguments)

    monkeypatch.setattr(worktree, "refresh", noted)
    add(registry, "four")
    assert sorted(wait for wait in waits if wait) == [0.1, 0.1]
    held.unlink()
    with Registry.open(registry.root):
        assert status(registry.root) == ""


def test_an_index_lock_of_ours_is_known_and_removed(registry: Registry) -> None:
    git_dir = registry.root / ".git"
    (git_dir / "index.lock").write_bytes(worktree._MARK)
    (git_dir / "patchhub-index").write_bytes(b"half")
    (git_dir / "patchhub-index.lock").write_bytes(b"")
    add(registry, "one")
    assert status(registry.root) == ""
    assert sorted(file.name for file in git_dir.glob("*index*")) == ["index"]


def test_in_a_linked_work_tree(registry: Registry, tmp_path: Path) -> None:
    git(registry.root, "worktree", "add", "-q", "-b", "trial", str(tmp_path / "linked"))
    with Registry.open(tmp_path / "linked") as linked:
        assert add(linked, "one") == "demo@1"
        assert status(linked.root) == ""
        assert linked.verify().ok
    assert registry.patches() == []
    assert status(registry.root) == ""


def test_a_user_switching_branches_sees_a_clean_tree(registry: Registry) -> None:
    git(registry.root, "branch", "old")
    add(registry, "one")
    git(registry.root, "checkout", "-q", "old")
    assert registry.patches() == []
    assert not (registry.root / "patches").exists()
    assert add(registry, "two", "other") == "other@1"
    git(registry.root, "checkout", "-q", "main")
    assert [patch.ref for patch in registry.patches()] == ["demo@1"]
    assert status(registry.root) == ""


def test_a_path_with_spaces_newline_and_umlaut(tmp_path: Path) -> None:
    with Registry.init(tmp_path / "mein Regist\ner ä") as registry:
        registry.add_policy(b"version = 1\n")
        assert registry.policy() == b"version = 1\n"
        assert status(registry.root) == ""
        assert registry.verify().ok
