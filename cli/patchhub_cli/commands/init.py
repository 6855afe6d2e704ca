"""Make a registry: a git repository that keeps patches and stacks."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub_cli.main import verb
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


@verb("init")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
def command(session: Session, directory: Path) -> Reply:
    """Make a registry in DIRECTORY (here, if none is given)."""
    from patchhub_registry.registry import Registry

    registry = Registry.init(directory)
    session.note("next: patchhub base add NAME MODEL_DIRECTORY")
    return Reply({"root": registry.root, "head": registry.head}, f"registry in {registry.root}")
