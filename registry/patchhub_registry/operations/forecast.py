"""What `edit` would do and take, measured on the base; nothing is written anywhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations import localfiles
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
        questions: Different questions, each put to the model without and with the edit.
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
        name: Name the patch would get.
        method: The method.
        base: Name of the base.
        onto: Ids of the patches below, bottom first.
        requests: Number of requests that the method takes; the others are in the forecast.
        hashing: Bytes of the base that would be read and hashed first; 0 if it is trusted.
        forecast: What the computation takes and would write.
        guard: What the guard would do.
    """

    name: str
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
    measured = measure(task, loaded, method, settings, seed, statistics, memory)
    return Forecasted(
        name=task.label,
        method=method,
        base=task.record.name,
        onto=tuple(patch.id for patch in task.below),
        requests=len(measured.requests),
        hashing=_unhashed(registry, task.record),
        forecast=measured,
        guard=_guard(registry, loaded, task.policy, measured),
    )


def measure(
    task: Task,
    base: LoadedBase,
    method: str,
    settings: Mapping[str, object] | None,
    seed: int,
    statistics: str,
    memory: int | None = None,
) -> Forecast:
    """What computing the edit with a method takes; reads only.

    Raises:
        As `forecast`, where the method is the cause.
    """
    from patchhub import api

    weights = task.record.weights
    return api.forecast(
        base,
        method,
        task.requests,
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


def _guard(
    registry: Registry,
    base: LoadedBase,
    policy: Policy,
    measured: Forecast,
) -> GuardWork:
    from patchhub.guard.check import Case
    from patchhub.guard.probes import QUESTIONS, TEXTS

    probes = _probes(registry, base)
    case = Case(measured.requests, probes, measured.trial)
    questions, texts = _wanted(policy, case)
    known = bool(probes.questions or probes.texts)
    seconds = _rate(base, questions) * len(questions) * _STATES
    sampled = 0 if known else QUESTIONS + TEXTS
    return GuardWork(policy.source, len(questions), texts, sampled, seconds)


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
