"""Remove what nobody needs: old generations, what crashes left, payloads that nothing names."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub_cli.main import verb
from patchhub_cli.output import Reply, table
from patchhub_cli.session import Session


@verb("gc", "patchhub gc --dry-run")
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Only this model directory; may be repeated.",
)
@click.option(
    "--keep",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Generations of a model directory to keep, the current one among them.",
)
@click.option(
    "--now",
    is_flag=True,
    help="Also temporary files younger than an hour; only while no other command runs.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be removed.")
def command(
    session: Session, models: tuple[Path, ...], keep: int, now: bool, dry_run: bool
) -> Reply:
    """Settle what crashes left, then remove what nobody needs.

    Without --model: the registry, and every model directory it was applied to on this machine.
    Nothing goes that a link, a journal, a commit or a running command needs.
    """
    from patchhub_registry.operations.gc import gc

    done = gc(session.registry(), models=models, keep=keep, now=now, dry_run=dry_run)
    for directory, error in done.passed:
        session.warn(f"{directory} was left alone: {error.what}")
    for each in done.recovered:
        session.note(f"{each.where}: {each.done}")
    data = {
        "dry_run": dry_run,
        "bytes": done.size,
        "removed": [{"path": e.path, "what": e.what, "bytes": e.size} for e in done.removed],
        "recovered": [{"where": e.where, "done": e.done} for e in done.recovered],
        "passed": [{"path": path, "code": error.code} for path, error in done.passed],
    }
    words = "would be freed" if dry_run else "freed"
    rows = [(each.path, each.what, f"{each.size:,}") for each in done.removed]
    listed = table(("path", "what", "bytes"), rows, right="  r") + "\n\n" if rows else ""
    return Reply(data, f"{listed}{done.size:,} bytes {words}")
