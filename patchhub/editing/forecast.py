"""What an edit will take, measured briefly on the model itself; nothing is kept.

The method's own code is run on the real base and the real requests, for two, four, eight … steps of
its optimiser, until more steps change nothing (it stopped by itself) or some seconds are spent; the
last difference is what a further step takes. Statistics, if there are none yet, are timed on
a sample of the text and stood in for by the identity, of the same size. The trial's patch has the
sites and shapes of the real one, from which the size of every file follows exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from patchhub.canonical import Json
from patchhub.editing.editor import (
    TEMPLATES,
    Cost,
    EditContext,
    Editor,
    Progress,
    check_requests,
    run_editor,
    settings_of,
)
from patchhub.editing.isolation import isolated
from patchhub.editing.memory import Peak
from patchhub.editing.moments import Moments, compute_moments, missing_layers
from patchhub.editing.prepare import SAMPLE_BATCH, Corpus, corpus_for, layers_of
from patchhub.editing.settings import record_settings
from patchhub.editing.templates import ContextTemplates, sample_templates, sample_texts
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind, Site
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import module_of, weight_matrix

_FEW = 2
_BUDGET = 3.0
_SAMPLED_CHARACTERS = 40_000
_SAMPLED_TOKENS = 17
_SHORT = 0.5


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of an edit.

    Attributes:
        name: ``templates``, ``statistics`` or ``edit``.
        seconds: Expected; at most, where the trial did not see the method stop. None where nothing
            says it.
        amount: How much there is to do.
        unit: Of what: ``texts``, ``tokens``, ``steps``.
    """

    name: str
    seconds: float | None
    amount: int
    unit: str


@dataclass(frozen=True, eq=False)
class Forecast:
    """What an edit would do and take.

    Attributes:
        settings: In effect, defaults and recommendations filled in.
        phases: In their order.
        memory: Most bytes the process (on a GPU: the device) has held so far, the trial included.
        trial: A patch of the same sites and shapes, from few steps; None if none could be made.
        files: Name to size in bytes of the patch's files; empty without a trial.
        spent: Seconds the forecast took.
    """

    settings: Mapping[str, Json]
    phases: tuple[Phase, ...]
    memory: int
    trial: Patch | None
    files: Mapping[str, int]
    spent: float

    @property
    def sites(self) -> tuple[Site, ...]:
        """What would be touched."""
        return () if self.trial is None else self.trial.manifest.sites


