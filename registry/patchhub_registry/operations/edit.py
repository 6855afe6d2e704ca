"""Compute an edit, guard it and commit patch, verdict and record in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.canonical import decimal
from patchhub.errors import ConflictError
from patchhub_registry.operations import guarding, localfiles, models, naming, reviews, statistics
from patchhub_registry.operations.add import now

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub.guard.verdict import Verdict
    from patchhub.loading import LoadedBase
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import BaseRecord
    from patchhub_registry.stack import StackState


@dataclass(frozen=True, slots=True)
class Edit:
    """What `edit` made.

    Attributes:
        patch: The patch.
        verdict: What the guard measured, and its word.
        base: Name of the base.
        ref: ``name@n`` in the registry; None when it was not committed.
        directory: Where the patch was written, if it was asked for.
    """

    patch: Patch
    verdict: Verdict
    base: str
    ref: str | None
    directory: Path | None


def edit(
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
    waive: Mapping[str, str] | None = None,
    sensitivity: str = "internal",
    review_after: str | date | None = None,
    message: str = "",
    commit: bool = True,
    out: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Edit:
    """Compute an edit on a base (with a stack on it), measure it, and keep it if the guard agrees.

    Args:
        registry: Where base and stack are looked up and the patch is kept.
        method: Name of an editing method.
        requests: What shall be true, or the file that says it.
        base: Name of the base; not needed when a stack or the only base says it.
        stack: The stack the model carries while the edit is computed and judged.
        settings: Hyper-parameters that differ from the method's defaults.
        seed: Of everything random.
        name: Name of the patch; else one made from the first request.
        policy: Policy file; else the registry's.
        waive: Checks that may fail, each with the reason, which is recorded.
        sensitivity: ``public``, ``internal`` or ``personal``; recorded.
        review_after: Day after which the edit shall be looked at again; recorded.
        message: One line for the record.
        commit: Keep the patch in the registry; without it a no of the guard raises nothing.
        out: Also write the patch as a directory.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        GuardRefusedError: E401; nothing was committed and nothing written.
        ConflictError: E302 the stack stands on another base, E308 ``out`` is taken.
        InvalidInputError: E101 the name, E113 the day, E13x the requests, E142 a setting, E146 the
            policy.
        NotFoundError: E106, E107, E109, E141.
        IntegrityError: E201, the base's files are not what they were.
    """
    from patchhub import api, patchdir
    from patchhub.request import load_requests

    wanted = load_requests(Path(requests)) if isinstance(requests, str | Path) else tuple(requests)
    label = naming.patch_name(name, method, wanted)
    review = reviews.day(review_after)
    if out is not None:
        patchdir.check_target(Path(out))
    rules = guarding.policy_of(registry, policy)
    state = models.stack_state(registry, stack)
    record = base_for(registry, base, state)
    below = models.stack_patches(registry, state)
    loaded = models.load(registry, record, device=device, progress=progress)
    patch = api.edit(
        loaded,
        method,
        wanted,
        onto=below,
        settings=settings,
        seed=seed,
        texts=localfiles.texts(registry, record.weights),
        cache=statistics.brought(registry, record.weights),
        progress=progress,
    )
    judged = guarding.judge(
        registry, loaded, patch, wanted, stack=below, policy=rules, waive=waive, progress=progress
    )
    verdict = judged.verdict
    if commit and not verdict.passed:
        raise guarding.RefusedError(verdict, label)
    if out is not None:
        patch.write(Path(out))
    ref = None
    if commit:
        seen = {"base": record.name, **observations(loaded, patch, below)}
        said = {"sensitivity": sensitivity, "review_after": review, "message": message}
        ref = registry.add_patch(patch.files(), label, {**seen, **said}, judged.statements).ref
    return Edit(patch, verdict, record.name, ref, None if out is None else Path(out))


def observations(base: LoadedBase, patch: Patch, below: Sequence[Patch]) -> dict[str, Json]:
    """What was seen while the patch was made, for record.json: no part of what the patch is."""
    from patchhub.composer.composer import Composer

    composer = Composer.over(base)
    with composer.applied(*below):
        measured = composer.realised(patch)
    realised = {
        site: {name: decimal(value) for name, value in asdict(one).items()}
        for site, one in measured.items()
    }
    return {
        "created": now(),
        "libraries": _libraries(patch.manifest.method.name),
        "realised": realised,
    }


def _libraries(method: str) -> dict[str, str]:
    """Versions of what computed the edit, of the plugin that brought the method among them."""
    from importlib.metadata import version

    from patchhub.editing.catalog import METHODS

    found = {name: version(name) for name in ("patchhub", "torch", "transformers")}
    plugin = METHODS.plugin(method)
    return found if plugin is None else {**found, plugin.distribution: plugin.version}


def base_for(registry: Registry, base: str | None, state: StackState | None) -> BaseRecord:
    """The base of a stack, or the one named, or the only one there is.

    Raises:
        NotFoundError: E106. IntegrityError: E201. ConflictError: E302, they are different ones.
    """
    if state is None:
        return models.only_base(registry, base)
    record = models.base_with(registry, state.base, f"stack {state.name!r}")
    if base is not None and registry.base(base).weights != record.weights:
        raise ConflictError(
            "E302",
            f"stack {state.name!r} stands on another base",
            expected=record.name,
            found=base,
        )
    return record
