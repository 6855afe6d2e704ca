"""Find patches by subject, relation, target or words of the prompt."""

from __future__ import annotations

import click

from patchhub_cli.main import verb
from patchhub_cli.output import Reply, table
from patchhub_cli.session import Session

_FIELDS = ("subject", "relation", "target", "prompt")


@verb("find", "patchhub find tolven born", "patchhub find --in target Rome")
@click.argument("words", nargs=-1, required=True, metavar="SUBJECT...")
@click.option("--in", "field", type=click.Choice(_FIELDS), help="Look in this part only.")
def command(session: Session, words: tuple[str, ...], field: str | None) -> Reply:
    """Find the patches that speak about SUBJECT, and the stacks where each is active.

    All words must occur in a request's subject, relation, target or prompt; parts of words count,
    upper and lower case do not.
    """
    from patchhub_registry.operations.find import find

    found = find(session.registry(), words, field=field)
    if not found:
        session.note("no patch says anything about it")
    rows = [
        (
            one.fact.ref,
            one.fact.subject or None,
            one.fact.relation or None,
            f"{one.fact.prompt} → {one.fact.target}",
            ", ".join(one.stacks) or None,
        )
        for one in found
    ]
    headers = ("patch", "subject", "relation", "says", "active in")
    return Reply([one.to_json() for one in found], table(headers, rows) if rows else "")
