"""A patch's name when the user gives none: words of the request, within the closed pattern."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from patchhub_registry.names import check_name

if TYPE_CHECKING:
    from patchhub.request import EditRequest

_LONGEST = 48


def patch_name(given: str | None, method: str, requests: Sequence[EditRequest]) -> str:
    """The given name, checked, or one made from the first request.

    Raises:
        InvalidInputError: E101, the given name is not one.
    """
    if given is not None:
        return check_name(given)
    if not requests:
        return check_name(_slug(method) or "edit")
    first = requests[0]
    named = first.subject and first.relation
    words = f"{first.subject} {first.relation}" if named else first.prompt
    rest = f"-and-{len(requests) - 1}-more" if len(requests) > 1 else ""
    return check_name((_slug(words) or "edit") + rest)


def patch_names(given: str | None, method: str, requests: Sequence[EditRequest]) -> tuple[str, ...]:
    """Names of the patches of single requests, in their order; no two are the same.

    Those of ``given`` are numbered by the request's place; the others come from the requests.

    Raises:
        InvalidInputError: E101, the given name is not one.
    """
    if given is not None:
        return tuple(check_name(f"{given}-{place}") for place in range(1, len(requests) + 1))
    names: dict[str, None] = {}
    for request in requests:
        name = own = patch_name(None, method, [request])
        number = 1
        while name in names:
            number += 1
            name = check_name(f"{own}-{number}")
        names[name] = None
    return tuple(names)


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST].rstrip("-")
