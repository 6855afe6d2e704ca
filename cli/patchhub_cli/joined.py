"""What is said of edits that are solved together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from patchhub_cli.changes import changed_reply
from patchhub_cli.edited import dropped_json, tell_dropped, tell_experimental
from patchhub_cli.output import Reply, pairs
from patchhub_cli.session import Session
from patchhub_cli.verdicts import verdict_text

if TYPE_CHECKING:
    from patchhub.request import EditRequest
    from patchhub_registry.operations.joining import Joined

_LISTED = 5


def joined_reply(session: Session, joined: Joined) -> Reply:
    """What was solved, what the guard says of it, and the stack afterwards."""
    from patchhub_registry.operations.guarding import RefusedError

    data, lines = _solved(joined)
    if joined.edit is None:
        return Reply({**data, "dry_run": True}, pairs([*lines, ("changes", "none: a dry run")]))
    edit = joined.edit
    tell_dropped(session, edit.dropped)
    tell_experimental(session, [edit])
    data |= {
        "ref": edit.ref,
        "name": edit.name,
        "base": edit.base,
        "id": edit.patch.id,
        "directory": edit.directory,
        "dropped": dropped_json(edit.dropped),
        "verdict": edit.verdict.to_json(),
    }
    place = edit.ref or f"written to {edit.directory}"
    lines = [("patch", f"{place}  {edit.patch.short}"), *lines]
    blocks = [verdict_text(edit.verdict), pairs(lines)]
    if joined.changed is not None:
        changed = changed_reply(session, joined.changed)
        refused = [one.ref for one in joined.changed.rechecked if not one.verdict.passed]
        if refused:  # the patch is in: what that did to others is told, and no failure
            session.warn(f"the guard now says no to {', '.join(refused)}")
        data["change"] = changed.data
        blocks.append(changed.text)
    no = None if edit.verdict.passed else RefusedError(edit.verdict, edit.patch.short)
    return Reply(data, "\n\n".join(blocks), no)


def _solved(joined: Joined) -> tuple[dict[str, object], list[tuple[str, object]]]:
    together = joined.together
    replaced = together.overruled(None if joined.edit is None else joined.edit.patch)
    targets, known = together.targets
    known = known if joined.edit is None else joined.recalled
    verb = "to find" if joined.edit is None else "found"
    lines: list[tuple[str, object]] = [
        ("method", together.editor.name),
        ("stands for", ", ".join(item.ref for item in together.leaving) or None),
        ("beside", ", ".join(item.ref for item in together.staying) or None),
        ("edits", f"{len(together.requests)} on {targets} subjects"),
        ("targets", f"{known} remembered, {targets - known} {verb}"),
    ]
    for label, gone in (("left out", together.without), ("replaced", replaced)):
        if gone:
            lines.append((label, _spelt(gone)))
    data: dict[str, object] = {
        "stack": together.before.name,
        "method": together.editor.name,
        "stands_for": [item.to_json() for item in together.leaving],
        "beside": [item.to_json() for item in together.staying],
        "edits": len(together.requests),
        "targets": targets,
        "remembered": known,
        "without": [one.to_json(probes=False) for one in together.without],
        "replaced": [one.to_json(probes=False) for one in replaced],
    }
    return data, lines


def _spelt(requests: Sequence[EditRequest]) -> str:
    said = [f"{one.prompt} → {one.target}" for one in requests[:_LISTED]]
    more = len(requests) - _LISTED
    return "; ".join(said) + (f"; and {more} more" if more > 0 else "")
