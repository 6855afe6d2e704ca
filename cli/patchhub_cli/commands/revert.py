"""Take patches out of a stack and out of a model directory, exactly."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub_cli import completing
from patchhub_cli.changes import changed_reply
from patchhub_cli.main import verb
from patchhub_cli.options import device_option
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


@verb("revert", "patchhub revert born-in@1 --stack prod --model ./patched")
@click.argument("refs", nargs=-1, required=True, metavar="REF...", shell_complete=completing.held)
@click.option("--stack", required=True, help="The stack.", shell_complete=completing.stacks)
@click.option(
    "--model", type=click.Path(path_type=Path), help="A model directory of PatchHub's that follows."
)
@click.option(
    "--alone", is_flag=True, help="Of a patch that stands for others, let none of them come back."
)
@click.option("--no-check", is_flag=True, help="Ask the guard nothing about what stays.")
@device_option
def command(
    session: Session,
    refs: tuple[str, ...],
    stack: str,
    model: Path | None,
    alone: bool,
    no_check: bool,
    device: str,
) -> Reply:
    """Take REFs out of a stack, from anywhere in it.

    The model is then, byte for byte, the one that never had them; where a patch had taken the place
    of others, they come back. Patches of the stack that were
    computed on top of them stay; the guard is asked about those again, and if it says no to any,
    the exit status is 3: REFs are out all the same.
    """
    from patchhub_registry.operations.revert import revert

    registry = session.registry()
    with session.progress() as progress:
        changed = revert(
            registry,
            refs,
            stack=stack,
            model=model,
            alone=alone,
            check=not no_check,
            device=device,
            progress=progress,
        )
    return changed_reply(session, changed)
