"""What an editing method is, what it is given, and the one way to run it.

An editor is a function from (model, requests) to a patch. It leaves the model, the random
generators and the file system as they were, also when it raises; `run_editor` sees to that for
every method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from patchhub.editing.agreement import check_agreement
from patchhub.editing.isolation import isolated
from patchhub.editing.meta.finding import missing
from patchhub.editing.meta.trained import Trained
from patchhub.editing.profiles import PROFILE, profile_values
from patchhub.editing.ready import check_moments, check_precision, check_trained
from patchhub.editing.settings import parse_settings, record_settings, require
from patchhub.editing.statistics.moments import Moments
from patchhub.editing.wording.templates import ContextTemplates
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind, MethodRecord
from patchhub.patch import Patch
from patchhub.provenance import EXPERIMENTAL
from patchhub.request import EditRequest

Progress = Callable[[str, int, int], None]
"""Called with a phase, units done and units in all."""

SUBJECT, TEMPLATES, MOMENTS, TRAINED = "subject", "templates", "moments", "trained"
NEEDS = frozenset({SUBJECT, TEMPLATES, MOMENTS, TRAINED, "target_old"})
"""What an editor may declare in `Editor.needs`."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A request that a method left out of a patch, and why."""

    request: EditRequest
    reason: InvalidInputError


