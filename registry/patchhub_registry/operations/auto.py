"""Try methods, the cheapest first, until the guard passes an edit; commit that one with the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub import canonical
from patchhub_registry.operations import candidates as choosing
from patchhub_registry.operations import keeping, reviews
from patchhub_registry.operations.candidates import own_settings
from patchhub_registry.operations.task import Edit, Made, begin
from patchhub_registry.schema import SEARCH, Statement

if TYPE_CHECKING:
    from patchhub.editing.maker import Maker
    from patchhub.evaluation.search.attempts import Candidate
    from patchhub.evaluation.search.auto import Search
    from patchhub.guard.verdict import Verdict
    from patchhub.loading import LoadedBase
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.operations.task import Task
    from patchhub_registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Found:
    """What `auto` made.

    Attributes:
        edit: The edit that passed.
        search: Every method that was tried, and how it ended.
    """

    edit: Edit
    search: Search


def auto(
    registry: Registry,
    requests: str | Path | Sequence[EditRequest],
    *,
    methods: Sequence[str] = (),
    bench: Sequence[str | Path] = (),
    base: str | None = None,
    stack: str | None = None,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    statistics: str = "full",
    memory: int | None = None,
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
) -> Found:
    """Compute an edit with the cheapest method that passes the guard, and keep it with the log.

    The patch is the one that `edit` makes with that method; the log goes on file as a statement
    about it. Nothing of the other methods' edits is kept.

    Args:
        registry: As for `edit`, and so is all that is not named here.
        requests: What shall be true, or the file that says it.
        methods: Only these; all there are if empty.
        bench: Directories of results that say what methods take on this base; those that they do
            not know, all without any, are timed on the base itself.
        base: Name of the base.
        stack: The stack the model carries.
        settings: Hyper-parameters: ``KEY`` for every method, ``METHOD.KEY`` for one.
        seed: Of everything random.
        statistics: How much text key statistics are taken from.
        memory: Bytes that a method may use beside the model.
        name: Name of the patch.
        policy: Policy file.
        waive: Checks that may fail, each with the reason.
        sensitivity: ``public``, ``internal`` or ``personal``.
        review_after: Day after which the edit shall be looked at again.
        message: One line for the record.
        commit: Keep the patch in the registry.
        out: Also write the patch as a directory.
        device: Where the model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        GuardRefusedError: E404, no edit passed; nothing was committed and nothing written.
        InvalidInputError: E157, no method could make one; E154, the results are of other bases;
            E101, E113, E13x, E142, E146 as for `edit`.
        ConflictError: E302, E308. NotFoundError: E106, E107, E109, E141. IntegrityError: E201.
    """
    from patchhub.editing.catalog import AUTO

    review = reviews.day(review_after)
    names = choosing.chosen(methods, settings)
    task = begin(
        registry,
        AUTO,
        requests,
        base=base,
        stack=stack,
        name=name,
        policy=policy,
        out=out,
        device=device,
        progress=progress,
    )
    loaded = task.load()
    order = choosing.ordered(task, loaded, names, bench, settings, seed, statistics, memory)
    search, made = _search(task, loaded, order, settings, seed, waive, statistics, memory)
    patch = search.ensure_passed(task.label)
    edit = keeping.keep_one(
        task,
        loaded,
        made[-1],
        said={"sensitivity": sensitivity, "review_after": review, "message": message},
        statements=[_log(search, patch)],
        commit=commit,
        out=out,
    )
    return Found(edit, search)


def _search(
    task: Task,
    base: LoadedBase,
    order: Sequence[Candidate],
    settings: Mapping[str, object] | None,
    seed: int,
    waive: Mapping[str, str] | None,
    statistics: str,
    memory: int | None,
) -> tuple[Search, list[Made]]:
    """The search, and what was made and judged in its course."""
    from patchhub.editing.modes import Mode
    from patchhub.evaluation.search.auto import search

    judged: list[Made] = []
    makers: list[Maker] = []

    def make(method: str) -> Patch:
        own = own_settings(settings, method)
        here = choosing.named(task, method)
        options = {"mode": Mode.BATCH, "statistics": statistics, "memory": memory}
        makers.append(here.maker(base, method, own, seed, **options))  # type: ignore[arg-type]
        return makers[-1].make(makers[-1].requests, task.below)

    def judge(patch: Patch) -> Verdict:
        here = choosing.named(task, patch.manifest.method.name)
        # All requests are asked about: a method that leaves some out has not done the work.
        found = here.judge(base, patch, task.requests, waive)
        judged.append(Made(patch, found, task.label, task.below, tuple(makers[-1].dropped)))
        return found.verdict

    return search(order, make, judge), judged


def _log(search: Search, patch: Patch) -> Statement:
    said: dict[str, canonical.Json] = {
        "schema": 1,
        "type": SEARCH,
        "tried": [one.to_json() for one in search.attempts],
        "untried": list(search.untried),
    }
    return Statement(patch.id, SEARCH, canonical.dumps(said))
