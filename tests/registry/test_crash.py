"""A kill anywhere leaves the old state or the new one, and the next command needs no help."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from patchhub.errors import PatchHubError
from patchhub_registry import Registry
from patchhub_registry.journal import Intent
from patchhub_registry.lock import locked
from tests.registry import crashing
from tests.registry.support import add, git, status

pytestmark = pytest.mark.slow

STRIDE = int(os.environ.get("PATCHHUB_TEST_STRIDE", "4"))
"""One kill in so many steps; ``make stress`` takes every step."""
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.registry.crashing"])


@pytest.mark.parametrize("operation", sorted(crashing.OPERATIONS))
def test_killed_at_any_step(registry: Registry, tmp_path: Path, operation: str) -> None:
    add(registry, "one")
    registry.close()
    outcomes = set[tuple[int, int]]()
    for step in range(0, 500, STRIDE):
        root = tmp_path / f"copy-{step}"
        shutil.copytree(registry.root, root, symlinks=True)
        child = SERVER.Process(target=crashing.crash_at, args=(root, operation, step))
        child.start()
        child.join(60)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        with Registry.open(root) as again:
            outcomes.add((len(again.at().versions("demo")), len(again.stacks())))
            assert again.verify(objects=False, history=False).ok
            assert status(root) == ""
            assert add(again, "three", "other") == "other@1"
        assert status(root) == ""
        assert list((root / ".patchhub/journal").iterdir()) == []
        assert not list((root / ".git").rglob("*.lock"))
        shutil.rmtree(root)
    assert step > 30
    assert outcomes == {(1, 0), (2, 0) if operation == "add" else (1, 1)}


def test_init_killed_at_any_step_is_repeated(tmp_path: Path) -> None:
    for step in range(0, 200, STRIDE):
        root = tmp_path / f"registry-{step}"
        child = SERVER.Process(target=crashing.crash_at, args=(root, "init", step))
        child.start()
        child.join(60)
        if child.exitcode == 0:
            break
        made = (root / "patchhub.toml").exists()
        with Registry.open(root) if made else Registry.init(root) as again:
            assert again.audit(objects=False, history=False).ok
            assert len(git(root, "rev-list", "HEAD").split()) == 1
            assert status(root) == ""
    assert step > 20


def leave_ref_lock(root: Path, new: str) -> int:
    """Let a real git take the ref locks and kill it; its process id."""
    command = ["git", "update-ref", "--stdin"]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"start\nupdate refs/heads/main {new}\nprepare\n".encode())
        child.stdin.flush()
        assert child.stdout.readline() == b"start: ok\n"
        assert child.stdout.readline() == b"prepare: ok\n"
        child.send_signal(signal.SIGKILL)
    assert (root / ".git/refs/heads/main.lock").exists()
    return child.pid


def unborn(root: Path) -> str:
    tree = git(root, "rev-parse", "HEAD^{tree}").strip()
    return git(root, "commit-tree", tree, "-p", "HEAD", "-m", "never reached").strip()


def test_a_ref_lock_of_a_killed_git_is_removed(registry: Registry) -> None:
    old, new = registry.head, unborn(registry.root)
    pid = leave_ref_lock(registry.root, new)
    Intent.begin(registry.root / ".patchhub/journal", old, new, "refs/heads/main", pid)
    with Registry.open(registry.root) as again:
        assert not list((registry.root / ".git").rglob("*.lock"))
        assert again.head == old
        assert add(again, "one") == "demo@1"
        assert status(again.root) == ""


def test_a_ref_lock_of_somebody_else_stays(registry: Registry) -> None:
    old, new = registry.head, unborn(registry.root)
    leave_ref_lock(registry.root, new)
    with pytest.raises(PatchHubError, match="another git process holds the branch") as caught:
        add(registry, "one")
    assert (caught.value.code, caught.value.exit) == ("E501", 6)
    assert registry.head == old
    other = git(registry.root, "rev-parse", "HEAD").strip()
    Intent.begin(registry.root / ".patchhub/journal", old, other, "refs/heads/main", 1)
    with Registry.open(registry.root):
        assert (registry.root / ".git/refs/heads/main.lock").exists()
    git_dir = registry.root / ".git"
    for lock in git_dir.rglob("*.lock"):
        lock.unlink()
    assert add(registry, "one") == "demo@1"
    assert status(registry.root) == ""


FAKE = """#!/bin/sh
case "$*" in
*update-ref*)
  {before}
  printf '%s\\n' "$(cat | tr '\\0' '\\n' | sed -n 2p)" > .git/refs/heads/main.lock
  {after}
  kill -9 $$;;
