"""Where reports go: files of one stem, each replaced in one step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from patchhub.durable import swap_in
from patchhub.errors import NotFoundError
from patchhub.oserrors import refusals

_SUFFIXES = (".md", ".html")


def report_files(path: str | Path, name: str, *endings: str) -> tuple[Path, ...]:
    """The Markdown file, the HTML file and whatever else ``path`` stands for.

    Args:
        path: As the user gave it; a suffix .md or .html is replaced.
        name: Stem of the files where it is a directory.
        endings: What the stem of each further file goes on with, such as ``.png``.

    Raises:
        NotFoundError: E109, the directory is missing.
    """
    wanted = Path(path)
    if wanted.is_dir():
        stem = wanted / name
    else:
        stem = wanted.with_suffix("") if wanted.suffix in _SUFFIXES else wanted
    if not stem.parent.is_dir():
        raise NotFoundError("E109", f"no directory {stem.parent} for the report")
    return tuple(stem.with_name(stem.name + ending) for ending in (*_SUFFIXES, *endings))


def write_files(contents: Mapping[Path, bytes]) -> tuple[Path, ...]:
    """Write every file, making directories as needed; what it wrote.

    Raises:
        PatchHubError: E704, the disk refused.
    """
    with refusals():
        for file, content in contents.items():
            file.parent.mkdir(exist_ok=True)
            swap_in(file, content)
    return tuple(contents)
