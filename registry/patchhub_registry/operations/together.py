"""Which edits of a stack are solved together: their patches, their requests, and what stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError, NotFoundError, PatchHubError
from patchhub_registry.operations import models, probing

if TYPE_CHECKING:
    from patchhub.editing.joint import KeyValueEditor
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub_registry.entry import StackItem
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState

_SHORTEST = 8
"""Hex digits that name a request."""


@dataclass(frozen=True, slots=True)
class Together:
    """Edits to be solved together.

    Attributes:
        before: The stack.
        editor: The method of all of them.
        settings: Its settings, as text.
        seed: Of its templates.
        statistics: How much text key statistics are taken from.
        leaving: The patches that a new one will stand for.
        patches: The same with their tensors.
        staying: The other patches of the stack.
        requests: What shall hold, with the probes that are known.
        replaced: Requests that a later one contradicts, in the order of arrival; likewise.
        without: Requests that are left out because that was asked for.
        more: Requests that were added.
    """

    before: StackState
    editor: KeyValueEditor
    settings: Mapping[str, object]
    seed: int
    statistics: str
    leaving: tuple[StackItem, ...]
    patches: tuple[Patch, ...]
    staying: tuple[StackItem, ...]
    requests: tuple[EditRequest, ...]
    replaced: tuple[EditRequest, ...]
    without: tuple[EditRequest, ...]
    more: tuple[EditRequest, ...]

    @property
    def targets(self) -> tuple[int, int]:
        """How many targets there are, and how many of them the patches remember."""
        from patchhub.editing.joint import settings_of
        from patchhub.editing.joint.groups import group_name, settled
        from patchhub.editing.joint.memory import remembered

        groups = settled(self.requests).groups
        last = self.patches[-1].manifest.method if self.patches else None
        if last is None or (self.settings, self.seed) != (settings_of(last), last.seed):
            return len(groups), 0
        known = remembered(self.patches, last, self.editor)
        return len(groups), sum(known.knows(group_name(group)) for group in groups)

    def overruled(self, patch: Patch | None = None) -> tuple[EditRequest, ...]:
        """Requests that a later one takes the place of; of a patch that was made, in it."""
        held = set() if patch is None else set(patch.manifest.method.requests)
        return tuple(one for one in self.replaced if one.digest() not in held)


def collect(
    registry: Registry,
    before: StackState,
    *,
    method: str | None = None,
    without: Sequence[str] = (),
    more: Sequence[EditRequest] = (),
    settings: Mapping[str, object] | None = None,
    seed: int | None = None,
    statistics: str | None = None,
) -> Together:
    """Gather what the patches of one method in a stack ask for.

    Args:
        registry: Where they lie.
        before: The stack.
        method: The method; else that of the topmost patch whose method can do it.
        without: Edits to leave out: patches, or requests by id or by the beginning of their digest.
        more: Requests to add; they count as later than all others.
        settings: Of the method; else those of its topmost patch.
        seed: Likewise.
        statistics: Likewise; of the topmost one that needed any.

    Raises:
        InvalidInputError: E142, the method's edits cannot be solved together, or the stack has none
            by it; E134, nothing would be left.
        NotFoundError: E102, none of the edits is called so; E141.
        IntegrityError: E2xx, the registry is damaged.
    """
    from patchhub.editing.joint import inherited
    from patchhub.editing.joint.groups import settled

    editor = _editor(registry, before, method)
    leaving = tuple(item for item in before.items if _by(registry, item) == editor.name)
    patches = tuple(models.read_patch(registry, item.ref) for item in leaving)
    asked = [request for patch in patches for request in patch.requests]
    if not (asked or more):
        raise _none_there(registry, before, f"no edits by {editor.name} in the stack")
    gone = _named(registry, without, asked)
    digests = {request.digest() for request in gone}
    agreed = settled([one for one in asked if one.digest() not in digests] + list(more))
    if not agreed.kept:
        raise InvalidInputError(
            "E134",
            "there is nothing left to solve",
            found=f"{len(gone)} of {len(asked)} requests left out",
            hint=f"patchhub revert {' '.join(item.ref for item in leaving)} --stack {before.name}",
        )
    taken = inherited(patches, settings=settings, seed=seed, statistics=statistics)
    return Together(
        before=before,
        editor=editor,
        settings=taken.settings,
        seed=taken.seed,
        statistics=taken.statistics,
        leaving=leaving,
        patches=patches,
        staying=tuple(item for item in before.items if item not in leaving),
        requests=_probed(registry, patches, agreed.kept, more),
        replaced=_probed(registry, patches, agreed.replaced, more),
        without=tuple(gone),
        more=tuple(more),
    )


def _by(registry: Registry, item: StackItem) -> str:
    return registry.resolve(item.ref).manifest.method.name


def _editor(registry: Registry, before: StackState, method: str | None) -> KeyValueEditor:
    from patchhub.editing.catalog import load_editor
    from patchhub.editing.joint import KeyValueEditor, key_value_editor

    if method is not None:
        return key_value_editor(load_editor(method))
    for item in reversed(before.items):
        try:
            editor = load_editor(_by(registry, item))
        except PatchHubError:  # a method that is not installed here: its patches stay as they are
            continue
        if isinstance(editor, KeyValueEditor):
            return editor
    raise _none_there(registry, before, "no edits in the stack can be solved together")


def _none_there(registry: Registry, before: StackState, what: str) -> InvalidInputError:
    return InvalidInputError(
        "E142",
        f"{before.name}: {what}",
        expected="patches of a method that writes values at keys, such as memit or rome",
        found=", ".join(f"{item.ref} ({_by(registry, item)})" for item in before.items)
        or "nothing",
    )


def _named(
    registry: Registry, names: Iterable[str], asked: Sequence[EditRequest]
) -> list[EditRequest]:
    """The requests that each name means, which is never none."""
    found: list[EditRequest] = []
    for name in names:
        meant = [one for one in asked if _is(one, name)] or _of_patch(registry, name, asked)
        if not meant:
            known = "; ".join(f"{one.id or one.digest()[:12]} {one.prompt}" for one in asked[:5])
            raise NotFoundError(
                "E102",
                f"none of the edits is called {name!r}",
                expected="a patch, or a request by its id or the beginning of its digest",
                found=known or "no edits",
            )
        found += [one for one in meant if one not in found]
    return found


def _is(request: EditRequest, name: str) -> bool:
    if request.id and request.id == name:
        return True
    return len(name) >= _SHORTEST and request.digest().startswith(name)


def _of_patch(registry: Registry, name: str, asked: Sequence[EditRequest]) -> list[EditRequest]:
    """What a patch asks for, also one that another patch stands for by now."""
    try:
        own = set(registry.resolve(name).manifest.method.requests)
    except (InvalidInputError, NotFoundError):
        return []
    return [one for one in asked if one.digest() in own]


def _probed(
    registry: Registry,
    patches: Sequence[Patch],
    kept: Sequence[EditRequest],
    more: Sequence[EditRequest],
) -> tuple[EditRequest, ...]:
    """The requests with every probe once given for them."""
    known = [one for said in probing.known_requests(registry, patches).values() for one in said]
    by_digest: dict[str, EditRequest] = {}
    for one in [*kept, *known, *more]:
        if one.probes or one.digest() not in by_digest:
            by_digest[one.digest()] = one
    return tuple(by_digest[one.digest()] for one in kept)