def forecast(
    base: LoadedBase,
    editor: Editor,
    requests: Sequence[EditRequest],
    *,
    seed: int,
    settings: Mapping[str, object] | None = None,
    moments_cache: Path | None = None,
    elsewhere: Mapping[str, Sequence[int]] | None = None,
    corpus: Iterable[str] | None = None,
    onto: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Forecast:
    """Measure what an edit will take; arguments as for `prepare_context`, and ``elsewhere``.

    ``elsewhere`` names statistics that will be brought into the cache: content key to blocks.

    Raises:
        InvalidInputError: E13x a request, E142 a setting, and whatever the method says to requests
            and model.
    """
    begun = time.perf_counter()
    check_requests(editor, requests)
    chosen = settings_of(editor, base, settings)
    cost: Cost | None = getattr(editor, "cost", None)
    tell = progress or (lambda phase, done, total: None)
    with Peak(base.model.device) as peak:
        tell("measure", 0, 3)
        templates, phases = _templates(base, editor, seed)
        tell("measure", 1, 3)
        layers = layers_of(base, editor, settings or {})
        if layers:
            text = corpus_for(base, seed, corpus)
            missing = missing_layers(base, text.digest, layers, moments_cache, elsewhere)
            phases.append(_statistics(base, text, missing))
        tell("measure", 2, 3)
        context = EditContext(
            base, torch.Generator(), seed, templates, _stand_in(base, layers), onto
        )
        phase, trial = _edit(editor, context, requests, chosen, cost)
        tell("measure", 3, 3)
    files: dict[str, int] = {}
    if trial is not None and cost is not None:
        trial = _whole(trial, requests, chosen, cost)
        files = {name: len(data) for name, data in trial.files().items()}
    known = record_settings(chosen) if trial is None else trial.manifest.method.hparams
    spent = time.perf_counter() - begun
    return Forecast(known, (*phases, phase), peak.bytes, trial, files, spent)


def _templates(
    base: LoadedBase, editor: Editor, seed: int
) -> tuple[ContextTemplates | None, list[Phase]]:
    if TEMPLATES not in editor.needs:
        return None, []
    begun = time.perf_counter()
    with isolated(base.model):
        generator = torch.Generator().manual_seed(seed)
        found = sample_templates(base.model, base.tokenizer, generator)
    return found, [Phase("templates", time.perf_counter() - begun, len(found.texts), "texts")]


def _statistics(base: LoadedBase, corpus: Corpus, missing: tuple[int, ...]) -> Phase:
    """The pass over the text that has to be made, and the writing of the text, if it has to be."""
    if not missing:
        return Phase("statistics", 0.0, 0, "tokens")
    with isolated(base.model):
        if corpus.samples:
            sample, written = _written(base, corpus)
            whole = corpus.samples * corpus.length
            part = min(SAMPLE_BATCH, corpus.samples) * _SAMPLED_TOKENS
        else:
            texts = corpus.texts()
            sample, written = _some(texts), 0.0
            whole, part = sum(map(len, texts)), sum(map(len, sample))
        compute_moments(base, sample[:4], missing)
        begun = time.perf_counter()
        counted = compute_moments(base, sample, missing).count
        rate = (time.perf_counter() - begun) / max(part, 1)
    tokens = whole if corpus.samples else round(counted * whole / max(part, 1))
    return Phase("statistics", written + rate * whole, tokens, "tokens")


def _some(texts: Sequence[str]) -> list[str]:
    """Texts spread over all, up to a number of characters."""
    whole = sum(map(len, texts))
    return list(texts[:: max(1, ceil(whole / _SAMPLED_CHARACTERS))])


def _written(base: LoadedBase, corpus: Corpus) -> tuple[list[str], float]:
    """The beginnings of the first texts the model writes, and the seconds for all of them."""
    generator = torch.Generator().manual_seed(0)
    count = min(SAMPLE_BATCH, corpus.samples)
    sample: list[str] = []

    def sampled() -> None:
        sample[:] = sample_texts(
            base.model, base.tokenizer, generator, count=count, length=_SAMPLED_TOKENS
        )

    sampled()
    begun = time.perf_counter()
    sampled()
    seconds = (time.perf_counter() - begun) / (_SAMPLED_TOKENS - 1)
    rounds = ceil(corpus.samples / SAMPLE_BATCH)
    return sample, seconds * (corpus.length - 1) * rounds


def _stand_in(base: LoadedBase, layers: tuple[int, ...]) -> Moments | None:
    """Statistics of the right size: C = I."""
    if not layers:
        return None
    sums: dict[int, Tensor] = {}
    for layer in layers:
        module = module_of(base.model, base.arch.path("mlp_out", layer, base.model))
        width = weight_matrix(module).shape[1]
        sums[layer] = torch.eye(width, dtype=torch.float64) * width
    count = max(len(one) for one in sums.values())
    return Moments("", base.fingerprint.weights, sums, count)


def _edit(
    editor: Editor,
    context: EditContext,
    requests: Sequence[EditRequest],
    settings: Any,
    cost: Cost | None,
) -> tuple[Phase, Patch | None]:
    """Time and a patch of the right shape, from runs of few steps on some requests."""
    count = 1 if cost is None or cost.steps is None else int(getattr(settings, cost.steps))
    if cost is None:
        return Phase("edit", None, len(requests), "requests"), None
    size = len(requests) if cost.batch is None else int(getattr(settings, cost.batch))
    some = _middle(requests) if cost.each else requests[:size]
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
    return Phase("edit", seconds * rounds, steps, "steps"), made[0]


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


def _middle(requests: Sequence[EditRequest]) -> list[EditRequest]:
    """The request of middling length."""
    by_length = sorted(requests, key=lambda request: len(request.prompt) + len(request.target))
    return [by_length[len(by_length) // 2]]


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


def _whole(trial: Patch, requests: Sequence[EditRequest], settings: Any, cost: Cost) -> Patch:
    """The trial's patch, as large as the real one: all requests, and the real number of steps."""
    method = trial.manifest.method
    if cost.steps is not None:
        real = record_settings(settings)[cost.steps]
        method = replace(method, hparams={**method.hparams, cost.steps: real})
    rows = len(requests) if cost.each and trial.kind is Kind.LOW_RANK else 1
    payload = {
        site: {role: _repeated(role, factor, rows) for role, factor in roles.items()}
        for site, roles in trial.payload.items()
    }
    return Patch.build(
        trial.kind,
        payload,
        sites=[replace(site, rank=None) for site in trial.manifest.sites],
        base=trial.manifest.base,
        method=method,
        requests=requests,
        onto=trial.manifest.onto,
        state=trial.state,
    )


def _repeated(role: str, factor: Tensor, rows: int) -> Tensor:
    """A factor with its rows (A) or columns (B) ``rows`` times."""
    if rows == 1:
        return factor
    return factor.repeat(rows, 1) if role == "A" else factor.repeat(1, rows)
