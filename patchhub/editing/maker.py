"""A method prepared for a base: one context, from which as many patches are made as are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from patchhub.composer.composer import Composer
from patchhub.editing.agreement import check_agreement
from patchhub.editing.dropping import OF_ALL
from patchhub.editing.editor import (
    Dropped,
    EditContext,
    Editor,
    Progress,
    check_requests,
    run_editor,
)
from patchhub.editing.modes import Mode
from patchhub.editing.prepare import prepare_context
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.patch import Patch
from patchhub.request import EditRequest


@dataclass(frozen=True, eq=False)
class Maker:
    """A method, ready to edit a base; each patch is the one it would make in a process of its own.

    Attributes:
        editor: The method.
        settings: Values that differ from its defaults.
        requests: Those of the given ones that the method takes.
        dropped: The others, and those that it could not edit, each with the reason.
        context: What it is given, but for the patches below.
    """

    editor: Editor
    settings: Mapping[str, object]
    requests: tuple[EditRequest, ...]
    dropped: list[Dropped]
    context: EditContext
    _random: Tensor = field(repr=False)

    @classmethod
    def begin(
        cls,
        base: LoadedBase,
        editor: Editor,
        requests: Sequence[EditRequest],
        *,
        mode: Mode = Mode.BATCH,
        settings: Mapping[str, object] | None = None,
        seed: int = 0,
        texts: Iterable[str] | None = None,
        statistics: str = "full",
        cache: Path | None = None,
        memory: int | None = None,
        progress: Progress | None = None,
    ) -> Maker:
        """Sort out requests the method does not take, and prepare it for the others.

        Args:
            base: The base, without patches: templates and statistics describe it.
            editor: The method.
            requests: What shall be true.
            mode: Requests of one patch may not contradict each other.
            settings: Values that differ from the method's defaults.
            seed: Of everything random.
            texts: Text for key statistics; else the model's own samples.
            statistics: How much of it (`patchhub.editing.statistics.corpus.Amount`).
            cache: Directory that keeps key statistics.
            memory: Bytes to use beside the model.
            progress: Called with the phase, units done, units in all.

        Raises:
            InvalidInputError: E13x, no request is one the method takes, or E136; E142, a setting,
                the seed or the memory; else as `prepare_context`.
        """
        if mode is Mode.BATCH:
            check_agreement(requests)
        fit, dropped = sorted_out(editor, requests)
        context = prepare_context(
            base,
            editor,
            fit,
            seed=seed,
            settings=settings or {},
            moments_cache=cache,
            corpus=texts,
            statistics=statistics,
            memory=memory,
            progress=progress,
        )
        state = context.generator.get_state()
        return cls(editor, settings or {}, fit, dropped, context, state)

    def make(self, requests: Sequence[EditRequest], below: Sequence[Patch] = ()) -> Patch:
        """One patch of some requests, computed on the base with the patches ``below``.

        Raises:
            InvalidInputError: The method can edit none of them; else as `run_editor`.
            IntegrityError: E201, a patch below is of another base.
        """
        generator = torch.Generator().set_state(self._random)
        context = replace(self.context, generator=generator, below=tuple(below), dropped=[])
        with Composer.over(context.base).applied(*below):
            made = run_editor(self.editor, context, requests, self.settings)
        self.dropped.extend(context.dropped)
        return made

    def one_by_one(self, below: Sequence[Patch] = ()) -> Iterator[tuple[EditRequest, Patch]]:
        """A patch of each request; ``below`` may grow meanwhile. Those that fail are dropped.

        Raises:
            InvalidInputError: All failed; the first one's reason. E140, E142, E145: none can be
                made.
        """
        made = 0
        for number, request in enumerate(self.requests):
            self.context.report("requests", number, len(self.requests))
            try:
                patch = self.make([request], below)
            except InvalidInputError as error:
                if error.code in OF_ALL:
                    raise
                self.dropped.append(Dropped(request, error))
                continue
            made += 1
            yield request, patch
        self.context.report("requests", len(self.requests), len(self.requests))
        if not made:
            raise self.dropped[0].reason


def sorted_out(
    editor: Editor, requests: Sequence[EditRequest]
) -> tuple[tuple[EditRequest, ...], list[Dropped]]:
    """The requests the method takes, and the others.

    Raises:
        InvalidInputError: E13x, there is no request, or none that it takes.
    """
    fit: list[EditRequest] = []
    dropped: list[Dropped] = []
    for request in requests:
        try:
            check_requests(editor, [request])
            fit.append(request)
        except InvalidInputError as error:
            dropped.append(Dropped(request, error))
    if not fit:
        check_requests(editor, requests)
    return tuple(fit), dropped
