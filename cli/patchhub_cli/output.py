"""The two ways out of a command: text for people, one JSON envelope for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from patchhub.errors import PatchHubError
from patchhub_cli.fitting import fitted, hanging, terminal_width
from patchhub_cli.session import Session

SCHEMA = "patchhub.out/1"
"""Version of the envelope; within ``/1`` fields are only ever added."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command hands back.

    Attributes:
        data: The result for programs: strings, numbers, booleans, None, lists, mappings, paths.
        text: The same for people; empty prints nothing.
        error: A verdict of no that comes with data, so that both are shown.
        status: Exit status where there is no error.
    """

    data: object
    text: str = ""
    error: PatchHubError | None = None
    status: int = 0

    @property
    def exit(self) -> int:
        """Exit status of the command."""
        return self.status if self.error is None else self.error.exit


def emit(session: Session, reply: Reply) -> int:
    """Print a reply and return the exit status."""
    if session.json:
        click.echo(envelope(session, data=reply.data, error=reply.error, exit=reply.exit))
        return reply.exit
    if reply.text:
        click.echo(visible(reply.text))
    if reply.error is not None:
        click.echo(visible(str(reply.error)), err=True)
    return reply.exit


def emit_error(session: Session, error: PatchHubError) -> int:
    """Print an error that stopped a command and return the exit status."""
    if session.json:
        click.echo(envelope(session, data=None, error=error, exit=error.exit))
    else:
        click.echo(visible(str(error)), err=True)
    return error.exit


def envelope(
    session: Session,
    *,
    data: object,
    error: PatchHubError | Mapping[str, object] | None,
    exit: int,
) -> str:
    """The one JSON object that ``--json`` prints, also on failure."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "command": session.command,
            "ok": error is None,
            "exit": exit,
            "error": _error(error) if isinstance(error, PatchHubError) else error,
            "data": data,
            "warnings": session.warnings,
        },
        default=_plain,
    )  # ASCII: names and answers may hold what the terminal's encoding cannot say


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: str = "") -> str:
    """Columns of plain text.

    Args:
        headers: One name per column.
        rows: Cells; None shows as a dash.
        right: One letter per column, ``r`` to align it right (the rest is left).
    """
    columns = [_column(cells) for cells in zip(headers, *rows, strict=True)]
    limit = terminal_width()
    if limit is not None:
        return "\n".join(fitted(columns, right, limit))
    form = "  ".join(
        f"%{'' if right[i : i + 1] == 'r' else '-'}{max(map(len, column))}s"
        for i, column in enumerate(columns)
    )
    first, *others = [(form % line).rstrip() for line in zip(*columns, strict=True)]
    rule = "  ".join("-" * max(map(len, column)) for column in columns)
    return "\n".join([first, rule, *others])


def _column(cells: Sequence[object]) -> list[str]:
    texts = ["-" if cell is None else str(cell) for cell in cells]
    return texts if "".join(texts).isprintable() else list(map(_line, texts))


def pairs(items: Sequence[tuple[str, object]]) -> str:
    """Label and value, one pair per line, values aligned; None shows as a dash."""
    width = max((len(label) for label, _ in items), default=0)
    limit = terminal_width()
    if limit is not None:
        return "\n".join(hanging(label, _cell(value), width, limit) for label, value in items)
    return "\n".join(f"{label:<{width}}  {_cell(value)}" for label, value in items)


def visible(text: str) -> str:
    """The text with control characters spelled out: what models and files say moves no cursor."""
    if text.replace("\n", "").isprintable():  # a long listing is
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def short(digest: str) -> str:
    """First twelve hex digits: enough for people."""
    return digest[:12]


def _cell(value: object) -> str:
    return "-" if value is None else _line(value)


def _line(value: object) -> str:
    return visible(str(value)).replace("\n", "\\n")


def _error(error: PatchHubError) -> dict[str, object]:
    return {
        "code": error.code,
        "message": error.what,
        "expected": error.expected,
        "found": error.found,
        "hint": error.hint,
        "data": error.data,
    }


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