*) exec {git} "$@";;
esac
"""


def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str = "") -> None:
    """Put a git on the path that is killed while it holds the branch."""
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text(FAKE.format(git=shutil.which("git"), before="", after=after))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_when_git_is_killed_we_clean_up_at_once(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = registry.head
    with monkeypatch.context() as patched:
        fake_git(tmp_path, patched)
        with Registry.open(registry.root) as other:
            with pytest.raises(PatchHubError, match="killed by signal 9") as caught:
                add(other, "one")
            assert caught.value.code == "E702"
    assert registry.head == head
    assert not list((registry.root / ".git").rglob("*.lock"))
    assert add(registry, "one") == "demo@1"


def test_when_git_is_killed_after_the_step_the_commit_counts(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        done = "cp .git/refs/heads/main.lock .git/refs/heads/main"
        fake_git(tmp_path, patched, after=done)
        with Registry.open(registry.root) as other:
            assert add(other, "one") == "demo@1"
    assert registry.resolve("demo").version == 1
    assert not list((registry.root / ".git").rglob("*.lock"))
    assert status(registry.root) == ""


def test_an_unreadable_journal_file_is_dropped(registry: Registry) -> None:
    journal = registry.root / ".patchhub/journal"
    for name, data in (("1.json", b""), ("2.json", b"[]"), ("3.json", b'{"old": 1}')):
        (journal / name).write_bytes(data)
    with Registry.open(registry.root):
        assert list(journal.iterdir()) == []


def cut_off(registry: Registry) -> Path:
    """Undo what follows a commit, as if the process had been killed; the patch's directory."""
    old = registry.head
    add(registry, "one")
    folder = registry.root / registry.resolve("demo").path
    git(registry.root, "read-tree", old)
    shutil.rmtree(registry.root / "patches")
    Intent.begin(registry.root / ".patchhub/journal", old, registry.head, "refs/heads/main", 1)
    return folder


def test_a_refresh_that_was_cut_off_is_finished_by_a_reader(registry: Registry) -> None:
    folder = cut_off(registry)
    with Registry.open(registry.root) as again:
        assert len(again.patches()) == 1
    assert len(list(folder.iterdir())) == 4
    assert status(registry.root) == ""


def test_a_reader_needs_no_branch(registry: Registry) -> None:
    cut_off(registry)
    git(registry.root, "checkout", "-q", "--detach")
    with Registry.open(registry.root) as again:
        assert len(again.patches()) == 1
    git(registry.root, "checkout", "-q", "main")
    with Registry.open(registry.root):
        assert status(registry.root) == ""


def test_a_reader_waits_for_a_git_that_outlived_its_parent(registry: Registry) -> None:
    cut_off(registry)
    said = SERVER.Event()
    holder = SERVER.Process(target=crashing.hold_lock, args=(registry.root, said, 0.3))
    holder.start()
    assert said.wait(60)
    with Registry.open(registry.root):
        assert status(registry.root) == ""
    holder.join(60)


def test_a_reader_does_not_wait_for_long(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchhub_registry.registry._SETTLING", 0.05)
    cut_off(registry)
    with locked(registry.root / ".patchhub/lock", 0), Registry.open(registry.root) as again:
        assert len(again.patches()) == 1
    assert status(registry.root) != ""
