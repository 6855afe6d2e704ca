"""Two processes on one registry: nothing is lost, nothing is doubled."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from patchhub.errors import PatchHubError
from patchhub_registry import Registry
from patchhub_registry.git import Git
from patchhub_registry.lock import locked
from tests.registry import crashing
from tests.registry.support import WEIGHTS, add, commits, git, status

pytestmark = pytest.mark.slow

SPAWN = multiprocessing.get_context("spawn")
EACH = 8


def together(*calls: tuple[Callable[..., None], tuple[Any, ...]]) -> None:
    processes = [SPAWN.Process(target=call, args=arguments) for call, arguments in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_two_processes_add(registry: Registry) -> None:
    before = commits(registry.root)
    together(*[(crashing.add_many, (registry.root, who, EACH)) for who in ("a", "b")])
    assert commits(registry.root) == before + 4 * EACH
    names = [patch.ref for patch in registry.patches()]
    assert len(names) == 4 * EACH
    assert registry.at().versions("shared") == list(range(1, 2 * EACH + 1))
    assert registry.verify().ok
    assert status(registry.root) == ""


def test_two_processes_push(registry: Registry) -> None:
    refs = [add(registry, f"text {i}", f"fact-{i}") for i in range(2 * EACH)]
    halves = (refs[::2], refs[1::2])
    together(*[(crashing.push_many, (registry.root, half)) for half in halves])
    state = registry.stack("prod")
    order = [item.ref for item in state.items]
    assert sorted(order) == sorted(refs)
    for half in halves:
        assert [ref for ref in order if ref in half] == half
    assert state.seq == 2 * EACH
    assert registry.verify().ok
    assert status(registry.root) == ""


def test_two_processes_do_random_things(registry: Registry) -> None:
    times = int(os.environ.get("PATCHHUB_TEST_OPERATIONS", "25"))
    before, said = commits(registry.root), SPAWN.SimpleQueue()
    processes = [
        SPAWN.Process(target=crashing.random_operations, args=(registry.root, who, times, said))
        for who in ("a", "b")
    ]
    for process in processes:
        process.start()
    done = list(reported(said, processes))
    assert [process.exitcode for process in processes] == [0, 0]
    added = {ref: patch_id for word, ref, patch_id in done if word in ("add", "share") and ref}
    assert {patch.ref: patch.id for patch in registry.patches()} == added
    assert len(added) == len([word for word, _, _ in done if word in ("add", "share")])
    heads = [head for word, ref, head in done if word in ("push", "revert") and ref]
    written = [line.digest for line in registry.history() if line.op != "checkpoint"]
    assert sorted(written) == sorted(heads)
    assert commits(registry.root) == before + len(added) + len(heads)
    numbers = sorted(int(ref.partition("@")[2]) for ref in added if ref.startswith("shared@"))
    assert numbers == list(range(1, len(numbers) + 1))
    assert registry.verify().ok
    assert status(registry.root) == ""
    git(registry.root, "fsck", "--strict")


def reported(said: Any, processes: list[Any]) -> Iterator[tuple[str, str, str]]:
    """What the processes say until all have ended."""
    while True:
        ended = not any(process.is_alive() for process in processes)
        while not said.empty():
            yield said.get()
        if ended:
            break
        time.sleep(0.01)
    for process in processes:
        process.join()


def meddle(
    monkeypatch: pytest.MonkeyPatch, root: Path, times: int, move: Callable[[int], object]
) -> None:
    """Let a foreign program move the branch just before ours would."""
    start, left = Git.start, [times]

    def started(self: Git, *arguments: str, **more: Any) -> Any:
        if arguments[0] == "update-ref" and left[0] > 0:
            left[0] -= 1
            move(left[0])
        return start(self, *arguments, **more)

    monkeypatch.setattr(Git, "start", started)


def foreign_commit(root: Path) -> None:
    tree = git(root, "rev-parse", "HEAD^{tree}").strip()
    new = git(root, "commit-tree", tree, "-p", "HEAD", "-m", "foreign").strip()
    git(root, "update-ref", "refs/heads/main", new)


def test_adding_rebases_itself(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    before = commits(registry.root)
    meddle(monkeypatch, registry.root, 2, lambda _: foreign_commit(registry.root))
    assert add(registry, "one") == "demo@1"
    assert commits(registry.root) == before + 3
    assert status(registry.root) == ""


def test_adding_takes_the_next_version_when_a_foreign_program_took_one(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "-q", str(registry.root), "clone")
    with Registry.open(tmp_path / "clone") as clone:
        add(clone, "theirs")
    git(registry.root, "fetch", "-q", str(tmp_path / "clone"), "main:theirs")
    merge = ("merge", "-q", "--ff-only", "theirs")
    meddle(monkeypatch, registry.root, 1, lambda _: git(registry.root, *merge))
    assert add(registry, "ours") == "demo@2"
    assert registry.verify().ok
    assert status(registry.root) == ""


def test_adding_gives_up_in_the_end(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    meddle(monkeypatch, registry.root, 99, lambda _: foreign_commit(registry.root))
    with pytest.raises(PatchHubError) as caught:
        add(registry, "one")
    assert (caught.value.code, caught.value.exit) == ("E305", 4)
    assert registry.patches() == []


def test_a_stack_entry_never_rebases(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    add(registry, "one")
    before = commits(registry.root)
    state = registry.stack_or_new("prod", WEIGHTS)
    meddle(monkeypatch, registry.root, 1, lambda _: foreign_commit(registry.root))
    with pytest.raises(PatchHubError) as caught:
        registry.push_entry(state, "push", "demo")
    assert (caught.value.code, caught.value.exit) == ("E305", 4)
    assert registry.stacks() == []
    assert commits(registry.root) == before + 1
    assert status(registry.root) == ""
    assert registry.push_entry(state, "push", "demo").seq == 1


def test_a_busy_registry_says_who_holds_it(registry: Registry) -> None:
    said = SPAWN.Event()
    holder = SPAWN.Process(target=crashing.hold_lock, args=(registry.root, said, 60))
    holder.start()
    assert said.wait(60)
    with Registry.open(registry.root, lock_timeout=0.1) as other:
        with pytest.raises(PatchHubError, match=f"pid {holder.pid} on host") as caught:
            add(other, "one")
        assert (caught.value.code, caught.value.exit) == ("E501", 6)
        assert caught.value.data["pid"] == holder.pid
        assert other.patches() == []
        holder.kill()
        holder.join(60)
        start = time.monotonic()
        assert add(other, "one") == "demo@1"
        assert time.monotonic() - start < 5


def test_a_lock_is_held_on_by_a_child_that_inherited_it(tmp_path: Path) -> None:
    lock = tmp_path / "private/lock"
    with locked(lock, 0) as descriptor:
        kept = os.dup(descriptor)  # as a child has it after its parent was killed
        with pytest.raises(PatchHubError, match="E501"), locked(lock, 0):
            pass
    with locked(lock, 0):
        pass
    os.close(kept)


def test_a_file_system_without_locks_is_named(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(PatchHubError) as caught:
        add(registry, "one")
    assert (caught.value.code, caught.value.exit) == ("E502", 6)
