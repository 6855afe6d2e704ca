"""Which facts patches speak about, and where two of them contradict each other. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from patchhub.errors import ConflictError

if TYPE_CHECKING:
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import StackState

Key = tuple[str, str]


def facts(registry: Registry, ref: str) -> dict[Key, str]:
    """What a patch says: (subject, relation), or else the prompt, to target."""
    lines = registry.read_patch_files(ref)["requests.jsonl"].decode().splitlines()
    return dict(map(_fact, lines))


def check_contradictions(registry: Registry, state: StackState, new: str) -> None:
    """Refuse a patch that says something else about a fact than the stack does.

    Args:
        registry: Where the patches lie.
        state: The stack it shall enter.
        new: Reference of the patch to push.

    Raises:
        ConflictError: E301.
    """
    wanted = facts(registry, new)
    for ref in (item.ref for item in state.items):
        for key, target, other in _shared(wanted, facts(registry, ref)):
            if target != other:
                raise ConflictError(
                    "E301",
                    f"stack {state.name!r} already says something else about {key[0]!r}",
                    expected=f"{other!r}, said by {ref}",
                    found=f"{target!r}, said by {new}",
                    hint=f"patchhub revert {ref} --stack {state.name}, then apply again",
                )


def _shared(a: dict[Key, str], b: dict[Key, str]) -> Iterator[tuple[Key, str, str]]:
    for key in sorted(a.keys() & b.keys()):
        yield key, a[key], b[key]


def _fact(line: str) -> tuple[Key, str]:
    request = json.loads(line)
    subject, relation = request.get("subject"), request.get("relation")
    if subject and relation:
        return (str(subject), str(relation)), str(request["target"])
    return (str(request["prompt"]), ""), str(request["target"])
