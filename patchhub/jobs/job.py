"""A job, named by what it depends on, and what its function is handed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from patchhub import canonical
from patchhub.canonical import Json
from patchhub.errors import InvalidInputError
from patchhub.fields import is_sha256

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work. Jobs with the same key are the same job.

    Attributes:
        run: ``package.module:function``, looked up where the job runs; it takes a `Work`.
        inputs: All that the result depends on, also the version of the function.
        needs: Keys of the jobs whose results it reads.
        label: Group for progress and time estimates, such as ``edit rome``; no part of the key.
        site: Where things lie on this machine, such as the model's directory; no part of the key.
        key: SHA-256 (hex) of function, inputs and needs.

    Raises:
        InvalidInputError: E113, an input has no canonical form; E156, the function or a needed key
            is not written as one.
    """

    run: str = field(compare=False)
    inputs: Mapping[str, Json] = field(compare=False)
    needs: tuple[str, ...] = field(default=(), compare=False)
    label: str = field(default="", compare=False)
    site: Mapping[str, str] = field(default_factory=dict, compare=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        if _FUNCTION.fullmatch(self.run) is None:
            raise InvalidInputError(
                "E156",
                "not the name of a function",
                expected="package.module:function",
                found=self.run,
            )
        for key in self.needs:
            if not is_sha256(key):
                raise InvalidInputError("E156", "not the key of a job", found=repr(key)[:80])
        data = canonical.dumps({"run": self.run, "inputs": self.inputs, "needs": self.needs})
        # Read back, so that the function sees the same values wherever it runs.
        object.__setattr__(self, "inputs", json.loads(data)["inputs"])
        object.__setattr__(self, "key", canonical.sha256(data))


@dataclass(frozen=True, slots=True)
class Work:
    """What a job's function is handed.

    Attributes:
        inputs: Of the job.
        site: Of the job.
        needed: Directory with the result of each needed job, by key, in the order of its needs.
        out: Empty directory for the result, visible in one step when the function returns.
    """

    inputs: Mapping[str, Json]
    site: Mapping[str, str]
    needed: Mapping[str, Path]
    out: Path
