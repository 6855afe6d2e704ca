"""From names in the registry to things in memory: bases, patches and the patches of a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchhub.errors import IntegrityError, NotFoundError
from patchhub_registry.names import check_name
from patchhub_registry.operations import localfiles

if TYPE_CHECKING:
    from patchhub.loading import LoadedBase
    from patchhub.patch import Patch
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import BaseRecord
    from patchhub_registry.stack import StackState


def read_patch(registry: Registry, ref: str) -> Patch:
    """A patch of the registry with its tensors, every digest checked.

    Raises:
        NotFoundError: E102, E103. IntegrityError: E202, E204.
    """
    from patchhub.patch import Patch

    return Patch.from_files(registry.read_patch_files(ref))


def stack_patches(registry: Registry, state: StackState | None) -> tuple[Patch, ...]:
    """The patches of a stack, bottom first; none for None.

    Raises:
        IntegrityError: E202, E204.
    """
    items = () if state is None else state.items
    return tuple(read_patch(registry, item.ref) for item in items)


def load(
    registry: Registry, base: BaseRecord, *, device: str, progress: Progress | None
) -> LoadedBase:
    """A base in memory, its bytes checked.

    Raises:
        NotFoundError: E106, E109. IntegrityError: E201. InvalidInputError: E140.
    """
    from patchhub.loading import load_base

    directory, fingerprint = localfiles.base_directory(registry, base, progress=progress)
    return load_base(directory, device=device, fingerprint=fingerprint)


def base_with(registry: Registry, weights: str, wanted_by: str) -> BaseRecord:
    """The registry's base with these weights.

    Args:
        registry: Where to look.
        weights: Digest of the weights.
        wanted_by: What asks, for the message.

    Raises:
        IntegrityError: E201, the registry has no such base.
    """
    bases = registry.bases()
    for base in bases:
        if base.weights == weights:
            return base
    known = ", ".join(f"{base.name} {base.weights[:12]}" for base in bases)
    raise IntegrityError(
        "E201",
        f"{wanted_by} was made for a base this registry does not have",
        expected=f"a base with weights {weights[:12]}…",
        found=known or "no bases",
        hint="patchhub base add NAME MODEL_DIRECTORY",
    )


def stack_state(registry: Registry, stack: str | None) -> StackState | None:
    """A stack as it is now; None when there is none of that name yet, or no name.

    Raises:
        InvalidInputError: E101, there cannot be one of that name.
    """
    if stack is None or check_name(stack, "stack") not in registry.stacks():
        return None
    return registry.stack(stack)


def unknown_stack(registry: Registry, stack: str | None) -> str | None:
    """What to tell a user who names a stack that has no entries: a slip is easily made.

    Raises:
        InvalidInputError: E101, there cannot be one of that name.
    """
    names = registry.stacks()
    if stack is None or check_name(stack, "stack") in names:
        return None
    from difflib import get_close_matches

    near = get_close_matches(stack, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return f"stack {stack!r} has no entries, so this is the bare base; {hint}"


def only_base(registry: Registry, name: str | None) -> BaseRecord:
    """The base called ``name``, or the only one there is.

    Raises:
        NotFoundError: E106, there is no such base, or none was named and there is not exactly one.
    """
    if name is not None:
        return registry.base(name)
    names = [base.name for base in registry.bases()]
    if len(names) == 1:
        return registry.base(names[0])
    raise NotFoundError(
        "E106",
        "say which base",
        found=", ".join(names) or "no bases",
        hint="patchhub base add NAME MODEL_DIRECTORY" if not names else "--base NAME",
    )
