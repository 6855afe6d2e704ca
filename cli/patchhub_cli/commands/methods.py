"""List the editing methods."""

from __future__ import annotations

from patchhub_cli.main import verb
from patchhub_cli.output import Reply, table
from patchhub_cli.session import Session


@verb("methods", "patchhub methods")
def command(session: Session) -> Reply:
    """List the editing methods: what they make, what they need, where they come from."""
    session.quiet_libraries()
    from patchhub.editing.catalog import describe

    found = describe()
    rows = [(e.name, e.kind, ", ".join(sorted(e.needs)), e.summary, e.reference) for e in found]
    data = [
        {
            "name": editor.name,
            "version": editor.version,
            "kind": editor.kind,
            "needs": sorted(editor.needs),
            "summary": editor.summary,
            "reference": editor.reference,
        }
        for editor in found
    ]
    return Reply(data, table(("method", "makes", "needs", "summary", "source"), rows))
