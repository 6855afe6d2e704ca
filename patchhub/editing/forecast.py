"""What an edit will take, measured briefly on the model itself; nothing is kept.

The method's own code is run on the real base and the real requests, for two, four, eight … steps of
its optimiser, until more steps change nothing (it stopped by itself) or some seconds are spent; the
last difference is what a further step takes. Statistics, if there are none yet, are timed on
a sample of the text and stood in for by a diagonal of the same size. The trial's patch has the
sites and shapes of the real one, from which the size of every file follows exactly.

Of several patches, one for each request, the request of middling length is tried, and what that
takes stands for each of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from patchhub.canonical import Json
from patchhub.editing.agreement import check_agreement
from patchhub.editing.editor import (
    TEMPLATES,
    Cost,
    Dropped,
    EditContext,
    Editor,
    Progress,
    settings_of,
)
from patchhub.editing.isolation import isolated
from patchhub.editing.maker import sorted_out
from patchhub.editing.memory import Peak
from patchhub.editing.modes import Mode
from patchhub.editing.prepare import check_numbers, layers_of, trained_for
from patchhub.editing.settings import record_settings
from patchhub.editing.statistics.corpus import SAMPLE_BATCH, Amount, Corpus, corpus_for
from patchhub.editing.statistics.moments import Moments, compute_moments, missing_layers
from patchhub.editing.trial import middling, sizes, tried, whole
from patchhub.editing.wording.sampling import sample_texts
from patchhub.editing.wording.templates import ContextTemplates, sample_templates
from patchhub.loading import LoadedBase
from patchhub.manifest import Site
from patchhub.patch import Patch
from patchhub.provenance import CorpusRecord
from patchhub.request import EditRequest
from patchhub.sites import module_of, weight_matrix

_SAMPLED_CHARACTERS = 40_000
_SAMPLED_TOKENS = 17


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
        patches: How many there would be.
        trial: A patch of the same sites and shapes, from few steps; None if none could be made.
        files: Name to size in bytes of the patch's files, or of those of all patches together;
            empty without a trial.
        spent: Seconds the forecast took.
        requests: Those that the method takes.
        dropped: The others, each with the reason.
    """

    settings: Mapping[str, Json]
    phases: tuple[Phase, ...]
    memory: int
    patches: int
    trial: Patch | None
    files: Mapping[str, int]
    spent: float
    requests: tuple[EditRequest, ...]
    dropped: tuple[Dropped, ...] = ()

    @property
    def sites(self) -> tuple[Site, ...]:
        """What would be touched."""
        return () if self.trial is None else self.trial.manifest.sites


def forecast(
    base: LoadedBase,
    editor: Editor,
    requests: Sequence[EditRequest],
    *,
    mode: Mode = Mode.BATCH,
    seed: int,
    settings: Mapping[str, object] | None = None,
    moments_cache: Path | None = None,
    elsewhere: Mapping[str, Sequence[int]] | None = None,
    corpus: Iterable[str] | None = None,
    statistics: str = "full",
    below: tuple[Patch, ...] = (),
    memory: int | None = None,
    progress: Progress | None = None,
) -> Forecast:
    """Measure what an edit will take; arguments as for `prepare_context`, and two more.

    ``mode`` is that of the edit, but for ``joint``: whether there is a patch of each request.
    ``elsewhere`` names statistics that will be brought into the cache: content key to blocks.

    Raises:
        InvalidInputError: E13x, no request is one the method takes, or E136; E142 a setting, the
            seed or the memory, and whatever the method says to requests
            and model.
    """
    begun = time.perf_counter()
    if mode is Mode.BATCH:
        check_agreement(requests)
    fit, dropped = sorted_out(editor, requests)
    check_numbers(seed, memory)
    chosen = settings_of(editor, base, settings)
    cost: Cost | None = getattr(editor, "cost", None)
    tell = progress or (lambda phase, done, total: None)
    with Peak(base.model.device) as peak:
        tell("measure", 0, 3)
        templates, phases = _templates(base, editor, seed)
        tell("measure", 1, 3)
        layers, record = layers_of(base, editor, settings or {}), None
        if layers:
            text = corpus_for(base, seed, corpus, Amount.of(statistics))
            record = text.record
            missing = missing_layers(base, record, layers, moments_cache, elsewhere)
            phases.append(_statistics(base, text, missing))
        tell("measure", 2, 3)
        context = EditContext(
            base, torch.Generator(), seed, templates, _stand_in(base, layers, record), below, memory
        )
        trained = trained_for(base, editor, settings or {}, moments_cache)
        context = replace(context, trained=trained)
        together = fit if mode is Mode.BATCH else middling(fit)
        trial = None if cost is None else tried(editor, context, together, chosen, cost)
        tell("measure", 3, 3)
    patches = 1 if mode is Mode.BATCH else len(fit)
    patch, files, known = None, {}, record_settings(chosen)
    if trial is None or cost is None:
        phases.append(Phase("edit", None, len(fit), "requests"))
    else:
        phases.append(Phase("edit", patches * trial.seconds, patches * trial.steps, "steps"))
        patch = whole(trial.patch, together, chosen, cost)
        files = sizes(patch, fit, mode)
        known = dict(patch.manifest.method.hparams)
    spent, found = time.perf_counter() - begun, tuple(phases)
    return Forecast(known, found, peak.bytes, patches, patch, files, spent, fit, tuple(dropped))


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
            texts = corpus.texts(None, None)
            sample, written = _some(texts), 0.0
            whole, part = sum(map(len, texts)), sum(map(len, sample))
        compute_moments(base, sample[:4], missing)
        begun = time.perf_counter()
        counted = compute_moments(base, sample, missing).count
        rate = (time.perf_counter() - begun) / max(part, 1)
    tokens = whole if corpus.samples else round(counted * whole / max(part, 1))
    read = tokens if corpus.limit is None else min(tokens, corpus.limit)
    seconds = written + rate * whole * read / max(tokens, 1)
    return Phase("statistics", seconds, read, "tokens")


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


def _stand_in(
    base: LoadedBase, layers: tuple[int, ...], corpus: CorpusRecord | None
) -> Moments | None:
    """Statistics of the right size: C is diagonal, and as real ones has small eigenvalues, too."""
    if not layers:
        return None
    sums: dict[int, Tensor] = {}
    for layer in layers:
        path = base.arch.path("mlp_out", layer, base.model, base.arch.reading)
        width = weight_matrix(module_of(base.model, path)).shape[1]
        sums[layer] = torch.diag(torch.logspace(-6, 0, width, dtype=torch.float64)) * width
    count = max(len(one) for one in sums.values())
    return Moments("", base.fingerprint.weights, sums, count, corpus)
