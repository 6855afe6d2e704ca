"""One kill: a command on a copy of the world, SIGKILL to its whole process group, and the checks.

Everything runs in forks of one process that has the libraries loaded, so that a trial costs no
start of Python. The command is the real one, `patchhub_cli.main`, with its real git children.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transformers import AutoModelForCausalLM

from patchhub.checkpoint import read_state
from patchhub.checkpoint.place import place_of
from patchhub_cli.main import main
from patchhub_registry import Registry
from tests.crash.watch import FirstWrite, await_phase, phases
from tests.crash.world import COMMANDS, World, strangers
from tests.registry.support import git, status

LATENCY = 0.002
"""Seconds that a disk takes to sync, added because the copies lie in memory."""
_LONG = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """What to do in one trial.

    Attributes:
        command: One of `COMMANDS`.
        seed: Of the moment and of the command that follows.
        window: Seconds from first write to exit; the kill comes at a random moment of it.
        phase: Kill when this phase is seen instead.
        kill: Without it, only the time is taken.
    """

    command: str
    seed: int
    window: float = 0.0
    phase: str | None = None
    kill: bool = True


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        order: The trial.
        killed: False if the command ended before.
        phases: Where it was.
        done: "old" or "new"; "same" where a command changes nothing that is seen.
        seconds: From the first write to the end of the command.
        error: What is wrong.
    """

    order: Order
    killed: bool = False
    phases: set[str] = field(default_factory=set)
    done: str = ""
    seconds: float = 0.0
    error: str = ""


def trial(template: World, home: Path, order: Order, old: object, new: object) -> Outcome:
    """Carry out an order on a copy of the template at ``home``, which is removed afterwards.

    Args:
        template: Copied.
        home: Free.
        order: What to do.
        old: `World.seen` of the template.
        new: The same after the command.
    """
    outcome = Outcome(order)
    draw = random.Random(order.seed)
    world = template.copy(home)
    try:
        _strike(world, order, draw, outcome)
        if order.kill and outcome.killed:
            outcome.phases = phases(world)
            _check(world, order, draw, old, new, outcome)
    except BaseException:
        outcome.error = traceback.format_exc()
    shutil.rmtree(home, ignore_errors=not outcome.error)
    return outcome


def _strike(world: World, order: Order, draw: random.Random, outcome: Outcome) -> None:
    watch = FirstWrite(world.home)
    child = _start(world, COMMANDS[order.command])
    ended: list[int] = []

    def alive() -> bool:
        if not ended and os.waitpid(child, os.WNOHANG)[0]:
            ended.append(child)
        return not ended

    assert watch.wait(_LONG), "the command wrote nothing"
    watch.close()
    begin = time.perf_counter()
    if order.phase is not None:
        await_phase(world, order.phase, alive)
        time.sleep(draw.uniform(0, LATENCY))
    elif order.kill:
        _sleep_until(begin + draw.uniform(0, order.window))
    outcome.killed = order.kill and alive()
    if outcome.killed:
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
    outcome.seconds = time.perf_counter() - begin


def _start(world: World, command: tuple[str, ...]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        os.chdir(world.root)
        output = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(output, stream)
        os.fsync = _slowed(os.fsync)
        main(list(command))
    finally:
        os._exit(0)


def _slowed(honest: Callable[..., None]) -> Callable[..., None]:
    def fsync(descriptor: int) -> None:
        time.sleep(LATENCY)
        honest(descriptor)

    return fsync


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.perf_counter()))


def _check(
    world: World, order: Order, draw: random.Random, old: object, new: object, outcome: Outcome
) -> None:
    """Old or new, and the next command settles everything."""
    _readers_see_the_truth(world)
    follow = draw.choice(("add", "gc"))
    if follow == "gc":
        world.run("gc", "--now")
    else:
        world.run("add", "../spare", "--name", "next")
        left = [path for path in world.models if place_of(path).journal.exists()]
        assert not left, f"the next commit did not settle {left}"
        assert not list((world.root / ".patchhub/journal").iterdir())
    seen = _without_next(world)
    assert seen in (old, new), f"neither old nor new: {seen}"
    outcome.done = "same" if old == new else "new" if seen == new else "old"
    _sound(world)
    if outcome.done == "old" and old != new:
        world.run(*COMMANDS[order.command])
        seen = _without_next(world)
        assert seen == new, f"run again, it gave {seen}"
        assert status(world.root) == ""
    world.run("gc", "--now")
    assert strangers(world) == []


def _without_next(world: World) -> dict[str, object]:
    """What is seen, less what the following command added."""
    seen = world.seen()
    refs = seen["patches"]
    assert isinstance(refs, list)
    return {**seen, "patches": [ref for ref in refs if ref != "next@1"]}


def _readers_see_the_truth(world: World) -> None:
    """A reader takes no lock and settles nothing; a model that is there can be read at once."""
    for path in world.models:
        if not path.is_symlink():
            continue
        pending = read_state(path, lambda claim: bool(claim)).pending
        words = world.run("status", "--model", f"../{path.name}")
        assert (pending is not None) == ("unfinished" in words), words
        AutoModelForCausalLM.from_pretrained(path)


def _sound(world: World) -> None:
    """Digests, chains, git's own checks, the model as transformers reads it, locks."""
    with Registry.open(world.root) as registry:
        report = registry.audit(objects=False)
        assert report.ok, report.findings
    git(world.root, "fsck", "--strict", "--no-dangling")
    assert status(world.root) == ""
    locks = [world.root / ".patchhub/lock"]
    for path in world.models:
        if path.is_symlink():
            assert read_state(path).pending is None
            AutoModelForCausalLM.from_pretrained(path)
            locks.append(place_of(path).lock)
    for lock in locks:
        with lock.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
