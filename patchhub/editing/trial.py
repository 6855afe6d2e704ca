"""A method's own code, run for few steps: what the whole takes, and the shape of its patch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from torch import Tensor

from patchhub import canonical
from patchhub.editing.editor import Cost, EditContext, Editor, run_editor
from patchhub.editing.modes import Mode
from patchhub.editing.settings import record_settings
from patchhub.kinds import kind_of
from patchhub.manifest import FILE, FileEntry
from patchhub.patch import REQUESTS, Patch
from patchhub.request import EditRequest, dump_requests

_FEW = 2
_SHORT = 0.5
_BUDGET = 8.0


@dataclass(frozen=True, eq=False)
class Trial:
    """What a trial says about the whole edit.

    Attributes:
        seconds: Of the whole; at most, where the trial did not see the method stop by itself.
        steps: Of its optimiser, at most.
        patch: Of the same sites and roles.
    """

    seconds: float
    steps: int
    patch: Patch


def tried(
    editor: Editor,
    context: EditContext,
    requests: Sequence[EditRequest],
    settings: Any,
    cost: Cost,
) -> Trial:
    """Run a method for few steps on some requests.

    Args:
        editor: The method.
        context: Templates and statistics of the right size.
        requests: Of the real edit.
        settings: Of the real edit.
        cost: What the method's time goes with.
    """
    count = 1 if cost.steps is None else int(getattr(settings, cost.steps))
    size = len(requests) if cost.batch is None else int(getattr(settings, cost.batch))
    some = middling(requests) if cost.each else requests[:size]
    made: list[Patch] = []

    def run(steps: int) -> Callable[[], None]:
        values = settings if cost.steps is None else replace(settings, **{cost.steps: steps})

        def once() -> None:
            context.generator.manual_seed(context.seed)
            made[:] = [run_editor(editor, context, some, values)]

        return once

    seconds = _extrapolated(run, made, count)
    rounds = len(requests) if cost.each else ceil(len(requests) / len(some))
    steps = count * (len(requests) if cost.each else 1)
    return Trial(seconds * rounds, steps, made[0])


def _extrapolated(
    run: Callable[[int], Callable[[], None]], made: Sequence[Patch], count: int
) -> float:
    """Seconds of ``count`` steps; ``made`` holds what the last run made."""
    steps, slope = min(_FEW, count), 0.0
    run(steps)()
    seconds = _timed(run(steps))
    begun = time.perf_counter()
    while steps < count and (slope == 0.0 or time.perf_counter() - begun < _BUDGET):
        before, more = made[0], min(2 * steps, count)
        longer = _timed(run(more))
        if _same(before, made[0]):
            return seconds
        slope = max(longer - seconds, 1e-9) / (more - steps)
        steps, seconds = more, longer
    return seconds + slope * (count - steps)


def _same(one: Patch, other: Patch) -> bool:
    return one.manifest.content == other.manifest.content


def _timed(run: Callable[[], None]) -> float:
    """Seconds of a run; the best of two if it is a short one."""
    best = float("inf")
    for _ in range(2):
        begun = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begun)
        if best > _SHORT:
            break
    return best


def middling(requests: Sequence[EditRequest]) -> list[EditRequest]:
    """The request of middling length."""
    by_length = sorted(requests, key=lambda request: len(request.prompt) + len(request.target))
    return [by_length[len(by_length) // 2]]


def whole(trial: Patch, requests: Sequence[EditRequest], settings: Any, cost: Cost) -> Patch:
    """A trial's patch, as large as the real one: all requests, and the real number of steps."""
    method = trial.manifest.method
    if cost.steps is not None:
        real = record_settings(settings)[cost.steps]
        method = replace(method, hparams={**method.hparams, cost.steps: real})
    rows, kind = len(requests) if cost.each else 1, kind_of(trial.kind)
    payload = {site: kind.repeated(roles, rows) for site, roles in trial.payload.items()}
    return Patch.build(
        trial.kind,
        payload,
        sites=[replace(site, rank=None) for site in trial.manifest.sites],
        base=trial.manifest.base,
        method=method,
        requests=requests,
        onto=trial.manifest.onto,
        state={name: _rows(one, rows) for name, one in trial.state.items()},
    )


def sizes(patch: Patch, requests: Sequence[EditRequest], mode: Mode) -> dict[str, int]:
    """Bytes by file name: of a patch, or of patches like it of a request each together.

    Args:
        patch: As large as one of them.
        requests: What is asked for.
        mode: Whether there is a patch of each, and whether it names those before it.
    """
    found = Counter({name: len(data) for name, data in patch.files().items()})
    if mode is Mode.BATCH:
        return dict(found)
    total, one = Counter[str](), patch.manifest
    onto = list(one.onto)
    for request in requests:
        said = dump_requests([replace(request, probes=())])
        files = {**one.files, REQUESTS: FileEntry(canonical.sha256(said), len(said))}
        method = replace(one.method, requests=(request.digest(),))
        each = replace(one, onto=tuple(onto), method=method, files=files)
        total += Counter({**found, REQUESTS: len(said), FILE: len(each.to_bytes())})
        if mode is Mode.SEQUENTIAL:
            onto.append(each.id)
    return dict(total)


def _rows(remembered: Tensor, rows: int) -> Tensor:
    """What is remembered of each request, for as many."""
    return remembered.repeat(rows, *(1,) * (remembered.ndim - 1)) if rows > 1 else remembered
