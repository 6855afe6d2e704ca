"""A patch's files as bytes: their directory, and whether they are what the manifest says."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from patchhub import canonical
from patchhub.durable import sync_directory, sync_tree, write_new
from patchhub.errors import ConflictError, IntegrityError, NotFoundError
from patchhub.manifest import FILE, Manifest


def check_files(files: Mapping[str, bytes], *, expect: str | None = None) -> Manifest:
    """The manifest, after every file has been compared with it.

    Args:
        files: All files of a patch by name.
        expect: The id the patch must have.

    Raises:
        IntegrityError: E116, E117, E202; E202 also when the patch has another id.
        InvalidInputError: E113, E114.
    """
    if FILE not in files:
        raise IntegrityError("E117", f"{FILE} is missing", found=", ".join(sorted(files)) or "none")
    if expect is not None and canonical.sha256(files[FILE]) != expect:
        raise IntegrityError(
            "E202",
            f"{FILE}: is another patch",
            expected=expect,
            found=canonical.sha256(files[FILE]),
        )
    manifest = Manifest.from_bytes(files[FILE])
    _check_names(set(files), manifest)
    for name, entry in manifest.files.items():
        if len(files[name]) != entry.size or canonical.sha256(files[name]) != entry.sha256:
            raise IntegrityError(
                "E202",
                f"{name}: does not match its digest",
                expected=f"{entry.size} bytes, sha256 {entry.sha256}",
                found=f"{len(files[name])} bytes, sha256 {canonical.sha256(files[name])}",
                hint="the file was changed or damaged; fetch the patch again",
            )
    return manifest


def read_directory(directory: Path) -> dict[str, bytes]:
    """The files of a patch directory; what does not belong there is not even read.

    Raises:
        NotFoundError: E109, no such directory.
        IntegrityError: E116, E117.
        InvalidInputError: E113, E114.
    """
    if not directory.is_dir():
        raise NotFoundError("E109", f"{directory}: no such directory")
    found = {path.name: path for path in directory.iterdir()}
    for name, path in sorted(found.items()):
        if path.is_symlink() or not path.is_file():
            raise IntegrityError("E117", f"{directory}: {name} is not a plain file")
    if FILE not in found:
        names = ", ".join(sorted(found)[:8]) or "nothing"
        raise IntegrityError("E117", f"{directory}: {FILE} is missing", found=names)
    manifest = found.pop(FILE).read_bytes()
    _check_names({FILE, *found}, Manifest.from_bytes(manifest, str(directory / FILE)))
    return {FILE: manifest} | {name: path.read_bytes() for name, path in found.items()}


def check_target(directory: Path) -> None:
    """Refuse a place where `write_directory` could not write.

    Raises:
        NotFoundError: E109, the parent directory is missing.
        ConflictError: E308, something is there already.
    """
    if not directory.parent.is_dir():
        raise NotFoundError("E109", f"{directory.parent}: no such directory")
    if directory.is_symlink() or (
        directory.exists() and not (directory.is_dir() and not any(directory.iterdir()))
    ):
        raise ConflictError(
            "E308",
            f"{directory}: is there already",
            expected="a new name or an empty directory",
            hint="a patch is never overwritten",
        )


def write_directory(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write a directory that is there with all its files or not at all.

    Args:
        directory: A new name or an empty directory.
        files: By name; of a name with a slash the first part is a directory inside.

    Raises:
        NotFoundError: E109, the parent directory is missing.
        ConflictError: E308, something is there already.
    """
    check_target(directory)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        temporary.chmod(0o755)
        for name, data in files.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            write_new(temporary / name, data)
        sync_tree(temporary)
        temporary.rename(directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(directory.parent)


def _check_names(names: set[str], manifest: Manifest) -> None:
    expected = {FILE, *manifest.files}
    for name in sorted(names ^ expected):
        raise IntegrityError(
            "E117",
            f"{name} is missing" if name in expected else f"{name} does not belong to the patch",
            expected=", ".join(sorted(expected)),
            found=", ".join(sorted(names)[:8]),
        )
