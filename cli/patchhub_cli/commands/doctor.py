"""Look for what is wrong: the machine, the registry, the models on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from patchhub.errors import IntegrityError, NotFoundError
from patchhub_cli.main import verb
from patchhub_cli.output import Reply, pairs, table
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub_registry.operations.doctor import Diagnosis
    from patchhub_registry.registry import Registry


@verb("doctor", "patchhub doctor", "patchhub doctor --repair")
@click.option("--repair", is_flag=True, help="Mend what can be mended safely, then look.")
def command(session: Session, repair: bool) -> Reply:
    """Look for what is wrong, and say which command mends it.

    At git, libraries and file system, at every digest of the registry, and at the bases and model
    directories on this machine. Nothing is changed without --repair. The exit status is 5 if an
    error remains; warnings and notes leave it 0. Outside a registry only the machine is looked at.
    """
    from patchhub_registry.operations.doctor import doctor

    registry = _registry(session)
    with session.progress() as progress:
        found = doctor(registry, repair=repair, progress=progress)
    error = None
    try:
        found.require()
    except IntegrityError as wrong:
        error = wrong
    data = {
        "root": None if registry is None else registry.root,
        "healthy": found.healthy,
        "examined": found.examined,
        "repaired": found.repaired,
        "findings": [each.to_json() for each in found.findings],
    }
    return Reply(data, _text(registry, found), error)


def _registry(session: Session) -> Registry | None:
    """The registry, without the recovery that opening it would begin with."""
    from patchhub_registry.registry import Registry

    try:
        return Registry(Registry.find_root(session.where))
    except NotFoundError:
        if session.registry_dir is not None:
            raise
        session.note("not inside a registry: only the machine is looked at")
        return None


def _text(registry: Registry | None, found: Diagnosis) -> str:
    lines: list[tuple[str, object]] = [
        ("registry", "none" if registry is None else registry.root),
        ("examined", ", ".join(found.examined)),
        *(("repaired", words) for words in found.repaired),
    ]
    if not found.findings:
        return pairs([*lines, ("found", "nothing wrong")])
    rows = [(each.severity, each.name, each.what, each.fix or None) for each in found.findings]
    return "\n\n".join([pairs(lines), table(("", "finding", "what", "mend it with"), rows)])
