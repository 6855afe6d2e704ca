"""Base models of a registry: take a fingerprint, remember where the model lies on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import IntegrityError, NotFoundError
from patchhub_registry.names import check_name
from patchhub_registry.operations import localfiles

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
    """

    record: BaseRecord
    directory: Path | None

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
        texts: Text file for key statistics, one passage per line.
        probes: JSON-lines file with the base's own locality and drift probes.
        progress: Called with the phase, bytes done, bytes in all.

    Raises:
        InvalidInputError: E101 the name; E145 the texts are none.
        IntegrityError: E110, E111 a file is damaged; E147 a shard is missing, or config.json wrong.
        NotFoundError: E109, there is no such directory.
        ConflictError: E108, the name belongs to another base.
    """
    from patchhub.fingerprint import fingerprint

    check_name(name, "base")
    where = Path(directory).resolve()
    if not (where / "config.json").is_file():
        raise NotFoundError(
            "E109",
            f"{directory} is not a model directory",
            expected="a directory with config.json, *.safetensors and tokenizer files",
        )
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
    return BaseSummary(record, where)


def list_bases(registry: Registry) -> tuple[BaseSummary, ...]:
    """All bases, by name."""
    return tuple(BaseSummary(base, _directory(registry, base.name)) for base in registry.bases())


def show_base(registry: Registry, name: str) -> BaseSummary:
    """One base.

    Raises:
        NotFoundError: E106.
    """
    return BaseSummary(registry.base(name), _directory(registry, name))


def _directory(registry: Registry, name: str) -> Path | None:
    try:
        return registry.base_path(name)
    except NotFoundError:
        return None


def _model_type(directory: Path) -> str:
    try:
        config = json.loads((directory / "config.json").read_bytes())
    except ValueError as error:
        raise IntegrityError(
            "E147", f"{directory}/config.json is not JSON", found=str(error)[:200]
        ) from error
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""
