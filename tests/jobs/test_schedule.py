"""Which job is next, step by step, with durations that are known."""

from __future__ import annotations

from patchhub.jobs import Job
from patchhub.jobs.estimate import Durations
from patchhub.jobs.plan import Plan
from patchhub.jobs.schedule import Schedule
from tests.jobs.work import job

A, B = {"model": "a"}, {"model": "b"}
KINDS = [("x", "b"), ("x", "a"), ("w", "b"), ("y", "a"), ("z", "a"), ("z", "a")]


def known(**seconds: float) -> Durations:
    durations = Durations()
    for label, number in seconds.items():
        durations.add(label, number)
    return durations


def schedule(jobs: list[Job], durations: Durations, workers: int = 1) -> Schedule:
    return Schedule(Plan.of(jobs), set(), durations, workers)


def test_one_of_each_kind_begins_first_on_its_site() -> None:
    jobs = [job(i, label=label, model=site) for i, (label, site) in enumerate(KINDS)]
    plan = schedule(jobs, known(x=100.0))
    begun = [plan.begin(A), plan.begin(A), plan.begin(A), plan.begin(A), plan.begin(A)]
    assert [one and one.label for one in begun] == ["y", "z", "w", "x", "z"]
    last = plan.begin(A)
    assert last is not None
    assert (last.label, last.site) == ("x", B)  # as long as z, but elsewhere
    assert plan.begin(A) is None


def test_a_worker_stays_while_there_is_time_enough() -> None:
    jobs = [job(i, label="a", model="a") for i in range(8)] + [job(9, label="b", model="b")]
    plan = schedule(jobs, known(a=1.0, b=2.0))
    begun = [plan.begin(A) for _ in range(9)]
    labels = "".join(one.label for one in begun if one is not None)
    assert labels == "aaaaaaaab"  # the 2 s of b are less than half of 10 s, the whole work
    plan = schedule(jobs, known(a=1.0, b=9.0))
    first = plan.begin(A)
    assert first is not None
    assert first.label == "b"  # 9 of 17 s


def test_what_needs_a_failed_job_is_lost_once() -> None:
    a, b = job(1), job(2)
    both = job(3, a, b)
    last = job(4, both)
    plan = schedule([a, b, both, last], known(add=1.0), workers=2)
    begun = [plan.begin(None), plan.begin(None), plan.begin(None)]
    assert {one.key for one in begun if one is not None} == {a.key, b.key}
    assert plan.remaining() is not None
    assert plan.failed(a.key) == {both.key, last.key}
    assert plan.failed(b.key) == set()
    assert (plan.begin(None), plan.remaining()) == (None, 0.0)


def test_a_run_that_is_resumed_knows_how_long_the_rest_takes() -> None:
    first = job(0, label="edit")
    plan = Plan.of([first, job(1, first, label="ask")])
    resumed = Schedule(plan, {first.key}, known(edit=5.0, ask=2.0), 1)
    assert resumed.remaining() == 2.0
