"""Makes a model directory hold base + stack: a generation is built, then shown in one step."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from patchhub.checkpoint.build import Builder
from patchhub.checkpoint.drift import Depth, find_drift
from patchhub.checkpoint.files import file_digest, list_files, stamp
from patchhub.checkpoint.journal import Journal, Ledger, Phase, write_journal
from patchhub.checkpoint.kept import kept_generation
from patchhub.checkpoint.place import Place, place_of
from patchhub.checkpoint.plan import Shard, plan_shards
from patchhub.checkpoint.reading import last_state, state_of
from patchhub.checkpoint.records import FileMark, State
from patchhub.checkpoint.recovery import LOCK_TIMEOUT, WHAT, Holds, settle, switch
from patchhub.composer.identity import composed_identity
from patchhub.composer.stack import check_stack, ids_at, sites_of
from patchhub.durable import sync_directory, sync_tree, write_new
from patchhub.errors import ConflictError, IntegrityError, PatchHubError
from patchhub.fingerprint import Fingerprint, Progress, check_headers, check_tensors
from patchhub.identityfile import IDENTITY, Identity, StackItem, require_bare
from patchhub.kinds import weight_kind
from patchhub.lock import locked
from patchhub.oserrors import refusals, refused
from patchhub.patch import Patch
from patchhub.tensorfile import CheckpointFiles, open_checkpoint


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model directory holds after a change.

    Attributes:
        number: Of the generation: a new one has a number above all others, one that was kept and
            is shown again has its own.
        path: The directory itself, without the link.
        identity: Identity of the composed model.
        stack: The patches, bottom first.
        touched: SHA-256 of the composed bytes of every touched tensor.
    """

    number: int
    path: Path
    identity: str
    stack: tuple[StackItem, ...]
    touched: Mapping[str, str]


def materialise(
    target: Path,
    base_dir: Path,
    fingerprint: Fingerprint,
    patches: Sequence[Patch],
    *,
    names: Sequence[str] = (),
    progress: Progress | None = None,
    ledger: Ledger | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
) -> Generation:
    """Make ``target`` an ordinary model directory that holds the base with exactly these patches.

    ``target`` is (or becomes) a link to a generation in ``<target>.patchhub``. Files that did not
    change are hard links, also to files of the base: do not write into a generation. Where the
    generation before holds what is wanted, the link goes back to it. A crash at any time leaves the
    old generation or the new one, and the next call (or `recover`) tidies up.

    Args:
        target: A name that is free, or that an earlier call made.
        base_dir: The base. It is never written.
        fingerprint: Of the base. Headers and touched tensors are checked against it.
        patches: The whole stack, bottom first; none gives files byte-equal to the base's.
        names: Names of the patches for people, one each, or none at all.
        progress: Called with bytes written and bytes to write.
        ledger: Where the change is recorded when the generation is complete and not yet visible;
            without the record everything stays as it was. It is also asked about what a crash left.
        lock_timeout: Seconds to wait for whoever is changing the directory.

    Raises:
        ConflictError: E306, a patch occurs twice; E308, ``target`` is not ours or of another base;
            E309, ``base_dir`` says that it holds patches.
        IntegrityError: E201, patches or files belong to another base; E206, the directory was
            changed by others; E110, E111, E147, the base cannot be read.
        InvalidInputError: E112, a tensor cannot be patched, or a patch acts on no weights.
        NotFoundError: E109, a directory is missing.
        BusyError: E501, E502. PatchHubError: E704, the disk is full, read-only or broken.
    """
    place = place_of(target)
    place.refuse_foreign()
    weights = fingerprint.weights
    check_stack(patches, fingerprint, weights)
    for patch in patches:
        weight_kind(patch.kind)
    items = _items(patches, names)
    base = open_checkpoint(base_dir)
    if base.directory.is_relative_to(place.store) or base.directory == place.link:
        raise ConflictError(
            "E308", f"{base_dir} cannot be its own base", hint="name another target"
        )
    require_bare(base_dir)
    check_headers(base, fingerprint)
    holds = None if ledger is None else ledger.holds
    with refusals(), locked(place.lock, lock_timeout, WHAT):
        settle(place, holds)
        if ledger is not None:
            ledger.fresh()
        change = _Change(place, base, fingerprint, weights, patches, items)
        try:
            state = change.write(progress)
            change.commit(state, ledger)
        except BaseException as error:
            left = _tidy(place, holds)
            if not isinstance(error, OSError):
                raise
            if left is not None:
                raise refused(error, hint=left) from error
    where = place.generation(state.serial)
    return Generation(state.serial, where, state.identity, state.stack, state.touched)


def _tidy(place: Place, holds: Holds | None) -> str | None:
    """Settle after a failure; None if the change came about all the same, else what to say."""
    try:
        done = settle(place, holds)
    except (OSError, PatchHubError):
        return "what is half done will be finished or undone by the next command"
    return None if done == "finished" else "nothing was changed"


