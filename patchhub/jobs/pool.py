"""Jobs in several processes of this machine, which live as long as the pool and no longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import IO, Self

from patchhub.errors import PatchHubError
from patchhub.jobs.backend import Failure, Finished, Task

_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from patchhub.jobs.worker import main; main(int(sys.argv[1]))"
)
_GRACE = 2.0
"""Seconds that a process has to end by itself."""
_LOOK = 1.0
"""Seconds between looks at processes whose end did not close their connection."""
_TAIL = 2000
"""Last bytes of what a dead process printed that are told."""


class Processes:
    """Fresh interpreters, started when needed; each ends when this process does, however it ends.

    What jobs print goes to a file that is told when their process dies, and is dropped otherwise.

    Args:
        workers: Processes at most.
        threads: That the numerical libraries of each may use.
    """

    def __init__(self, workers: int, threads: int = 1) -> None:
        self.workers, self._threads = max(workers, 1), max(threads, 1)
        self._all: list[_Worker] = []

    def vacant(self) -> Sequence[Mapping[str, str] | None]:
        """Sites of idle processes, and None for each that is not started yet."""
        idle = [worker.site for worker in self._all if worker.task is None]
        return [*idle, *[None] * (self.workers - len(self._all))]

    def submit(self, task: Task) -> None:
        """Start a task in an idle process of the same site, a new one or another, in this order."""
        idle = [worker for worker in self._all if worker.task is None]
        same = [worker for worker in idle if worker.site == task.job.site]
        if not same and len(self._all) < self.workers:
            same = [self._fresh()]
        worker = (same or idle)[0]
        try:
            worker.begin(task)
        except OSError:  # it died while it was idle
            self._drop(worker)
            self._fresh().begin(task)

    def finished(self) -> Finished:
        """Wait until one of the tasks is over; a process that died gives E706 for its task."""
        while True:
            busy = [worker for worker in self._all if worker.task is not None]
            if not busy:
                raise RuntimeError("nothing was submitted")
            heard = wait([worker.connection for worker in busy], timeout=_LOOK)
            for worker in busy:
                if worker.connection in heard or worker.process.poll() is not None:
                    return worker.end() or self._dead(worker)

    def close(self) -> None:
        """End all processes, also those at work."""
        for worker in self._all:
            worker.connection.close()  # which ends the process
        for worker in self._all:
            worker.stop()
        self._all.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _fresh(self) -> _Worker:
        worker = _start(self._threads)
        self._all.append(worker)
        return worker

    def _drop(self, worker: _Worker) -> str:
        """Forget a process; how it ended."""
        self._all.remove(worker)
        worker.connection.close()
        return worker.stop()

    def _dead(self, worker: _Worker) -> Finished:
        task, seconds = worker.task, time.monotonic() - worker.since
        how = self._drop(worker)
        error = PatchHubError(
            "E706",
            f"the process of the job {how}",
            hint="if memory ran out, use fewer workers",
        )
        return Finished(task.job.key if task else "", seconds, Failure.of(error))


@dataclass(slots=True, eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    log: IO[bytes]
    task: Task | None = None
    site: Mapping[str, str] | None = None
    since: float = 0.0

    def begin(self, task: Task) -> None:
        self.connection.send(task)
        self.task, self.site, self.since = task, task.job.site, time.monotonic()

    def end(self) -> Finished | None:
        """The answer, None if there will be none."""
        try:
            answer = self.connection.recv() if self.connection.poll() else None
        except (EOFError, OSError):
            return None
        if not isinstance(answer, Finished):
            return None
        self.task = None
        return answer

    def stop(self) -> str:
        """Wait for the end of the process, whose connection is closed; how it ended."""
        try:
            status = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        with self.log:
            self.log.seek(max(self.log.seek(0, os.SEEK_END) - _TAIL, 0))
            said = self.log.read().decode(errors="replace").strip()
        how = f"was killed by {_signal(-status)}" if status < 0 else f"ended with status {status}"
        return f"{how}, saying: {said}" if said else how


def _start(threads: int) -> _Worker:
    ours, theirs = Pipe()
    log = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process is stopped)
    command = [sys.executable, "-c", _START, str(theirs.fileno()), *sys.path]
    environment = os.environ | dict.fromkeys(_THREADS, str(threads))
    # Ctrl-C reaches the whole group, but the processes are ended by this one, without a word: they
    # are born with the signal blocked, and ignore it before they unblock it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
        )
    except BaseException:
        ours.close()
        log.close()
        raise
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return _Worker(process, ours, log)


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
