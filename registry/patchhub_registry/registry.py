"""The registry: one object for everything a program reads from it or adds to it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from patchhub_registry import additions, paths, stack
from patchhub_registry.git import Git
from patchhub_registry.local import LocalFile
from patchhub_registry.names import check_name
from patchhub_registry.objects import Objects
from patchhub_registry.schema import BaseRecord, Entry, Op, Statement
from patchhub_registry.settings import Settings
from patchhub_registry.stack import Change, StackState
from patchhub_registry.store import PatchRecord, PatchSummary, Store
from patchhub_registry.writer import Draft, Writer

from patchhub.errors import ConflictError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from patchhub_registry.verify import Report

    from patchhub.canonical import Json
    from patchhub.fingerprint import Fingerprint

TIMEOUT = 10.0


class Registry:
    """A git repository of patches, stacks and the evidence for them.

    Every reading method answers from the branch's newest commit; every writing one makes one commit.

    Attributes:
        root: Top directory.
    """

    def __init__(self, root: Path, *, lock_timeout: float = TIMEOUT) -> None:
        self.root = root
        self._git = Git(root)
        self._objects = Objects(self._git)
        self._writer = Writer(self._git, self._objects, lock_timeout)
        self._local = LocalFile(root / paths.PRIVATE / "local.json")

    @classmethod
    def init(cls, directory: Path, *, lock_timeout: float = TIMEOUT) -> Registry:
        """Make a new registry with its own git repository.

        Args:
            directory: New, empty, or a git repository without commits and files.
            lock_timeout: Seconds to wait for the lock.

        Raises:
            ConflictError: E108, it is a registry already; E308, it holds something else.
            PatchHubError: E701, git is missing or too old; E702, git failed.
        """
        root = directory.absolute()
        _check_vacant(root)
        root.mkdir(parents=True, exist_ok=True)
        registry = cls(root.resolve(), lock_timeout=lock_timeout)
        git = registry._git
        git.check_version()
        git.run("init", "--quiet", "--initial-branch=main", "--template=", "--object-format=sha1")
        if registry._objects.get("HEAD") is not None:
            raise ConflictError("E308", f"{directory} is a git repository with commits")
        for setting in ("gc.auto=0", "maintenance.auto=false", "core.fsync=committed"):
            git.run("config", *setting.split("="))
        settings = Settings(secrets.token_hex(16)).to_bytes()
        files = {
            paths.SETTINGS: settings,
            ".gitattributes": paths.ATTRIBUTES,
            ".gitignore": paths.IGNORED,
        }
        registry._writer.commit(lambda _: Draft(files, "registry: begin\n"), rebase=False)
        return registry

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
        begin = (Path.cwd() if start is None else start).resolve()
        for root in (begin, *begin.parents):
            if (root / paths.SETTINGS).is_file() and (root / ".git").exists():
                Settings.from_bytes((root / paths.SETTINGS).read_bytes())
                registry = cls(root, lock_timeout=lock_timeout)
                registry._writer.recover(0)
                return registry
        raise NotFoundError(
            "E105",
            f"not inside a registry: {begin}",
            expected="a directory with patchhub.toml here or above",
            hint='run "patchhub init"',
        )

    def close(self) -> None:
        """End the git process that reads objects; the registry stays usable."""
        self._objects.close()

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
    def head(self) -> str:
        """The newest commit."""
        found = self._objects.get("HEAD")
        if found is None:
            raise IntegrityError("E204", f"{self.root} has no commit on its branch")
        return found.id

    def at(self, commit: str | None = None) -> Store:
        """Everything the registry said at one commit; by default the newest."""
        return Store(self._git, self._objects, commit or self.head)

    # --- bases

    def bases(self) -> list[BaseRecord]:
        """All bases, by name."""
        return self.at().bases()

    def base(self, name: str) -> BaseRecord:
        """One base. Raises NotFoundError E106."""
        return self.at().base(name)

    def base_of(self, weights: str) -> BaseRecord:
        """The base with this digest of weights (the first by name).

        Raises:
            NotFoundError: E106.
        """
        for base in self.bases():
            if base.weights == weights:
                return base
        raise NotFoundError(
            "E106", "no base with these weights", found=weights, hint='run "patchhub base add"'
        )

    def add_base(
        self, name: str, fingerprint: Fingerprint, notes: Mapping[str, str] | None = None
    ) -> BaseRecord:
        """Add a base; the same one again changes nothing.

        Raises:
            InvalidInputError: E101.
            ConflictError: E108, the name is taken by another model.
        """
        record = BaseRecord(check_name(name, "base"), fingerprint, dict(notes or {}))
        return self._add(additions.base(record))

    def link_base(self, name: str, directory: Path) -> None:
        """Remember on this machine where a base lies; git never learns of it.

        Raises:
            NotFoundError: E106, no such base; E109, no such directory.
        """
        self.base(name)
        self._local.link_base(name, directory)

    def base_path(self, name: str) -> Path:
        """Where a base lies on this machine.

        Raises:
            NotFoundError: E106, no such base; E109, not linked, or the directory is gone.
        """
        self.base(name)
        path = self._local.base_paths().get(name)
        if path is None or not path.is_dir():
            where = "not known on this machine" if path is None else f"gone: {path}"
            raise NotFoundError(
                "E109",
                f'the directory of base "{name}" is {where}',
                hint=f"run: patchhub base add {name} PATH",
            )
        return path

    # --- patches

    def patches(self) -> list[PatchSummary]:
        """All patches, by name and version."""
        return self.at().summaries()

    def find(self, ref: str) -> PatchRecord:
        """The patch meant by ``name@n``, ``name``, ``ph:<hex>`` or a whole id.

        Raises:
            PatchHubError: E101 to E104; integrity errors of its record and manifest.
        """
        return self.at().patch(ref)

    def read_patch_files(self, ref: str) -> dict[str, bytes]:
        """The patch directory's files by name, every digest checked; without record.json.

        Raises:
            PatchHubError: As `find`; E117, E202.
        """
        return self.at().patch_files(ref)

    def add_patch(
        self,
        files: Mapping[str, bytes],
        name: str,
        record: Mapping[str, Json],
        statements: Sequence[Statement] = (),
    ) -> PatchRecord:
        """Store a patch as the next version of a name, in one commit.

        Args:
            files: The patch directory (`patchhub.patch.Patch.files`).
            name: Patch name.
            record: What was observed: ``base`` (name), and optionally ``libraries``, ``realised``,
                ``sensitivity``, ``review_after``, ``message``, ``created``.
            statements: What is said about it, e.g. the guard's verdict.

        Raises:
            InvalidInputError: E101, E113: name or record is wrong.
            NotFoundError: E106, the base is not in the registry.
            IntegrityError: E117, E202: files and manifest disagree; E201, made for another base.
            ConflictError: E108, this very patch is already a version of the name.
        """
        return self._add(additions.patch(files, name, record, statements))

    # --- statements and policies

    def statements(self, subject: str) -> list[Statement]:
        """Statements about a digest, e.g. a patch id."""
        return self.at().statements(subject)

    def add_statements(self, statements: Sequence[Statement]) -> None:
        """Add statements in one commit; those that are there already are skipped.

        Raises:
            IntegrityError: E116, one is not canonical JSON.
        """
        self._add(additions.statements(statements))

    def policy(self, number: int | None = None) -> tuple[int, bytes] | None:
        """Number and bytes of a policy, by default the one in force; None if there is none."""
        return self.at().policy(number)

    def add_policy(self, data: bytes) -> int:
        """Add the next version of the policy; the same bytes again change nothing.

        Raises:
            InvalidInputError: E146, not TOML.
        """
        return self._add(additions.policy(data))

    # --- stacks

    def stacks(self) -> list[str]:
        """Names of all stacks."""
        return stack.names(self.at())

    def stack(self, name: str) -> StackState:
        """A stack as it is now.

        Raises:
            NotFoundError: E107.
            IntegrityError: E203.
        """
        return stack.state(self.at(), name)

    def stack_or_new(self, name: str, base: str) -> StackState:
        """A stack as it is now, or, when it does not exist, an empty one over a base (weights digest).

        Raises:
            IntegrityError: E201, the stack stands on another base.
        """
        store = self.at()
        if check_name(name, "stack") not in stack.names(store):
            return StackState.empty(name, base)
        found = stack.state(store, name)
        if found.base != base:
            raise IntegrityError(
                "E201", f"stack {name} stands on another base", expected=found.base, found=base
            )
        return found

    def log(self, name: str) -> list[Entry]:
        """All entries of a stack, oldest first, chain checked.

        Raises:
            NotFoundError: E107.
            IntegrityError: E203.
        """
        return stack.entries(self.at(), name)

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
    ) -> Entry:
        """Add one entry to a stack: `push_entries` with one change."""
        change = Change(Op(op), ref, after, reason, policy, guard, dict(waivers or {}))
        return self.push_entries(expected, [change], statements=statements)[-1]

    def push_entries(
        self,
        expected: StackState,
        changes: Sequence[Change],
        *,
        statements: Sequence[Statement] = (),
    ) -> list[Entry]:
        """Add entries to a stack in one commit, if the stack is still what the caller saw.

        A first push to the state that `stack_or_new` gave for an unknown name makes the stack.

        Args:
            expected: The state that was planned on; never replanned here.
            changes: The operations, in order.
            statements: Statements the entries name and that are not in the registry yet.

        Returns:
            The new entries; every hundredth is a checkpoint that was put in between.

        Raises:
            ConflictError: E304, the stack has moved on; E305, another program moved the branch;
                E306, already in the stack; E307, not in the stack.
            IntegrityError: E201, a patch made for another base; E403, the guard's statement is not
                there or is about another patch.
        """
        return self._add(additions.entries(expected, changes, statements))

    # --- the whole

    def verify(self, *, objects: bool = True, history: bool = True) -> Report:
        """Hold everything against its digests, chains and forms.

        Args:
            objects: Also let git check every object (``git fsck``).
            history: Also look for files that were changed or removed after they were written.
        """
        from patchhub_registry.verify import verify

        return verify(self._git, self.at(), objects=objects, history=history)

    def _add(self, addition: additions.Addition[additions.Made]) -> additions.Made:
        outcome: list[additions.Made] = []

        def plan(head: str) -> Draft:
            draft, made = addition.draft(self.at(head))
            outcome[:] = [made]
            return draft

        self._writer.commit(plan, rebase=addition.rebase)
        return outcome[0]


def _check_vacant(root: Path) -> None:
    if not root.exists():
        return
    if not root.is_dir():
        raise ConflictError("E308", f"{root} is not a directory")
    held = {entry.name for entry in os.scandir(root)}
    if paths.SETTINGS in held:
        raise ConflictError("E108", f"{root} is a registry already")
    foreign = sorted(held - {".git", paths.PRIVATE})
    if foreign:
        raise ConflictError(
            "E308",
            f"{root} is not empty",
            found=", ".join(foreign[:5]),
            hint="give a new or empty directory",
        )
