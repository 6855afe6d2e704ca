"""Compute an edit, check it and commit it as a patch."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.options import (
    device_option,
    pairs_of,
    policy_option,
    review_option,
    waive_options,
    waivers,
)
from patchhub_cli.output import Reply
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub_registry.operations.edit import Edit


@verb("edit", "patchhub edit METHOD born-in.json --stack prod --review-after 2027-06-30")
@click.argument("method", shell_complete=completing.methods)
@click.argument("requests", type=click.Path(path_type=Path))
@click.option(
    "--base",
    help="The base; not needed when there is only one.",
    shell_complete=completing.bases,
)
@click.option(
    "--stack", help="Edit and check on top of this stack.", shell_complete=completing.stacks
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A method setting.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--name", help="Name of the patch; else made from the request.")
@policy_option
@waive_options
@click.option("--no-commit", is_flag=True, help="Keep the registry as it is; needs --out.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the patch directory.")
@click.option("--dry-run", is_flag=True, help="Say what it would do and take; write nothing.")
@click.option("-m", "--message", default="", help="One line for the record.")
@review_option
@device_option
def command(
    session: Session,
    method: str,
    requests: Path,
    base: str | None,
    stack: str | None,
    settings: tuple[str, ...],
    seed: int,
    name: str | None,
    policy: Path | None,
    waive: tuple[str, ...],
    reason: str | None,
    no_commit: bool,
    out: Path | None,
    dry_run: bool,
    message: str,
    review_after: datetime | None,
    device: str,
) -> Reply:
    """Compute the edits of REQUESTS with METHOD, check them, commit them as one patch.

    REQUESTS is a JSON, JSONL or YAML file; `patchhub methods` lists the methods. If the guard says
    no, nothing is committed and the exit status is 3.
    """
    from patchhub_cli.forecasts import forecast_reply
    from patchhub_cli.verdicts import verdict_text
    from patchhub_registry.operations.guarding import RefusedError

    if no_commit and out is None:
        raise click.UsageError("--no-commit needs --out DIRECTORY")
    registry = session.registry()
    session.check_stack(registry, stack)
    shared: dict[str, Any] = {
        "base": base,
        "stack": stack,
        "settings": pairs_of(settings),
        "seed": seed,
        "name": name,
        "policy": policy,
        "out": out,
        "device": device,
    }
    if dry_run:
        with session.progress() as progress:
            found = registry.forecast(method, requests, **shared, progress=progress)
        return forecast_reply(found)
    try:
        with session.progress() as progress:
            made = registry.edit(
                method,
                requests,
                **shared,
                waive=waivers(waive, reason),
                message=message,
                review_after=review_after,
                commit=not no_commit,
                progress=progress,
            )
    except RefusedError as error:
        return Reply({"verdict": error.verdict.to_json()}, verdict_text(error.verdict), error)
    return _made(made)


def _made(made: Edit) -> Reply:
    from patchhub_cli.verdicts import verdict_text
    from patchhub_registry.operations.guarding import RefusedError

    data = {
        "ref": made.ref,
        "id": made.patch.id,
        "base": made.base,
        "directory": made.directory,
        "verdict": made.verdict.to_json(),
    }
    place = made.ref or f"written to {made.directory}"
    no = None if made.verdict.passed else RefusedError(made.verdict, made.patch.short)
    return Reply(data, f"{verdict_text(made.verdict)}\n{place}  {made.patch.short}", no)
