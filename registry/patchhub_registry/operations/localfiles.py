"""What this machine remembers about a base, outside git: trusted files, texts and probes.

All of it can be made again; deleting it costs time only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.canonical import digest
from patchhub.durable import swap_in
from patchhub.errors import IntegrityError
from patchhub.textfile import JSON_LINES, read_texts
from patchhub_registry.paths import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from patchhub.fingerprint import Fingerprint
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import BaseRecord

    Progress = Callable[[str, int, int], None]

Stamps = list[list[str | int]]

_TEXTS = ("texts.txt", f"texts{JSON_LINES}")


def material(registry: Registry, weights: str) -> Path:
    """Directory of everything remembered about the base with these weights."""
    return registry.root / PRIVATE / "material" / weights


def answers_cache(registry: Registry) -> Path:
    """Directory of models' answers to probes; their names carry what they depend on."""
    return registry.root / PRIVATE / "answers"


def moments_cache(registry: Registry) -> Path:
    """Directory of key statistics; their names carry what they depend on."""
    return registry.root / PRIVATE / "moments"


def keep_texts(registry: Registry, weights: str, source: Path) -> None:
    """Keep the text file for key statistics that a user gave, in place of an earlier one.

    Raises:
        NotFoundError: E109, there is no such file.
        InvalidInputError: E145, it holds no text, or none in UTF-8; E130, E131, a line of JSON
            lines is no record with a text.
    """
    read_texts(source)
    kept, other = _TEXTS if source.suffix.lower() != JSON_LINES else _TEXTS[::-1]
    swap_in(material(registry, weights) / kept, source.read_bytes())
    (material(registry, weights) / other).unlink(missing_ok=True)


def texts(registry: Registry, weights: str) -> tuple[str, ...] | None:
    """Passages for key statistics; None if the user gave none."""
    files = (material(registry, weights) / name for name in _TEXTS)
    return next((read_texts(file) for file in files if file.is_file()), None)


def keep_probes(registry: Registry, weights: str, source: Path) -> None:
    """Keep the base's probes that a user gave.

    Raises:
        NotFoundError: E109. InvalidInputError: E130, E131: a line is not a probe.
    """
    from patchhub.guard.probes import BaseProbes

    BaseProbes.read(source)
    swap_in(probes_file(registry, weights), source.read_bytes())


def probes_file(registry: Registry, weights: str) -> Path:
    """Where the base's own probes lie, if there are any yet."""
    return material(registry, weights) / "probes.jsonl"


def trust(registry: Registry, weights: str, directory: Path, stamps: Stamps) -> None:
    """Remember the files of a directory whose every byte was hashed.

    Args:
        registry: Where to remember it.
        weights: Digest of the base's weights.
        directory: The directory.
        stamps: Its files as `stamps_of` saw them *before* they were hashed.
    """
    note = json.dumps({"directory": str(directory.resolve()), "files": stamps})
    swap_in(material(registry, weights) / "trusted.json", note.encode())


def trusted(registry: Registry, weights: str, directory: Path) -> bool:
    """Whether the files are, by size and times, those that were hashed."""
    try:
        note = json.loads((material(registry, weights) / "trusted.json").read_bytes())
    except (OSError, ValueError):
        return False
    return bool(note == {"directory": str(directory.resolve()), "files": stamps_of(directory)})


def base_directory(
    registry: Registry, base: BaseRecord, *, progress: Progress | None = None
) -> tuple[Path, Fingerprint]:
    """Where a base lies on this machine, with its bytes known to be right.

    The whole checkpoint is hashed again when a file's size or times differ from those last hashed.

    Raises:
        NotFoundError: E106 or E109, it is not on this machine.
        IntegrityError: E201, the directory holds something else now.
    """
    from patchhub.fingerprint import check_headers, fingerprint
    from patchhub.tensorfile import open_checkpoint

    directory = registry.base_path(base.name)
    check_headers(open_checkpoint(directory), base.fingerprint)
    if not trusted(registry, base.weights, directory):
        stamps = stamps_of(directory)
        found = fingerprint(directory, progress=phase(progress, "hash base"))
        require_same(base, found, directory)
        trust(registry, base.weights, directory, stamps)
    return directory, base.fingerprint


def require_same(base: BaseRecord, found: Fingerprint, directory: Path) -> None:
    """Pass if a directory has the fingerprint of a base.

    Raises:
        IntegrityError: E201, naming the part that differs.
    """
    known = base.fingerprint
    for what, wanted, there in (
        ("weights", known.weights, found.weights),
        ("config.json", known.config, found.config),
        ("tokenizer files", digest(dict(known.tokenizer)), digest(dict(found.tokenizer))),
    ):
        if wanted != there:
            raise IntegrityError(
                "E201",
                f"{directory} is not the base {base.name!r}: other {what}",
                expected=wanted,
                found=there,
                hint=f"bring the files back, or: patchhub base link {base.name} DIRECTORY",
            )


def phase(progress: Progress | None, label: str) -> Callable[[int, int], None] | None:
    """A two-argument progress callback that reports as one phase of ours."""
    if progress is None:
        return None
    report = progress
    return lambda done, total: report(label, done, total)


def stamps_of(directory: Path) -> Stamps:
    """Name, device, inode, size and time of change of every file.

    The time of the last status change is left out: a hard link, such as `apply` makes, changes it.
    """
    files: Sequence[Path] = sorted(p for p in directory.resolve().iterdir() if p.is_file())
    facts = [(p.name, p.stat()) for p in files]
    return [[n, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns] for n, s in facts]
