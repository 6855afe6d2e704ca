"""Keep edits: directories first, then all patches, verdicts and records in one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import NotFoundError
from patchhub_registry.operations.task import Edit, observations
from patchhub_registry.patching import NewPatch
from patchhub_registry.schema import LeftOut

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub.editing.editor import Dropped
    from patchhub.loading import LoadedBase
    from patchhub.patch import Patch
    from patchhub_registry.foreseen import Foreseen
    from patchhub_registry.operations.task import Made, Task
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import Statement

_LONGEST = 300


def keep_one(
    task: Task,
    base: LoadedBase,
    made: Made,
    *,
    said: Mapping[str, Json],
    statements: Sequence[Statement] = (),
    commit: bool,
    out: str | Path | None,
) -> Edit:
    """Write a patch where it shall go.

    Args:
        task: What was asked for.
        base: The base.
        made: The patch.
        said: What the user says about it, for its record.
        statements: What goes on file besides the guard's.
        commit: Into the registry.
        out: Also into this directory.

    Raises:
        ConflictError: E108, the registry has this very patch; E308, ``out`` is taken.
    """
    directory = None if out is None else Path(out)
    if directory is not None:
        made.patch.write(directory)
    ref = None
    if commit:
        new = _new(task, base, made, said)
        ref = task.registry.add_patches([new], (*made.judged.statements, *statements))[0].ref
    return _edit(task, made, ref, directory)


def keep_all(
    task: Task,
    base: LoadedBase,
    made: Sequence[Made],
    *,
    said: Mapping[str, Json],
    commit: bool,
    out: str | Path | None,
) -> tuple[Edit, ...]:
    """Write several patches: their directories inside ``out``, and one commit of all or none.

    What the guard refused is left out where patches are committed. A patch that the registry has
    already, under whatever name, is not added again: its new verdict is.

    Args:
        task: As for `keep_one`, and so is all that is not named here.
        base: The base.
        made: The patches.
        said: What the user says about each of them.
        commit: Into the registry.
        out: A directory that takes one for each patch, by its name.
    """
    from patchhub import patchdir

    kept = [one for one in made if one.passed or not commit]
    inside = {} if out is None else {one.name: Path(out) / one.name for one in kept}
    if out is not None and kept:
        contents = {one.name: one.patch.files() for one in kept}
        files = {f"{name}/{f}": data for name, each in contents.items() for f, data in each.items()}
        patchdir.write_directory(Path(out), files)
    refs = _committed(task, base, kept, said) if commit and kept else {}
    return tuple(_edit(task, m, refs.get(m.patch.id), inside.get(m.name)) for m in made)


def foreseen(
    task: Task, base: LoadedBase, made: Made, *, said: Mapping[str, Json]
) -> tuple[Foreseen, Edit]:
    """The registry with a patch and its verdict, which go in with the commit that follows.

    Of a patch that it has already, under whatever name, only the verdict is new.
    """
    from patchhub_registry.foreseen import Foreseen
    from patchhub_registry.patching import patches

    ref = _known(task.registry, made.patch)
    new = [] if ref is not None else [_new(task, base, made, said)]
    there = Foreseen(task.registry, patches(new, made.judged.statements))
    return there, _edit(task, made, ref or there.made[0].ref, None)


def _committed(
    task: Task, base: LoadedBase, made: Sequence[Made], said: Mapping[str, Json]
) -> dict[str, str]:
    """References by id."""
    known = {one.patch.id: _known(task.registry, one.patch) for one in made}
    refs = {patch: ref for patch, ref in known.items() if ref is not None}
    new = {one.patch.id: one for one in made if one.patch.id not in refs}
    statements = list(dict.fromkeys(each for one in made for each in one.judged.statements))
    if not new:
        task.registry.add_statements(statements)
        return refs
    wanted = [_new(task, base, one, said) for one in new.values()]
    added = task.registry.add_patches(wanted, statements)
    return refs | {record.id: record.ref for record in added}


def _known(registry: Registry, patch: Patch) -> str | None:
    try:
        return registry.resolve(patch.id).ref
    except NotFoundError:
        return None


def _edit(task: Task, made: Made, ref: str | None, directory: Path | None) -> Edit:
    verdict, base = made.judged.verdict, task.record.name
    return Edit(made.patch, verdict, base, made.name, ref, directory, made.dropped)


def _new(task: Task, base: LoadedBase, made: Made, said: Mapping[str, Json]) -> NewPatch:
    seen = {"base": task.record.name, **observations(base, made.patch, made.below)}
    if made.dropped:
        seen["dropped"] = [_left_out(one).to_json() for one in made.dropped]
    return NewPatch(made.patch.files(), made.name, {**seen, **said})


def _left_out(one: Dropped) -> LeftOut:
    """The request by its digest; the words may be long and hold anything."""
    words = "".join(c if c.isprintable() else " " for c in one.reason.what)[:_LONGEST]
    return LeftOut(one.request.digest(), one.reason.code, words)
