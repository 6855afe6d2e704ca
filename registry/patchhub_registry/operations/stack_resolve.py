"""Solve the key-value edits of a stack together: one patch in the place of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub_registry.operations import reviews
from patchhub_registry.operations.joining import Joined, joining, solved_already
from patchhub_registry.operations.together import Together, collect

if TYPE_CHECKING:
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry


def stack_resolve(
    registry: Registry,
    stack: str,
    *,
    method: str | None = None,
    without: str | Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
    seed: int | None = None,
    statistics: str | None = None,
    memory: int | None = None,
    name: str | None = None,
    policy: str | Path | None = None,
    waive: Mapping[str, str] | None = None,
    review_after: str | date | None = None,
    message: str = "",
    model: str | Path | None = None,
    dry_run: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Joined:
    """Solve the edits of one method in a stack as if they had been asked for at once.

    Targets that the patches remember are taken from them; the others are found on the bare base.
    The new patch is judged with the patches that stay, and takes the place of the others in one
    step.

    Args:
        registry: Where the stack is.
        stack: Its name.
        method: Whose edits; those of the topmost patch whose method can do it.
        without: Edits to leave out: patches, also such that a patch of the stack stands for, or
            requests by id or by the beginning of their digest.
        settings: Of the method, where they shall differ from those of its topmost patch.
        seed: Likewise.
        statistics: How much text key statistics are taken from; else as for the topmost patch.
        memory: Bytes that the method may use beside the model.
        name: Name of the patch; else the stack's with ``-joint``.
        policy: Policy file; else the registry's.
        waive: Checks that may fail, each with the reason, which is recorded.
        review_after: Day after which the edits shall be looked at again; recorded.
        message: One line for the record.
        model: A model directory of PatchHub's that follows in the same step.
        dry_run: Only say what would be solved; no model is loaded and nothing written.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        GuardRefusedError: E401; nothing was committed and nothing written.
        InvalidInputError: E134, nothing would be left, or nothing would change; E142, the edits
            cannot be solved together; E101, E113, E143 to E150.
        ConflictError: E301, E304 to E308. NotFoundError: E102, E107, E109, E141.
        IntegrityError: E118, E2xx.
    """
    names = (without,) if isinstance(without, str) else tuple(without)
    day = reviews.day(review_after)
    together = collect(
        registry,
        registry.stack(stack),
        method=method,
        without=names,
        settings=settings,
        seed=seed,
        statistics=statistics,
    )
    if not (names or settings or statistics or seed is not None) and _is_joint(together):
        raise solved_already(together)
    task = joining(
        registry,
        together,
        name=name,
        policy=policy,
        memory=memory,
        device=device,
        progress=progress,
    )
    if dry_run:
        return Joined(together)
    return task.run(waive=waive, said={"review_after": day, "message": message}, model=model)


def _is_joint(together: Together) -> bool:
    from patchhub.editing.joint.memory import JOINT

    return [JOINT in one.manifest.method.hparams for one in together.patches] == [True]
