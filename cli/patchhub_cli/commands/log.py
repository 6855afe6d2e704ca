"""Show the entries of a stack."""

from __future__ import annotations

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.output import Reply, short, table
from patchhub_cli.session import Session

FIELDS = (
    *("stack", "seq", "op", "ref", "id", "composed"),
    *("reason", "policy", "guard", "waivers", "digest"),
)


@verb("log", "patchhub log prod")
@click.argument("stack", required=False, shell_complete=completing.stacks)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Only the newest entries.")
def command(session: Session, stack: str | None, limit: int | None) -> Reply:
    """Show the entries of STACK, or of every stack: what happened to it, and on which evidence."""
    entries = session.registry().history(stack, limit=limit)
    rows = [
        (
            f"{entry.stack}@{entry.seq}",
            entry.op,
            f"{entry.held} patches" if entry.ref is None else entry.ref,
            short(entry.composed),
            entry.reason,
            short(entry.guard) if entry.guard else None,
            ", ".join(f"{check}: {why}" for check, why in entry.waivers.items()) or None,
        )
        for entry in entries
    ]
    data = [{name: getattr(entry, name) for name in FIELDS} for entry in entries]
    headers = ("entry", "op", "patch", "model", "reason", "verdict", "waived")
    return Reply(data, table(headers, rows))
