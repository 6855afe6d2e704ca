"""The search for a method: in which order, what became of each, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from patchhub_cli.edited import dropped_json, tell_dropped
from patchhub_cli.output import Reply, table
from patchhub_cli.verdicts import verdict_text

if TYPE_CHECKING:
    from patchhub.errors import PatchHubError
    from patchhub.evaluation.search.attempts import Attempt, Candidate
    from patchhub.evaluation.search.auto import Search
    from patchhub_cli.session import Session
    from patchhub_registry.operations.auto import Found
    from patchhub_registry.registry import Registry


def order_reply(candidates: Sequence[Candidate]) -> Reply:
    """In which order the methods would be tried, and who says what they take."""
    rows = [
        (
            None if one.fault else number,
            one.method,
            None if one.seconds is None else f"{one.seconds:.2g} s",
            f"cannot be tried: {_why(one)}" if one.fault else one.source or "nothing says",
        )
        for number, one in enumerate(candidates, 1)
    ]
    text = table(("", "method", "edit", "by"), rows, right="rlr")
    note = "dry run: nothing was computed to keep; the guard's time comes on top"
    return Reply({"order": [_candidate(one) for one in candidates]}, f"{text}\n\n{note}")


def auto_reply(session: Session, registry: Registry, requests: Any, **options: Any) -> Reply:
    """Search, and say what was tried; also where nothing passed."""
    from patchhub.evaluation.search.auto import NoEditError, NonePassedError

    try:
        with session.progress() as progress:
            found = registry.auto(requests, **options, progress=progress)
    except (NonePassedError, NoEditError) as error:
        return _none(error.search, error)
    tell_dropped(session, found.edit.dropped)
    return _found(found)


def _found(found: Found) -> Reply:
    edit, search = found.edit, found.search
    data = {
        "ref": edit.ref,
        "id": edit.patch.id,
        "base": edit.base,
        "directory": edit.directory,
        "method": edit.patch.manifest.method.name,
        "verdict": edit.verdict.to_json(),
        "dropped": dropped_json(edit.dropped),
        **_log(search),
    }
    place = edit.ref or f"written to {edit.directory}"
    method = edit.patch.manifest.method.name
    word = f"{place}  {edit.patch.short}  by {method}"
    return Reply(data, "\n\n".join((_tried(search), f"{verdict_text(edit.verdict)}\n{word}")))


def _none(search: Search, error: PatchHubError) -> Reply:
    best = search.best
    texts = [_tried(search)]
    if best is not None and best.verdict is not None:
        texts.append(f"{best.method}:\n{verdict_text(best.verdict)}")
    return Reply(_log(search), "\n\n".join(texts), error)


def _tried(search: Search) -> str:
    rows = [
        (one.method, _seconds(one.candidate.seconds), _seconds(one.seconds), one.fate, _reason(one))
        for one in search.attempts
    ]
    text = table(("method", "expected", "took", "outcome", "why"), rows, right="lrr")
    return text + (f"\nnot tried: {', '.join(search.untried)}" if search.untried else "")


def _reason(one: Attempt) -> str | None:
    if one.fault is not None:
        return f"{one.fault.code} {one.fault.message}".strip()
    refused = (f"{m.name} {m.value:.3f} (n = {m.n})" for m in one.blocking)
    return "; ".join(refused) or None


def _log(search: Search) -> dict[str, object]:
    return {
        "tried": [
            {
                "method": one.method,
                "fate": one.fate,
                "expected": _candidate(one.candidate),
                "seconds": one.seconds,
                "guard_seconds": one.guard_seconds,
                "settings": one.settings,
                "verdict": None if one.verdict is None else one.verdict.to_json(),
                "fault": _fault(one),
            }
            for one in search.attempts
        ],
        "untried": search.untried,
        "best": None if search.best is None else search.best.method,
    }


def _candidate(one: Candidate) -> dict[str, object]:
    return {
        "method": one.method,
        "seconds": one.seconds,
        "source": one.source,
        "fault": _fault(one),
    }


def _fault(one: Candidate | Attempt) -> dict[str, str] | None:
    fault = one.fault
    return None if fault is None else {"code": fault.code, "message": fault.message}


def _why(one: Candidate) -> str:
    return "" if one.fault is None else f"{one.fault.code} {one.fault.message}".strip()


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.2g} s"
