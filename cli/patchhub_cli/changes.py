"""What `apply` and `revert` say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from patchhub_cli.output import Reply, pairs, short
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub.errors import PatchHubError
    from patchhub_registry.operations.changing import Changed
    from patchhub_registry.operations.rechecking import Rechecked


def changed_reply(session: Session, changed: Changed) -> Reply:
    """The stack's new state and, if a directory followed, its generation."""
    for warning in changed.warnings:
        session.warn(warning)
    state = changed.after
    begins = changed.before.seq == 0 < state.seq
    lines: list[tuple[str, object]] = [
        ("stack", f"{state.name}@{state.seq}{'  (begins)' if begins else ''}"),
        ("patches", ", ".join(item.ref for item in state.items) or "none"),
        ("model", short(state.identity)),
    ]
    data: dict[str, object] = {
        "stack": state.name,
        "seq": state.seq,
        "begins": begins,
        "patches": [item.to_json() for item in state.items],
        "identity": state.identity,
        "directory": changed.directory,
        "generation": None,
    }
    if changed.generation is not None:
        data["generation"] = changed.generation.number
        lines.append(("directory", f"{changed.directory} (generation {changed.generation.number})"))
    if changed.rechecked:
        data["rechecked"] = [
            {"ref": one.ref, "verdict": one.verdict.to_json()} for one in changed.rechecked
        ]
        lines += [(f"guard, {one.ref}", _word(one)) for one in changed.rechecked]
    refused = [one for one in changed.rechecked if not one.verdict.passed]
    return Reply(data, pairs(lines), _no(state.name, refused) if refused else None)


def _word(one: Rechecked) -> str:
    against = ", ".join(each.name for each in one.verdict.blocking)
    return f"no: {against}" if against else "yes"


def _no(stack: str, refused: Sequence[Rechecked]) -> PatchHubError:
    from patchhub_registry.operations.rechecking import DependantsError

    return DependantsError(stack, refused)
