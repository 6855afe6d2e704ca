"""A request that cannot be edited does not lose the others of its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from patchhub.editing.editor import EditContext
from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest

T = TypeVar("T")
OF_ALL = frozenset({"E140", "E142", "E145"})
"""What is wrong with model, settings or statistics, and so with every request."""


def each_or_dropped(
    context: EditContext, requests: Sequence[EditRequest], make: Callable[[EditRequest], T]
) -> tuple[tuple[EditRequest, ...], list[T]]:
    """What ``make`` makes of each request, and the requests it could be made of, in their order.

    Raises:
        InvalidInputError: It could be made of none: what was wrong with the first; or what is wrong
            is not the request's.
    """
    made: list[T] = []
    fit: list[EditRequest] = []
    failed: list[tuple[EditRequest, InvalidInputError]] = []
    for request in requests:
        try:
            made.append(make(request))
            fit.append(request)
        except InvalidInputError as error:
            if error.code in OF_ALL:
                raise
            failed.append((request, error))
    if failed and not fit:
        raise failed[0][1]
    for request, reason in failed:
        context.drop(request, reason)
    return tuple(fit), made
