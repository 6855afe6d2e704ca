"""Base models of a registry: take a fingerprint, remember where the model lies on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import IntegrityError, NotFoundError
from patchhub.identityfile import require_bare
from patchhub_registry.local import LocalFile
from patchhub_registry.names import check_name
from patchhub_registry.operations import localfiles
from patchhub_registry.paths import PRIVATE

if TYPE_CHECKING:
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import BaseRecord


@dataclass(frozen=True, slots=True)
class BaseSummary:
    """A base as people and programs see it.

    Attributes:
        record: What the registry keeps.
        directory: Where it lies on this machine, if it does.
        linked: Where it was said to lie, also when nothing is there now.
    """

    record: BaseRecord
    directory: Path | None
    linked: Path | None

    def to_json(self) -> dict[str, object]:
        """As a JSON object."""
        fingerprint = self.record.fingerprint
        return {
            "name": self.record.name,
            "weights": self.record.weights,
            "config": fingerprint.config,
            "tokenizer": dict(fingerprint.tokenizer),
            "tensors": len(fingerprint.tensors),
            "notes": dict(self.record.notes),
            "directory": self.directory,
            "linked": self.linked,
        }


def add_base(
    registry: Registry,
    name: str,
    directory: str | Path,
    *,
    texts: str | Path | None = None,
    probes: str | Path | None = None,
    progress: Progress | None = None,
) -> BaseSummary:
    """Take the fingerprint of a model directory and keep it; the model stays where it is.

    A base the registry knows already is only linked to the directory, if the digests agree.

    Args:
        registry: Where to keep it.
        name: Its name here.
        directory: A model directory as `from_pretrained` reads it.
        texts: Text file for key statistics (`patchhub.textfile.read_texts`).
        probes: JSON-lines file with the base's own locality and drift probes.
        progress: Called with the phase, bytes done, bytes in all.

    Raises:
        InvalidInputError: E101 the name; E130, E131, E145 the texts are none.
        IntegrityError: E110, E111 a file is damaged; E147 a shard is missing, or config.json wrong.
        NotFoundError: E109, there is no such directory.
        ConflictError: E108, the name belongs to another base; E309, the directory holds patches.
    """
    from patchhub.fingerprint import fingerprint

    check_name(name, "base")
    where = _model_directory(directory)
    notes = {"model_type": _model_type(where)}
    stamps = localfiles.stamps_of(where)
    found = fingerprint(where, progress=localfiles.phase(progress, "hash base"))
    if probes is not None:
        localfiles.keep_probes(registry, found.weights, Path(probes))
    if texts is not None:
        localfiles.keep_texts(registry, found.weights, Path(texts))
    record = registry.add_base(name, found, notes)
    registry.link_base(name, where)
    localfiles.trust(registry, found.weights, where, stamps)
    return BaseSummary(record, where, where)


def link_base(
    registry: Registry,
    name: str,
    directory: str | Path,
    *,
    full: bool = False,
    progress: Progress | None = None,
) -> BaseSummary:
    """Say where a base lies on this machine; any directory with its digests will do.

    Names, dtypes and shapes of all tensors, config.json and the tokenizer files are compared at
    once; the tensors' bytes with ``full``, or else when they are first used.

    Args:
        registry: That knows the base.
        name: Of the base.
        directory: The model directory.
        full: Read every byte now.
        progress: Called with the phase, bytes done, bytes in all.

    Raises:
        NotFoundError: E106, no such base; E109, no such directory.
        IntegrityError: E201, it holds another model; E110, E111, E147 a file is damaged or missing.
        ConflictError: E309, the directory holds patches. BusyError: E501.
    """
    from patchhub.fingerprint import Fingerprint, check_headers, fingerprint, small_files
    from patchhub.tensorfile import open_checkpoint

    record = registry.base(name)
    where = _model_directory(directory)
    check_headers(open_checkpoint(where), record.fingerprint)
    config, tokenizer = small_files(where)
    small = Fingerprint(record.fingerprint.tensors, config, tokenizer)
    localfiles.require_same(record, small, where)
    stamps = localfiles.stamps_of(where)
    if full:
        found = fingerprint(where, progress=localfiles.phase(progress, "hash base"))
        localfiles.require_same(record, found, where)
    registry.link_base(name, where)
    if full:
        localfiles.trust(registry, record.weights, where, stamps)
    return BaseSummary(record, where, where)


def list_bases(registry: Registry) -> tuple[BaseSummary, ...]:
    """All bases, by name."""
    return tuple(_summary(registry, base) for base in registry.bases())


def show_base(registry: Registry, name: str) -> BaseSummary:
    """One base.

    Raises:
        NotFoundError: E106.
    """
    return _summary(registry, registry.base(name))


def _summary(registry: Registry, record: BaseRecord) -> BaseSummary:
    linked = LocalFile(registry.root / PRIVATE / "local.json").base_paths().get(record.name)
    here = linked is not None and (linked / "config.json").is_file()
    return BaseSummary(record, linked if here else None, linked)


def _model_directory(directory: str | Path) -> Path:
    where = Path(directory).resolve()
    if not (where / "config.json").is_file():
        raise NotFoundError(
            "E109",
            f"{directory} is not a model directory",
            expected="a directory with config.json, *.safetensors and tokenizer files",
        )
    require_bare(where)
    return where


def _model_type(directory: Path) -> str:
    try:
        config = json.loads((directory / "config.json").read_bytes())
    except ValueError as error:
        raise IntegrityError(
            "E147", f"{directory}/config.json is not JSON", found=str(error)[:200]
        ) from error
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""
