"""What `edit` would do and take, measured on the base; nothing is written anywhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from patchhub_registry.operations import guarding, localfiles, models, naming
from patchhub_registry.operations.edit import base_for
from patchhub_registry.operations.statistics import KIND

if TYPE_CHECKING:
    from patchhub.editing.forecast import Forecast
    from patchhub.guard.check import Case
    from patchhub.guard.policy import Policy
    from patchhub.guard.probes import BaseProbes
    from patchhub.loading import LoadedBase
    from patchhub.request import EditRequest
    from patchhub.scoring.questions import Question
    from patchhub_registry.operations.localfiles import Progress
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
        texts: Texts scored or continued in both states.
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
        requests: Number of requests.
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
        name: Name of the patch.
        policy: Policy file; else the registry's.
        out: Where the patch would be written.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        InvalidInputError: E101, E13x, E142, E146, E153. NotFoundError: E106, E107, E109, E141.
        ConflictError: E302, E308. IntegrityError: E201, the base's headers are others.
    """
    from patchhub import api, patchdir
    from patchhub.request import load_requests

    wanted = load_requests(Path(requests)) if isinstance(requests, str | Path) else tuple(requests)
    label = naming.patch_name(name, method, wanted)
    if out is not None:
        patchdir.check_target(Path(out))
    rules = guarding.policy_of(registry, policy)
    state = models.stack_state(registry, stack)
    record = base_for(registry, base, state)
    below = models.stack_patches(registry, state)
    loaded = _load(registry, record, device)
    measured = api.forecast(
        loaded,
        method,
        wanted,
        onto=below,
        settings=settings,
        seed=seed,
        texts=localfiles.texts(registry, record.weights),
        cache=localfiles.moments_cache(registry),
        elsewhere={
            asset.key: cast("Sequence[int]", asset.facts["blocks"])
            for asset in registry.assets.list(KIND, record.weights)
        },
        progress=progress,
    )
    return Forecasted(
        name=label,
        method=method,
        base=record.name,
        onto=tuple(patch.id for patch in below),
        requests=len(wanted),
        hashing=_unhashed(registry, record),
        forecast=measured,
        guard=_guard(registry, loaded, rules, wanted, measured),
    )


def _load(registry: Registry, record: BaseRecord, device: str) -> LoadedBase:
    """The base with its headers checked; hashing it would be remembered, and so written."""
    from patchhub.fingerprint import check_headers
    from patchhub.loading import load_base
    from patchhub.tensorfile import open_checkpoint

    directory = registry.base_path(record.name)
    check_headers(open_checkpoint(directory), record.fingerprint)
    return load_base(directory, device=device, fingerprint=record.fingerprint)


def _unhashed(registry: Registry, record: BaseRecord) -> int:
    directory = registry.base_path(record.name)
    if localfiles.trusted(registry, record.weights, directory):
        return 0
    return sum(path.stat().st_size for path in directory.resolve().iterdir() if path.is_file())


def _guard(
    registry: Registry,
    base: LoadedBase,
    policy: Policy,
    requests: Sequence[EditRequest],
    measured: Forecast,
) -> GuardWork:
    from patchhub.guard.check import Case
    from patchhub.guard.probes import QUESTIONS, TEXTS

    probes = _probes(registry, base)
    case = Case(tuple(requests), probes, measured.trial)
    questions, texts = _wanted(policy, case)
    known = bool(probes.questions or probes.texts)
    seconds = _rate(base, questions) * len(questions) * _STATES
    sampled = 0 if known else QUESTIONS + TEXTS
    return GuardWork(policy.source, len(questions), len(texts), sampled, seconds)


def _probes(registry: Registry, base: LoadedBase) -> BaseProbes:
    from patchhub.guard.probes import BaseProbes

    file = localfiles.probes_file(registry, base.fingerprint.weights)
    return BaseProbes.read(file) if file.is_file() else BaseProbes()


def _wanted(policy: Policy, case: Case) -> tuple[list[Question], list[str]]:
    """Different questions (of each protocol) and texts of all measures."""
    from patchhub.guard.catalog import load_check

    questions: dict[tuple[str, Question], None] = {}
    texts: dict[str, None] = {}
    for rule in policy.rules:
        wants = load_check(rule.check).wants(case, rule.measure)
        for protocol in (rule.protocol, *rule.also):
            questions |= dict.fromkeys((str(protocol), each) for each in wants.questions)
        texts |= dict.fromkeys((*wants.texts, *wants.openings))
    return [question for _, question in questions], list(texts)


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
