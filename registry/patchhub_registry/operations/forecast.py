"""What `edit` would do and take, measured on the base; nothing is written anywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations import editors, localfiles, naming, probing
from patchhub_registry.operations import statistics as moments
from patchhub_registry.operations.task import begin

if TYPE_CHECKING:
    from patchhub.editing.forecast import Forecast
    from patchhub.guard.check import Case
    from patchhub.guard.policy import Policy
    from patchhub.guard.probes import BaseProbes
    from patchhub.loading import LoadedBase
    from patchhub.request import EditRequest
    from patchhub.scoring.questions import Question
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.operations.task import Task
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import BaseRecord

_SAMPLE = 32
_STATES = 2


@dataclass(frozen=True, slots=True)
class GuardWork:
    """What the guard would ask.

    Attributes:
        policy: The policy's source.
        questions: Different questions, each put to the model without and with the edit; of several
            patches those about each of them, added up.
        texts: Texts scored, continued or chosen from, in both states.
        sampled: Probes of the base that would first be sampled from the model, 0 if it has some;
            not counted above.
        seconds: For the questions, at most: answers without the edit may be known already.
    """

    policy: str
    questions: int
    texts: int
    sampled: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Forecasted:
    """An edit that was not made.

    Attributes:
        names: Names the patches would get; one each.
        mode: ``batch``, ``single`` or ``sequential``.
        method: The method.
        base: Name of the base.
        onto: Ids of the patches below, bottom first.
        requests: Number of requests that the method takes; the others are in the forecast.
        hashing: Bytes of the base that would be read and hashed first; 0 if it is trusted.
        forecast: What the computation takes and would write.
        guard: What the guard would do.
    """

    names: tuple[str, ...]
    mode: str
    method: str
    base: str
    onto: tuple[str, ...]
    requests: int
    hashing: int
    forecast: Forecast
    guard: GuardWork


def forecast(
    registry: Registry,
    method: str,
    requests: str | Path | Sequence[EditRequest],
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
    out: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Forecasted:
    """Measure briefly what `edit` with the same arguments would take, and refuse what it refuses.

    Args:
        registry: Only read.
        method: As for `edit`, and so are all that follow.
        requests: What shall be true, or the file that says it.
        mode: But for ``joint``.
        base: Name of the base.
        stack: The stack below.
        settings: Hyper-parameters that differ from the method's defaults.
        seed: Of everything random.
        statistics: How much text key statistics are taken from.
        memory: Bytes that the method may use beside the model.
        name: Name of the patch.
        policy: Policy file; else the registry's.
        out: Where the patch would be written.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        InvalidInputError: E101, E13x, E142, E146, E153. NotFoundError: E106, E107, E109, E141.
        ConflictError: E302, E308. IntegrityError: E201, the base's headers are others.
    """
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
    loaded = task.load_unseen()
    measured = measure(task, loaded, method, settings, seed, statistics, memory, mode)
    return Forecasted(
        names=_names(task, method, mode, name, measured),
        mode=mode,
        method=method,
        base=task.record.name,
        onto=tuple(patch.id for patch in task.below),
        requests=len(measured.requests),
        hashing=_unhashed(registry, task.record),
        forecast=measured,
        guard=_guard(task, loaded, mode, measured),
    )


def measure(
    task: Task,
    base: LoadedBase,
    method: str,
    settings: Mapping[str, object] | None,
    seed: int,
    statistics: str,
    memory: int | None = None,
    mode: str = "batch",
) -> Forecast:
    """What computing the edit with a method takes; only this machine's cache may be written.

    Raises:
        As `forecast`, where the method is the cause.
    """
    from patchhub import api
    from patchhub.editing.catalog import load_editor

    weights = task.record.weights
    editors.bring(task.registry, weights, load_editor(method), editors.named(settings))
    return api.forecast(
        base,
        method,
        task.requests,
        mode=mode,
        onto=task.below,
        settings=settings,
        seed=seed,
        texts=localfiles.texts(task.registry, weights),
        statistics=statistics,
        cache=localfiles.moments_cache(task.registry),
        elsewhere=moments.elsewhere(task.registry, weights),
        memory=memory,
        progress=task.progress,
    )


def _unhashed(registry: Registry, record: BaseRecord) -> int:
    directory = registry.base_path(record.name)
    if localfiles.trusted(registry, record.weights, directory):
        return 0
    return sum(path.stat().st_size for path in directory.resolve().iterdir() if path.is_file())


def _names(
    task: Task, method: str, mode: str, given: str | None, measured: Forecast
) -> tuple[str, ...]:
    if mode == "batch":
        return (task.label,)
    names = zip(task.requests, naming.patch_names(given, method, task.requests), strict=True)
    dropped = [one.request for one in measured.dropped]
    return tuple(name for request, name in names if not any(request is one for one in dropped))


def _guard(task: Task, base: LoadedBase, mode: str, measured: Forecast) -> GuardWork:
    from patchhub.guard.probes import QUESTIONS, TEXTS

    probes = _probes(task.registry, base)
    wanted = [_wanted(task.policy, case) for case in _cases(task, probes, mode, measured)]
    asked, texts = sum(len(asked) for asked, _ in wanted), sum(texts for _, texts in wanted)
    known = bool(probes.questions or probes.texts)
    seconds = _rate(base, wanted[-1][0]) * asked * _STATES
    sampled = 0 if known else QUESTIONS + TEXTS
    return GuardWork(task.policy.source, asked, texts, sampled, seconds)


def _cases(task: Task, probes: BaseProbes, mode: str, measured: Forecast) -> Iterator[Case]:
    """What the guard is asked about: each patch, on those that carry it."""
    from patchhub.guard.check import Below, Case

    trial, known = measured.trial, probing.known_requests(task.registry, task.below)
    below = [Below.probed(patch, known[patch.id]) for patch in task.below]
    if mode == "batch":
        yield Case(measured.requests, probes, trial, tuple(below))
        return
    for request in measured.requests:
        yield Case((request,), probes, trial, tuple(below))
        if mode == "sequential" and trial is not None:
            below.append(Below(trial, (request,)))


def _probes(registry: Registry, base: LoadedBase) -> BaseProbes:
    from patchhub.guard.probes import BaseProbes

    file = localfiles.probes_file(registry, base.fingerprint.weights)
    return BaseProbes.read(file) if file.is_file() else BaseProbes()


def _wanted(policy: Policy, case: Case) -> tuple[list[Question], int]:
    """Different questions (of each protocol) of all measures, and how many texts."""
    from patchhub.guard.catalog import load_check

    questions: dict[tuple[str, Question], None] = {}
    texts: dict[object, None] = {}
    for rule in policy.rules:
        wants = load_check(rule.check).wants(case, rule.measure)
        for protocol in (rule.protocol, *rule.also):
            questions |= dict.fromkeys((str(protocol), each) for each in wants.questions)
        texts |= dict.fromkeys((*wants.texts, *wants.openings, *wants.choices))
    return [question for _, question in questions], len(texts)


def _rate(base: LoadedBase, questions: Sequence[Question]) -> float:
    """Seconds per question, answered freely, from some of them."""
    from patchhub.scoring.protocols import Protocol
    from patchhub.scoring.scorer import Scorer

    sample = questions[:: max(1, len(questions) // _SAMPLE)][:_SAMPLE]
    if not sample:
        return 0.0
    scorer = Scorer(base.model, base.tokenizer)
    begun = time.perf_counter()
    scorer.ask(sample, Protocol.GENERATION)
    return (time.perf_counter() - begun) / len(sample)
