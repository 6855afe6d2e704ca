"""Results of jobs on the disk: whole and undamaged, or absent.

::

    lock                   held by the run at work
    drafts/<random>/       a result being made; its lock dies with its owner
    <kk>/<key>/job.json    what was asked, and the size and SHA-256 of every file of the result
    <kk>/<key>/took.json   label and seconds: observed, no part of the content
    <kk>/<key>/out/        the result
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from patchhub import canonical
from patchhub.canonical import Json
from patchhub.durable import sync_directory, write_new
from patchhub.errors import IntegrityError, InvalidInputError
from patchhub.jobs.job import Job
from patchhub.lock import locked

_LOCK, _DRAFTS = "lock", "drafts"
_JOB, _TOOK, _OUT = "job.json", "took.json", "out"


class JobStore:
    """A directory of results; any number of processes may read it and write to it.

    Args:
        directory: Made when the first result is.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def find(self, key: str) -> Path | None:
        """Directory of a job's result; None if there is none that is whole and undamaged."""
        place = self._place(key)
        try:
            job = canonical.loads((place / _JOB).read_bytes(), what=str(place / _JOB))
            undamaged = isinstance(job, dict) and job.pop("files") == _table(place / _OUT)
        except (OSError, IntegrityError, InvalidInputError, KeyError):
            return None
        return self.result(key) if undamaged and canonical.digest(job) == key else None

    def result(self, key: str) -> Path:
        """Directory of a result that is known to be there."""
        return self._place(key) / _OUT

    def durations(self) -> Iterator[tuple[str, float]]:
        """Label and seconds of every result, as far as they can be read."""
        for path in self.directory.glob(f"[0-9a-f][0-9a-f]/*/{_TOOK}"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                took = json.loads(path.read_bytes())
                yield str(took["label"]), float(took["seconds"])

    def running(self) -> AbstractContextManager[int]:
        """Hold the store for one run.

        Raises:
            BusyError: E501, E502.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        return locked(self.directory / _LOCK, 0.0, f"the job store {self.directory}")

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """An empty directory for a result, to be handed to `keep`; removed afterwards."""
        place = self.directory / _DRAFTS / uuid4().hex
        (place / _OUT).mkdir(parents=True)
        descriptor = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield place / _OUT
        finally:
            shutil.rmtree(place, ignore_errors=True)
            os.close(descriptor)

    def keep(self, job: Job, out: Path, seconds: float) -> None:
        """Make a draft the result of a job, in one step; of two the first is kept.

        Raises:
            InvalidInputError: E156, the job wrote something that is no plain file.
        """
        content: dict[str, Json] = {"run": job.run, "inputs": job.inputs, "needs": job.needs}
        whole = out.with_name(uuid4().hex)
        whole.mkdir()
        write_new(whole / _JOB, canonical.dumps(content | {"files": _table(out, sync=True)}))
        took = {"label": job.label, "seconds": round(seconds, 6)}
        (whole / _TOOK).write_bytes(json.dumps(took).encode())
        out.rename(whole / _OUT)
        sync_directory(whole)
        self._show(job.key, whole)

    def sweep(self) -> None:
        """Remove what killed owners left."""
        for place in self.directory.glob(f"{_DRAFTS}/*"):
            with suppress(OSError), (place / _LOCK).open("ab") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)

    def _place(self, key: str) -> Path:
        return self.directory / key[:2] / key

    def _show(self, key: str, whole: Path) -> None:
        place = self._place(key)
        with suppress(FileExistsError):
            place.parent.mkdir()
            sync_directory(self.directory)
        while True:
            try:
                whole.rename(place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
            else:
                break
            if self.find(key) is not None:
                return
            with suppress(FileNotFoundError):  # it is damaged, unless another was faster
                place.rename(whole.with_name(uuid4().hex))
        sync_directory(place.parent)


def _table(out: Path, *, sync: bool = False) -> dict[str, Json]:
    """Size and SHA-256 of all files below a directory, by path; if asked, all on the disk."""
    table: dict[str, Json] = {}
    for folder, names, files in os.walk(out, onerror=_raise):
        for name in (*names, *files):
            path = Path(folder, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise InvalidInputError("E156", f"{name} in a result is no plain file")
        for name in files:
            path = Path(folder, name)
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                if sync:
                    os.fsync(stream.fileno())
                size = stream.tell()
            table[path.relative_to(out).as_posix()] = {"sha256": digest, "size": size}
        if sync:
            sync_directory(Path(folder))
    return table


def _raise(error: OSError) -> None:
    raise error
