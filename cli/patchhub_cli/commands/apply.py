"""Push patches onto a stack and into a model directory."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub_cli.changes import changed_reply
from patchhub_cli.main import verb
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


@verb("apply")
@click.argument("refs", nargs=-1, metavar="[REF]...")
@click.option("--stack", required=True, help="The stack; it begins with its first patch.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A model directory that follows: PatchHub's own, or a name not taken yet.",
)
@click.option("--override", metavar="REASON", help="Apply without a passing verdict; recorded.")
def command(
    session: Session,
    refs: tuple[str, ...],
    stack: str,
    model: Path | None,
    override: str | None,
) -> Reply:
    """Push REFs onto a stack; with --model the directory changes in the same step.

    Without REF, --model brings the directory to the stack's state.
    """
    from patchhub_registry.operations.apply import apply

    registry = session.registry()
    with session.progress() as progress:
        changed = apply(
            registry, refs, stack=stack, model=model, override=override, progress=progress
        )
    return changed_reply(session, changed)
