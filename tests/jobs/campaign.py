"""``python -m tests.jobs.campaign STORE PIDS``: a run for the tests to kill."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from patchhub.jobs import Job, JobStore, Processes, run_jobs
from tests.jobs.work import job

SECONDS = "0.015"


def campaign(**site: str) -> list[Job]:
    """Some that need nothing, a chain, and one that needs all."""
    single = [job(i, seconds=SECONDS, **site) for i in range(20)]
    chain = [job(100, single[0], seconds=SECONDS, **site)]
    for i in range(1, 10):
        chain.append(job(100 + i, chain[-1], single[i], seconds=SECONDS, **site))
    return [job(1000, *single, *chain, **site), *chain, *single]


def main(store: Path, pids: Path) -> None:
    """Run it with two processes; a line on stdout when it begins and when it ends."""
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    with Processes(2) as pool:
        run_jobs(campaign(pids=str(pids)), JobStore(store), pool)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    # What a shell runs in the background ignores interrupts, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
