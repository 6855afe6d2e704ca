"""What every command shares: the global options, the registry, notes and progress on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from patchhub_cli.output import Reply
    from patchhub_cli.progress import Progress
    from patchhub_registry.registry import Registry

_QUIET_LIBRARIES = {
    "HF_HUB_OFFLINE": "1",  # a base is a directory on this machine; nothing is ever fetched
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass
class Session:
    """The global options of one run and the ways out: stdout for data, stderr for the rest.

    Attributes:
        registry_dir: ``--registry``, or None to search upward from the working directory.
        start: ``-C``, or None for the working directory.
        json: One envelope on stdout instead of text.
        quiet: No notes and no progress.
        silent: Print no reply and no notes: another command runs this one.
        command: The command that runs, such as ``base add``; known once it is parsed.
        reply: What the command handed back.
        warnings: Notes of weight; they go to stderr and into the envelope.
    """

    registry_dir: Path | None = None
    start: Path | None = None
    json: bool = False
    quiet: bool = False
    silent: bool = False
    command: str = ""
    reply: Reply | None = None
    warnings: list[str] = field(default_factory=list)

    def registry(self) -> Registry:
        """The registry named by ``--registry`` or found from the working directory upward.

        Raises:
            NotFoundError: E105, there is none.
        """
        from patchhub_registry.registry import Registry

        return Registry.open(self.where)

    @property
    def where(self) -> Path:
        """Where a registry is looked for, upward."""
        return self.registry_dir or self.start or Path.cwd()

    def note(self, text: str) -> None:
        """A line on stderr for people."""
        if not (self.quiet or self.json or self.silent):
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """A warning: kept for the envelope, shown on stderr."""
        self.warnings.append(text)
        self.note(f"warning: {text}")

    def check_stack(self, registry: Registry, stack: str | None) -> None:
        """Warn of a stack that has no entries, before a model is loaded for nothing."""
        from patchhub_registry.operations.models import unknown_stack

        found = unknown_stack(registry, stack)
        if found is not None:
            self.warn(found)

    def say(self, text: str) -> None:
        """A line on stdout while a long command still runs; nothing with ``--json``."""
        if not self.json:
            click.echo(text, color=False if os.environ.get("NO_COLOR") else None)

    def quiet_libraries(self) -> None:
        """Keep the libraries' own bars and notes off our streams; call before they are loaded."""
        for name, value in _QUIET_LIBRARIES.items():
            os.environ.setdefault(name, value)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress of a slow operation: bars on stderr, only on a terminal."""
        from patchhub_cli.progress import Progress

        self.quiet_libraries()
        with Progress(enabled=sys.stderr.isatty() and not (self.quiet or self.json)) as bars:
            yield bars
