"""Gather what an edit needs besides the requests: templates, statistics, a trained editor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from patchhub.editing.editor import (
    MOMENTS,
    TEMPLATES,
    TRAINED,
    EditContext,
    Editor,
    Progress,
    check_requests,
    settings_of,
)
from patchhub.editing.isolation import isolated
from patchhub.editing.meta.finding import find_trained
from patchhub.editing.meta.trained import Trained
from patchhub.editing.statistics.corpus import Amount, corpus_for
from patchhub.editing.statistics.moments import moments_of
from patchhub.editing.wording.templates import sample_templates
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.patch import Patch
from patchhub.request import EditRequest


def prepare_context(
    base: LoadedBase,
    editor: Editor,
    requests: Sequence[EditRequest],
    *,
    seed: int,
    settings: object | Mapping[str, object] | None = None,
    moments_cache: Path | None = None,
    corpus: Iterable[str] | None = None,
    statistics: str = "full",
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
        moments_cache: Directory that keeps statistics and trained editors between calls.
        corpus: Texts for the statistics; without any, the model's own samples.
        statistics: How much text; see `patchhub.editing.statistics.corpus.Amount`.
        below: Patches that will lie on the model while it is edited.
        memory: Bytes that the edit may use beside the model.
        progress: Told how far the preparation is.

    Raises:
        InvalidInputError: E132 to E134, a request; E140, templates or statistics of an
            encoder-decoder that does not say how its decoder begins; E142, a setting, the seed, the
            memory or the amount of text; E145, the corpus is empty; E161, there is no trained
            editor.
    """
    check_requests(editor, requests)
    check_numbers(seed, memory)
    trained = trained_for(base, editor, settings, moments_cache)
    generator = torch.Generator().manual_seed(seed)
    templates = None
    moments = None
    with isolated(base.model):
        if TEMPLATES in editor.needs:
            templates = sample_templates(base.model, base.tokenizer, generator)
        layers = layers_of(base, editor, settings)
        if layers:
            text = corpus_for(base, seed, corpus, Amount.of(statistics))
            moments = moments_of(
                base, text, layers, cache=moments_cache, memory=memory, progress=progress
            )
    return EditContext(
        base,
        generator,
        seed,
        templates,
        moments,
        below,
        memory,
        progress=progress,
        trained=trained,
    )


def trained_for(
    base: LoadedBase, editor: Editor, settings: object | None, cache: Path | None
) -> Trained | None:
    """The trained editor of a cache, if the method needs one (E161 there is none)."""
    if TRAINED not in editor.needs:
        return None
    wanted = settings_of(editor, base, settings).trained
    return find_trained(cache, editor.name, base.fingerprint.weights, wanted)


def check_numbers(seed: int, memory: int | None = None) -> None:
    """Refuse a seed or a size that is out of range.

    Raises:
        InvalidInputError: E142.
    """
    if not 0 <= seed < 2**53:
        raise InvalidInputError(
            "E142", "the seed is out of range", expected="0 to 2**53 - 1", found=seed
        )
    if memory is not None and memory < 1:
        raise InvalidInputError(
            "E142", "the memory is out of range", expected="at least 1 byte", found=memory
        )


def layers_of(base: LoadedBase, editor: Editor, settings: object | None) -> tuple[int, ...]:
    """Blocks whose statistics the editor needs; all, where the settings are not known yet."""
    if MOMENTS not in editor.needs:
        return ()
    if settings is None:
        return tuple(range(base.arch.block_count(base.model, base.arch.reading)))
    return editor.moment_layers(base, settings_of(editor, base, settings))
