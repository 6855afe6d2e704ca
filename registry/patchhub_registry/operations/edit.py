"""Compute edits, guard them and commit patches, verdicts and records in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from patchhub_registry.operations import guarding, keeping, naming, reviews
from patchhub_registry.operations.task import Edit, Edits, Made, begin

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub.editing.maker import Maker
    from patchhub.editing.modes import Mode
    from patchhub.loading import LoadedBase
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.operations.task import Task
    from patchhub_registry.registry import Registry

    Requests = str | Path | Sequence[EditRequest]


@overload
def edit(
    registry: Registry,
    method: str,
    requests: Requests,
    *,
    mode: Literal["batch"] = ...,
    base: str | None = ...,
    stack: str | None = ...,
    settings: Mapping[str, object] | None = ...,
    seed: int = ...,
    statistics: str = ...,
    memory: int | None = ...,
    name: str | None = ...,
    policy: str | Path | None = ...,
    waive: Mapping[str, str] | None = ...,
    sensitivity: str = ...,
    review_after: str | date | None = ...,
    message: str = ...,
    commit: bool = ...,
    out: str | Path | None = ...,
    device: str = ...,
    progress: Progress | None = ...,
) -> Edit: ...
@overload
def edit(
    registry: Registry,
    method: str,
    requests: Requests,
    *,
    mode: Literal["single", "sequential"],
    base: str | None = ...,
    stack: str | None = ...,
    settings: Mapping[str, object] | None = ...,
    seed: int = ...,
    statistics: str = ...,
    memory: int | None = ...,
    name: str | None = ...,
    policy: str | Path | None = ...,
    waive: Mapping[str, str] | None = ...,
    sensitivity: str = ...,
    review_after: str | date | None = ...,
    message: str = ...,
    commit: bool = ...,
    out: str | Path | None = ...,
    device: str = ...,
    progress: Progress | None = ...,
) -> Edits: ...
def edit(
    registry: Registry,
    method: str,
    requests: Requests,
    *,
    mode: str = "batch",
    base: str | None = None,
    stack: str | None = None,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    statistics: str = "full",
    memory: int | None = None,
    name: str | None = None,
    policy: str | Path | None = None,
    waive: Mapping[str, str] | None = None,
    sensitivity: str = "internal",
    review_after: str | date | None = None,
    message: str = "",
    commit: bool = True,
    out: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Edit | Edits:
    """Compute edits on a base (with a stack on it), measure them, and keep what the guard passes.

    Requests that cannot be edited while others can are left out; the result and, of a batch, the
    patch's record say which and why.

    Args:
        registry: Where base and stack are looked up and patches are kept.
        method: Name of an editing method.
        requests: What shall be true, or the file that says it.
        mode: ``batch``: one patch of all requests. ``single``: a patch of each, all on the same
            model. ``sequential``: a patch of each, on the model that carries those before it that
            are kept. Several patches are committed together: those that the guard passes.
        base: Name of the base; not needed when a stack or the only base says it.
        stack: The stack the model carries while the edits are computed and judged.
        settings: Hyper-parameters that differ from the method's defaults.
        seed: Of everything random; of several patches each begins with it.
        statistics: How much text key statistics are taken from (`patchhub.editing.corpus.Amount`).
        memory: Bytes that the method may use beside the model.
        name: Name of the patch; of several, numbered by the request's place. Else made from the
            request.
        policy: Policy file; else the registry's.
        waive: Checks that may fail, each with the reason, which is recorded.
        sensitivity: ``public``, ``internal`` or ``personal``; recorded.
        review_after: Day after which the edit shall be looked at again; recorded.
        message: One line for the record.
        commit: Keep what passes in the registry; without it all are kept, passed or not.
        out: Also write the patch as a directory; of several, one for each in it.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Returns:
        The edit; in modes ``single`` and ``sequential`` all that were made, those that the guard
        refused without a reference.

    Raises:
        GuardRefusedError: E401, in a batch; nothing was committed and nothing written.
        ConflictError: E302 the stack stands on another base, E308 ``out`` is taken.
        InvalidInputError: E101 the name, E113 the day, E13x the requests, E142 a setting, E146 the
            policy; of requests that cannot be edited only if none can.
        NotFoundError: E106, E107, E109, E141.
        IntegrityError: E201, the base's files are not what they were.
    """
    from patchhub.editing.modes import Mode

    review, way = reviews.day(review_after), Mode.of(mode)
    task = begin(
        registry,
        method,
        requests,
        base=base,
        stack=stack,
        name=name,
        policy=policy,
        out=out,
        device=device,
        progress=progress,
    )
    loaded = task.load()
    options = {"mode": way, "statistics": statistics, "memory": memory}
    maker = task.maker(loaded, method, settings, seed, **options)  # type: ignore[arg-type]
    said: dict[str, Json] = {
        "sensitivity": sensitivity,
        "review_after": review,
        "message": message,
    }
    if way is Mode.BATCH:
        made = _batch(task, loaded, maker, waive)
        if commit and not made.passed:
            raise guarding.RefusedError(made.judged.verdict, task.label)
        return keeping.keep_one(task, loaded, made, said=said, commit=commit, out=out)
    several = _one_by_one(task, loaded, maker, way, waive, _names(task, method, name), commit)
    kept = keeping.keep_all(task, loaded, several, said=said, commit=commit, out=out)
    return Edits(kept, tuple(maker.dropped))


def _batch(task: Task, base: LoadedBase, maker: Maker, waive: Mapping[str, str] | None) -> Made:
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
    names: Mapping[EditRequest, str],
    commit: bool,
) -> list[Made]:
    """A patch of each request; in a sequence only what will be kept carries the next."""
    from patchhub.editing.modes import Mode

    stack: list[Patch] = list(task.below)
    known: dict[str, tuple[EditRequest, ...]] = {}
    made: list[Made] = []
    for request, patch in maker.one_by_one(stack):
        below = tuple(stack)
        judged = task.judge(base, patch, [request], waive, stack=below, known=known)
        made.append(Made(patch, judged, names[request], below))
        if mode is Mode.SEQUENTIAL and (made[-1].passed or not commit):
            stack.append(patch)
            known[patch.id] = (request,)
    return made


def _names(task: Task, method: str, name: str | None) -> dict[EditRequest, str]:
    requests = task.requests
    return dict(zip(requests, naming.patch_names(name, method, requests), strict=True))
