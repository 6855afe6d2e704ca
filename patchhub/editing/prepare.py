"""Gather what an edit needs besides the requests: templates, key statistics, a seeded generator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from patchhub import canonical
from patchhub.editing.editor import (
    MOMENTS,
    TEMPLATES,
    EditContext,
    Editor,
    Progress,
    check_requests,
    settings_of,
)
from patchhub.editing.isolation import isolated
from patchhub.editing.moments import Moments, corpus_digest, moments_of
from patchhub.editing.templates import sample_templates, sample_texts
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.request import EditRequest
from patchhub.sites import module_of, weight_matrix

_SAMPLE_TOKENS = 128
_TOKENS_PER_KEY = 16
_SAMPLE_BATCH = 64


def prepare_context(
    base: LoadedBase,
    editor: Editor,
    requests: Sequence[EditRequest],
    *,
    seed: int,
    settings: object | Mapping[str, object] | None = None,
    moments_cache: Path | None = None,
    corpus: Iterable[str] | None = None,
    onto: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> EditContext:
    """The context for `run_editor`, with templates and statistics if the editor needs them.

    Args:
        base: The base, without patches: templates and statistics describe it.
        editor: Says what it needs.
        requests: Checked first, so that nothing is computed for requests that will be refused.
        seed: Of the generator that everything random comes from.
        settings: As for `run_editor`; statistics are computed for the blocks they name, and for all
            blocks (still one pass) when settings are not given.
        moments_cache: Directory that keeps statistics between calls.
        corpus: Texts for the statistics; without any, the model's own samples.
        onto: Ids of the patches that will lie on the model while it is edited.
        progress: Told how far the preparation is.

    Raises:
        InvalidInputError: E132 to E134, a request; E142, a setting or the seed; E145, the corpus
            is empty.
    """
    check_requests(editor, requests)
    if not 0 <= seed < 2**53:
        raise InvalidInputError(
            "E142", "the seed is out of range", expected="0 to 2**53 - 1", found=seed
        )
    generator = torch.Generator().manual_seed(seed)
    templates = None
    moments = None
    with isolated(base.model):
        if TEMPLATES in editor.needs:
            templates = sample_templates(base.model, base.tokenizer, generator)
        if MOMENTS in editor.needs:
            layers = _layers(base, editor, settings)
            report = partial(progress, "statistics") if progress is not None else None
            if layers:
                moments = _moments(base, layers, seed, corpus, moments_cache, report)
    return EditContext(base, generator, seed, templates, moments, onto, progress)


def _layers(base: LoadedBase, editor: Editor, settings: object | None) -> tuple[int, ...]:
    if settings is None:
        return tuple(range(base.arch.block_count(base.model)))
    return editor.moment_layers(base, settings_of(editor, base, settings))


def _moments(
    base: LoadedBase,
    layers: tuple[int, ...],
    seed: int,
    corpus: Iterable[str] | None,
    cache: Path | None,
    report: partial[None] | None,
) -> Moments:
    if corpus is not None:
        texts = tuple(corpus)
        digest = corpus_digest(texts)
        return moments_of(base, digest, lambda: texts, layers, cache=cache, progress=report)
    width = weight_matrix(module_of(base.model, base.arch.path("mlp_out", 0, base.model))).shape[1]
    count = math.ceil(_TOKENS_PER_KEY * width / _SAMPLE_TOKENS)
    digest = canonical.digest({"samples": count, "tokens": _SAMPLE_TOKENS, "seed": seed})
    return moments_of(
        base, digest, lambda: _own_texts(base, count, seed), layers, cache=cache, progress=report
    )


def _own_texts(base: LoadedBase, count: int, seed: int) -> list[str]:
    """Texts drawn from the model by a generator of their own: a cache hit changes nothing."""
    generator = torch.Generator().manual_seed(seed)
    limit = getattr(base.model.config, "max_position_embeddings", _SAMPLE_TOKENS)
    texts: list[str] = []
    while len(texts) < count:
        texts += sample_texts(
            base.model,
            base.tokenizer,
            generator,
            count=min(_SAMPLE_BATCH, count - len(texts)),
            length=min(_SAMPLE_TOKENS, int(limit)),
        )
    return texts
