"""The checks there are: a file in ``patchhub/guard/checks``, or an entry point, makes one.

Listing imports none of them.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

from patchhub.errors import NotFoundError
from patchhub.guard.check import Check

ENTRY_POINTS = "patchhub.checks"


def check_names() -> tuple[str, ...]:
    """Names of all checks, sorted."""
    return tuple(sorted({*_own(), *_foreign()}))


@cache
def load_check(name: str) -> Check:
    """The check of that name.

    Raises:
        NotFoundError: E151, with the names that look like it.
    """
    if name in _own():
        found = import_module(f"patchhub.guard.checks.{name}").CHECK
    elif name in _foreign():
        found = _foreign()[name].load()
    else:
        near = difflib.get_close_matches(name, check_names(), n=1)
        raise NotFoundError(
            "E151",
            f"no such check: {name}",
            expected=", ".join(check_names()),
            hint=f"did you mean {near[0]}?" if near else None,
        )
    return cast(Check, found)


def _own() -> frozenset[str]:
    files = (Path(__file__).parent / "checks").glob("*.py")
    return frozenset(file.stem for file in files if not file.stem.startswith("_"))


def _foreign() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
