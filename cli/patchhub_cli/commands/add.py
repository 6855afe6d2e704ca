"""Take in a patch directory that was made elsewhere."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from patchhub_cli.main import verb
from patchhub_cli.options import review_option
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


@verb("add", "patchhub add ./patch --name born-in")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the patch; else made from its first request.")
@click.option("-m", "--message", default="", help="One line for the record.")
@review_option
def command(
    session: Session,
    directory: Path,
    name: str | None,
    message: str,
    review_after: datetime | None,
) -> Reply:
    """Check the patch in DIRECTORY to the last byte and commit it.

    It has no verdict yet: `patchhub check` gives it one.
    """
    from patchhub_registry.operations.add import add

    registry = session.registry()
    session.quiet_libraries()
    patch = add(registry, directory, name=name, message=message, review_after=review_after)
    session.note(f"next: patchhub check {patch.ref} --requests FILE")
    return Reply({"ref": patch.ref, "id": patch.id}, f"{patch.ref}  {patch.short}")
