"""Find the blocks that hold the answers an edit shall change."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.options import device_option
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


@verb("locate", "patchhub locate born-in.json --to located.html")
@click.argument("requests", type=click.Path(path_type=Path))
@click.option(
    "--base",
    help="The base; not needed when there is only one.",
    shell_complete=completing.bases,
)
@click.option(
    "--stack", help="Look into the base with this stack.", shell_complete=completing.stacks
)
@click.option("--limit", type=int, default=20, show_default=True, help="Most facts traced.")
@click.option(
    "--pairs", type=int, default=40, show_default=True, help="Most pairs exchanged; 0 for none."
)
@click.option(
    "--samples", type=int, default=5, show_default=True, help="Draws of noise for every fact."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    metavar="FILE.md|.html",
    help="Write both with a picture (needs the extra `report`).",
)
@device_option
def command(
    session: Session,
    requests: Path,
    base: str | None,
    stack: str | None,
    limit: int,
    pairs: int,
    samples: int,
    seed: int,
    to: Path | None,
    device: str,
) -> Reply:
    """Trace the answers to REQUESTS through the model and propose the blocks to edit.

    Causal tracing puts noise on the subject and looks which states bring the answer back. Where
    two requests ask the same of two subjects, a block's output of one is exchanged for the other's,
    and what counts is whose answer comes. REQUESTS need subjects; where they name the old answer,
    the model must give it.
    """
    from patchhub_cli.locations import located_reply

    registry = session.registry()
    session.check_stack(registry, stack)
    with session.progress() as progress:
        found = registry.locate(
            requests,
            base=base,
            stack=stack,
            limit=limit,
            pairs=pairs,
            samples=samples,
            seed=seed,
            report=to,
            device=device,
            progress=progress,
        )
    return located_reply(session, found)
