"""List the patches of the registry."""

from __future__ import annotations

from patchhub_cli.main import verb
from patchhub_cli.output import Reply, table
from patchhub_cli.session import Session


@verb("list", "patchhub list")
def command(session: Session) -> Reply:
    """List the patches of the registry."""
    found = session.registry().patches()
    rows = [(p.ref, p.short, p.kind, p.method, p.base, p.created, p.message) for p in found]
    data = [
        {
            "ref": patch.ref,
            "id": patch.id,
            "kind": patch.kind,
            "method": patch.method,
            "base": patch.base,
            "sites": patch.sites,
            "created": patch.created,
            "sensitivity": patch.sensitivity,
            "message": patch.message,
        }
        for patch in found
    ]
    return Reply(data, table(("patch", "id", "kind", "method", "base", "created", "message"), rows))
