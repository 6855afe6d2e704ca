"""One file per kind, found by its name; a kind says how a patch acts, whatever method made it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import cast

from patchhub.errors import InvalidInputError
from patchhub.kinds.protocol import PatchKind, Payload, Roles, WeightKind
from patchhub.manifest import Kind

__all__ = ["PatchKind", "Payload", "Roles", "WeightKind", "kind_names", "kind_of", "weight_kind"]


def kind_names() -> tuple[Kind, ...]:
    """The kinds that this version can use; imports none of them."""
    return tuple(kind for kind in Kind if find_spec(f"{__name__}.{kind}") is not None)


def kind_of(name: Kind) -> PatchKind:
    """The kind of that name, loaded when it is asked for.

    Raises:
        InvalidInputError: E113, this version has no such kind.
    """
    module = f"{__name__}.{name}"
    if find_spec(module) is None:
        raise InvalidInputError(
            "E113", f"patches of kind {name} cannot be used by this version", hint="update PatchHub"
        )
    return cast("PatchKind", import_module(module).KIND)


def weight_kind(name: Kind) -> WeightKind:
    """The kind of that name, which adds to weights.

    Raises:
        InvalidInputError: E112, it acts while the model runs; E113, this version has no such kind.
    """
    kind = kind_of(name)
    if not kind.algebra.on_weights:
        raise InvalidInputError(
            "E112",
            f"patches of kind {name} do not change weights",
            expected="a kind that adds to weights",
            hint="apply it to a model in memory: model = patchhub.load(base, stack)",
        )
    return cast("WeightKind", kind)
