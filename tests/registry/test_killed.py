"""Real kills: of the whole process group, and of single gits. The next command needs no help."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from patchhub.errors import PatchHubError
from patchhub_registry import Registry
from patchhub_registry.git import Git
from tests.registry import crashing
from tests.registry.lfs import large_files
from tests.registry.support import add, git, observed, status

pytestmark = pytest.mark.slow

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.registry.crashing"])
KILLS = int(os.environ.get("PATCHHUB_TEST_KILLS", "12"))


def leftovers(root: Path) -> list[str]:
    """What no finished command leaves: locks, temporary objects, files under way."""
    found = [*(root / ".git").rglob("*.lock"), *(root / ".git/objects").rglob("tmp_*")]
    found += (root / ".git").glob("patchhub-index*")
    for directory in (".git/lfs/tmp", ".patchhub/tmp", ".patchhub/journal"):
        if (root / directory).exists():
            found += (root / directory).iterdir()
    return [str(path.relative_to(root)) for path in found if path.name != "patchhub.lock"]


def test_the_whole_group_is_killed_at_any_time(registry: Registry) -> None:
    generator = random.Random(1)
    root, seen = registry.root, 0
    for kill in range(KILLS):
        said = SERVER.Event()
        child = SERVER.Process(target=crashing.add_for_ever, args=(root, said))
        child.start()
        assert said.wait(120)
        time.sleep(generator.uniform(0, 0.4))
        assert child.pid is not None
        os.killpg(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        with Registry.open(root) as again:
            assert again.count() >= seen
            add(again, f"after {kill}", "after")
            seen = again.count()
            for name in {patch.name for patch in again.patches()}:
                numbers = again.at().versions(name)
                assert numbers == list(range(1, len(numbers) + 1))
        # of a payload under way the beginning stays, to be overwritten by that of the next
        assert set(leftovers(root)) <= {".git/lfs/tmp/patchhub"}
        assert status(root) == ""
    registry.add_patch(large_files("last"), "last", observed())
    assert leftovers(root) == []
    assert registry.verify().ok
    git(root, "fsck", "--strict")


FAKE = """#!/bin/sh
case "$*" in
*"{command}"*)
  if [ -e {once} ]; then
    rm {once}
    {leave}
    kill -9 $$
  fi;;
esac
exec {git} "$@"
"""
HALF = 'mkdir -p "$GIT_OBJECT_DIRECTORY/ab" && echo half > "$GIT_OBJECT_DIRECTORY/ab/tmp_obj_x"'
LEAVES = {
    "hash-object": HALF,
    "mktree": HALF,
    "commit-tree": HALF,
    "update-ref": "sleep 0.1; touch .git/refs/heads/main.lock .git/HEAD.lock",
    "update-index": 'touch "$GIT_INDEX_FILE.lock"',
    "symbolic-ref": ":",
}


@pytest.mark.parametrize("command", sorted(LEAVES))
def test_a_git_of_ours_is_killed(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    once = tmp_path / "once"
    once.touch()
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    words = {"command": command, "once": once, "leave": LEAVES[command]}
    program.write_text(FAKE.format(git=shutil.which("git"), **words))
    program.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        with Registry.open(registry.root) as other:
            if command == "update-index":  # committed by then; the rest follows
                assert add(other, "one") == "demo@1"
            else:
                with pytest.raises(PatchHubError, match="killed by signal 9") as caught:
                    add(other, "one")
                assert caught.value.code == "E702"
                assert other.patches() == []
    assert not once.exists()
    expected = "demo@2" if command == "update-index" else "demo@1"
    assert add(registry, "two") == expected
    assert leftovers(registry.root) == []
    assert status(registry.root) == ""
    assert registry.verify().ok


def test_a_git_of_ours_is_killed_before_it_is_told_anything(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Git.start

    def dying(self: Git, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        process = start(self, *arguments, **more)
        if arguments[0] == "mktree":
            process.kill()
            process.wait()
        return process

    with monkeypatch.context() as patched:
        patched.setattr(Git, "start", dying)
        with pytest.raises(PatchHubError, match="killed by signal 9"):
            add(registry, "one")
    assert add(registry, "one") == "demo@1"


def test_init_is_repeated_after_a_git_of_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, program = tmp_path / "once", tmp_path / "bin/git"
    once.touch()
    program.parent.mkdir()
    words = {"command": "config gc.auto", "once": once, "leave": "touch .git/config.lock"}
    program.write_text(FAKE.format(git=shutil.which("git"), **words))
    program.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        with pytest.raises(PatchHubError, match="E702"):
            Registry.init(tmp_path / "registry")
    with Registry.init(tmp_path / "registry") as registry:
        assert leftovers(registry.root) == []
        assert not (registry.root / ".patchhub/begun").exists()
        assert status(registry.root) == ""
        assert registry.verify().ok
