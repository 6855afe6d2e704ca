"""Check every digest, chain and form, of the registry and of a model directory."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub.errors import IntegrityError
from patchhub_cli.directories import directory_data, directory_lines
from patchhub_cli.main import verb
from patchhub_cli.output import Reply, pairs
from patchhub_cli.session import Session


@verb("verify", "patchhub verify --model ./patched")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Also read every byte of this model directory and compare it with the base.",
)
def command(session: Session, model: Path | None) -> Reply:
    """Check every digest, chain and form of the registry; the exit status is 5 if one is wrong."""
    from patchhub_registry.operations.verify import verify

    registry = session.registry()
    with session.progress() as progress:
        found = verify(registry, model=model, progress=progress)
    report = found.registry
    counted = ", ".join(f"{n} {kind}" for kind, n in sorted(report.counts.items()) if n)
    lines: list[tuple[str, object]] = [
        ("registry", f"{registry.root}  {report.commit[:12]}"),
        ("examined", counted or "nothing"),
        *((each.code, each.message) for each in report.findings),
    ]
    if report.ok:
        lines.append(("found", "nothing wrong"))
    if found.model is not None:
        lines += directory_lines(found.model)
    data = {
        "root": registry.root,
        "commit": report.commit,
        "examined": report.counts,
        "findings": [
            {"code": each.code, "path": each.path, "message": each.message}
            for each in report.findings
        ],
        "model": None if found.model is None else directory_data(found.model),
    }
    error = None
    try:
        found.require()
    except IntegrityError as wrong:
        error = wrong
    return Reply(data, pairs(lines), error)
