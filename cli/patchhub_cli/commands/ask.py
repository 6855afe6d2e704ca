"""Ask models the same questions, side by side."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.options import device_option
from patchhub_cli.output import Reply, table
from patchhub_cli.session import Session


@verb("ask", 'patchhub ask "Mira Tolven was born in" --stack prod --against base')
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT...")
@click.option("--stack", help="A stack of the registry.", shell_complete=completing.stacks)
@click.option(
    "--against", help='"base" or another stack, beside it.', shell_complete=completing.stacks
)
@click.option("--base", help="A base without any patch.", shell_complete=completing.bases)
@click.option("--model", type=click.Path(path_type=Path), help="A model directory.")
@device_option
def command(
    session: Session,
    prompts: tuple[str, ...],
    stack: str | None,
    against: str | None,
    base: str | None,
    model: Path | None,
    device: str,
) -> Reply:
    """Print the greedy answers of every model named to every PROMPT."""
    from patchhub_registry.operations.ask import ask

    registry = session.registry() if stack or against or base else None
    with session.progress() as progress:
        found = ask(
            registry,
            prompts,
            stack=stack,
            against=against,
            base=base,
            model=model,
            device=device,
            progress=progress,
        )
    rows = [(prompt, *row) for prompt, row in zip(found.prompts, found.answers, strict=True)]
    data = [
        {"prompt": prompt, "answers": dict(zip(found.columns, row, strict=True))}
        for prompt, row in zip(found.prompts, found.answers, strict=True)
    ]
    return Reply(data, table(("prompt", *found.columns), rows))
