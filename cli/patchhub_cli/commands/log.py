"""Show the entries of a stack."""

from __future__ import annotations

import click

from patchhub_cli.main import verb
from patchhub_cli.output import Reply, short, table
from patchhub_cli.session import Session


@verb("log")
@click.argument("stack", required=False)
def command(session: Session, stack: str | None) -> Reply:
    """Show the entries of STACK, or of every stack: what happened to it, and on which evidence."""
    registry = session.registry()
    names = [stack] if stack is not None else registry.stacks()
    entries = [entry for name in names for entry in registry.log(name)]
    rows = [
        (
            f"{entry.stack}@{entry.seq}",
            entry.op,
            entry.patch.ref if entry.patch else f"{len(entry.items)} patches",
            short(entry.composed),
            entry.reason,
            short(entry.guard) if entry.guard else None,
            ", ".join(f"{check}: {why}" for check, why in entry.waivers.items()) or None,
        )
        for entry in entries
    ]
    data = [
        {
            "stack": entry.stack,
            "seq": entry.seq,
            "op": str(entry.op),
            "ref": entry.patch.ref if entry.patch else None,
            "id": entry.patch.id if entry.patch else None,
            "composed": entry.composed,
            "reason": entry.reason,
            "policy": entry.policy,
            "guard": entry.guard,
            "waivers": entry.waivers,
            "digest": entry.digest,
        }
        for entry in entries
    ]
    headers = ("entry", "op", "patch", "model", "reason", "verdict", "waived")
    return Reply(data, table(headers, rows))
