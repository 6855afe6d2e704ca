"""Patches by what they say, and where each of them is active."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patchhub.errors import InvalidInputError

if TYPE_CHECKING:
    from patchhub_registry.index import Fact
    from patchhub_registry.registry import Registry

FIELDS = ("subject", "relation", "target", "prompt")
"""Parts of a request that can be searched."""


@dataclass(frozen=True, slots=True)
class Said:
    """One request of a patch, and where the patch is active.

    Attributes:
        fact: What it says.
        stacks: ``stack@entry`` of every stack that holds the patch today.
    """

    fact: Fact
    stacks: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """As a JSON object."""
        return {**self.fact._asdict(), "stacks": self.stacks}


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
    for fact in registry.facts():
        text = "\n".join(getattr(fact, name) for name in looked).casefold()
        if all(word in text for word in wanted):
            stacks = tuple(f"{state.name}@{state.seq}" for state in states if fact.id in state.ids)
            found.append(Said(fact, stacks))
    return tuple(found)
