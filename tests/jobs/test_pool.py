"""Processes: the same results as inline, and what becomes of them when something dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from patchhub.errors import PatchHubError
from patchhub.jobs import Inline, Job, JobStore, Processes, run_jobs
from patchhub.jobs.backend import Task
from tests.jobs.work import content, job, number


@pytest.fixture(scope="module")
def shared() -> Iterator[Processes]:
    with Processes(2) as pool:
        yield pool


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "store")


def chains() -> list[Job]:
    first = [job(i) for i in range(6)]
    second = [job(10 + i, first[i], first[(i + 1) % 6]) for i in range(6)]
    return [*second, *first, job(100, *second, *first)]


def test_the_same_store_as_inline(shared: Processes, tmp_path: Path) -> None:
    inline, pool = JobStore(tmp_path / "inline"), JobStore(tmp_path / "pool")
    run_jobs(chains(), inline, Inline())
    run_jobs(chains(), pool, shared)
    assert content(pool.directory) == content(inline.directory)
    assert len(content(pool.directory)) == 13 * 3


def test_processes_and_threads_are_as_many_as_asked(store: JobStore) -> None:
    with Processes(2, threads=3) as pool:
        jobs = [job(i, run="where") for i in range(8)]
        run_jobs(jobs, store, pool)
        results = [store.result(one.key) for one in jobs]
        pids = {int((path / "pid").read_text()) for path in results}
        assert len(pids) == 2
        assert os.getpid() not in pids
        assert {(path / "threads").read_text() for path in results} == {"3"}
        assert all(map(alive, pids))
        more = job(9, run="where")
        run_jobs([more], store, pool)
        assert int((store.result(more.key) / "pid").read_text()) in pids
    assert not any(map(alive, pids))


def test_a_worker_keeps_its_site(store: JobStore) -> None:
    jobs = [job(i, run="where", model="ab"[i % 2]) for i in range(12)]
    with Processes(2) as pool:
        run_jobs(jobs, store, pool)
    pids = [int((store.result(one.key) / "pid").read_text()) for one in jobs]
    changes = 0
    for pid in set(pids):
        served = [one.site["model"] for one, its in zip(jobs, pids, strict=True) if its == pid]
        changes += len(set(served)) - 1
    # One process may take the other's last jobs when its own site has none left.
    assert changes <= 1


def test_a_killed_process_fails_its_job_only(store: JobStore) -> None:
    good = [job(i, seconds="0.02") for i in range(10)]
    with Processes(2) as pool, pytest.raises(PatchHubError) as caught:
        run_jobs([job(99, run="die", label="big"), job(98, run="fail"), *good], store, pool)
    assert caught.value.what == "2 of 12 jobs failed"
    assert "big: E706 the process of the job was killed by SIGKILL" in str(caught.value.found)
    assert "ValueError: cannot do 98" in str(caught.value.found)
    assert [number(store.result(one.key)) for one in good] == list(range(10))
    run_jobs([], store, Inline())
    assert list((store.directory / "drafts").iterdir()) == []


def test_what_a_dying_process_says_is_told(shared: Processes, store: JobStore) -> None:
    with pytest.raises(PatchHubError, match="E155") as caught:
        run_jobs([job(1, run="crash")], store, shared)
    assert "SIGABRT" in str(caught.value.found)
    assert "in crash" in caught.value.data["failed"][0]["error"]  # type: ignore[index]
    assert "my last words" in caught.value.data["failed"][0]["error"]  # type: ignore[index]


def test_a_process_that_dies_idle_is_replaced(store: JobStore) -> None:
    with Processes(1) as pool:
        first, second = job(1, run="where"), job(2, run="where")
        run_jobs([first], store, pool)
        pid = int((store.result(first.key) / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        soon(lambda: dead(pid))
        run_jobs([second], store, pool)
        assert int((store.result(second.key) / "pid").read_text()) != pid


def test_an_error_in_the_run_ends_the_processes_and_removes_what_is_half(
    store: JobStore, tmp_path: Path
) -> None:
    log = tmp_path / "log"

    def interrupt(label: str, done: int, total: int) -> None:
        if label == "add":
            soon(log.exists)
            raise KeyboardInterrupt

    with Processes(1) as pool:
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run_jobs(
                [job(1, run="wait", label="add", log=str(log))], store, pool, progress=interrupt
            )
        assert time.monotonic() - begun < 60
        assert not alive(int(log.read_text()))
        assert list((store.directory / "drafts").iterdir()) == []
        run_jobs([job(2)], store, pool)
        assert number(store.result(job(2).key)) == 2


def test_waiting_for_nothing_is_a_mistake(tmp_path: Path) -> None:
    with Processes(1) as pool, pytest.raises(RuntimeError):
        pool.finished()
    inline = Inline()
    with pytest.raises(RuntimeError):
        inline.finished()
    inline.submit(Task(job(1), tmp_path, {}))
    assert inline.vacant() == []
    inline.close()
    assert inline.vacant() == [None]


def test_no_descriptor_is_left_open(store: JobStore) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for i in range(2):
        with Processes(2) as pool:
            run_jobs([job(10 * i + k) for k in range(4)], store, pool)
    assert open_files() == before


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def dead(pid: int) -> bool:
    """Whether all its threads have ended, though nobody has taken its status yet."""
    process = Path(f"/proc/{pid}")
    alone = len(list((process / "task").iterdir())) == 1
    return alone and (process / "stat").read_text().split()[2] == "Z"


def soon(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
