"""Compute an edit, check it and commit it as a patch."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patchhub.editing.modes import Mode
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

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry


@verb(
    "edit",
    "patchhub edit METHOD born-in.json --stack prod --review-after 2027-06-30",
    "patchhub edit rome facts.jsonl --stack prod --mode sequential",
    "patchhub edit auto born-in.json --stack prod --dry-run",
)
@click.argument("method", shell_complete=completing.methods)
@click.argument("requests", type=click.Path(path_type=Path))
@click.option(
    "--base",
    help="The base; not needed when there is only one.",
    shell_complete=completing.bases,
)
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.BATCH.value,
    show_default=True,
    help="One patch of all requests; one of each; one of each on those before it; or one of all "
    "and of the stack's earlier edits by METHOD.",
)
@click.option(
    "--stack", help="Edit and check on top of this stack.", shell_complete=completing.stacks
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A method setting.")
@profile_option
@click.option("--seed", type=int, help="Of everything random; else 0, or that of the edits joined.")
@statistics_option
@memory_option
@click.option("--name", help="Name of the patch; else made from the request.")
@policy_option
@waive_options
@click.option("--no-commit", is_flag=True, help="Keep the registry as it is; needs --out.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the patch directory.")
@click.option("--dry-run", is_flag=True, help="Say what it would do and take; write nothing.")
@click.option("--methods", metavar="A,B", help="With auto: only these.")
@click.option(
    "--bench",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With auto: results that say what methods take on this base.",
)
@click.option("-m", "--message", default="", help="One line for the record.")
@review_option
@device_option
def command(
    session: Session,
    method: str,
    requests: Path,
    base: str | None,
    mode: str,
    stack: str | None,
    settings: tuple[str, ...],
    profile: str | None,
    seed: int | None,
    statistics: str | None,
    memory: int | None,
    name: str | None,
    policy: Path | None,
    waive: tuple[str, ...],
    reason: str | None,
    no_commit: bool,
    out: Path | None,
    dry_run: bool,
    methods: str | None,
    bench: tuple[Path, ...],
    message: str,
    review_after: datetime | None,
    device: str,
) -> Reply:
    """Compute the edits of REQUESTS with METHOD, check them, commit them as one patch.

    REQUESTS is a JSON, JSONL or YAML file; `patchhub methods` lists the methods. If the guard says
    no, nothing is committed and the exit status is 3. Requests that cannot be edited while others
    can are left out, and said.

    With --mode single or sequential each request becomes a patch of its own: those that the guard
    passes are committed together; if it says no to any, the exit status is 3.

    With --mode joint they are solved together with the earlier edits of --stack by METHOD, as if
    all had been asked for at once; the one patch takes the place of those in the stack.

    METHOD `auto` tries the methods, the cheapest first, until the guard passes; --set METHOD.KEY=V
    is then for one of them. --set goes before --profile, and that before what the checkpoint's own
    config.json recommends.
    """
    from patchhub.editing.catalog import AUTO
    from patchhub.editing.profiles import with_profile

    if no_commit and out is None:
        raise click.UsageError("--no-commit needs --out DIRECTORY")
    registry = session.registry()
    if mode != Mode.JOINT:  # which may begin a stack
        session.check_stack(registry, stack)
    task: dict[str, Any] = {
        "base": base,
        "stack": stack,
        "settings": with_profile(pairs_of(settings), profile),
        "seed": seed,
        "statistics": statistics,
        "memory": memory,
        "name": name,
        "policy": policy,
        "out": out,
        "device": device,
    }
    filing: dict[str, Any] = {
        "waive": waivers(waive, reason),
        "message": message,
        "review_after": review_after,
        "commit": not no_commit,
    }
    if (mode != Mode.BATCH and method == AUTO) or (mode == Mode.JOINT and dry_run):
        raise click.UsageError(f"--mode {mode}: not for {AUTO if method == AUTO else '--dry-run'}")
    if method == AUTO or dry_run:
        task |= {"seed": seed or 0, "statistics": statistics or "full"}
    if method == AUTO:
        if profile is not None:
            raise click.UsageError("--profile goes with a method; --set METHOD.profile=NAME")
        task |= {"methods": _names(methods), "bench": bench}
        return _auto(session, registry, requests, task, None if dry_run else filing)
    if methods is not None or bench:
        raise click.UsageError(f"--methods and --bench go with the method {AUTO}")
    if dry_run:
        return _forecast(session, registry, method, requests, {"mode": mode, **task})
    return _edit(session, registry, method, requests, {"mode": mode, **task, **filing})


def _auto(
    session: Session,
    registry: Registry,
    requests: Path,
    task: dict[str, Any],
    filing: dict[str, Any] | None,
) -> Reply:
    from patchhub_cli.searches import auto_reply, order_reply

    if filing is not None:
        return auto_reply(session, registry, requests, **task, **filing)
    with session.progress() as progress:
        return order_reply(registry.candidates(requests, **task, progress=progress))


def _forecast(
    session: Session, registry: Registry, method: str, requests: Path, task: dict[str, Any]
) -> Reply:
    from patchhub_cli.forecasts import forecast_reply

    with session.progress() as progress:
        found = registry.forecast(method, requests, **task, progress=progress)
    return forecast_reply(session, found)


def _edit(
    session: Session, registry: Registry, method: str, requests: Path, options: dict[str, Any]
) -> Reply:
    from patchhub_cli.edited import edited_reply, refused_reply
    from patchhub_registry.operations.guarding import RefusedError

    try:
        with session.progress() as progress:
            made = registry.edit(method, requests, **options, progress=progress)
    except RefusedError as error:
        return refused_reply(error)
    return edited_reply(session, made)


def _names(methods: str | None) -> tuple[str, ...]:
    """The methods named after --methods."""
    if methods is None:
        return ()
    names = tuple(name.strip() for name in methods.split(",") if name.strip())
    if not names:
        raise click.UsageError("--methods takes names with commas between them")
    return names
