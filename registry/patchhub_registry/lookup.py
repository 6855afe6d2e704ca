"""Asking the index: the one that fits the commit, made again when it is stale or damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from patchhub.errors import PatchHubError
from patchhub_registry import index
from patchhub_registry.git import Git
from patchhub_registry.index import Index
from patchhub_registry.store import Store

Answer = TypeVar("Answer")


class Lookup:
    """Answers from the index of a registry.

    Args:
        git: The repository.
        directory: Where the index lies.
    """

    def __init__(self, git: Git, directory: Path) -> None:
        self._git = git
        self._directory = directory
        self._index: Index | None = None

    def ask(self, store: Store, question: Callable[[Index], Answer]) -> Answer:
        """The answer to a question about one commit.

        Raises:
            PatchHubError: As the question.
        """
        try:
            return question(self._current(store))
        except PatchHubError:
            raise
        except (sqlite3.Error, ValueError, TypeError, AttributeError):  # damaged: it is made again
            self.close()
            (self._directory / index.NAME).unlink(missing_ok=True)
            return question(self._current(store))

    def close(self) -> None:
        """Give the file back."""
        found, self._index = self._index, None
        if found is not None:
            found.close()

    def _current(self, store: Store) -> Index:
        if self._index is None or self._index.commit != store.commit:
            self.close()
            self._index = index.load(self._directory / index.NAME)
        if self._index is None or self._index.commit != store.commit:
            from patchhub_registry import indexing  # a question that finds it fresh starts faster

            self.close()
            self._index = indexing.current(self._git, store, self._directory)
        return self._index
