"""Print the script that makes a shell complete commands, patches, stacks and bases."""

from __future__ import annotations

import os

import click

from patchhub_cli.main import verb
from patchhub_cli.output import Reply
from patchhub_cli.session import Session

SHELLS = ("bash", "zsh", "fish")
_HOMES = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/completions/patchhub.fish",
}


@verb(
    "completion",
    'eval "$(patchhub completion bash)"                # in this shell',
    "patchhub completion bash >> ~/.bashrc             # in every shell to come",
)
@click.argument("shell", required=False, type=click.Choice(SHELLS))
def command(session: Session, shell: str | None) -> Reply:
    """Print a script for SHELL, or for the shell that $SHELL names.

    With it, the tabulator key completes commands, options, files, and the names of patches, stacks
    and bases of the registry at hand.
    """
    from click.shell_completion import get_completion_class

    from patchhub_cli.main import main

    chosen = shell or os.environ.get("SHELL", "").rpartition("/")[2]
    found = get_completion_class(chosen) if chosen in SHELLS else None
    if found is None:
        raise click.UsageError(f"say which shell: {', '.join(SHELLS)}")
    script = found(main, {}, "patchhub", "_PATCHHUB_COMPLETE").source()
    session.note(f"next: add this to {_HOMES[chosen]}")
    return Reply({"shell": chosen, "script": script}, script.rstrip("\n"))
