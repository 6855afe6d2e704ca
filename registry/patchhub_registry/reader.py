"""The half of a registry that reads; every answer comes from the branch's newest commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import IntegrityError, NotFoundError
from patchhub_registry import chain, paths
from patchhub_registry.entry import Entry
from patchhub_registry.git import Git
from patchhub_registry.local import LocalFile
from patchhub_registry.lookup import Answer, Lookup
from patchhub_registry.names import check_name, shown
from patchhub_registry.objects import Objects
from patchhub_registry.patches import PatchRecord, PatchSummary
from patchhub_registry.schema import BaseRecord, Statement
from patchhub_registry.stack import Change, StackState
from patchhub_registry.store import Store

if TYPE_CHECKING:
    import git

    from patchhub_registry.index import Fact, Index, LogLine
    from patchhub_registry.verify import Report


class Reader:
    """What a registry says.

    Attributes:
        root: Top directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._git = Git(root)
        self._objects = Objects(self._git)
        self._lookup = Lookup(self._git, root / paths.PRIVATE)
        self._local = LocalFile(root / paths.PRIVATE / "local.json")

    @property
    def head(self) -> str:
        """The newest commit."""
        found = self._objects.get("HEAD")
        if found is None:
            raise IntegrityError("E204", f"{self.root} has no commit on its branch")
        return found.id

    def at(self, commit: str | None = None) -> Store:
        """Everything the registry said at one commit; by default the newest.

        Raises:
            NotFoundError: E109, no such commit.
        """
        if commit is None:
            return self._store(self.head)
        found = self._objects.get(f"{commit}^{{commit}}")
        if found is None:
            raise NotFoundError("E109", f"no commit {shown(commit)}")
        return Store(self._git, self._objects, found.id)

    @property
    def repository(self) -> git.Repo:
        """The repository as a GitPython object, for programs that walk its history or its remotes.

        It is for reading: what is committed through it is not checked. Close it after use.
        """
        import git

        repository = git.Repo(self.root)
        repository.git.update_environment(**self._git.environment)
        return repository

    def close(self) -> None:
        """End the git process that reads objects; the registry stays usable."""
        self._objects.close()
        self._lookup.close()

    def bases(self) -> list[BaseRecord]:
        """All bases, by name."""
        return self.at().bases()

    def base(self, name: str) -> BaseRecord:
        """One base.

        Raises:
            NotFoundError: E106.
        """
        return self.at().base(name)

    def base_of(self, weights: str) -> BaseRecord:
        """The base with this digest of weights, the first by name.

        Raises:
            NotFoundError: E106.
        """
        for base in self.bases():
            if base.weights == weights:
                return base
        raise NotFoundError(
            "E106", "no base with these weights", found=weights, hint='run "patchhub base add"'
        )

    def base_path(self, name: str) -> Path:
        """Where a base lies on this machine.

        Raises:
            NotFoundError: E106, no such base; E109, not linked, or the directory is gone.
        """
        self.base(name)
        path = self._local.base_paths().get(name)
        if path is None or not path.is_dir():
            where = "is not known on this machine" if path is None else f"is gone: {path}"
            raise NotFoundError(
                "E109",
                f'the directory of base "{name}" {where}',
                hint=f"run: patchhub base link {name} PATH",
            )
        return path

    def patches(self) -> list[PatchSummary]:
        """All patches, by name and version."""
        return self._ask(lambda index: index.patches())

    def count(self) -> int:
        """How many patches there are."""
        return self._ask(lambda index: index.count())

    def facts(
        self,
        subject: str = "",
        *,
        exact: bool = False,
        relation: str | None = None,
        target: str | None = None,
        words: str = "",
    ) -> list[Fact]:
        """Requests of stored patches; see `patchhub_registry.index.Index.facts`."""
        return self._ask(
            lambda index: index.facts(
                subject, exact=exact, relation=relation, target=target, words=words
            )
        )

    def history(
        self, stack: str | None = None, *, limit: int | None = None, before: int | None = None
    ) -> list[LogLine]:
        """Entries of a stack or of all for a listing, oldest first; chain checked.

        Args:
            stack: One stack, or None for all.
            limit: At most so many, the newest.
            before: Only entries with a smaller number.

        Raises:
            NotFoundError: E107.
            IntegrityError: E203.
        """
        if stack is not None:
            chain.last(self.at(), check_name(stack, "stack"))
        return self._ask(lambda index: index.log(stack, limit=limit, before=before))

    def heads(self) -> list[LogLine]:
        """The newest entry of each stack, by name.

        Raises:
            IntegrityError: E203.
        """
        return self._ask(lambda index: index.heads())

    def resolve(self, ref: str) -> PatchRecord:
        """The patch meant by ``name@n``, ``name``, ``ph:<hex>`` or a whole id.

        Raises:
            PatchHubError: E101 to E104; integrity errors of its record and manifest.
        """
        return self.at().patch(ref)

    def read_patch_files(self, ref: str) -> dict[str, bytes]:
        """The patch directory's files by name, every digest checked; without record.json.

        Raises:
            PatchHubError: As `resolve`; E117, a foreign or missing file; E202, a wrong digest.
        """
        return self.at().patch_files(ref)

    def statements(self, subject: str) -> list[Statement]:
        """Statements about a digest, e.g. a patch id."""
        return self.at().statements(subject)

    def policies(self) -> list[int]:
        """Numbers of the registry's policies, ascending."""
        return self.at().policies()

    def policy(self, number: int | None = None) -> bytes | None:
        """A policy file, by default the one in force (the highest); None if there is none."""
        return self.at().policy(number)

    def stacks(self) -> list[str]:
        """Names of all stacks."""
        return chain.names(self.at())

    def stack(self, name: str) -> StackState:
        """A stack as it is now.

        Raises:
            NotFoundError: E107.
            IntegrityError: E203.
        """
        return chain.state(self.at(), name)

    def stack_or_new(self, name: str, base: str) -> StackState:
        """A stack as it is now, or an empty one over a base (weights digest) if there is none.

        Raises:
            IntegrityError: E201, the stack stands on another base.
        """
        store = self.at()
        if check_name(name, "stack") not in chain.names(store):
            return StackState.empty(name, base)
        found = chain.state(store, name)
        if found.base != base:
            raise IntegrityError(
                "E201", f"stack {name} stands on another base", expected=found.base, found=base
            )
        return found

    def preview(self, before: StackState, changes: Sequence[Change]) -> StackState:
        """The state that some operations would lead to; nothing is written.

        Raises:
            PatchHubError: As `patchhub_registry.Registry.change`, but for stale plans.
        """
        return chain.continued(self.at(), before, changes)[1]

    def log(self, name: str) -> list[Entry]:
        """All entries of a stack, oldest first, chain checked.

        Raises:
            NotFoundError: E107.
            IntegrityError: E203.
        """
        return chain.entries(self.at(), name)

    def _store(self, head: str) -> Store:
        """What is said at a newest commit; patch ids are looked up in the index."""
        plain = Store(self._git, self._objects, head)

        def ids(prefix: str) -> list[tuple[str, str, int]]:
            return self._lookup.ask(plain, lambda index: index.by_id(prefix))

        return Store(self._git, self._objects, head, ids)

    def _ask(self, question: Callable[[Index], Answer]) -> Answer:
        return self._lookup.ask(self.at(), question)

    def audit(self, *, objects: bool = True, history: bool = True) -> Report:
        """Hold everything against its digests, chains and forms.

        Args:
            objects: Also let git check every object (``git fsck``).
            history: Also look for files that were changed or removed after they were written.
        """
        from patchhub_registry.verify import verify

        store, tables = self.at(), None
        if (self.root / paths.PRIVATE / "index.sqlite").exists():
            names = ("patches", "facts", "entries")
            ask = self._lookup.ask
            tables = ask(store, lambda index: {name: index.rows(name) for name in names})
        return verify(self._git, store, objects=objects, history=history, tables=tables)
