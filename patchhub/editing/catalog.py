"""Which methods there are, without importing any: file names for ours, entry points for others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.plugins import Catalog

if TYPE_CHECKING:
    from patchhub.editing.editor import Editor


def _faults(found: object, name: str) -> Iterator[str]:
    from patchhub.editing.contract import faults  # needs torch, as methods do

    return faults(found, name)


AUTO = "auto"
"""Not a method: asks for the cheapest one whose edit passes the guard."""

METHODS: Catalog[Editor] = Catalog(
    sort="method",
    package="patchhub.methods",
    directory=Path(__file__).parent.parent / "methods",
    group="patchhub.editors",
    attribute="EDITOR",
    missing="E141",
    faults=_faults,
    reserved={AUTO: f"`patchhub edit {AUTO}` tries the methods until the guard passes"},
)


def editor_names() -> tuple[str, ...]:
    """Names of all methods, sorted; imports none of them."""
    return METHODS.names()


def load_editor(name: str) -> Editor:
    """The method called ``name``.

    Raises:
        NotFoundError: E141, there is none.
        InvalidInputError: E153, the plugin that brings it is broken.
    """
    return METHODS.load(name)


def describe() -> tuple[Editor, ...]:
    """The methods of the house, loaded, in the order of their names; for tables."""
    return tuple(load_editor(name) for name in METHODS.own())
