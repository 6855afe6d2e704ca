"""One file per kind, found by its name; a kind says how a patch acts, whatever method made it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import cast

from patchhub.errors import InvalidInputError
from patchhub.kinds.protocol import Payload, Roles, WeightKind
from patchhub.manifest import Kind

__all__ = ["Payload", "Roles", "WeightKind", "kind_names", "kind_of"]


def kind_names() -> tuple[Kind, ...]:
    """The kinds that this version can use; imports none of them."""
    return tuple(kind for kind in Kind if find_spec(f"{__name__}.{kind}") is not None)


def kind_of(name: Kind) -> WeightKind:
    """The kind of that name, loaded when it is asked for.

    Raises:
        InvalidInputError: E113, this version has no such kind.
    """
    module = f"{__name__}.{name}"
    if find_spec(module) is None:
        raise InvalidInputError(
            "E113", f"patches of kind {name} cannot be used by this version", hint="update PatchHub"
        )
    return cast("WeightKind", import_module(module).KIND)
