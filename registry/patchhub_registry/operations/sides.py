"""What a user may name to be compared: a stack, now or earlier, a base, a patch, a directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import NotFoundError
from patchhub_registry.entry import StackItem
from patchhub_registry.stack import fold

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Side:
    """One of two things to compare.

    Attributes:
        label: What it is, for people.
        base: Digest of the base's weights.
        items: The patches on it, bottom first.
    """

    label: str
    base: str
    items: tuple[StackItem, ...]


def side(registry: Registry, text: str) -> Side:
    """What is meant, looked for in this order.

    A path with a separator is a directory; then the name of a stack, alone or with the number of an
    entry (``prod@3``: the stack after it, ``prod@0``: before the first); the name of a base; a
    patch; the name of a directory.

    Raises:
        InvalidInputError: E101. NotFoundError: E102 to E104, E107, E109; E106, a directory's model
            is not known.
        IntegrityError: E206, a directory was changed.
    """
    if "/" in text or text in (".", ".."):
        return _directory(registry, Path(text))
    name, at, number = text.partition("@")
    if name in registry.stacks() and (not at or number.isdecimal()):
        return _stack(registry, name, int(number) if at else None)
    if text in registry.at().directory("bases"):
        return Side(f"base {text}", registry.base(text).weights, ())
    try:
        patch = registry.resolve(text)
    except NotFoundError:
        if Path(text).is_dir():
            return _directory(registry, Path(text))
        raise
    return Side(f"patch {patch.ref}", patch.manifest.base, (StackItem(patch.ref, patch.id),))


def _stack(registry: Registry, name: str, number: int | None) -> Side:
    now = registry.stack(name)
    if number is None or number == now.seq:
        return Side(f"{name}@{now.seq}", now.base, now.items)
    if number > now.seq:
        raise NotFoundError("E107", f"{name} has entries 1-{now.seq}; there is no {number}")
    items = fold(name, registry.log(name)[:number]).items if number else ()
    return Side(f"{name}@{number}", now.base, items)


def _directory(registry: Registry, directory: Path) -> Side:
    from patchhub_registry.operations.identify import identify

    found = identify(registry, directory)
    found.require()
    return Side(str(directory), found.weights, found.patches)
