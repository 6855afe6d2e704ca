"""Every job once and after its needs; failures stop only what needs them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchhub.errors import BusyError, InvalidInputError, NotFoundError, PatchHubError
from patchhub.jobs import Inline, Job, JobStore, run_jobs
from patchhub.jobs.run import JobsFailedError
from tests.jobs.work import job, number

MEMORY = Path("/dev/shm")


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "a" / "store")


def result(store: JobStore, one: Job) -> Path:
    found = store.find(one.key)
    assert found is not None
    return found


def test_needs_are_handed_over_in_their_order_whatever_the_order_of_the_jobs(
    store: JobStore,
) -> None:
    a, b = job(1), job(2)
    c = job(3, b, a)
    d = job(4, c, a)
    run_jobs([d, c, b, a, c], store, Inline())
    assert [number(result(store, one)) for one in (a, b, c, d)] == [1, 2, 6, 11]
    assert (result(store, c) / "deep/text").read_text() == f"{b.key} {a.key}"


def test_finished_jobs_are_skipped_and_count_as_done(store: JobStore, tmp_path: Path) -> None:
    log = tmp_path / "log"
    jobs = [job(i, log=str(log)) for i in range(3)]
    run_jobs(jobs[:2], store, Inline())
    said: list[tuple[str, int, int]] = []
    run_jobs(jobs, store, Inline(), progress=lambda *what: said.append(what))
    assert log.read_text().split() == ["0", "1", "2"]
    assert said == [("", 2, 3), ("add", 2, 3), ("add", 3, 3)]
    run_jobs(jobs, store, Inline())
    assert log.read_text().split() == ["0", "1", "2"]


def test_a_need_may_lie_in_the_store_but_must_not_be_unknown(store: JobStore) -> None:
    a = job(1)
    b = job(2, a, label="second")
    with pytest.raises(NotFoundError, match="needs is not there") as caught:
        run_jobs([b], store, Inline())
    assert (caught.value.code, caught.value.found) == ("E109", a.key)
    assert "second" in caught.value.what
    run_jobs([a], store, Inline())
    run_jobs([b], store, Inline())
    assert number(result(store, b)) == 3


def test_a_circle_is_refused(store: JobStore) -> None:
    a = job(1, label="first")
    b = job(2, a)
    object.__setattr__(a, "needs", (b.key,))  # only a forged job can be in a circle
    with pytest.raises(InvalidInputError, match="circle") as caught:
        run_jobs([a, b], store, Inline())
    assert caught.value.code == "E156"
    assert "first" in str(caught.value.found)


def test_failures_stop_only_what_needs_them_and_are_tried_again(store: JobStore) -> None:
    bad, worse, good = job(1, run="fail", label="edit x"), job(2, run="leave"), job(3)
    lost = job(4, bad, good)
    lost_too, kept = job(5, lost, worse), job(6, good)
    jobs = [lost_too, lost, bad, worse, good, kept]
    with pytest.raises(JobsFailedError) as caught:
        run_jobs(jobs, store, Inline())
    error = caught.value
    assert (error.code, error.exit, error.data["not_run"]) == ("E155", 1, 2)
    assert error.lost == {one.key for one in (bad, worse, lost, lost_too)}
    assert error.kinds["edit x", "ValueError: cannot do 1"] == [bad.key]
    assert error.what == "2 of 6 jobs failed, 2 that need them were not run"
    assert "edit x: ValueError: cannot do 1" in str(error.found)
    assert "leave: SystemExit: bye 2" in str(error.found)
    (first,) = (one for one in error.data["failed"] if one["key"] == bad.key)  # type: ignore[attr-defined]
    assert "in fail" in first["trace"]
    assert [store.find(one.key) is None for one in jobs] == [True, True, True, True, False, False]
    assert list((store.directory / "drafts").iterdir()) == []
    mended = job(1, run="fail", label="edit x", mended="yes")
    assert mended.key == bad.key
    with pytest.raises(JobsFailedError, match="1 of 6 jobs failed, 1 that") as caught:
        run_jobs([mended, *jobs], store, Inline())
    assert number(result(store, lost)) == 1 + 3 + 4


def test_equal_failures_are_told_once(store: JobStore) -> None:
    jobs = [Job("tests.jobs.nowhere:f", {"number": i}) for i in range(3)]
    jobs += [Job("tests.jobs.work:nothing", {"number": 1}, label="typo")]
    with pytest.raises(PatchHubError) as caught:
        run_jobs(jobs, store, Inline())
    assert "typo: AttributeError" in str(caught.value.found)
    assert str(caught.value.found).count("ModuleNotFoundError") == 3  # they have no common label
    with pytest.raises(PatchHubError) as caught:
        run_jobs([job(i, run="nothing") for i in range(5)], store, Inline())
    assert "(5 times)" in str(caught.value.found)


def test_one_run_per_store(store: JobStore) -> None:
    with store.running(), pytest.raises(BusyError, match="the job store") as caught:
        run_jobs([job(1)], store, Inline())
    assert caught.value.code == "E501"
    run_jobs([job(1)], store, Inline())


def test_an_interrupt_passes_and_leaves_nothing_half(store: JobStore) -> None:
    a = job(1)

    def interrupt(label: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([a, job(2, a)], store, Inline(), progress=interrupt)
    assert number(result(store, a)) == 1
    assert list((store.directory / "drafts").iterdir()) == []
    run_jobs([a, job(2, a)], store, Inline())


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """For each job the earlier ones that it needs."""
    n = draw(st.integers(1, 12))
    return [
        tuple(draw(st.lists(st.integers(0, i - 1), max_size=3, unique=True))) if i else ()
        for i in range(n)
    ]


class Log(Inline):
    """Notes the order of submissions; three places, so that several are under way."""

    workers = 3

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    def submit(self, task: object) -> None:
        super().submit(task)  # type: ignore[arg-type]
        self.order.append(task.job.key)  # type: ignore[attr-defined]


@settings(max_examples=40, deadline=None)
@given(graphs(), st.data())
def test_every_job_once_and_after_its_needs(
    graph: Sequence[tuple[int, ...]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        check_graph(Path(folder), graph, data)


def check_graph(folder: Path, graph: Sequence[tuple[int, ...]], data: st.DataObject) -> None:
    jobs: list[Job] = []
    for i, needs in enumerate(graph):
        label = data.draw(st.sampled_from("ab"))
        where = data.draw(st.sampled_from(("x", "y")))
        jobs.append(job(i, *(jobs[need] for need in needs), label=label, model=where))
    shuffled = data.draw(st.permutations(jobs))
    backend, store = Log(), JobStore(folder)
    run_jobs(shuffled, store, backend)
    assert sorted(backend.order) == sorted(one.key for one in jobs)
    for one in jobs:
        for need in one.needs:
            assert backend.order.index(need) < backend.order.index(one.key)
    expected: list[int] = []
    for i, needs in enumerate(graph):
        expected.append(i + sum(expected[need] for need in needs))
    assert [number(result(store, one)) for one in jobs] == expected
