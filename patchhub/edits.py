"""The public call that edits."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, overload

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import Dropped
from patchhub.editing.joint import inherited, joined_with, keep_earlier
from patchhub.editing.maker import Maker
from patchhub.editing.modes import Mode
from patchhub.editing.profiles import with_profile
from patchhub.given import Base, Progress, Requests, base_of, patches_of, requests_of
from patchhub.patch import Patch
from patchhub.request import EditRequest


class LeftOutWarning(UserWarning):
    """Requests were left out of an edit, and the caller gave no list that says which."""


class ExperimentalWarning(UserWarning):
    """Nothing is published of the method on models of this family: it is our own proposal."""


@overload
def edit(
    base: Base,
    method: str,
    requests: Requests,
    *,
    mode: Literal["batch", "joint"] = ...,
    onto: Sequence[Patch | str | Path] = ...,
    settings: Mapping[str, object] | None = ...,
    profile: str | None = ...,
    seed: int | None = ...,
    texts: Iterable[str] | None = ...,
    statistics: str | None = ...,
    cache: Path | None = ...,
    memory: int | None = ...,
    dropped: list[Dropped] | None = ...,
    device: str = ...,
    progress: Progress | None = ...,
) -> Patch: ...
@overload
def edit(
    base: Base,
    method: str,
    requests: Requests,
    *,
    mode: Literal["single", "sequential"],
    onto: Sequence[Patch | str | Path] = ...,
    settings: Mapping[str, object] | None = ...,
    profile: str | None = ...,
    seed: int | None = ...,
    texts: Iterable[str] | None = ...,
    statistics: str | None = ...,
    cache: Path | None = ...,
    memory: int | None = ...,
    dropped: list[Dropped] | None = ...,
    device: str = ...,
    progress: Progress | None = ...,
) -> tuple[Patch, ...]: ...
def edit(
    base: Base,
    method: str,
    requests: Requests,
    *,
    mode: str = Mode.BATCH,
    onto: Sequence[Patch | str | Path] = (),
    settings: Mapping[str, object] | None = None,
    profile: str | None = None,
    seed: int | None = None,
    texts: Iterable[str] | None = None,
    statistics: str | None = None,
    cache: Path | None = None,
    memory: int | None = None,
    dropped: list[Dropped] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Patch | tuple[Patch, ...]:
    """Compute an edit; the model is afterwards as it was.

    Args:
        base: The base or its directory.
        method: Name of an editing method (`patchhub.editing.catalog.editor_names`).
        requests: What shall be true.
        mode: ``batch``: one patch of all requests. ``single``: a patch of each, all on the same
            model. ``sequential``: a patch of each, on the model that carries the earlier ones.
            ``joint``: one patch of all requests and of those of ``onto``, for which it stands.
        onto: Patches the model carries while the edit is computed, bottom first. In mode ``joint``
            it carries none: those by the method are solved again together with the requests, with
            the topmost one's settings, seed and amount of text where no others are said.
        settings: Hyper-parameters that differ from the profile's and the method's defaults.
        profile: Settings as published for this model (`patchhub.editing.profiles`), by name.
        seed: Of everything random; 0 where none is said. Of several patches each begins with it.
        texts: Text for the key statistics some methods need; else the model's own samples.
        statistics: How much of it: ``full``, ``fast`` or a number of tokens per dimension of a key
            (`patchhub.editing.statistics.corpus.Amount`); ``full`` where nothing is said.
        cache: Directory that keeps key statistics for the next edit.
        memory: Bytes that the method may use beside the model.
        dropped: Takes the requests that could not be edited while others could, with the reasons;
            without it they are told by a `LeftOutWarning`.
        device: Where a base given by its directory is put.
        progress: Called with the phase, units done, units in all.

    Returns:
        The patch; in modes ``single`` and ``sequential`` those of the requests that could be
        edited, in their order.

    Raises:
        NotFoundError: E141 no such method; E109 a directory is missing; E160 no such profile, or
            it says nothing of this model.
        InvalidInputError: E13x a request, E142 a setting, E143 to E148 the model does not fit; of
            requests that cannot be edited only if none can, and in mode ``joint`` if one of them
            was edited before.
        IntegrityError: E201, a patch in ``onto`` is of another base.
    """
    way, new, below = Mode.of(mode), requests_of(requests), patches_of(onto)
    editor, given = load_editor(method), with_profile(settings, profile)
    wanted: tuple[EditRequest, ...] = new
    earlier: Sequence[Patch] = ()
    if way is Mode.JOINT:
        joint, wanted = joined_with(editor, below, new)
        taken = inherited(joint.earlier, settings=given, seed=seed, statistics=statistics)
        given, seed, statistics = dict(taken.settings), taken.seed, taken.statistics
        editor, earlier, way, below = joint, joint.earlier, Mode.BATCH, ()
    maker = Maker.begin(
        base_of(base, device),
        editor,
        wanted,
        mode=way,
        settings=given,
        seed=seed or 0,
        texts=texts,
        statistics=statistics or "full",
        cache=cache,
        memory=memory,
        progress=progress,
    )
    made = _made(maker, way, below)
    if isinstance(made, Patch) and earlier:
        keep_earlier(earlier, new, maker.dropped, made)
    _tell(maker.dropped, dropped)
    (any_one, *_) = (made,) if isinstance(made, Patch) else made
    if any_one.manifest.method.experimental:
        told = f"{method} is experimental on this model: nothing is published of it"
        warnings.warn(told, ExperimentalWarning, stacklevel=2)
    return made


def _made(maker: Maker, mode: Mode, below: tuple[Patch, ...]) -> Patch | tuple[Patch, ...]:
    if mode is Mode.BATCH:
        return maker.make(maker.requests, below)
    stack, made = list(below), []
    for _, patch in maker.one_by_one(stack):
        made.append(patch)
        if mode is Mode.SEQUENTIAL:
            stack.append(patch)
    return tuple(made)


def _tell(found: Sequence[Dropped], wanted: list[Dropped] | None) -> None:
    if wanted is not None:
        wanted.extend(found)
    elif found:
        listed = "; ".join(f"{one.request.prompt!r}: {one.reason.what}" for one in found[:3])
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        warnings.warn(f"left out: {listed}{more}", LeftOutWarning, stacklevel=3)