class _Change:
    """One change under the lock."""

    def __init__(
        self,
        place: Place,
        base: CheckpointFiles,
        fingerprint: Fingerprint,
        weights: str,
        patches: Sequence[Patch],
        items: tuple[StackItem, ...],
    ) -> None:
        self._place, self._base, self._fingerprint = place, base, fingerprint
        self._weights, self._patches, self._items = weights, patches, items
        self._current = state_of(place)
        self._last = self._current or last_state(place)
        self._serial = 1 + max(place.generations(), default=0)
        if self._last is not None:
            self._serial = max(self._serial, self._last.number_to_come)

    def write(self, progress: Progress | None) -> State:
        """Have the whole generation written, which nobody sees yet, or find it there already."""
        self._refuse_other_base()
        self._refuse_drift()
        stamps = self._base_stamps()
        if self._current is not None:
            where = self._base.directory
            kept = kept_generation(self._place, self._current, self._items, where, stamps)
            if kept is not None:
                return kept
        ids = {name: ids_at(name, self._patches) for name in sites_of(self._patches)}
        split = set(ids) | set(self._last.split if self._last else ())
        shards = plan_shards(self._base, self._weights, ids, split)
        write_journal(self._place, Journal(Phase.PREPARED, self._serial))
        directory = self._place.generation(self._serial)
        directory.mkdir()
        builder = self._builder(directory, progress)
        builder.build(shards)
        identity = Identity(
            lineage=self._last.lineage if self._last else secrets.token_hex(16),
            serial=self._serial,
            base=self._weights,
            stack=self._items,
            identity=composed_identity(self._weights, [item.id for item in self._items]),
            touched=dict(sorted(builder.touched.items())),
        )
        write_new(directory / IDENTITY, identity.to_bytes())
        self._check_result(directory)
        sync_tree(directory)
        if self._last is None:
            sync_directory(self._place.link.parent)  # the store itself may be new
        before = None if self._current is None else replace(self._current, before=None)
        marks = _marks(directory, shards, () if before is None else before.files.values())
        return _state(identity, marks, stamps, split, before)

    def commit(self, state: State, ledger: Ledger | None) -> None:
        """Let the ledger record the change, then make it visible."""
        claim = {} if ledger is None else ledger.claim
        write_journal(self._place, Journal(Phase.WRITTEN, state.serial, state, claim))
        if ledger is not None:
            ledger.record()
        switch(self._place, state)

    def _builder(self, directory: Path, progress: Progress | None) -> Builder:
        known = [] if self._current is None else [self._current]
        known += [state.before for state in known if state.before is not None]
        older = [self._place.generation(n) for n in reversed(self._place.generations())]
        return Builder(
            directory=directory,
            base=self._base,
            fingerprint=self._fingerprint,
            patches=self._patches,
            known=[(self._place.generation(state.serial), state) for state in known],
            # Each was checked before it got a shard of its own; a file with another stamp was read
            # whole just now.
            trusted=() if self._last is None else self._last.split,
            older=[path for path in older if path != directory],
            progress=progress,
        )

    def _refuse_other_base(self) -> None:
        if self._last is not None and self._last.base != self._weights:
            raise ConflictError(
                "E308",
                f"{self._place.link} holds another base",
                expected=f"weights {self._last.base}",
                found=f"weights {self._weights}",
                hint="name another target for this base",
            )

    def _refuse_drift(self) -> None:
        """A change must not sweep away what somebody wrote into the current generation."""
        if self._current is None:
            return
        state = self._current
        drifts = find_drift(
            self._place.link, self._fingerprint, state.touched, state.files, depth=Depth.STAMPS
        )
        if drifts:
            first = drifts[0]
            raise IntegrityError(
                "E206",
                f"{self._place.link} was changed outside PatchHub: {first.where}",
                expected=first.expected,
                found=first.found,
                hint=f"keep what you need of it, remove the link {self._place.link}, apply again",
                drifts=[f"{drift.where}: {drift.found}" for drift in drifts],
            )

    def _base_stamps(self) -> dict[str, str]:
        """Stamps of the base's files of weights; those that changed are read whole."""
        known = {} if self._last is None else self._last.base_files
        stamps = {file.name: stamp(file) for file in self._base.shards}
        changed = {name for name in stamps if known.get(name, stamps[name]) != stamps[name]}
        suspects = [h.name for h in self._base.tensors.values() if h.file.name in changed]
        if suspects:
            wanted = {name: self._fingerprint.tensors[name].sha256 for name in suspects}
            check_tensors(self._base, wanted)
        return stamps

    def _check_result(self, directory: Path) -> None:
        try:
            check_headers(open_checkpoint(directory), self._fingerprint)
        except PatchHubError as error:
            raise IntegrityError(
                "E207", "the new generation is not a whole model", found=error.what
            ) from error


def _items(patches: Sequence[Patch], names: Sequence[str]) -> tuple[StackItem, ...]:
    labels = names or [""] * len(patches)
    return tuple(StackItem(p.id, name) for p, name in zip(patches, labels, strict=True))


def _marks(
    directory: Path, shards: Sequence[Shard], known: Iterable[FileMark]
) -> dict[str, FileMark]:
    """Marks of all files; those that the generation before had too are not read again."""
    weights = {shard.name for shard in shards}
    digests = {mark.stamp: mark.sha256 for mark in known if mark.sha256}
    marks = {}
    for name, path in list_files(directory).items():
        mark = stamp(path)
        digest = "" if name in weights else digests.get(mark) or file_digest(path)
        marks[name] = FileMark(mark, digest)
    return marks


def _state(
    identity: Identity,
    marks: dict[str, FileMark],
    stamps: dict[str, str],
    split: set[str],
    before: State | None,
) -> State:
    return State(
        lineage=identity.lineage,
        serial=identity.serial,
        base=identity.base,
        stack=identity.stack,
        identity=identity.identity,
        touched=identity.touched,
        files=marks,
        base_files=stamps,
        split=tuple(sorted(split)),
        before=before,
    )
