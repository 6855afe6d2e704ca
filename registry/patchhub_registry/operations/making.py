"""From requests to patches that are judged and kept: one of all, or one of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations import guarding, keeping, naming
from patchhub_registry.operations.task import Edit, Edits, Made

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub.editing.maker import Maker
    from patchhub.editing.modes import Mode
    from patchhub.loading import LoadedBase
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub_registry.operations.task import Task


def make_edits(
    task: Task,
    method: str,
    mode: Mode,
    *,
    settings: Mapping[str, object] | None,
    seed: int,
    statistics: str,
    memory: int | None,
    name: str | None,
    waive: Mapping[str, str] | None,
    said: Mapping[str, Json],
    commit: bool,
    out: str | Path | None,
) -> Edit | Edits:
    """Compute, judge and keep what a task asks for; arguments and errors as for `edit`."""
    from patchhub.editing.modes import Mode

    batch = mode is Mode.BATCH
    names = () if batch else naming.patch_names(name, method, task.requests)
    base = task.load()
    maker = task.maker(
        base, method, settings, seed, mode=mode, statistics=statistics, memory=memory
    )
    if batch:
        made = _together(task, base, maker, waive)
        if commit and not made.passed:
            raise guarding.RefusedError(made.judged.verdict, task.label)
        return keeping.keep_one(task, base, made, said=said, commit=commit, out=out)
    several = _one_by_one(task, base, maker, mode, waive, names, commit)
    kept = keeping.keep_all(task, base, several, said=said, commit=commit, out=out)
    return Edits(kept, tuple(maker.dropped))


def _together(task: Task, base: LoadedBase, maker: Maker, waive: Mapping[str, str] | None) -> Made:
    """One patch; what is left out of it is not asked about."""
    patch = maker.make(maker.requests, task.below)
    gone = [one.request for one in maker.dropped]
    judged = task.judge(base, patch, [r for r in task.requests if r not in gone], waive)
    return Made(patch, judged, task.label, task.below, tuple(maker.dropped))


def _one_by_one(
    task: Task,
    base: LoadedBase,
    maker: Maker,
    mode: Mode,
    waive: Mapping[str, str] | None,
    names: Sequence[str],
    commit: bool,
) -> list[Made]:
    """A patch of each request; in a sequence only what will be kept carries the next.

    Each says what the call left out: no other patch could.
    """
    from patchhub.editing.modes import Mode

    stack: list[Patch] = list(task.below)
    known: dict[str, tuple[EditRequest, ...]] = {}
    made: list[Made] = []
    called: dict[str, str] = {}
    places = iter(zip(task.requests, names, strict=True))  # of which some yield no patch
    for request, patch in maker.one_by_one(stack):
        below = tuple(stack)
        judged = task.judge(base, patch, [request], waive, stack=below, known=known)
        own = next(name for other, name in places if other is request)
        name = called.setdefault(patch.id, own)  # asked for twice on the same model: one patch
        made.append(Made(patch, judged, name, below))
        if mode is Mode.SEQUENTIAL and (made[-1].passed or not commit):
            stack.append(patch)
            known[patch.id] = (request,)
    return [replace(one, dropped=tuple(maker.dropped)) for one in made]
