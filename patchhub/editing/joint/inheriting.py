"""What a joint patch takes over from the patches it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patchhub.editing.editor import Dropped
from patchhub.editing.joint.groups import settled
from patchhub.editing.joint.memory import JOINT
from patchhub.editing.profiles import PROFILE
from patchhub.manifest import MethodRecord
from patchhub.patch import Patch
from patchhub.provenance import EXPERIMENTAL
from patchhub.request import EditRequest


@dataclass(frozen=True, slots=True)
class Inherited:
    """How a joint patch is computed, so that targets found before need not be found again.

    Attributes:
        settings: Of the method, over its defaults.
        seed: Of its templates.
        statistics: How much text key statistics are taken from.
    """

    settings: Mapping[str, object]
    seed: int
    statistics: str


def inherited(
    patches: Sequence[Patch],
    *,
    settings: Mapping[str, object] | None,
    seed: int | None,
    statistics: str | None,
) -> Inherited:
    """What is said, and for the rest what the topmost of some patches was computed with.

    Args:
        patches: By the method, bottom first.
        settings: Values that differ; those of a profile stand alone.
        seed: None for the patch's.
        statistics: Likewise.
    """
    given = dict(settings or {})
    last = patches[-1].manifest.method if patches else None
    if last is None:
        return Inherited(given, seed or 0, statistics or "full")
    corpora = [one.manifest.method.corpus for one in patches]
    read = [one.amount for one in corpora if one is not None]
    return Inherited(
        given if PROFILE in given else {**settings_of(last), **given},
        last.seed if seed is None else seed,
        statistics or (read[-1] if read else "full"),
    )


def settings_of(record: MethodRecord) -> dict[str, object]:
    """The method's settings in a patch's record."""
    marks = {JOINT, EXPERIMENTAL}
    return {name: value for name, value in record.hparams.items() if name not in marks}


def keep_earlier(
    patches: Sequence[Patch],
    requests: Sequence[EditRequest],
    dropped: Sequence[Dropped],
    made: Patch,
) -> None:
    """Pass unless edits made before would be lost, or none of the new ones came in.

    Args:
        patches: What the joint patch stands for.
        requests: The new ones.
        dropped: What could not be edited, with the reasons. An earlier edit that one of them was
            to take the place of must be in the patch.
        made: The joint patch.

    Raises:
        InvalidInputError: The reason of the first edit that may not be left out.
    """
    earlier = [request for patch in patches for request in patch.requests]
    before = {request.digest() for request in earlier}
    held = {request.digest() for request in made.requests}
    new = {request.digest() for request in requests} - before
    for one in dropped:
        displaced = settled([*earlier, one.request]).replaced
        lost = {each.digest() for each in displaced} - held
        if one.request.digest() in before or lost:
            raise one.reason
    left = [one for one in dropped if one.request.digest() in new]
    if new and new <= {one.request.digest() for one in left}:
        raise left[0].reason


def same_edits(patches: Sequence[Patch], patch: Patch) -> bool:
    """Whether a joint patch is the only one it stands for over again."""
    return len(patches) == 1 and patches[0].manifest.content == patch.manifest.content
