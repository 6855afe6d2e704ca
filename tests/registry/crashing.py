"""Run in processes of their own: they kill themselves, or race with each other."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import Any

from patchhub.errors import ConflictError, NotFoundError
from patchhub_registry import Registry
from patchhub_registry.git import Git
from patchhub_registry.schema import Op
from patchhub_registry.stack import Change
from tests.registry.lfs import large_files
from tests.registry.support import WEIGHTS, add, observed, patch_files

STEPS = ["link", "unlink", "replace", "rename", "fsync", "mkdir", "ftruncate"]
OPERATIONS: dict[str, Callable[[Registry], object]] = {
    "add": lambda registry: add(registry, "two"),
    "change": lambda registry: registry.change(
        registry.stack_or_new("prod", WEIGHTS), [Change(Op.PUSH, "demo@1")]
    ),
}


def count_down(left: int) -> Callable[[], None]:
    """Something to call at every step; it kills the process at the given one."""
    steps = [left]

    def tick() -> None:
        if steps[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps[0] -= 1

    return tick


def crash_at(root: Path, operation: str, step: int) -> None:
    """Do something with a registry and die before the given step of it.

    Steps: before and after the start of every git process, before every call that changes a file.
    """
    making = operation == "init"
    with nullcontext() if making else Registry.open(root) as registry:
        tick = count_down(step)
        start = Git.start

        def started(self: Git, *arguments: str, **more: Any) -> Any:
            tick()
            process = start(self, *arguments, **more)
            tick()
            return process

        Git.start = started  # type: ignore[method-assign]
        for name in STEPS:
            setattr(os, name, _counted(getattr(os, name), tick))
        if registry is None:
            Registry.init(root)
        else:
            OPERATIONS[operation](registry)
    os._exit(0)


def _counted(call: Callable[..., Any], tick: Callable[[], None]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        tick()
        return call(*arguments, **named)

    return counted


def add_many(root: Path, who: str, times: int) -> None:
    """Add patches as fast as possible, each also under one shared name."""
    with Registry.open(root, lock_timeout=60) as registry:
        for i in range(times):
            add(registry, f"{who} {i}", "shared")
            add(registry, f"{who} {i}", f"{who}-{i}")


def push_many(root: Path, refs: list[str]) -> None:
    """Push patches, planning again whenever another process was first."""
    with Registry.open(root, lock_timeout=60) as registry:
        for ref in refs:
            while True:
                state = registry.stack_or_new("prod", WEIGHTS)
                try:
                    registry.push_entry(state, "push", ref)
                    break
                except ConflictError as error:
                    if error.code != "E304":
                        raise


def add_for_ever(root: Path, said: Any) -> None:
    """Add patches, every other one large, until somebody kills us and the gits we started."""
    os.setsid()
    with Registry.open(root, lock_timeout=60) as registry:
        said.set()
        for i in count():
            made = large_files(f"{os.getpid()} {i}") if i % 2 else patch_files(f"{os.getpid()} {i}")
            registry.add_patch(made, f"name-{i % 3}", observed())


def random_operations(root: Path, who: str, times: int, done: Any) -> None:
    """Do random things; what was done is put on ``done`` as (what, reference, id)."""
    generator = random.Random(who)
    own: list[str] = []
    with Registry.open(root, lock_timeout=120) as registry:
        for i in range(times):
            word = generator.choice(["add", "add", "share", "push", "push", "revert", "look"])
            with suppress(ConflictError, NotFoundError):
                done.put((word, *_operate(registry, word, f"{who}-{i}", own, generator)))


def _operate(
    registry: Registry, word: str, text: str, own: list[str], generator: random.Random
) -> tuple[str, str]:
    if word == "look" or (not own and word in ("push", "revert")):
        known = registry.count()
        assert len(registry.patches()) >= known
        registry.history()
        return "", ""
    if word in ("add", "share"):
        name = "shared" if word == "share" else f"{text[0]}-{generator.randrange(5)}"
        made = registry.add_patch(patch_files(text), name, observed())
        own.append(made.ref)
        return made.ref, made.id
    state = registry.stack_or_new("prod", WEIGHTS)
    ref = generator.choice(own if word == "push" else [item.ref for item in state.items] or own)
    after = registry.push_entry(state, word, ref)
    return ref, after.head


def hold_lock(root: Path, said: Any, seconds: float) -> None:
    """Take the lock, say so, and keep it."""
    import time

    from patchhub_registry.lock import locked

    with locked(root / ".patchhub/lock", 10):
        said.set()
        time.sleep(seconds)
