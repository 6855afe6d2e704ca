"""Measure a patch of the registry on a stack."""

from __future__ import annotations

from pathlib import Path

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.options import device_option, policy_option, waive_options, waivers
from patchhub_cli.output import Reply
from patchhub_cli.session import Session


@verb("check", "patchhub check born-in@1 --stack prod --requests born-in.json")
@click.argument("ref", shell_complete=completing.refs)
@click.option("--stack", help="What lies below the patch.", shell_complete=completing.stacks)
@click.option(
    "--requests",
    type=click.Path(path_type=Path),
    help="Its requests with probes; the registry keeps them without.",
)
@click.option(
    "--texts",
    type=click.Path(path_type=Path),
    help="Text unrelated to the edit, one passage per line, for drift; else the base's own.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Write the verdict to PATH.md and PATH.html; into PATH if it is a directory.",
)
@policy_option
@waive_options
@device_option
def command(
    session: Session,
    ref: str,
    stack: str | None,
    requests: Path | None,
    texts: Path | None,
    report: Path | None,
    policy: Path | None,
    waive: tuple[str, ...],
    reason: str | None,
    device: str,
) -> Reply:
    """Measure REF on top of a stack; the verdict is committed, whatever it says.

    The exit status is 3 if the guard says no.
    """
    from patchhub_cli.verdicts import verdict_text
    from patchhub_registry.operations.check import check
    from patchhub_registry.operations.guarding import RefusedError

    registry = session.registry()
    session.check_stack(registry, stack)
    with session.progress() as progress:
        found = check(
            registry,
            ref,
            stack=stack,
            requests=requests,
            policy=policy,
            waive=waivers(waive, reason),
            texts=texts,
            report=report,
            device=device,
            progress=progress,
        )
    data = {
        "ref": found.patch.ref,
        "id": found.patch.id,
        "statement": found.statement,
        "verdict": found.verdict.to_json(),
        "report": found.report,
    }
    for file in found.report:
        session.note(f"report: {file}")
    no = None if found.verdict.passed else RefusedError(found.verdict, found.patch.ref)
    return Reply(data, verdict_text(found.verdict), no)
