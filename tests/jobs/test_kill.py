"""SIGKILL at random moments, of all processes and of the first alone; two runs at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from patchhub.errors import BusyError
from patchhub.jobs import Inline, JobStore, Processes, run_jobs
from tests.jobs.campaign import campaign
from tests.jobs.work import content

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("PATCHHUB_TEST_KILLS", "4"))

pytestmark = pytest.mark.slow


@contextmanager
def begun(store: Path, pids: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The campaign as a program in a group of its own, when it has just begun."""
    command = [sys.executable, "-m", "tests.jobs.campaign", str(store), str(pids)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def members(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its) == group and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """The store after an undisturbed run, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("whole")
    with begun(folder / "store", folder / "pids") as process:
        since = time.monotonic()
        assert process.wait() == 0
        return content(folder / "store"), time.monotonic() - since


def test_killed_and_resumed_is_as_if_nothing_had_happened(
    tmp_path: Path, whole: tuple[dict[str, bytes], float]
) -> None:
    expected, seconds = whole
    draw, kept, workers = random.Random(5), [], set()
    with Processes(2) as pool:
        for i in range(KILLS):
            store, pids = tmp_path / f"{i}", tmp_path / f"pids-{i}"
            with begun(store, pids) as process:
                time.sleep((0.1 + 0.9 * (i + draw.random()) / KILLS) * seconds)
                (os.killpg if i % 2 else os.kill)(process.pid, signal.SIGKILL)
                process.wait()
                until = time.monotonic() + 20
                while members(process.pid):
                    assert time.monotonic() < until, "a process outlived the one that began it"
                    time.sleep(0.005)
            if pids.exists():
                workers |= set(pids.read_text().split())
            kept.append(sum(one.name == "job.json" for one in store.rglob("*")))
            run_jobs(campaign(), JobStore(store), pool)
            assert content(store) == expected
    assert any(0 < n < 31 for n in kept), kept
    assert len(workers) > 2


def wait_for(file: Path) -> None:
    until = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_the_second_of_two_runs_is_refused(tmp_path: Path) -> None:
    with begun(tmp_path / "store", tmp_path / "pids") as process:
        wait_for(tmp_path / "pids")
        with pytest.raises(BusyError) as caught:
            run_jobs(campaign(), JobStore(tmp_path / "store"), Inline())
        assert (caught.value.code, caught.value.data["pid"]) == ("E501", process.pid)
        assert process.wait() == 0


def test_an_interrupt_ends_all_without_a_word_of_the_workers(
    tmp_path: Path, whole: tuple[dict[str, bytes], float]
) -> None:
    with begun(tmp_path / "store", tmp_path / "pids") as process:
        wait_for(tmp_path / "pids")
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
        _, said = process.communicate()
        assert members(process.pid) == []
    assert said.count(b"Traceback") <= 1
    assert said.strip().endswith(b"KeyboardInterrupt")
    assert not list((tmp_path / "store").glob("drafts/*"))
    run_jobs(campaign(), JobStore(tmp_path / "store"), Inline())
    assert content(tmp_path / "store") == whole[0]
