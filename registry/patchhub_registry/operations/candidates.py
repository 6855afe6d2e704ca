"""In which order the methods would be tried for an edit, and what each would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError
from patchhub_registry.operations import statistics as moments
from patchhub_registry.operations.forecast import measure
from patchhub_registry.operations.task import begin

if TYPE_CHECKING:
    from patchhub.evaluation.search.attempts import Candidate
    from patchhub.loading import LoadedBase
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.operations.task import Task
    from patchhub_registry.registry import Registry


def candidates(
    registry: Registry,
    requests: str | Path | Sequence[EditRequest],
    *,
    methods: Sequence[str] = (),
    bench: Sequence[str | Path] = (),
    base: str | None = None,
    stack: str | None = None,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    statistics: str = "full",
    memory: int | None = None,
    name: str | None = None,
    policy: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[Candidate, ...]:
    """The methods in the order in which `auto` with the same arguments would try them.

    Args:
        registry: Only read.
        requests: As for `auto`, and so are all that follow.
        methods: Only these.
        bench: Directories of results that say what methods take.
        base: Name of the base.
        stack: The stack below.
        settings: Hyper-parameters.
        seed: Of everything random.
        statistics: How much text key statistics are taken from.
        memory: Bytes that a method may use beside the model.
        name: Name of the patch.
        policy: Policy file; else the registry's.
        out: Where the patch would be written.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        InvalidInputError: E101, E13x, E142, E146, E154. NotFoundError: E106, E107, E109, E141.
        ConflictError: E302, E308. IntegrityError: E201, the base's headers are others.
    """
    from patchhub.editing.catalog import AUTO

    task = begin(
        registry,
        AUTO,
        requests,
        base=base,
        stack=stack,
        name=name,
        policy=policy,
        out=out,
        device=device,
        progress=progress,
    )
    names = chosen(methods, settings)
    loaded = task.load_unseen()
    return ordered(task, loaded, names, bench, settings, seed, statistics, memory)


def chosen(methods: Sequence[str], settings: Mapping[str, object] | None) -> tuple[str, ...]:
    """The methods to be tried: those named, or all.

    Raises:
        NotFoundError: E141, one is not there. InvalidInputError: E142, a setting is for another.
    """
    from patchhub.editing.catalog import editor_names, load_editor

    known = editor_names()
    for name in methods:
        if name not in known:
            load_editor(name)  # raises
    names = tuple(dict.fromkeys(methods)) or known
    for key in settings or {}:
        method, dot, _ = key.partition(".")
        if dot and method not in names:
            raise InvalidInputError(
                "E142",
                f"setting {key} is for a method that is not tried",
                expected=", ".join(names),
                found=method,
            )
    return names


def own_settings(settings: Mapping[str, object] | None, method: str) -> dict[str, object]:
    """What of the settings is a method's: ``KEY`` is every method's, ``METHOD.KEY`` one's own."""
    given = settings or {}
    common = {key: value for key, value in given.items() if "." not in key}
    mark = f"{method}."
    own = {k.removeprefix(mark): v for k, v in given.items() if k.startswith(mark)}
    return common | own


def ordered(
    task: Task,
    base: LoadedBase,
    names: Sequence[str],
    bench: Sequence[str | Path],
    settings: Mapping[str, object] | None,
    seed: int,
    statistics: str,
    memory: int | None,
) -> tuple[Candidate, ...]:
    """The named methods by what they take: by results, and where those say nothing by a forecast.

    Raises:
        InvalidInputError: E134, there are no requests; E154. NotFoundError: E109.
    """
    from patchhub.editing.catalog import load_editor
    from patchhub.evaluation.search.auto import in_order
    from patchhub.evaluation.search.costs import seconds_by_method

    if not task.requests:
        raise InvalidInputError("E134", "there is nothing to edit", expected="at least one request")

    def ready(method: str) -> bool:
        editor, own = load_editor(method), own_settings(settings, method)
        return not moments.missing(task.registry, base, editor, own, seed, statistics)

    def forecast(method: str) -> float | None:
        own = own_settings(settings, method)
        here = named(task, method)
        found = measure(here, base, method, own, seed, statistics, memory)
        seconds = [phase.seconds for phase in found.phases]
        return None if None in seconds else sum(one for one in seconds if one is not None)

    sources = [Path(one) for one in bench]
    weights = task.record.weights
    measured = seconds_by_method(sources, weights, len(task.requests), names, ready)
    return in_order(names, measured, forecast)


def named(task: Task, method: str) -> Task:
    """The task with the method's name in what it reports."""
    from dataclasses import replace

    report = task.progress
    if report is None:
        return task
    return replace(task, progress=lambda phase, *counts: report(f"{method}: {phase}", *counts))
