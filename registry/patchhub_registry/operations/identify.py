"""Which base and which stack a model directory is, and how much of that is certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import ConflictError, IntegrityError, NotFoundError
from patchhub_registry.entry import StackItem
from patchhub_registry.operations.directory import Position, places, said_by
from patchhub_registry.operations.patchfinder import PatchFinder

if TYPE_CHECKING:
    from patchhub.checkpoint import Drift, Identity
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.schema import BaseRecord

VERIFIED, CLAIMED, DIFFERS, UNREAD = "verified", "claimed", "differs", "not read"


@dataclass(frozen=True, slots=True)
class Identified:
    """A model directory and what it is.

    Attributes:
        directory: Where it is.
        by: Who said so: ``state`` (PatchHub keeps the directory), ``identity`` (a file in it, as in
            a copy or in a model saved from memory), or ``bytes``.
        base: Name of the base.
        weights: Digest of the base's weights.
        patches: What lies on it, bottom first.
        identity: Identity of the composed model.
        stacks: Where in the registry's stacks it is.
        checked: For each part of the model whether its digests were ``verified``, only ``claimed``,
            ``not read``, or whether it ``differs`` from what the digests say.
        drift: What is not as it is said to be.
    """

    directory: Path
    by: str
    base: str
    weights: str
    patches: tuple[StackItem, ...]
    identity: str
    stacks: tuple[Position, ...]
    checked: Mapping[str, str]
    drift: tuple[Drift, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether every byte of the weights was held against a digest."""
        return all(self.checked[part] == VERIFIED for part in ("touched", "others"))

    def require(self) -> None:
        """Pass if nothing contradicts the answer.

        Raises:
            IntegrityError: E206.
        """
        if self.drift:
            raise IntegrityError(
                "E206",
                f"{self.directory} is not what it says it is",
                expected="; ".join(f"{each.where}: {each.expected}" for each in self.drift[:3]),
                found="; ".join(f"{each.where}: {each.found}" for each in self.drift[:3]),
            )


def identify(
    registry: Registry,
    directory: str | Path,
    *,
    verify: bool = False,
    progress: Progress | None = None,
) -> Identified:
    """Say which base and which stack a directory is.

    What it says of itself is held against headers and touched tensors. A directory that says
    nothing is known by its bytes: by the headers of a registered base, and by the digests of the
    tensors that patches touch, compared with every state of every stack and every patch alone.

    Args:
        registry: Whose bases and stacks it is held against.
        directory: The model directory, PatchHub's own or any other.
        verify: Read every byte.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E109, no such directory, or the base that would tell is not on this machine;
            E106, E107, not known here, with what is nearest.
        IntegrityError: E110, E111, E147, it cannot be read; E116, E206, its identity is damaged.
    """
    where = Path(directory)
    if not where.is_dir():
        raise NotFoundError("E109", f"{directory}: no such directory")
    said = _said(registry, where)
    if said is None:
        from patchhub_registry.operations.recognise import recognise

        return recognise(registry, where, verify=verify, progress=progress)
    base = next((each for each in registry.bases() if each.weights == said.base), None)
    if base is None:
        raise _unknown_base(registry, where, said)
    return _claimed(registry, where, said, base, verify)


def _said(registry: Registry, where: Path) -> Identity | None:
    try:
        return said_by(where, registry)
    except ConflictError:  # nobody's directory
        return None


def _claimed(
    registry: Registry, where: Path, said: Identity, base: BaseRecord, verify: bool
) -> Identified:
    from patchhub.checkpoint import State, verify_directory

    kept = isinstance(said, State)
    found = verify_directory(where, base.fingerprint, deep=verify)
    small = {"config.json", *base.fingerprint.tokenizer}
    drift = [each for each in found if kept or each.where not in small]
    cast = _cast(where, base) if drift and not kept else None
    checked = _checked(where, said, base, drift, sure=verify or kept)
    if cast is not None:  # digests are of the stored dtype: nothing to hold them against
        checked |= {"headers": cast, "touched": CLAIMED, "others": CLAIMED}
        drift = []
    return Identified(
        where,
        "state" if kept else "identity",
        base.name,
        base.weights,
        _items(PatchFinder(registry), said),
        said.identity,
        tuple(places(registry, said.identity)),
        checked,
        tuple(drift),
    )


def _checked(
    where: Path, said: Identity, base: BaseRecord, drift: Sequence[Drift], *, sure: bool
) -> dict[str, str]:
    wrong = {each.where for each in drift}
    names = base.fingerprint.tensors.keys()
    shapes = {each.where for each in drift if not each.expected.startswith("sha256")}
    return {
        "headers": DIFFERS if shapes & {*names, "weights"} else VERIFIED,
        "touched": DIFFERS if wrong & said.touched.keys() else VERIFIED,
        "others": DIFFERS
        if wrong & (names - said.touched.keys())
        else (VERIFIED if sure else CLAIMED),
        **small_parts(where, base),
    }


def small_parts(where: Path, base: BaseRecord) -> dict[str, str]:
    """Whether config.json and the tokenizer files are the base's."""
    from patchhub.fingerprint import small_files

    config, tokenizer = small_files(where)
    return {
        "config": VERIFIED if config == base.fingerprint.config else DIFFERS,
        "tokenizer": VERIFIED if tokenizer == dict(base.fingerprint.tokenizer) else DIFFERS,
    }


def _cast(where: Path, base: BaseRecord) -> str | None:
    """In words, if the files hold the same tensors in one other dtype."""
    from patchhub.errors import PatchHubError
    from patchhub.tensorfile import open_checkpoint

    try:
        tensors = open_checkpoint(where).tensors
    except PatchHubError:
        return None
    known = base.fingerprint.tensors
    if {n: h.shape for n, h in tensors.items()} != {n: e.shape for n, e in known.items()}:
        return None
    pairs = {(h.dtype, known[n].dtype) for n, h in tensors.items() if h.dtype != known[n].dtype}
    if len(pairs) != 1:
        return None
    found, stored = pairs.pop()
    return f"{found} instead of {stored}"


def _items(finder: PatchFinder, said: Identity) -> tuple[StackItem, ...]:
    """The patches with their names here; those that are not here keep what they are called."""
    items = []
    for each in said.stack:
        patch = finder.find(StackItem(each.name, each.id))
        name = each.name or f"ph:{each.id[:12]}"
        items.append(StackItem(name if patch is None else patch.ref, each.id))
    return tuple(items)


def _unknown_base(registry: Registry, where: Path, said: Identity) -> NotFoundError:
    held = ", ".join(each.name or f"ph:{each.id[:12]}" for each in said.stack) or "no patches"
    known = ", ".join(f"{base.name} {base.weights[:12]}" for base in registry.bases())
    return NotFoundError(
        "E106",
        f"{where} says that it is a base this registry does not have, with {held}",
        expected=f"a base with weights {said.base[:12]}",
        found=known or "no bases",
        hint="patchhub base add NAME MODEL_DIRECTORY",
        weights=said.base,
        patches=[each.id for each in said.stack],
    )
