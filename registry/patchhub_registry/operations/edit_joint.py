"""Add edits to those of a stack and solve all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError
from patchhub_registry.operations import models
from patchhub_registry.operations.joining import Joined, joining
from patchhub_registry.operations.task import base_for
from patchhub_registry.operations.together import collect

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry

    Requests = str | Path | Sequence[EditRequest]


def edit_joint(
    registry: Registry,
    method: str,
    requests: Requests,
    *,
    base: str | None,
    stack: str | None,
    settings: Mapping[str, object] | None,
    seed: int | None,
    statistics: str | None,
    memory: int | None,
    name: str | None,
    policy: str | Path | None,
    waive: Mapping[str, str] | None,
    said: Mapping[str, Json],
    commit: bool,
    out: str | Path | None,
    device: str,
    progress: Progress | None,
) -> Joined:
    """`edit` in mode ``joint``; its arguments are those of `edit`, ``said`` is for the record.

    Where the stack has edits by the method already, their settings, seed and amount of text are
    taken where no others are said, so that their targets need not be found again.

    Raises:
        InvalidInputError: E142, no stack is named; else as `edit` and `stack_resolve`.
    """
    from patchhub import patchdir
    from patchhub.request import load_requests

    if stack is None:
        raise InvalidInputError(
            "E142",
            "edits are solved together with those of a stack",
            expected="the name of a stack, which may be a new one",
            hint="--stack NAME",
        )
    wanted = load_requests(Path(requests)) if isinstance(requests, str | Path) else tuple(requests)
    state = models.stack_state(registry, stack)
    weights = base_for(registry, base, state).weights
    together = collect(
        registry,
        registry.stack_or_new(stack, weights),
        method=method,
        more=wanted,
        settings=settings,
        seed=seed,
        statistics=statistics,
    )
    if out is not None:
        patchdir.check_target(Path(out))
    task = joining(
        registry,
        together,
        name=name,
        policy=policy,
        device=device,
        progress=progress,
        memory=memory,
    )
    return task.run(waive=waive, said=said, commit=commit, out=out)
