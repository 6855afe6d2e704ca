"""What the shell offers after the tabulator key: names of this registry, read without an engine.

A completion never fails and never says anything: where nothing can be read, nothing is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _completer(names: Callable[[Registry, click.Context, str], Iterable[str]]) -> Completer:
    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            session = ctx.ensure_object(Session)
            found = sorted(set(names(session.registry(), ctx, incomplete)))
        except Exception:  # a shell's line is no place for a message
            return []
        taken = _taken(ctx.params.get(parameter.name or ""))
        return [name for name in found if name.startswith(incomplete) and name not in taken]

    return complete


def _taken(value: Any) -> Sequence[str]:
    """What an argument that repeats holds already."""
    return value if isinstance(value, tuple | list) else ()


@_completer
def refs(registry: Registry, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Patches: names, and versions once a name is followed by @."""
    if "@" in incomplete:
        name = incomplete.partition("@")[0]
        return [f"{name}@{version}" for version in registry.at().versions(name)]
    return [patch.name for patch in registry.patches()]


@_completer
def held(registry: Registry, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Patches of the stack that --stack names, or of any."""
    named = ctx.params.get("stack")
    stacks = [named] if named else registry.stacks()
    return [item.ref for name in stacks for item in registry.stack(name).items]


@_completer
def stacks(registry: Registry, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Stacks."""
    return registry.stacks()


@_completer
def bases(registry: Registry, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Bases."""
    return registry.at().directory("bases")


@_completer
def sides(registry: Registry, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Whatever can be compared: stacks, patches and bases."""
    names = [*registry.stacks(), *registry.at().directory("bases")]
    return [*names, *(patch.name for patch in registry.patches())]


def methods(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Editing methods, none of them imported."""
    from patchhub.editing.catalog import AUTO, editor_names

    return [name for name in sorted((AUTO, *editor_names())) if name.startswith(incomplete)]
