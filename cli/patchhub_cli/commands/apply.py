"""Push patches onto a stack and into a model directory."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub_cli import completing
from patchhub_cli.changes import changed_reply
from patchhub_cli.main import verb
from patchhub_cli.options import device_option
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


@verb(
    "apply",
    "patchhub apply born-in@1 --stack prod --model ./patched",
    "patchhub apply --plan change.plan",
)
@click.argument("refs", nargs=-1, metavar="[REF]...", shell_complete=completing.refs)
@click.option(
    "--stack",
    help="The stack; it begins with its first patch.",
    shell_complete=completing.stacks,
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A model directory that follows: PatchHub's own, or a name not taken yet.",
)
@click.option("--override", metavar="REASON", help="Apply without a passing verdict; recorded.")
@click.option(
    "--plan",
    "saved",
    type=click.Path(path_type=Path),
    help="Do what this file of `patchhub plan --out` says, if nothing has changed since.",
)
@click.option("--no-check", is_flag=True, help="With a plan to revert: as for `revert`.")
@device_option
def command(
    session: Session,
    refs: tuple[str, ...],
    stack: str | None,
    model: Path | None,
    override: str | None,
    saved: Path | None,
    no_check: bool,
    device: str,
) -> Reply:
    """Push REFs onto a stack; with --model the directory changes in the same step.

    Without REF, --model brings the directory to the stack's state.
    """
    from patchhub_registry.operations.apply import apply
    from patchhub_registry.operations.planned import apply_plan

    if (stack is None) == (saved is None) or (saved and (refs or model or override)):
        raise click.UsageError("apply takes --stack with REFs or --model, or --plan alone")
    if no_check and saved is None:
        raise click.UsageError("--no-check goes with --plan: `apply` asks the guard nothing")
    registry = session.registry()
    with session.progress() as progress:
        if saved is not None:
            changed = apply_plan(
                registry, saved, check=not no_check, device=device, progress=progress
            )
        else:
            changed = apply(
                registry, refs, stack=str(stack), model=model, override=override, progress=progress
            )
    return changed_reply(session, changed)
