"""Patches by what they say, and where each of them is active."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError
from patchhub_registry.operations import facts

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry

FIELDS = ("subject", "relation", "target", "prompt")
"""Parts of a request that can be searched."""


@dataclass(frozen=True, slots=True)
class Said:
    """One request of a patch.

    Attributes:
        ref: The patch.
        id: Its id.
        subject: Empty where the request names none.
        relation: Empty where the request names none.
        prompt: What is asked.
        target: What shall be answered.
        stacks: Where the patch is active, as ``stack@entry`` of today.
    """

    ref: str
    id: str
    subject: str
    relation: str
    prompt: str
    target: str
    stacks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As a JSON object."""
        return asdict(self)


def find(
    registry: Registry, words: str | Sequence[str], *, field: str | None = None
) -> tuple[Said, ...]:
    """The requests that hold all of some words, whatever their case.

    Args:
        registry: Where to look.
        words: Parts of words count, too.
        field: Look in this one of `FIELDS` only.

    Raises:
        InvalidInputError: E131, no word, or there is no such field.
        IntegrityError: E2xx, a patch is damaged.
    """
    wanted = [each.casefold() for each in ([words] if isinstance(words, str) else words)]
    if not any(each.strip() for each in wanted) or field not in (None, *FIELDS):
        raise InvalidInputError(
            "E131",
            "say what to look for",
            expected=f"words, and perhaps one of {', '.join(FIELDS)}",
            found=repr(field or words)[:80],
        )
    looked = FIELDS if field is None else (field,)
    states = [registry.stack(name) for name in registry.stacks()]
    found = []
    for one in _all(registry):
        text = "\n".join(getattr(one, name) for name in looked).casefold()
        if all(word in text for word in wanted):
            stacks = tuple(f"{state.name}@{state.seq}" for state in states if one.id in state.ids)
            found.append(replace(one, stacks=stacks))
    return tuple(found)


def _all(registry: Registry) -> Iterator[Said]:
    """Every request of every patch, by name and version of the patch."""
    for summary in registry.patches():
        for request in facts.requests(registry, registry.find(summary.ref)):
            subject, relation = (str(request.get(key) or "") for key in ("subject", "relation"))
            prompt, target = str(request["prompt"]), str(request["target"])
            yield Said(summary.ref, summary.id, subject, relation, prompt, target)
