"""Compute edits, guard them and commit patches, verdicts and records in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from patchhub_registry.operations import reviews
from patchhub_registry.operations.edit_joint import edit_joint
from patchhub_registry.operations.making import make_edits
from patchhub_registry.operations.task import Edit, Edits, begin

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub.request import EditRequest
    from patchhub_registry.operations.joining import Joined
    from patchhub_registry.operations.localfiles import Progress
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
    seed: int | None = ...,
    statistics: str | None = ...,
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
    mode: Literal["joint"],
    base: str | None = ...,
    stack: str | None = ...,
    settings: Mapping[str, object] | None = ...,
    seed: int | None = ...,
    statistics: str | None = ...,
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
) -> Joined: ...
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
    seed: int | None = ...,
    statistics: str | None = ...,
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
    seed: int | None = None,
    statistics: str | None = None,
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
) -> Edit | Edits | Joined:
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
            ``joint``: one patch of all requests and of the stack's earlier edits by the method,
            solved as if asked for at once; it takes their place in the stack.
        base: Name of the base; not needed when a stack or the only base says it.
        stack: The stack the model carries while the edits are computed and judged.
        settings: Hyper-parameters that differ from the method's defaults.
        seed: Of everything random; of several patches each begins with it. Where none is said 0
            or, in mode ``joint``, that of the stack's topmost edit.
        statistics: How much text key statistics are taken from
            (`patchhub.editing.statistics.corpus.Amount`); where nothing is said ``full`` or,
            in mode ``joint``, as for that edit.
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
        refused without a reference; in mode ``joint`` with the stack that it entered.

    Raises:
        GuardRefusedError: E401, in a batch; nothing was committed and nothing written.
        ConflictError: E302 the stack stands on another base, E308 ``out`` is taken.
        InvalidInputError: E101 the name, E113 the day, E13x the requests, E142 a setting, E146 the
            policy; of requests that cannot be edited only if none can.
        NotFoundError: E106, E107, E109, E141.
        IntegrityError: E201, the base's files are not what they were.
    """
    from patchhub.editing.modes import Mode

    way = Mode.of(mode)
    said: dict[str, Json] = {
        "sensitivity": sensitivity,
        "review_after": reviews.day(review_after),
        "message": message,
    }
    place: dict[str, Any] = {"base": base, "stack": stack, "name": name, "policy": policy}
    place |= {"out": out, "device": device, "progress": progress}
    options: dict[str, Any] = {"settings": settings, "memory": memory}
    options |= {"waive": waive, "said": said, "commit": commit}
    if way is Mode.JOINT:
        place |= {"seed": seed, "statistics": statistics}
        return edit_joint(registry, method, requests, **place, **options)
    task = begin(registry, method, requests, **place)
    options |= {"seed": seed or 0, "statistics": statistics or "full"}
    return make_edits(task, method, way, name=name, out=out, **options)
