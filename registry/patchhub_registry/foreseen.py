"""The registry as it will be: what is not committed yet can be read, checked and built on.

It goes into git together with whatever is then added: one commit of both, or none of either.
"""

from __future__ import annotations

from collections.abc import Mapping

from patchhub.errors import ConflictError
from patchhub_registry import paths
from patchhub_registry.additions import Addition, Made
from patchhub_registry.objects import TreeEntry
from patchhub_registry.patches import PatchRecord
from patchhub_registry.registry import Registry
from patchhub_registry.schema import Record
from patchhub_registry.store import Store
from patchhub_registry.writer import Draft

Patches = tuple[PatchRecord, ...]


class Overlay(Store):
    """A commit with some more files; they are no part of what `walk` lists.

    Args:
        below: The commit.
        new: Path → content; none of them replaces another.

    Attributes:
        new: The same.
    """

    def __init__(self, below: Store, new: Mapping[str, bytes]) -> None:
        super().__init__(below._git, below._objects, below.commit, self._both)
        self._below, self.new = below, new

    def file(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""
        return self.new[path] if path in self.new else self._below.file(path)

    def directory(self, path: str) -> dict[str, TreeEntry]:
        """Entries of a directory; a new file has no object yet."""
        found = dict(self._below.directory(path))
        for name, _, deeper in self._inside(path):
            found.setdefault(name, TreeEntry("40000" if deeper else "100644", ""))
        return found

    def files(self, path: str) -> dict[str, bytes]:
        """The files of one directory by name."""
        new = {name: self.new[f"{path}/{name}"] for name, _, deep in self._inside(path) if not deep}
        return {**self._below.files(path), **new}

    def _inside(self, path: str) -> list[tuple[str, str, str]]:
        start = f"{path}/"
        inside = (one.removeprefix(start) for one in self.new if one.startswith(start))
        return [one.partition("/") for one in inside]

    def _both(self, prefix: str) -> list[tuple[str, str, int]]:
        """`Store.ids`, of old patches and new ones."""
        new = (
            Record.from_bytes(data, path)
            for path, data in self.new.items()
            if path.endswith(f"/{paths.RECORD}")
        )
        mine = [(one.patch, one.name, one.version) for one in new if one.patch.startswith(prefix)]
        return [*self._below._ids(prefix), *mine]


class Foreseen(Registry):
    """A registry with patches in it that are not committed yet.

    The first commit of whatever is added to it holds them as well.

    Args:
        registry: The registry.
        pending: The patches, as `patchhub_registry.patching.patches` makes them.

    Attributes:
        made: Their records.

    Raises:
        PatchHubError: They are refused.
    """

    def __init__(self, registry: Registry, pending: Addition[Patches]) -> None:
        super().__init__(registry.root, lock_timeout=registry.lock_timeout)
        below = registry.at()
        for pointer, source in pending.payloads.items():
            below.payloads.keep(pointer, source)
        self.made = pending.draft(below)[1]
        self._pending: Addition[Patches] | None = pending

    def _store(self, head: str) -> Store:
        store = super()._store(head)
        return store if self._pending is None else self._with(self._pending, store)

    def _with(self, pending: Addition[Patches], store: Store) -> Overlay:
        """The patches at a head, where they are what they were when they were looked at."""
        draft, made = pending.draft(store)
        found, expected = (
            [f"{one.ref} {one.digest}" for one in each] for each in (made, self.made)
        )
        if found != expected:
            raise ConflictError(
                "E305",
                "the registry's head moved while committing; nothing was changed",
                expected=", ".join(expected),
                found=", ".join(found),
                hint="run it again",
            )
        return Overlay(store, draft.files)

    def _add(self, addition: Addition[Made]) -> Made:
        if self._pending is None:
            return super()._add(addition)

        def draft(store: Store) -> tuple[Draft, Made]:
            found, made = addition.draft(store)
            new = store.new if isinstance(store, Overlay) else {}
            return Draft({**new, **found.files}, found.message), made

        payloads = {**self._pending.payloads, **addition.payloads}
        made = super()._add(Addition(draft, addition.rebase, payloads))
        self._pending = None
        return made
