"""Make a registry: a git repository that keeps patches and stacks."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub_cli.main import verb
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


@verb("init", "patchhub init ./models --policy policy.toml")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option(
    "--policy",
    type=click.Path(path_type=Path),
    help="What an edit must show here; else the policy that PatchHub ships.",
)
def command(session: Session, directory: Path, policy: Path | None) -> Reply:
    """Make a registry in DIRECTORY (here, if none is given)."""
    from patchhub_registry.operations.init import init

    registry = init(directory, policy=policy)
    session.note("next: patchhub base add NAME MODEL_DIRECTORY")
    return Reply({"root": registry.root, "head": registry.head}, f"registry in {registry.root}")
