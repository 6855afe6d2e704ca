"""Say which base and which stack a model directory is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from patchhub.errors import IntegrityError
from patchhub_cli.main import verb
from patchhub_cli.output import Reply, pairs, short
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub_registry.operations.identify import Identified

_SAID_BY = {
    "state": "the state that PatchHub keeps beside it",
    "identity": "the identity file in it",
    "bytes": "its bytes; it says nothing of itself",
}
_PARTS = {
    "headers": "names, shapes, dtypes",
    "touched": "patched tensors",
    "others": "other tensors",
    "config": "config.json",
    "tokenizer": "tokenizer files",
}


@verb("identify", "patchhub identify ./patched", "patchhub identify /models/unknown --verify")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Read every byte.")
def command(session: Session, directory: Path, verify: bool) -> Reply:
    """Say which base and which stack DIRECTORY is, and how much of that is certain.

    It may be PatchHub's own, a copy of one, a model saved from memory, or any other: what says
    nothing of itself is known by its bytes. The exit status is 7 if it is not known here, with what
    is nearest, and 5 if it is not what it says it is.
    """
    from patchhub_registry.operations.identify import identify

    registry = session.registry()
    with session.progress() as progress:
        found = identify(registry, directory, verify=verify, progress=progress)
    error = None
    try:
        found.require()
    except IntegrityError as wrong:
        error = wrong
    return Reply(_data(found), _text(found, verify), error)


def _text(found: Identified, verify: bool) -> str:
    held = ", ".join(item.ref for item in found.patches) or "no patches"
    where = ", ".join(map(str, found.stacks))
    if not where and found.patches:
        where = "no state of a stack of this registry"
    lines: list[tuple[str, object]] = [
        ("directory", found.directory),
        ("is", f"{found.base}: {held}  (model {short(found.identity)})"),
        ("which is", where or "the base"),
        ("known by", _SAID_BY[found.by]),
        *((_PARTS[part], _word(part, word, found)) for part, word in found.checked.items()),
        *(("changed", f"{d.where}: {d.found}, not {d.expected}") for d in found.drift),
    ]
    if not (found.certain or verify or found.drift):
        lines.append(("be certain with", f"patchhub identify {found.directory} --verify"))
    return pairs(lines)


def _word(part: str, word: str, found: Identified) -> str:
    if part in ("config", "tokenizer") and word == "differs":
        return "not the base's"
    return "none" if part == "touched" and not found.patches and found.by != "bytes" else word


def _data(found: Identified) -> dict[str, object]:
    return {
        "directory": found.directory,
        "by": found.by,
        "base": found.base,
        "weights": found.weights,
        "patches": [item.to_json() for item in found.patches],
        "identity": found.identity,
        "stacks": [asdict(each) for each in found.stacks],
        "certain": found.certain,
        "checked": found.checked,
        "drift": [asdict(each) for each in found.drift],
    }
