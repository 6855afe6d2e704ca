"""What `apply` and `revert` say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchhub_cli.output import Reply, pairs, short
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub_registry.operations.changing import Changed


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
    return Reply(data, pairs(lines))
