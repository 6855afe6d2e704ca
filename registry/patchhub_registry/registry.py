"""The registry: one object for everything a program reads from it or adds to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from patchhub.errors import NotFoundError
from patchhub.oserrors import refusals
from patchhub_registry import paths
from patchhub_registry.adding import Adding
from patchhub_registry.journal import pending
from patchhub_registry.reader import Reader
from patchhub_registry.schema import Op, Statement
from patchhub_registry.settings import Settings
from patchhub_registry.stack import Change, StackState
from patchhub_registry.verbs import Verbs

# What writes is imported by the methods that write: listing a registry must start fast.
if TYPE_CHECKING:
    from patchhub_registry.additions import Addition, Made
    from patchhub_registry.assets import Assets
    from patchhub_registry.writer import Draft, Writer

TIMEOUT = 10.0
_SETTLING = 1.0


class Registry(Reader, Adding, Verbs):
    """A git repository of patches, stacks and the evidence for them.

    Every writing method makes one commit, or none when it fails.

    Args:
        root: Top directory.
        lock_timeout: Seconds to wait for the lock when writing.

    Attributes:
        lock_timeout: The same.
    """

    def __init__(self, root: Path, *, lock_timeout: float = TIMEOUT) -> None:
        super().__init__(root)
        self.lock_timeout = lock_timeout

    @classmethod
    def init(
        cls, directory: Path, *, policy: bytes | None = None, lock_timeout: float = TIMEOUT
    ) -> Registry:
        """Make a new registry with its own git repository.

        Args:
            directory: New, empty, or a git repository without commits and files.
            policy: The first policy's file, part of the first commit.
            lock_timeout: Seconds to wait for the lock.

        Raises:
            ConflictError: E108, it is a registry already; E308, it holds something else.
            InvalidInputError: E146, the policy is not TOML.
            PatchHubError: E701, git is missing or too old; E702, git failed.
        """
        from patchhub_registry import additions
        from patchhub_registry.creation import create

        wanted = None if policy is None else additions.policy(policy)
        made = cls(create(directory, lock_timeout, policy), lock_timeout=lock_timeout)
        if wanted is not None:
            made._add(wanted)  # only where an interrupted init was finished that had another one
        return made

    @classmethod
    def open(cls, start: Path | None = None, *, lock_timeout: float = TIMEOUT) -> Registry:
        """Find the registry that a directory lies in.

        Args:
            start: Directory to begin at; the current one by default.
            lock_timeout: Seconds to wait for the lock when writing.

        Raises:
            NotFoundError: E105.
            IntegrityError: E114, a newer format; E204, patchhub.toml is damaged.
        """
        root = cls.find_root(start)
        Settings.from_bytes((root / paths.SETTINGS).read_bytes())
        registry = cls(root, lock_timeout=lock_timeout)
        registry.settle(_SETTLING)
        return registry

    @staticmethod
    def find_root(start: Path | None = None) -> Path:
        """Top directory of the registry that a directory lies in; nothing in it is read.

        Raises:
            NotFoundError: E105.
        """
        begin = (Path.cwd() if start is None else start).resolve()
        for root in (begin, *begin.parents):
            if (root / paths.SETTINGS).is_file() and (root / ".git").exists():
                return root
        raise NotFoundError(
            "E105",
            f"not inside a registry: {begin}",
            expected="a directory with patchhub.toml here or above",
            hint='run "patchhub init"',
        )

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def unsettled(self) -> bool:
        """Whether a commit is under way or was cut off."""
        return bool(pending(self.root / paths.PRIVATE / "journal"))

    def settle(self, wait: float) -> bool:
        """Clean up after commits that were cut off; `open` does it, waiting for a second.

        Args:
            wait: Seconds to wait for the lock.

        Returns:
            Whether nothing is left to clean up.
        """
        return not self.unsettled or self._writer().recover(wait)

    def garbage(self, grace: float) -> list[tuple[Path, str]]:
        """Files below ``.patchhub`` and ``.git`` that no command needs, and what they are.

        Only while holding the registry's lock; see `patchhub_registry.garbage`.
        """
        from patchhub_registry.garbage import garbage

        return garbage(self._git, self._objects, grace)

    @property
    def assets(self) -> Assets:
        """What was computed once and is kept for whoever needs the very same again."""
        from patchhub_registry.assets import Assets

        return Assets(self)

    def link_base(self, name: str, directory: Path) -> None:
        """Remember on this machine where a base lies; git never learns of it.

        Raises:
            NotFoundError: E106, no such base; E109, no such directory.
            BusyError: E501.
        """
        from patchhub_registry.lock import locked

        self.base(name)
        with locked(self.root / paths.PRIVATE / "lock", self.lock_timeout):
            self._local.link_base(name, directory)

    def change(
        self,
        expected: StackState,
        changes: Sequence[Change],
        *,
        statements: Sequence[Statement] = (),
        policy: int | None = None,
    ) -> StackState:
        """Add entries to a stack in one commit, if the stack is still what the caller saw.

        A first push to the state that `stack_or_new` gave for an unknown name makes the stack.
        Every hundredth entry is a checkpoint, put in between.

        Args:
            expected: The state that was planned on; never replanned here.
            changes: The operations, in order.
            statements: Statements the entries name and that are not in the registry yet.
            policy: Number of the policy that let the patches in, 0 for the shipped one.

        Returns:
            The state after them.

        Raises:
            ConflictError: E304, the stack or the policy has moved on; E305, another program moved
                the branch; E306, already in the stack; E307, not in the stack.
            IntegrityError: E201, a patch made for another base; E403, the guard's statement is not
                there or is about another patch.
        """
        from patchhub_registry import additions

        return self._add(additions.entries(expected, changes, statements, policy))

    def push_entry(
        self,
        expected: StackState,
        op: Op | str,
        ref: str,
        *,
        after: str | None = None,
        reason: str = "unspecified",
        policy: str | None = None,
        guard: str | None = None,
        waivers: Mapping[str, str] | None = None,
        statements: Sequence[Statement] = (),
    ) -> StackState:
        """Add one entry to a stack: `change` with one operation."""
        change = Change(Op(op), ref, after, reason, policy, guard, dict(waivers or {}))
        return self.change(expected, [change], statements=statements)

    def _writer(self) -> Writer:
        from patchhub_registry.writer import Writer

        return Writer(self._git, self._objects, self.lock_timeout)

    def _add(self, addition: Addition[Made]) -> Made:
        outcome: list[Made] = []
        payloads = self.at().payloads
        for pointer, source in addition.payloads.items():
            payloads.keep(pointer, source)

        def plan(head: str) -> Draft:
            payloads.keep_missing(addition.payloads)
            draft, made = addition.draft(self._store(head))
            outcome[:] = [made]
            return draft

        from patchhub_registry.operations.recovery import recover

        with refusals():
            recover(self)
            self._writer().commit(plan, rebase=addition.rebase)
        return outcome[0]
