"""Bases and model directories on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import NotFoundError, PatchHubError
from patchhub_registry.operations import localfiles
from patchhub_registry.operations.base import list_bases
from patchhub_registry.operations.health.finding import Finding, error, note, warning
from patchhub_registry.operations.known import known
from patchhub_registry.operations.recovery import unfinished

if TYPE_CHECKING:
    from patchhub_registry.operations.base import BaseSummary
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry

_REPAIR = "patchhub doctor --repair"


def bases(registry: Registry, progress: Progress | None) -> Iterator[Finding]:
    """Whether each base is here and still what it was; those whose files changed are read whole."""
    for base in list_bases(registry):
        name = base.record.name
        link = f"patchhub base link {name} DIRECTORY"
        if base.linked is None:
            yield note("base-not-linked", f"base {name} is not known to be on this machine", link)
        elif base.directory is None:
            yield warning("base-gone", f"base {name} is gone: {base.linked}", link)
        else:
            yield from _base(registry, base, progress, link)


def models(registry: Registry) -> Iterator[Finding]:
    """The model directories that stacks of this registry were applied to on this machine."""
    cut_off = set(unfinished(registry))
    for directory in known(registry):
        if directory in cut_off:
            words = f"{directory}: a change is under way or was cut off"
            yield warning("model-unfinished", words, _REPAIR)
            continue
        try:
            yield from _model(registry, directory)
        except NotFoundError:
            yield note("model-gone", f"{directory} is no more", _REPAIR)
        except PatchHubError as wrong:
            yield error("model-unreadable", f"{directory}: {wrong.what}", wrong.hint or "")


def _base(
    registry: Registry, base: BaseSummary, progress: Progress | None, link: str
) -> Iterator[Finding]:
    try:
        localfiles.base_directory(registry, base.record, progress=progress)
    except PatchHubError as wrong:
        where = [str(each) for each in known(registry) if _shares(each, base.directory)]
        shared = f"; its files are hard links in {', '.join(where)}, too" if where else ""
        words = f"{wrong.what}{shared}"
        yield error("base-changed", words, f"bring the files back, or: {link}")


def _model(registry: Registry, directory: Path) -> Iterator[Finding]:
    from patchhub_registry.operations.directory import inspect

    report = inspect(registry, directory)
    for each in report.drift[:3]:
        words = f"{directory}: {each.where} is {each.found}, not {each.expected}"
        fix = f"rm {directory}, then patchhub apply --stack STACK --model {directory}"
        yield error("model-drifted", words, fix)
    places = report.stacks
    if places and all(each.seq < each.head for each in places):
        fix = f"patchhub apply --stack {places[0].stack} --model {directory}"
        yield note("model-behind", f"{directory} is {places[0]}", fix)


def _shares(directory: Path, base: Path | None) -> bool:
    """Whether a directory holds hard links to files of a base."""
    if base is None or not directory.is_dir():
        return False
    mine, theirs = (
        {(path.stat().st_dev, path.stat().st_ino) for path in each.glob("*.safetensors")}
        for each in (directory, base)
    )
    return bool(mine & theirs)
