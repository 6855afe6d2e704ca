"""Time left: from a simulated schedule, with what jobs of the same label took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchhub.jobs import Inline, Job, JobStore, run_jobs
from patchhub.jobs import run as running
from patchhub.jobs import schedule as scheduling
from patchhub.jobs.backend import Finished, Task
from patchhub.jobs.estimate import Durations, makespan
from patchhub.jobs.plan import Plan
from tests.jobs.work import job


class Clocked:
    """A back end whose jobs take no time but that of its own clock."""

    def __init__(self, workers: int, seconds: Mapping[str, float]) -> None:
        self.workers, self.now = workers, 1000.0
        self._seconds = seconds
        self._ends: list[tuple[float, str, float]] = []
        self._sites: list[Mapping[str, str] | None] = [None] * workers
        self._busy: dict[str, Mapping[str, str]] = {}
        self.order: list[str] = []

    def vacant(self) -> Sequence[Mapping[str, str] | None]:
        return list(self._sites)

    def submit(self, task: Task) -> None:
        one = task.job
        self._sites.remove(one.site if one.site in self._sites else None)
        seconds = self._seconds[one.label]
        self._ends.append((self.now + seconds, one.key, seconds))
        self._busy[one.key] = one.site
        self.order.append(one.label)

    def finished(self) -> Finished:
        end = min(self._ends)
        self._ends.remove(end)
        self.now = end[0]
        self._sites.append(self._busy.pop(end[1]) or None)
        return Finished(end[1], end[2])

    def close(self) -> None:
        raise AssertionError("the run broke")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`Clocked.now` as the time, once ``backend`` is set."""
    held = SimpleNamespace(backend=None)
    held.monotonic = lambda: held.backend.now
    monkeypatch.setattr(running, "time", held)
    monkeypatch.setattr(scheduling, "time", held)
    return held


def test_long_chains_begin_first(tmp_path: Path, clock: SimpleNamespace) -> None:
    links = [job(0, label="link")]
    for i in range(1, 5):
        links.append(job(i, links[-1], label="link"))
    single = [job(100 + i, label="one") for i in range(5)]
    clock.backend = Clocked(2, {"link": 10.0, "one": 10.0})
    run_jobs([*single, *links], JobStore(tmp_path), clock.backend)
    assert clock.backend.now - 1000 == 50.0  # the best there is: both are busy to the end


def test_what_takes_long_begins_first(tmp_path: Path, clock: SimpleNamespace) -> None:
    jobs = [job(i, label="short") for i in range(8)] + [
        job(100 + i, label="long") for i in range(3)
    ]
    clock.backend = Clocked(2, {"short": 1.0, "long": 8.0})
    run_jobs(jobs, JobStore(tmp_path), clock.backend)
    assert clock.backend.now - 1000 <= 20.0  # the best is 16
    assert clock.backend.order.index("long") <= 3


def test_estimates_come_true(tmp_path: Path, clock: SimpleNamespace) -> None:
    seconds = {"edit": 20.0, "measure": 5.0, "report": 30.0}
    edits = [job(i, label="edit") for i in range(12)]
    measures = [job(100 + i, one, label="measure") for i, one in enumerate(edits)]
    jobs = [*edits, *measures, job(1000, *measures, label="report")]
    clock.backend = Clocked(2, seconds)
    told: list[tuple[float, float]] = []
    run_jobs(
        jobs,
        JobStore(tmp_path),
        clock.backend,
        remaining=lambda left: told.append((clock.backend.now, left)),
    )
    end = clock.backend.now
    assert end - 1000 == pytest.approx((12 * 25) / 2 + 30, abs=11)
    known = [(now, left) for now, left in told if now > 1000 + 40]  # both kinds were seen
    assert len(known) > 10
    for now, left in known:
        assert left == pytest.approx(end - now, abs=20 + (30 - 12.5))  # the report was never seen
    assert told[-1] == (end, 0.0)
    assert not any(math.isnan(left) or left < 0 for _, left in told)


def test_earlier_runs_teach(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    told: list[float] = []
    run_jobs([job(1, seconds="0.2")], store, Inline(), remaining=told.append)
    assert told[-1:] in ([], [0.0])
    told.clear()
    ((_, seconds),) = store.durations()
    assert seconds >= 0.2
    run_jobs([job(2), job(3)], store, Inline(), remaining=told.append)
    assert told[0] == pytest.approx(2 * seconds)


def test_unknown_labels_take_what_the_others_take() -> None:
    known = Durations()
    assert not known
    assert known.mean("a") == known.mean("b") > 0
    for seconds in (1.0, 3.0):
        known.add("a", seconds)
    known.add("b", 10.0)
    assert known
    assert known.means({"a", "b", "c"}) == {"a": 2.0, "b": 10.0, "c": 6.0}


def test_hand_worked_schedules() -> None:
    a = job(1, label="a")
    b, c = job(2, a, label="b"), job(3, a, label="c")
    d = job(4, b, c, label="d")
    plan, seconds = Plan.of([d, c, b, a]), {"a": 1.0, "b": 2.0, "c": 5.0, "d": 1.0}
    keys = {one.key for one in (a, b, c, d)}
    assert plan.chains(seconds) == {a.key: 7.0, b.key: 3.0, c.key: 6.0, d.key: 1.0}
    assert makespan(plan, keys, {}, seconds, 1) == 9.0
    assert makespan(plan, keys, {}, seconds, 2) == 7.0
    assert makespan(plan, {c.key, d.key}, {b.key: 0.5}, seconds, 2) == 6.0
    assert makespan(plan, {d.key}, {b.key: 0.5, c.key: 9.0}, seconds, 2) == 2.5  # c is late
    assert makespan(plan, set(), {}, seconds, 2) == 0.0


@settings(deadline=None)
@given(st.data())
def test_bounds_of_any_schedule(data: st.DataObject) -> None:
    jobs: list[Job] = []
    for i in range(data.draw(st.integers(1, 10))):
        needs = data.draw(st.sets(st.sampled_from(jobs), max_size=2)) if jobs else set()
        jobs.append(job(i, *needs, label=str(i)))
    seconds = {one.label: data.draw(st.floats(0, 10)) for one in jobs}
    workers = data.draw(st.integers(1, 4))
    plan, total = Plan.of(jobs), sum(seconds.values())
    longest = max(plan.chains(seconds).values())
    found = makespan(plan, {one.key for one in jobs}, {}, seconds, workers)
    assert max(longest, total / workers) - 1e-9 <= found <= longest + total / workers + 1e-9
    if workers == 1:
        assert found == pytest.approx(total)
