"""Two processes do what they like with one registry and its model directories."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchhub.errors import ConflictError, PatchHubError
from patchhub_registry import Registry
from patchhub_registry.operations.changing import change
from patchhub_registry.schema import Op
from tests.crash.world import FT, World, build, strangers
from tests.registry.support import git, patch_files, status

EACH = int(os.environ.get("PATCHHUB_TEST_RACE", "25"))
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([f"{__package__}.warm"])
PATCHES = ("born", "lives", "speaks")
FOLLOWS = {"prod": "model", "other": "fresh"}
REFUSED = {
    "E107",  # the stack has not begun
    "E304",  # the other was faster
    "E306",  # already in the stack
    "E307",  # not in it
    "E501",  # waited in vain
}

pytestmark = pytest.mark.slow


class Player:
    """One of the two processes: random operations, and what became of them."""

    def __init__(self, world: World, name: str, seed: int) -> None:
        self._world, self._name = world, name
        self._draw = random.Random(seed)
        self._registry = Registry.open(world.root, lock_timeout=60)
        self._weights = self._registry.base("pico").weights
        self.added: list[str] = []
        self.entered: list[tuple[str, int, str, str]] = []
        self.refused: Counter[str] = Counter()

    def play(self, rounds: int) -> None:
        """Do something this often."""
        moves: tuple[Callable[[int], None], ...] = (self._add, self._change, self._other)
        for i in range(rounds):
            try:
                self._draw.choices(moves, (30, 60, 10))[0](i)
            except PatchHubError as error:
                if error.code not in REFUSED:
                    raise
                self.refused[error.code] += 1
        self._registry.close()

    def _add(self, i: int) -> None:
        name = self._draw.choice(("shared", f"own-{self._name}"))
        files = patch_files(f"{self._name} {i}", base=self._weights)
        self.added.append(self._registry.add_patch(files, name, {"base": "pico"}).ref)

    def _change(self, _: int) -> None:
        stack, ref = self._draw.choice(list(FOLLOWS)), self._draw.choice(PATCHES)
        model = self._world.home / FOLLOWS[stack] if self._draw.random() < 0.7 else None
        op = self._draw.choice((Op.PUSH, Op.REVERT))
        verb = self._registry.apply if op is Op.PUSH else self._registry.revert
        made = verb(ref, stack=stack, model=model)
        self.entered.append((stack, made.after.seq, str(op), f"{ref}@1"))

    def _other(self, _: int) -> None:
        if self._draw.random() < 0.3:
            self._registry.gc()
            return
        stack = self._draw.choice(list(FOLLOWS))
        made = self._registry.apply(stack=stack, model=self._world.home / FOLLOWS[stack])
        assert made.generation is not None
        assert made.generation.identity == made.after.identity


def play(world: World, name: str, seed: int, rounds: int, answer: Any) -> None:
    """In a process of its own."""
    player = Player(world, name, seed)
    player.play(rounds)
    answer.put((player.added, player.entered, player.refused))


def test_two_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    world = build(tmp_path / "home")
    world.run("edit", *FT, "../speaks.json", "--name", "speaks")
    before = len(Registry(world.root).log("prod"))
    answers = SERVER.SimpleQueue()
    players = [
        SERVER.Process(target=play, args=(world, name, seed, EACH, answers))
        for seed, name in enumerate("ab")
    ]
    for player in players:
        player.start()
    told = [answers.get() for _ in players]
    for player in players:
        player.join(60)
        assert player.exitcode == 0
    added = [ref for answer in told for ref in answer[0]]
    entered = [entry for answer in told for entry in answer[1]]
    assert len(added) + len(entered) + sum(answer[2].total() for answer in told) <= 2 * EACH
    # else the refusals would hide that little was done
    assert len(added) > EACH // 4
    assert len(entered) > EACH // 8
    with Registry.open(world.root) as registry:
        check(registry, world, added, entered, before)


def test_a_directory_does_not_go_back(tmp_path: Path) -> None:
    """One process means to catch up, but before it has the lock another one changes both."""
    world = build(tmp_path / "home")
    with Registry.open(world.root) as registry:
        stale = registry.stack("prod")
        registry.apply("lives", stack="prod", model=world.model)
        before = world.seen()
        with pytest.raises(ConflictError, match="E304"):
            change(registry, stale, (), model=world.model, progress=None)
        assert world.seen() == before
        made = change(registry, registry.stack("prod"), (), model=world.model, progress=None)
        assert made.after.seq == stale.seq + 1


def check(
    registry: Registry,
    world: World,
    added: list[str],
    entered: list[tuple[str, int, str, str]],
    before: int,
) -> None:
    """Nothing lost, no number twice, chains whole, directories at a state of their stack."""
    here = [patch.ref for patch in registry.patches()]
    assert sorted(added) == sorted(set(here) - {f"{name}@1" for name in PATCHES})
    shared = registry.at().versions("shared")
    assert shared == list(range(1, len(shared) + 1))
    found = [
        (name, entry.seq, str(entry.op), entry.patch.ref)
        for name in registry.stacks()
        for entry in registry.log(name)[before if name == "prod" else 0 :]
        if entry.patch is not None
    ]
    assert sorted(found) == sorted(entered)
    assert registry.recover() == ()
    for stack, model in FOLLOWS.items():
        if stack in registry.stacks() and (world.home / model).is_symlink():
            report = registry.verify(model=world.home / model)
            assert report.ok, report.findings
            assert report.model is not None
            assert stack in [place.stack for place in report.model.stacks]
            registry.apply(stack=stack, model=world.home / model)
            held = registry.status(model=world.home / model).model
            assert held is not None
            assert held.state.identity == registry.stack(stack).identity
    git(world.root, "fsck", "--strict", "--no-dangling")
    assert status(world.root) == ""
    registry.gc(now=True)
    assert strangers(world) == []
