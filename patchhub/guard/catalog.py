"""The checks there are: a file in ``patchhub/guard/checks``, or an entry point, makes one.

Listing imports none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patchhub.guard.check import Check
from patchhub.plugins import Catalog


def _faults(found: Any, name: str) -> Iterator[str]:
    own = getattr(found, "name", None)
    if own != name:
        yield f"name is {own!r}, not {name!r}"
    if not isinstance(getattr(found, "version", None), int):
        yield "version is not a whole number"
    if not isinstance(getattr(found, "summary", None), str):
        yield "summary is not text"
    measures = getattr(found, "measures", None)
    named = isinstance(measures, tuple) and all(isinstance(each, str) for each in measures)
    if not named or not measures:
        yield "measures is not a tuple of names"
    for call in ("wants", "find"):
        if not callable(getattr(found, call, None)):
            yield f"{call} cannot be called"


CHECKS: Catalog[Check] = Catalog(
    sort="check",
    package="patchhub.guard.checks",
    directory=Path(__file__).parent / "checks",
    group="patchhub.checks",
    attribute="CHECK",
    missing="E151",
    faults=_faults,
)


def check_names() -> tuple[str, ...]:
    """Names of all checks, sorted."""
    return CHECKS.names()


def load_check(name: str) -> Check:
    """The check of that name.

    Raises:
        NotFoundError: E151, with the names that look like it.
        InvalidInputError: E153, the plugin that brings it is broken.
    """
    return CHECKS.load(name)
