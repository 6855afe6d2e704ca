"""Gather what an edit needs besides the requests: templates, key statistics, a seeded generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from patchhub.editing.moments import corpus_digest, moments_of
from patchhub.editing.resume import check_continues
from patchhub.editing.templates import sample_templates, sample_texts
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sites import module_of, weight_matrix

_SAMPLE_TOKENS = 128
_TOKENS_PER_KEY = 16
SAMPLE_BATCH = 64
"""Texts the model writes at once."""


def prepare_context(
    base: LoadedBase,
    editor: Editor,
    requests: Sequence[EditRequest],
    *,
    seed: int,
    settings: object | Mapping[str, object] | None = None,
    moments_cache: Path | None = None,
    corpus: Iterable[str] | None = None,
    below: tuple[Patch, ...] = (),
    memory: int | None = None,
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
        below: Patches that will lie on the model while it is edited.
        memory: Bytes that the edit may use beside the model.
        progress: Told how far the preparation is.

    Raises:
        InvalidInputError: E132 to E134, a request; E140, templates or statistics of a model that
            does not continue its input; E142, a setting or the seed; E145, the corpus is empty.
    """
    check_requests(editor, requests)
    if not 0 <= seed < 2**53:
        raise InvalidInputError(
            "E142", "the seed is out of range", expected="0 to 2**53 - 1", found=seed
        )
    if {TEMPLATES, MOMENTS} & editor.needs:
        check_continues(base.model)
    generator = torch.Generator().manual_seed(seed)
    templates = None
    moments = None
    with isolated(base.model):
        if TEMPLATES in editor.needs:
            templates = sample_templates(base.model, base.tokenizer, generator)
        layers = layers_of(base, editor, settings)
        if layers:
            text = corpus_for(base, seed, corpus)
            report = partial(progress, "statistics") if progress is not None else None
            moments = moments_of(
                base, text.digest, text.texts, layers, cache=moments_cache, progress=report
            )
    return EditContext(base, generator, seed, templates, moments, below, memory, progress=progress)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Text for key statistics, not yet there if the model itself is to write it.

    Attributes:
        digest: Determines the texts.
        texts: The texts; sampled on each call where ``samples`` is not 0.
        samples: How many the model writes.
        length: Tokens of each of those.
    """

    digest: str
    texts: Callable[[], Sequence[str]]
    samples: int = 0
    length: int = 0


def corpus_for(base: LoadedBase, seed: int, texts: Iterable[str] | None) -> Corpus:
    """The given texts, or the model's own samples, drawn by a generator of their own."""
    if texts is not None:
        given = tuple(texts)
        return Corpus(corpus_digest(given), lambda: given)
    width = weight_matrix(module_of(base.model, base.arch.path("mlp_out", 0, base.model))).shape[1]
    count = math.ceil(_TOKENS_PER_KEY * width / _SAMPLE_TOKENS)
    digest = canonical.digest({"samples": count, "tokens": _SAMPLE_TOKENS, "seed": seed})
    limit = getattr(base.model.config, "max_position_embeddings", _SAMPLE_TOKENS)
    length = min(_SAMPLE_TOKENS, int(limit))
    return Corpus(digest, lambda: _own_texts(base, count, length, seed), count, length)


def layers_of(base: LoadedBase, editor: Editor, settings: object | None) -> tuple[int, ...]:
    """Blocks whose statistics the editor needs; all, where the settings are not known yet."""
    if MOMENTS not in editor.needs:
        return ()
    if settings is None:
        return tuple(range(base.arch.block_count(base.model)))
    return editor.moment_layers(base, settings_of(editor, base, settings))


def _own_texts(base: LoadedBase, count: int, length: int, seed: int) -> list[str]:
    """A cache hit changes nothing: the generator serves nothing else."""
    generator = torch.Generator().manual_seed(seed)
    texts: list[str] = []
    while len(texts) < count:
        texts += sample_texts(
            base.model,
            base.tokenizer,
            generator,
            count=min(SAMPLE_BATCH, count - len(texts)),
            length=length,
        )
    return texts
