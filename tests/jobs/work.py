"""Small job functions for the tests; the pool's processes look them up here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from patchhub.jobs import Job, Work


def add(work: Work) -> None:
    """The job's number plus those of the jobs that it needs; ``site`` asks for notes or delays."""
    total = int(str(work.inputs["number"])) + sum(number(path) for path in work.needed.values())
    if "seconds" in work.site:
        time.sleep(float(work.site["seconds"]))
    (work.out / "deep").mkdir()
    (work.out / "deep" / "text").write_text(" ".join(work.needed))
    (work.out / "number").write_text(str(total))
    if "log" in work.site:
        with Path(work.site["log"]).open("a") as stream:
            stream.write(f"{work.inputs['number']}\n")
    if "pids" in work.site:
        with Path(work.site["pids"]).open("a") as stream:
            stream.write(f"{os.getpid()}\n")


def number(result: Path) -> int:
    """What `add` found."""
    return int((result / "number").read_text())


def fail(work: Work) -> None:
    """Raises, unless the site says that it is mended."""
    if "mended" not in work.site:
        raise ValueError(f"cannot do {work.inputs['number']}")
    add(work)


def leave(work: Work) -> None:
    """Tries to end the process politely."""
    raise SystemExit(f"bye {work.inputs['number']}")


def die(work: Work) -> None:
    """Kills its own process, as the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def crash(work: Work) -> None:
    """Dies of a fault, as native code may, with words on stderr."""
    os.write(2, b"my last words\n")
    os.abort()


def wait(work: Work) -> None:
    """Writes something and never ends; the log tells its process."""
    (work.out / "half").write_text("half")
    log = Path(work.site["log"])
    log.with_suffix(".new").write_text(str(os.getpid()))
    log.with_suffix(".new").rename(log)
    time.sleep(600)


def where(work: Work) -> None:
    """Process and thread settings."""
    (work.out / "pid").write_text(str(os.getpid()))
    (work.out / "threads").write_text(os.environ["OMP_NUM_THREADS"])
    time.sleep(0.05)


def link(work: Work) -> None:
    """Writes what is no plain file."""
    (work.out / "link").symlink_to("/")


def content(store: Path) -> dict[str, bytes]:
    """All that a store holds but what was observed, by path."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.name not in ("took.json", "lock")
    }


def job(n: int, *needs: Job, run: str = "add", label: str = "", **site: str) -> Job:
    """A job with this number."""
    keys = tuple(one.key for one in needs)
    return Job(f"{__name__}:{run}", {"number": n}, keys, label or run, site)
