"""What a change of a model directory would write, without writing it. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from patchhub.checkpoint.place import Place, place_of
from patchhub.checkpoint.plan import Shard, Source, plan_shards
from patchhub.checkpoint.reading import last_state, state_of
from patchhub.checkpoint.records import State
from patchhub.fingerprint import Fingerprint, check_headers
from patchhub.tensorfile import CheckpointFiles, open_checkpoint


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file of weights that would be written.

    Attributes:
        name: Its name in the generation.
        size: Bytes of tensors in it.
        rest: Whether it holds what remains of a shard of the base, which is written once.
    """

    name: str
    size: int
    rest: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """A change of a model directory that was not made.

    Attributes:
        state: What the directory holds now; none for a new one.
        serial: Number of the generation to come.
        written: Files of weights to be written; all others are links or small.
        linked: Files of weights that are taken over.
    """

    state: State | None
    serial: int
    written: tuple[NewFile, ...]
    linked: int

    @property
    def size(self) -> int:
        """Bytes of tensors to be written."""
        return sum(file.size for file in self.written)


def forecast(
    target: Path,
    base_dir: Path,
    fingerprint: Fingerprint,
    ids: Mapping[str, tuple[str, ...]],
) -> Forecast:
    """What `patchhub.checkpoint.materialise` would write.

    Args:
        target: The model directory: one that `materialise` made, or a name that is free.
        base_dir: The base.
        fingerprint: Of the base.
        ids: For every tensor the stack touches the ids of the patches that do, sorted.

    Raises:
        ConflictError: E308, ``target`` is not ours.
        IntegrityError: E201, the base's headers are others; E110, E111, E147, E206.
        NotFoundError: E109.
    """
    place = place_of(target)
    place.refuse_foreign()
    base = open_checkpoint(base_dir)
    check_headers(base, fingerprint)
    state = state_of(place)
    again = _shown_again(place, state, ids)
    if again is not None:
        weights = [name for name, mark in again.files.items() if not mark.sha256]
        return Forecast(state, again.serial, (), len(weights))
    last = state or last_state(place)
    split = set(ids) | set(last.split if last else ())
    shards = plan_shards(base, fingerprint.weights, ids, split)
    new = [s for s in shards if s.source is not Source.BASE and not _is_kept(place, state, s)]
    files = tuple(NewFile(s.name, _size(base, s), s.source is Source.REST) for s in new)
    serial = 1 + max(place.generations(), default=0)
    if last is not None:
        serial = max(serial, last.number_to_come)
    return Forecast(state, serial, files, len(shards) - len(new))


def _shown_again(
    place: Place, state: State | None, ids: Mapping[str, tuple[str, ...]]
) -> State | None:
    """The generation before, if it holds what is wanted and nothing need be written."""
    before = None if state is None else state.before
    wanted = {patch for patches in ids.values() for patch in patches}
    if before is None or wanted != {item.id for item in before.stack}:
        return None
    return before if place.generation(before.serial).is_dir() else None


def _is_kept(place: Place, state: State | None, shard: Shard) -> bool:
    """Whether an earlier generation has the file; equal names mean equal bytes."""
    if state is not None and shard.name in state.files:
        return True
    before = None if state is None else state.before
    if before is not None and shard.name in before.files:
        return (place.generation(before.serial) / shard.name).is_file()
    if shard.source is not Source.REST:
        return False
    return any((place.generation(n) / shard.name).is_file() for n in place.generations())


def _size(base: CheckpointFiles, shard: Shard) -> int:
    return sum(base.tensors[name].end - base.tensors[name].begin for name in shard.tensors)
