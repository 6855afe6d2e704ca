"""Pieces of work on edits that are solved together: to make some more, and to take some back.

Every edit is made as ``edit --mode joint`` makes it: computed on the bare base, one patch for all
edits so far in the place of the one before. Results are as in `work`; the patch is the one that the
model carries at the end, also where the job's own edits were refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from patchhub.editing.editor import EditContext, run_editor
from patchhub.editing.joint import JointEditor, joined_with, keep_earlier, key_value_editor
from patchhub.errors import InvalidInputError
from patchhub.evaluation import place
from patchhub.evaluation.place import Place
from patchhub.evaluation.work import (
    EDITS,
    MADE,
    MOMENTS,
    OBSERVED,
    PATCH,
    at,
    context_of,
    method_of,
    patches_in,
    read,
    refuse,
    said,
    timed,
    write,
)
from patchhub.jobs.job import Work
from patchhub.patch import Patch
from patchhub.request import EditRequest


def join(work: Work) -> None:
    """Make some edits, one after another; what each took is observed."""
    wanted: Any = work.inputs["requests"]

    def solve(solving: _Solving, asked: dict[str, EditRequest]) -> list[list[str] | None]:
        return [solving.join(asked[digest]) for digest in wanted]

    _solved(work, len(wanted), solve)


def leave(work: Work) -> None:
    """Solve the edits anew without some of them, as ``stack resolve --without`` does."""
    gone: Any = work.inputs["without"]

    def solve(solving: _Solving, _: object) -> list[list[str] | None]:
        return [solving.leave(gone)] * len(gone)

    _solved(work, len(gone), solve)


class _Solving:
    """A method on the bare base, and the patch of all edits so far.

    Args:
        here: The base.
        method: The method and its settings.
        context: What it needs.
        patch: Of the edits before.
    """

    def __init__(
        self, here: Place, method: tuple[Any, Any], context: EditContext, patch: Patch | None
    ) -> None:
        self._here, self._context = here, context
        self._editor, self._settings = method
        self.patch = patch
        self.seen: list[dict[str, Any]] = []

    def join(self, request: EditRequest) -> list[str] | None:
        """One edit more; where it is refused, code and words of why."""
        before = self._before

        def make() -> Patch:
            editor, wanted = joined_with(self._editor, before, [request])
            return self._made(editor, wanted, [request])

        try:
            self.patch, seen = timed(self._here, make)
        except InvalidInputError as error:
            return said(error)
        # What the base carries: it stands for the edits before, too.
        share = seen["patch_bytes"] // len(self.patch.requests)
        self.seen.append({**seen, "patch_bytes": share})
        return None

    def leave(self, gone: Sequence[str]) -> list[str] | None:
        """The edits without some, by the digests of their requests; as `join`."""
        kept = [r for one in self._before for r in one.requests if r.digest() not in gone]
        if not kept:
            self.patch = None
            return None
        before = self._before
        editor = JointEditor(key_value_editor(self._editor), before, [one.id for one in before])
        try:
            self.patch = self._made(editor, kept, [])
        except InvalidInputError as error:
            return said(error)
        return None

    @property
    def _before(self) -> list[Patch]:
        return [] if self.patch is None else [self.patch]

    def _made(
        self, editor: JointEditor, wanted: Sequence[EditRequest], new: Sequence[EditRequest]
    ) -> Patch:
        context = replace(self._context, dropped=[])
        context.generator.manual_seed(context.seed)
        made = run_editor(editor, context, wanted, self._settings)
        keep_earlier(editor.earlier, new, context.dropped, made)
        return made


_Solve = Callable[[_Solving, dict[str, EditRequest]], list[list[str] | None]]


def _solved(work: Work, count: int, solve: _Solve) -> None:
    """Write what comes of ``count`` requests."""
    prepared, *earlier = work.needed.values()
    refused = read(prepared / MADE)["refused"]
    if refused is not None:
        refuse(work, [refused] * count)
        return
    with at(work) as (here, data):
        method = method_of(work)
        context = context_of(work, here, data, method[1], prepared / MOMENTS)
        patches = [place.patch(str(path)) for path in patches_in(earlier)]
        solving = _Solving(here, method, context, patches[0] if patches else None)
        reasons = solve(solving, dict(data.by_digest))
    if solving.patch is not None:
        solving.patch.write(work.out / PATCH)
    if solving.seen:
        write(work.out / OBSERVED, {EDITS: solving.seen})
    write(work.out / MADE, {"refused": reasons})
