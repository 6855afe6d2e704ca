"""Where patches of a stack meet: found from manifests and requests alone, without a tensor.

Rules K1 to K8. Of those, K1 (another word about the same fact), K2 (the same edit twice) and K6
(another base) refuse; K3 (the same tensor) and, for kinds that add to weights, K5 and K8 (computed
on top of what is not there) are told: such patches add up exactly, and the guard measures the rest.
For kinds that act on activations K5 and K8 refuse, because their keys were taken there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from patchhub.errors import ConflictError, IntegrityError, PatchHubError
from patchhub.manifest import Algebra
from patchhub_registry.operations import facts

if TYPE_CHECKING:
    from patchhub_registry.entry import StackItem
    from patchhub_registry.patches import PatchRecord
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something two patches, or a patch and its stack, have to do with each other.

    Attributes:
        rule: ``K1`` to ``K8``; ``guard`` for evidence that is missing.
        ref: The patch to push or take out.
        text: One sentence.
        error: What refuses the change; None for what is only told.
    """

    rule: str
    ref: str
    text: str
    error: PatchHubError | None = None

    @classmethod
    def refusal(cls, rule: str, ref: str, error: PatchHubError) -> Conflict:
        """A conflict that refuses the change."""
        return cls(rule, ref, error.what, error)

    def to_json(self) -> dict[str, object]:
        """As a JSON object."""
        code = None if self.error is None else self.error.code
        return {"rule": self.rule, "ref": self.ref, "text": self.text, "refused": code}


class Rules:
    """The rules over one registry; what a patch says is read once.

    Args:
        registry: Where the patches lie.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[str, _Known] = {}

    def on_push(self, state: StackState, patch: PatchRecord) -> list[Conflict]:
        """What stands against a patch entering a stack, or is to be known before it does."""
        ref = patch.ref
        if patch.manifest.base != state.base:
            return [Conflict.refusal("K6", ref, _other_base(state, patch))]
        if patch.id in state.ids:
            return [Conflict.refusal("K2", ref, _twice(state, ref, _ref(state.items, patch.id)))]
        twice = [*self._facts(state, patch), *self._stands_for(state, patch)]
        return [*twice, *self._tensors(state, patch), *_context(state, patch)]

    def on_revert(self, after: StackState, item: StackItem) -> list[Conflict]:
        """What stands on a patch that was taken out."""
        found: list[Conflict] = []
        for other in after.items:
            manifest = self._of(other.ref).patch.manifest
            if item.id not in manifest.onto:
                continue
            words = f"{other.ref} was computed on top of {item.ref}"
            if Algebra(manifest.algebra).on_weights:
                found.append(Conflict("K8", item.ref, f"{words}: check it again"))
                continue
            error = ConflictError(
                "E303",
                f"{item.ref} cannot leave stack {after.name}: {words}",
                hint=f"patchhub revert {other.ref} {item.ref} --stack {after.name}",
            )
            found.append(Conflict.refusal("K8", item.ref, error))
        return found

    def _facts(self, state: StackState, patch: PatchRecord) -> Iterator[Conflict]:
        """K1 and K2: the same subject and relation."""
        new = self._of(patch.ref)
        for item in state.items:
            there = self._of(item.ref)
            both = list(facts.shared(new.facts, there.facts))
            for key, target, other in both:
                if target != other:
                    error = ConflictError(
                        "E301",
                        f"stack {state.name!r} already says something else about {key[0]!r}",
                        expected=f"{other!r}, said by {item.ref}",
                        found=f"{target!r}, said by {patch.ref}",
                        hint=f"patchhub revert {item.ref} --stack {state.name}, then apply again",
                    )
                    yield Conflict.refusal("K1", patch.ref, error)
            if both and patch.manifest.content == there.patch.manifest.content:
                yield Conflict.refusal("K2", patch.ref, _twice(state, patch.ref, item.ref))

    def _stands_for(self, state: StackState, patch: PatchRecord) -> Iterator[Conflict]:
        """K2: a joint patch and one by its method that makes an edit of it would make it twice.

        What a patch stands for is no measure: an edit may have been left out of it.
        """
        mine, joint = patch.manifest.method, bool(patch.manifest.supersedes)
        for item in state.items:
            there = self._of(item.ref).patch.manifest
            both = set(mine.requests) & set(there.method.requests)
            if both and mine.name == there.method.name and (joint or there.supersedes):
                error = _same_edits(state, patch.ref, item.ref, len(both))
                yield Conflict.refusal("K2", patch.ref, error)

    def _tensors(self, state: StackState, patch: PatchRecord) -> Iterator[Conflict]:
        """K3: the same tensor."""
        mine = {site.tensor for site in patch.manifest.sites}
        for item in state.items:
            theirs = {site.tensor for site in self._of(item.ref).patch.manifest.sites}
            both = sorted(mine & theirs)
            if both:
                more = f" and {len(both) - 1} more" if len(both) > 1 else ""
                yield Conflict("K3", patch.ref, f"{item.ref} also changes {both[0]}{more}")

    def _of(self, ref: str) -> _Known:
        if ref not in self._known:
            self._known[ref] = _Known(self._registry, self._registry.resolve(ref))
        return self._known[ref]


@dataclass(frozen=True)
class _Known:
    """A patch and, once asked for, what it says."""

    registry: Registry
    patch: PatchRecord

    @cached_property
    def facts(self) -> dict[facts.Key, str]:
        return facts.facts(self.registry, self.patch)


def _context(state: StackState, patch: PatchRecord) -> Iterator[Conflict]:
    """K5: what the model carried while the patch was computed."""
    onto = patch.manifest.onto
    below = iter(state.ids)
    if all(one in below for one in onto):
        return
    missing = [one for one in onto if one not in state.ids]
    words = ", ".join(f"ph:{one[:12]}" for one in missing) or "the same patches in another order"
    text = f"{patch.ref} was computed on top of {words}; stack {state.name} differs"
    if Algebra(patch.manifest.algebra).on_weights:
        yield Conflict("K5", patch.ref, text)
        return
    error = ConflictError("E302", text, hint="compute it again on top of this stack")
    yield Conflict.refusal("K5", patch.ref, error)


def _same_edits(state: StackState, ref: str, there: str, count: int) -> ConflictError:
    return ConflictError(
        "E306",
        f"stack {state.name} has edits of {ref} already",
        expected=f"one of {ref} and {there}",
        found=f"{count} that both make",
        hint=f"patchhub revert {there} --stack {state.name}",
    )


def _twice(state: StackState, ref: str, there: str) -> ConflictError:
    return ConflictError("E306", f"{ref} is already in stack {state.name}", found=there)


def _other_base(state: StackState, patch: PatchRecord) -> IntegrityError:
    return IntegrityError(
        "E201",
        f"{patch.ref} was made for another base than that of stack {state.name}",
        expected=state.base,
        found=patch.manifest.base,
    )


def _ref(items: Sequence[StackItem], patch: str) -> str:
    return next(item.ref for item in items if item.id == patch)
