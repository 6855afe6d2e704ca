"""What the run adds to a job: bookkeeping, a process's answer, and a result on the disk.

The job does nothing but write ten bytes. How long a result takes is mostly the disk's affair; the
same run in memory (``/dev/shm``) shows what is ours.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from patchhub.jobs import Inline, Job, JobStore, Processes, Work, run_jobs
from patchhub.jobs.backend import Backend

JOBS = 200
GOALS = {"inline": 5e-3, "pool": 10e-3}
"""Seconds per job on the disk above which the bench fails."""
MEMORY = Path("/dev/shm")
_numbers = itertools.count()


def touch(work: Work) -> None:
    (work.out / "number").write_text(f"{work.inputs['number']:010d}")


def jobs(*needs: str) -> list[Job]:
    run = f"{__name__}:touch"
    return [Job(run, {"number": next(_numbers)}, needs, label="touch") for _ in range(JOBS)]


@pytest.fixture(params=["inline", "pool"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    made: Backend = Inline() if request.param == "inline" else Processes(2)
    yield made
    made.close()


@pytest.mark.parametrize("place", ["disk", "memory"])
def bench_overhead(
    benchmark: BenchmarkFixture,
    figure: Callable[[str], None],
    tmp_path: Path,
    backend: Backend,
    place: str,
    request: pytest.FixtureRequest,
) -> None:
    where = tmp_path if place == "disk" or not MEMORY.is_dir() else MEMORY
    with tempfile.TemporaryDirectory(dir=where) as folder:
        store = JobStore(Path(folder))
        run_jobs(jobs(), store, backend)  # starts the processes

        def run(batch: list[Job]) -> None:
            run_jobs(batch, store, backend, progress=lambda *_: None, remaining=lambda _: None)

        benchmark.pedantic(  # type: ignore[no-untyped-call]
            run, setup=lambda: ((jobs(),), {}), rounds=5, iterations=1
        )
    assert benchmark.stats is not None
    each = benchmark.stats.stats.min / JOBS
    figure(f"{1e3 * each:.2f} ms per job")
    if place == "disk":
        assert each < GOALS[request.node.callspec.params["backend"]]


def bench_nothing_to_do(figure: Callable[[str], None], tmp_path: Path) -> None:
    """A run of which all is done: every result is hashed, nothing is made."""
    store, batch = JobStore(tmp_path), jobs()
    run_jobs(batch, store, Inline())
    begun = time.perf_counter()
    run_jobs(batch, store, Inline())
    figure(f"{1e3 * (time.perf_counter() - begun) / JOBS:.2f} ms per job")
