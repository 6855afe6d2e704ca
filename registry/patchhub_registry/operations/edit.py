"""Compute an edit, guard it and commit patch, verdict and record in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations import guarding, reviews
from patchhub_registry.operations.task import Edit, begin

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry


def edit(
    registry: Registry,
    method: str,
    requests: str | Path | Sequence[EditRequest],
    *,
    base: str | None = None,
    stack: str | None = None,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
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
) -> Edit:
    """Compute an edit on a base (with a stack on it), measure it, and keep it if the guard agrees.

    Args:
        registry: Where base and stack are looked up and the patch is kept.
        method: Name of an editing method.
        requests: What shall be true, or the file that says it.
        base: Name of the base; not needed when a stack or the only base says it.
        stack: The stack the model carries while the edit is computed and judged.
        settings: Hyper-parameters that differ from the method's defaults.
        seed: Of everything random.
        name: Name of the patch; else one made from the first request.
        policy: Policy file; else the registry's.
        waive: Checks that may fail, each with the reason, which is recorded.
        sensitivity: ``public``, ``internal`` or ``personal``; recorded.
        review_after: Day after which the edit shall be looked at again; recorded.
        message: One line for the record.
        commit: Keep the patch in the registry; without it a no of the guard raises nothing.
        out: Also write the patch as a directory.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        GuardRefusedError: E401; nothing was committed and nothing written.
        ConflictError: E302 the stack stands on another base, E308 ``out`` is taken.
        InvalidInputError: E101 the name, E113 the day, E13x the requests, E142 a setting, E146 the
            policy.
        NotFoundError: E106, E107, E109, E141.
        IntegrityError: E201, the base's files are not what they were.
    """
    review = reviews.day(review_after)
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
    patch = task.make(loaded, method, settings, seed)
    judged = task.judge(loaded, patch, waive)
    if commit and not judged.verdict.passed:
        raise guarding.RefusedError(judged.verdict, task.label)
    said: dict[str, Json] = {
        "sensitivity": sensitivity,
        "review_after": review,
        "message": message,
    }
    return task.keep(
        loaded,
        patch,
        judged.verdict,
        said=said,
        statements=judged.statements,
        commit=commit,
        out=out,
    )