@dataclass(frozen=True, eq=False)
class EditContext:
    """Everything an edit depends on besides the requests and the settings.

    Attributes:
        base: The model to edit, with the patches ``below`` on it.
        generator: The only source of randomness.
        seed: What the generator was seeded with, for the record.
        templates: Context templates, if the method needs them.
        moments: Second moments of the keys, if the method needs them.
        trained: The trained editor, if the method needs one.
        below: The patches that the model carries while it is edited, bottom first; what a method
            must remember of earlier edits is in their state, and nowhere else.
        memory: Bytes that the method may use beside the model; ``None`` for no limit.
        dropped: Requests that could not be edited while others of the batch could.
        progress: Told how far the edit is.
    """

    base: LoadedBase
    generator: torch.Generator
    seed: int
    templates: ContextTemplates | None = None
    moments: Moments | None = None
    below: tuple[Patch, ...] = ()
    memory: int | None = None
    dropped: list[Dropped] = field(default_factory=list)
    progress: Progress | None = None
    trained: Trained | None = None

    @property
    def learned(self) -> Trained:
        """The trained editor (E161 there is none)."""
        if self.trained is None:
            raise missing("the method")
        return self.trained

    @property
    def onto(self) -> tuple[str, ...]:
        """Ids of the patches below."""
        return tuple(patch.id for patch in self.below)

    def drop(self, request: EditRequest, reason: InvalidInputError) -> None:
        """Leave a request out of the patch; the others of the batch go on."""
        self.dropped.append(Dropped(request, reason))

    def report(self, phase: str, done: int, total: int) -> None:
        """Tell `progress`, if there is one."""
        if self.progress is not None:
            self.progress(phase, done, total)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method's time goes with; an editor that has one as ``cost`` can be forecast.

    Attributes:
        steps: The setting that bounds the steps of its optimiser; ``None`` if it has none.
        batch: The setting of requests per step; ``None`` if a step takes all.
        each: Requests come one after the other, each with steps and, in a patch of rows or columns,
            with some of its own.
    """

    steps: str | None = None
    batch: str | None = None
    each: bool = False


class Editor(Protocol):
    """One editing method; ``methods/<name>.py`` has one as ``EDITOR``.

    One that decides itself between requests that contradict each other says so by ``settles``; one
    that needs a trained editor has what `patchhub.editing.meta.learner.Trainable` asks for.

    Attributes:
        name: The paper's name in lower case; also the file's.
        version: Goes up whenever results change.
        summary: One line for lists.
        reference: Authors, year, arXiv number.
        kind: Kind of the patches it makes.
        needs: Of requests and context; see `NEEDS`.
        hparams: Frozen dataclass of its settings; the defaults are the published values.
    """

    name: str
    version: int
    summary: str
    reference: str
    kind: Kind
    needs: frozenset[str]
    hparams: type[Any]

    def moment_layers(self, base: LoadedBase, hparams: Any) -> tuple[int, ...]:
        """Blocks whose key statistics the edit will ask for; empty when none."""
        ...

    def edit(self, context: EditContext, requests: Sequence[EditRequest], hparams: Any) -> Patch:
        """Compute the patch; the model is read only."""
        ...


def run_editor(
    editor: Editor,
    context: EditContext,
    requests: Sequence[EditRequest],
    hparams: object | Mapping[str, object] | None = None,
) -> Patch:
    """Run a method under the editor contract.

    Args:
        editor: From `catalog.load_editor`.
        context: From `prepare.prepare_context`.
        requests: At least one.
        hparams: Settings, or values by name; see `settings_of` for the others.

    Raises:
        InvalidInputError: E132 to E134, a request lacks what the method needs; E136, two requests
            contradict each other; E142, a setting or the model's dtype is wrong; E145, statistics
            are missing; E161, the trained editor is.
        IntegrityError: E149, the method left the model changed.
    """
    settings = settings_of(editor, context.base, hparams)
    check_requests(editor, requests)
    if not getattr(editor, "settles", False):
        check_agreement(requests)
    _check_context(editor, context, settings)
    with isolated(context.base.model):
        return editor.edit(context, tuple(requests), settings)


def settings_of(
    editor: Editor, base: LoadedBase, hparams: object | Mapping[str, object] | None
) -> Any:
    """The editor's settings from an instance as it is, or from values by name.

    What the values do not name comes from the checkpoint, if its ``config.json`` recommends
    settings (``"patchhub": {"settings": {"<method>": {…}}}``; small models need other step sizes
    than those published for large ones), and otherwise from the published defaults. The value
    ``profile`` stands for those that a profile of that name has for the base; they go before the
    checkpoint's.

    Raises:
        InvalidInputError: E142. NotFoundError: E160, the profile has nothing for the base.
    """
    if isinstance(hparams, editor.hparams):
        return hparams
    if hparams is None or isinstance(hparams, Mapping):
        given = dict(hparams or {})
        profile = given.pop(PROFILE, None)
        require(profile is None or isinstance(profile, str), PROFILE, "a name", profile)
        published = {} if profile is None else profile_values(editor.name, str(profile), base)
        return parse_settings(editor.hparams, {**_recommended(editor, base), **published, **given})
    raise InvalidInputError(
        "E142",
        "these settings belong to another method",
        expected=editor.hparams.__qualname__,
        found=type(hparams).__qualname__,
    )


def _recommended(editor: Editor, base: LoadedBase) -> Mapping[str, object]:
    own = getattr(base.model.config, "patchhub", None)
    for name in ("settings", editor.name):
        own = own.get(name) if isinstance(own, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def check_requests(editor: Editor, requests: Sequence[EditRequest]) -> None:
    """Refuse requests that lack what the editor needs (E132 to E134)."""
    if not requests:
        raise InvalidInputError("E134", "there is nothing to edit", expected="at least one request")
    for number, request in enumerate(requests, 1):
        for needed in (SUBJECT, "target_old"):
            if needed in editor.needs and getattr(request, needed) is None:
                raise InvalidInputError(
                    "E134",
                    f"{editor.name} needs the field {needed}",
                    found=f"request {request.id or number} without it",
                    hint=f"add {needed} to the request, or take a method that does without",
                    field=needed,
                )
        if SUBJECT in editor.needs:
            request.subject_span()


def method_record(
    editor: Editor,
    context: EditContext,
    requests: Sequence[EditRequest],
    hparams: object,
    *,
    layers: Sequence[int] = (),
) -> MethodRecord:
    """What the manifest says about how a patch was made.

    Args:
        editor: The method.
        context: What it was given.
        requests: What it was asked.
        hparams: The settings in effect, defaults resolved.
        layers: Blocks whose statistics went into the result.
    """
    templates = context.templates if TEMPLATES in editor.needs else None
    moments = context.moments if layers else None
    settings = record_settings(hparams)
    if editor.needs & set(context.base.arch.experimental):
        settings[EXPERIMENTAL] = True
    return MethodRecord(
        name=editor.name,
        version=editor.version,
        hparams=settings,
        seed=context.seed,
        threads=torch.get_num_threads(),
        requests=tuple(request.digest() for request in requests),
        templates=templates.digest if templates is not None else None,
        moments=moments.digest(layers) if moments is not None else None,
        corpus=moments.corpus if moments is not None else None,
        trained=context.learned.digest if TRAINED in editor.needs else None,
    )


def _check_context(editor: Editor, context: EditContext, settings: Any) -> None:
    base = context.base
    check_precision(base)
    if TEMPLATES in editor.needs and context.templates is None:
        raise InvalidInputError(
            "E142", f"{editor.name} needs context templates", hint="use prepare_context"
        )
    if TRAINED in editor.needs:
        check_trained(base, editor.name, context.trained)
    check_moments(base, editor.name, editor.moment_layers(base, settings), context.moments)
