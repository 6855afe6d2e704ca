"""Requests of one patch may not contradict each other."""

from __future__ import annotations

from collections.abc import Sequence

from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest, Format


def check_agreement(requests: Sequence[EditRequest]) -> None:
    """Refuse requests that put the same prompt and want different answers.

    Their keys are equal, so every method would write some mean of the answers. The same request
    twice is no contradiction.

    Raises:
        InvalidInputError: E136.
    """
    wanted: dict[tuple[Format, str], str] = {}
    for request in requests:
        target = wanted.setdefault(request.question, request.target)
        if target != request.target:
            raise InvalidInputError(
                "E136",
                "two requests of one patch put the same prompt and want different answers",
                expected=f"one answer to {request.prompt!r}",
                found=f"{target!r} and {request.target!r}",
                hint="leave one of them out, or make a patch of each: mode single or sequential",
            )
