"""Answers that need not be asked again: same model state, same settings, same question.

Torch-free. A cache never changes a result: a file that cannot be read, or whose digest is wrong, is
as good as absent, and a directory that cannot be written is left alone.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchhub import canonical
from patchhub.durable import swap_in


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, before anyone judges it.

    Attributes:
        text: The answer's text.
        tokens: Generated or most likely ids.
        wanted: The true answer's ids under teacher forcing.
        values: Under likelihood the log-probabilities per token of answer and rival.
    """

    text: str
    tokens: tuple[int, ...]
    wanted: tuple[int, ...] = ()
    values: tuple[float, ...] = ()


class AnswerCache:
    """Replies by scope (model state, protocol, settings) and key (prompt, answer where it matters).

    Args:
        directory: Where replies survive the process, one file per scope; in memory only without.
        keep: Files in the directory; the longest unused go.
    """

    def __init__(self, directory: Path | None = None, *, keep: int = 64) -> None:
        self._directory = directory
        self._keep = keep
        self._scopes: dict[str, dict[str, Reply]] = {}

    def get(self, scope: str) -> Mapping[str, Reply]:
        """All replies known in a scope."""
        return self._load(scope)

    def put(self, scope: str, replies: Mapping[str, Reply]) -> None:
        """Remember replies, on disk too when there is a directory."""
        known = self._load(scope)
        fresh = {key: reply for key, reply in replies.items() if known.get(key) != reply}
        known.update(fresh)
        if self._directory is not None and fresh:
            with contextlib.suppress(OSError):
                self._write(self._directory, scope, known)

    def _load(self, scope: str) -> dict[str, Reply]:
        if scope not in self._scopes:
            found: dict[str, Reply] = {}
            if self._directory is not None:
                found = _read(self._directory / f"{scope}.jsonl")
            self._scopes[scope] = found
        return self._scopes[scope]

    def _write(self, directory: Path, scope: str, known: Mapping[str, Reply]) -> None:
        lines = [_line(key, reply) for key, reply in sorted(known.items())]
        body = b"\n".join(lines)
        swap_in(directory / f"{scope}.jsonl", canonical.sha256(body).encode() + b"\n" + body)
        files = sorted(directory.glob("*.jsonl"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in files[self._keep :]:
            old.unlink(missing_ok=True)


def _line(key: str, reply: Reply) -> bytes:
    return canonical.dumps(
        {
            "key": key,
            "text": reply.text,
            "tokens": reply.tokens,
            "wanted": reply.wanted,
            "values": [canonical.decimal(value) for value in reply.values],
        }
    )


def _read(path: Path) -> dict[str, Reply]:
    try:
        first, _, body = path.read_bytes().partition(b"\n")
        path.touch()  # last use, for pruning
    except OSError:
        return {}
    if canonical.sha256(body).encode() != first:
        return {}
    try:
        return {item["key"]: _reply(item) for item in map(json.loads, body.splitlines())}
    except (ValueError, KeyError, TypeError):
        return {}


def _reply(item: Mapping[str, Any]) -> Reply:
    return Reply(
        item["text"],
        tuple(item["tokens"]),
        tuple(item["wanted"]),
        tuple(float(value) for value in item["values"]),
    )
