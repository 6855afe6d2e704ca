"""What a process of the pool does: one job after the other, until the pool is gone."""

from __future__ import annotations

import faulthandler
import os
import signal
import traceback
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread

from patchhub.jobs.backend import Task, carry_out


def main(descriptor: int) -> None:
    """Carry out what comes over a connection; never returns.

    Args:
        descriptor: Of our end of the connection. When the other end is closed, which the kernel
            does for a process that was killed, this process ends at once, also amid a job.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    faulthandler.enable()
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    tasks: SimpleQueue[Task] = SimpleQueue()
    Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    while True:
        connection.send(carry_out(tasks.get()))


def _listen(connection: Connection, tasks: SimpleQueue[Task]) -> None:
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
