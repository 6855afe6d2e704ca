"""Many kills: uniform in time first, then aimed at the phases that were hit too rarely."""

from __future__ import annotations

import itertools
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.crash.trial import Order, Outcome, trial
from tests.crash.watch import AIMED, PHASES
from tests.crash.world import COMMANDS, World, build

AT_LEAST = 10
_TRIES = 40


@dataclass(slots=True)
class Campaign:
    """All kills so far.

    Attributes:
        folder: Where the copies lie; best in memory.
        workers: Trials at once.
        seed: Of every moment.
        outcomes: Of trials in which the command was killed.
    """

    folder: Path
    workers: int = 2
    seed: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self, kills: int, at_least: int, say: Callable[[str], None] = lambda _: None) -> None:
        """Kill ``kills`` times uniformly in time, then until each phase was hit often enough."""
        template = build(self.folder / "template/home")
        after = {name: self._after(template, name) for name in COMMANDS}
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([f"{__package__}.warm"])
        with ProcessPoolExecutor(self.workers, context, max_tasks_per_child=8) as pool:
            self._go(pool, template, after, kills, at_least, say)

    def _go(
        self,
        pool: ProcessPoolExecutor,
        template: World,
        after: dict[str, dict[str, object]],
        kills: int,
        at_least: int,
        say: Callable[[str], None],
    ) -> None:
        old = template.seen()

        def submit(order: Order) -> Future[Outcome]:
            home = self.folder / f"trial-{next(self._numbers)}"
            return pool.submit(trial, template, home, order, old, after[order.command])

        taken = {name: submit(Order(name, 0, kill=False)).result() for name in COMMANDS}
        windows = {name: 1.1 * outcome.seconds for name, outcome in taken.items()}
        say("window " + ", ".join(f"{name} {s:.2f} s" for name, s in windows.items()))
        names = list(COMMANDS)
        uniform = (
            Order(names[i % len(names)], self.seed + i, windows[names[i % len(names)]])
            for i in range(kills)
        )
        self._all(submit, uniform, say)
        draw = random.Random(self.seed)
        for phase in PHASES:
            for _ in range(_TRIES):
                aimed = [
                    Order(draw.choice(AIMED[phase]), draw.randrange(1 << 30), phase=phase)
                    for _ in range(self.missing(at_least).get(phase, 0))
                ]
                self._all(submit, iter(aimed), say)

    def _all(
        self,
        submit: Callable[[Order], Future[Outcome]],
        orders: Iterator[Order],
        say: Callable[[str], None],
    ) -> None:
        running: set[Future[Outcome]] = set()
        todo = list(orders)[::-1]
        while todo or running:
            while todo and len(running) < self.workers:
                running.add(submit(todo.pop()))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for outcome in (future.result() for future in done):
                if outcome.killed:
                    self.outcomes.append(outcome)
                    if outcome.error:
                        say(f"{outcome.order} {outcome.phases}\n{outcome.error}")
                    elif len(self.outcomes) % 20 == 0:
                        say(f"{len(self.outcomes)} kills")
                elif outcome.error:
                    raise AssertionError(outcome.error)
                elif outcome.order.phase is None:  # it was too late; another moment
                    todo.append(replace(outcome.order, seed=outcome.order.seed + 1_000_003))

    def _after(self, template: World, name: str) -> dict[str, object]:
        """What a world looks like after a command that nobody disturbed."""
        world = template.copy(self.folder / f"after-{name}")
        world.run(*COMMANDS[name])
        return world.seen()

    def histogram(self) -> Counter[str]:
        """Kills by phase; one kill may be in a phase of each journal."""
        return Counter(phase for outcome in self.outcomes for phase in outcome.phases)

    def missing(self, at_least: int) -> dict[str, int]:
        """Phases that were hit too rarely, and how many hits they lack."""
        hits = self.histogram()
        return {phase: at_least - hits[phase] for phase in PHASES if hits[phase] < at_least}

    def failures(self) -> list[Outcome]:
        """Kills after which something was wrong."""
        return [outcome for outcome in self.outcomes if outcome.error]

    def table(self) -> str:
        """Kills by phase and command, as Markdown; those uniform in time apart from aimed ones.

        Aiming at a phase ends when it was hit often enough: only the uniform column says how
        likely a phase is.
        """
        names = list(COMMANDS)
        rows = [("phase", *names, "uniform", "aimed"), ("---", *["---:"] * (len(names) + 2))]
        for phase in (*PHASES, "no journal"):
            hits = [o for o in self.outcomes if phase in (o.phases or {"no journal"})]
            rows.append(_row(phase, hits))
        for words in ("old", "new", "same"):
            rows.append(_row(f"→ {words}", [o for o in self.outcomes if o.done == words]))
        rows.append(_row("kills", self.outcomes))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(label: str, outcomes: list[Outcome]) -> tuple[str, ...]:
    by = Counter(outcome.order.command for outcome in outcomes)
    aimed = sum(outcome.order.phase is not None for outcome in outcomes)
    counts = (*(by[name] for name in COMMANDS), len(outcomes) - aimed, aimed)
    return (label, *map(str, counts))
