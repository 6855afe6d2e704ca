"""Whether a model directory still holds what it is said to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from patchhub.checkpoint.files import file_digest, list_files, stamp
from patchhub.checkpoint.place import place_of
from patchhub.checkpoint.reading import read_state
from patchhub.checkpoint.records import FileMark
from patchhub.errors import PatchHubError
from patchhub.fingerprint import Fingerprint, hash_tensors
from patchhub.identityfile import identify
from patchhub.tensorfile import CheckpointFiles, open_checkpoint


class Depth(IntEnum):
    """Which bytes are read; file names, headers and stamps are always compared."""

    STAMPS = 0
    """Files whose stamp changed."""
    TOUCHED = 1
    """Also the touched tensors."""
    ALL = 2
    """Everything."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that is not as it should be.

    Attributes:
        where: Name of a file, or of a tensor.
        expected: What should be there.
        found: What is.
    """

    where: str
    expected: str
    found: str


def verify_directory(target: Path, fingerprint: Fingerprint, deep: bool = False) -> list[Drift]:
    """Compare a model directory with what it says it is.

    Works on directories that `materialise` keeps, on copies of a generation, and on a base.

    Args:
        target: The directory.
        fingerprint: Of the base.
        deep: Read every tensor and file, not only those touched or changed.

    Returns:
        What differs; empty when all is well.

    Raises:
        NotFoundError: E109. IntegrityError: E116, E206, its own records cannot be read.
    """
    place = place_of(target)
    files: Mapping[str, FileMark] | None = None
    if place.link.is_symlink() and place.state.is_file():
        state = read_state(target)
        files, touched, base = state.files, state.touched, state.base
    else:
        identity = identify(target)
        touched = {} if identity is None else identity.touched
        base = fingerprint.weights if identity is None else identity.base
    drifts = find_drift(
        target, fingerprint, touched, files, depth=Depth.ALL if deep else Depth.TOUCHED
    )
    if base != fingerprint.weights:
        drifts.insert(0, Drift("base", f"weights {fingerprint.weights}", f"weights {base}"))
    return drifts


def find_drift(
    directory: Path,
    fingerprint: Fingerprint,
    touched: Mapping[str, str],
    files: Mapping[str, FileMark] | None,
    *,
    depth: Depth,
) -> list[Drift]:
    """Compare a directory with a base, composed tensors and, if known, marks of its files.

    Args:
        directory: Of the model.
        fingerprint: Of the base.
        touched: SHA-256 of the composed bytes of touched tensors.
        files: Marks of all files; none where they are not known.
        depth: Which bytes are read.
    """
    real = directory.resolve()
    drifts, suspects = ([], set()) if files is None else _compare_files(real, files, depth)
    if files is None and depth is Depth.ALL:
        drifts += _compare_unmarked(real, fingerprint)
    if files is not None and depth is Depth.STAMPS and not drifts and not suspects:
        return []  # every file is the one whose tensors were compared when it was written
    try:
        checkpoint = open_checkpoint(real)
    except PatchHubError as error:
        return [*drifts, Drift("weights", "files that can be read", error.what)]
    return drifts + _compare_tensors(checkpoint, fingerprint, touched, suspects, depth)


def _compare_files(
    directory: Path, files: Mapping[str, FileMark], depth: Depth
) -> tuple[list[Drift], set[str]]:
    """Differences, and the files of weights whose tensors must be read."""
    drifts: list[Drift] = []
    suspects: set[str] = set()
    present = list_files(directory)
    for name in sorted(files.keys() | present.keys()):
        if name not in present:
            drifts.append(Drift(name, "a file", "no such file"))
        elif name not in files:
            drifts.append(Drift(name, "no such file", "a file"))
        elif depth is Depth.ALL or stamp(present[name]) != files[name].stamp:
            wanted = files[name].sha256
            if not wanted:
                suspects.add(name)
            elif (found := file_digest(present[name])) != wanted:
                drifts.append(Drift(name, f"sha256 {wanted}", f"sha256 {found}"))
    return drifts, suspects


def _compare_unmarked(directory: Path, fingerprint: Fingerprint) -> list[Drift]:
    drifts: list[Drift] = []
    for name, wanted in {"config.json": fingerprint.config, **fingerprint.tokenizer}.items():
        path = directory / name
        found = f"sha256 {file_digest(path)}" if path.is_file() else "no such file"
        if found != f"sha256 {wanted}":
            drifts.append(Drift(name, f"sha256 {wanted}", found))
    return drifts


def _compare_tensors(
    checkpoint: CheckpointFiles,
    fingerprint: Fingerprint,
    touched: Mapping[str, str],
    suspects: set[str],
    depth: Depth,
) -> list[Drift]:
    drifts: list[Drift] = []
    read = []
    for name in sorted(checkpoint.tensors.keys() | fingerprint.tensors.keys()):
        header, entry = checkpoint.tensors.get(name), fingerprint.tensors.get(name)
        found = "no such tensor" if header is None else f"{header.dtype} {list(header.shape)}"
        wanted = "no such tensor" if entry is None else f"{entry.dtype} {list(entry.shape)}"
        if found != wanted or header is None or entry is None:
            drifts.append(Drift(name, wanted, found))
        elif (
            depth is Depth.ALL
            or (depth is Depth.TOUCHED and name in touched)
            or header.file.name in suspects
        ):
            read.append(header)
    for name, digest in sorted(hash_tensors(read).items()):
        wanted = touched.get(name) or fingerprint.tensors[name].sha256
        if digest != wanted:
            drifts.append(Drift(name, f"sha256 {wanted}", f"sha256 {digest}"))
    return drifts
