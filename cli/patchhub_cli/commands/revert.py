"""Take patches out of a stack and out of a model directory, exactly."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub_cli import completing
from patchhub_cli.changes import changed_reply
from patchhub_cli.main import verb
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


@verb("revert", "patchhub revert born-in@1 --stack prod --model ./patched")
@click.argument("refs", nargs=-1, required=True, metavar="REF...", shell_complete=completing.held)
@click.option("--stack", required=True, help="The stack.", shell_complete=completing.stacks)
@click.option(
    "--model", type=click.Path(path_type=Path), help="A model directory of PatchHub's that follows."
)
def command(session: Session, refs: tuple[str, ...], stack: str, model: Path | None) -> Reply:
    """Take REFs out of a stack, from anywhere in it.

    The model is then, byte for byte, the one that never had them.
    """
    from patchhub_registry.operations.revert import revert

    registry = session.registry()
    with session.progress() as progress:
        changed = revert(registry, refs, stack=stack, model=model, progress=progress)
    return changed_reply(session, changed)
