"""Stacks as a whole: solve their edits together."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.options import (
    device_option,
    memory_option,
    pairs_of,
    policy_option,
    profile_option,
    review_option,
    statistics_option,
    waive_options,
    waivers,
)
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


@click.group("stack")
def command() -> None:
    """Stacks as a whole: solve their edits together."""


@verb(
    "resolve",
    "patchhub stack resolve prod --dry-run",
    "patchhub stack resolve prod --without born-in@1 --model ./patched",
)
@click.argument("stack", shell_complete=completing.stacks)
@click.option(
    "--without",
    multiple=True,
    metavar="EDIT",
    help="An edit to leave out: a patch, or a request by its id or its digest's first digits.",
)
@click.option(
    "--method",
    help="Whose edits; else those of the topmost patch that can be.",
    shell_complete=completing.methods,
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A method setting.")
@profile_option
@click.option("--seed", type=int, help="Of the templates; else the topmost patch's.")
@statistics_option
@memory_option
@click.option("--name", help="Name of the patch; else STACK-joint.")
@click.option(
    "--model", type=click.Path(path_type=Path), help="A model directory of PatchHub's that follows."
)
@policy_option
@waive_options
@click.option("--dry-run", is_flag=True, help="Say what would be solved; load and write nothing.")
@click.option("-m", "--message", default="", help="One line for the record.")
@review_option
@device_option
def resolve(
    session: Session,
    stack: str,
    without: tuple[str, ...],
    method: str | None,
    settings: tuple[str, ...],
    profile: str | None,
    seed: int | None,
    statistics: str | None,
    memory: int | None,
    name: str | None,
    model: Path | None,
    policy: Path | None,
    waive: tuple[str, ...],
    reason: str | None,
    dry_run: bool,
    message: str,
    review_after: datetime | None,
    device: str,
) -> Reply:
    """Put one patch in the place of the edits of STACK, solved as if asked for at once.

    Edits made one on top of the other disturb each other; here every target is one of the bare
    base, and one solve takes all of them. The guard is asked about the new patch; then those it
    stands for leave STACK and it enters, in one step. `patchhub revert` of it brings them back.
    """
    from patchhub.editing.profiles import with_profile
    from patchhub_cli.edited import refused_reply
    from patchhub_cli.joined import joined_reply
    from patchhub_registry.operations.guarding import RefusedError
    from patchhub_registry.operations.stack_resolve import stack_resolve

    registry = session.registry()
    try:
        with session.progress() as progress:
            joined = stack_resolve(
                registry,
                stack,
                method=method,
                without=without,
                settings=with_profile(pairs_of(settings), profile),
                seed=seed,
                statistics=statistics,
                memory=memory,
                name=name,
                policy=policy,
                waive=waivers(waive, reason),
                review_after=review_after,
                message=message,
                model=model,
                dry_run=dry_run,
                device=device,
                progress=progress,
            )
    except RefusedError as error:
        return refused_reply(error)
    return joined_reply(session, joined)


command.add_command(resolve)
