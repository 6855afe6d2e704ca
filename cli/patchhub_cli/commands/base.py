"""Base models: add one, say where one lies, list them, show one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.output import Reply, pairs, short, table
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub_registry.operations.base import BaseSummary

_MODEL = click.Path(path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("base")
def command() -> None:
    """Base models: add one, say where one lies, list them, show one."""


@verb("add", "patchhub base add gpt ./gpt2 --texts texts.txt --probes probes.jsonl")
@click.argument("name")
@click.argument("directory", type=_MODEL)
@click.option("--texts", type=_FILE, help="For key statistics: a passage a line, or JSON lines.")
@click.option("--probes", type=_FILE, help="Locality and drift probes of this base (JSON lines).")
def add(
    session: Session, name: str, directory: Path, texts: Path | None, probes: Path | None
) -> Reply:
    """Take the fingerprint of the model in DIRECTORY and keep it as NAME.

    The model itself stays where it is. On another machine `patchhub base link` says where it lies
    there.
    """
    from patchhub_registry.operations.base import add_base

    registry = session.registry()
    with session.progress() as progress:
        base = add_base(registry, name, directory, texts=texts, probes=probes, progress=progress)
    return _shown(base)


@verb("link", "patchhub base link gpt /models/gpt2", "patchhub base link gpt ./gpt2 --full")
@click.argument("name", shell_complete=completing.bases)
@click.argument("directory", type=_MODEL)
@click.option("--full", is_flag=True, help="Read every byte now, not when it is first used.")
def link(session: Session, name: str, directory: Path, full: bool) -> Reply:
    """Say where the base NAME lies on this machine.

    Any directory with the right digests will do: the headers of all tensors, config.json and the
    tokenizer files are compared, and every byte with --full. git never learns of it.
    """
    from patchhub_registry.operations.base import link_base

    registry = session.registry()
    with session.progress() as progress:
        return _shown(link_base(registry, name, directory, full=full, progress=progress))


@verb("list", "patchhub base list")
def list_(session: Session) -> Reply:
    """All bases of the registry."""
    from patchhub_registry.operations.base import list_bases

    bases = list_bases(session.registry())
    rows = [
        (b.record.name, short(b.record.weights), len(b.record.fingerprint.tensors), _place(b))
        for b in bases
    ]
    text = table(("base", "weights", "tensors", "on this machine"), rows, right="  r")
    return Reply([b.to_json() for b in bases], text)


@verb("show", "patchhub base show gpt")
@click.argument("name", shell_complete=completing.bases)
def show(session: Session, name: str) -> Reply:
    """One base: its digests and where it lies on this machine."""
    from patchhub_registry.operations.base import show_base

    return _shown(show_base(session.registry(), name))


def _shown(base: BaseSummary) -> Reply:
    fingerprint = base.record.fingerprint
    items: list[tuple[str, object]] = [
        ("base", base.record.name),
        ("weights", base.record.weights),
        ("config", fingerprint.config),
        *((name, digest) for name, digest in sorted(fingerprint.tokenizer.items())),
        ("tensors", len(fingerprint.tensors)),
        *sorted(base.record.notes.items()),
        ("on this machine", _place(base)),
    ]
    return Reply(base.to_json(), pairs(items))


def _place(base: BaseSummary) -> str:
    if base.directory is not None:
        return str(base.directory)
    return "not linked" if base.linked is None else f"gone: {base.linked}"


command.add_command(add)
command.add_command(link)
command.add_command(list_)
command.add_command(show)
