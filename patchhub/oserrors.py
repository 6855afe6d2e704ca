"""What the operating system refuses, as an error of the family."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from patchhub.errors import PatchHubError


@contextmanager
def refusals() -> Iterator[None]:
    """Give what the operating system refuses while the body runs its code.

    Raises:
        PatchHubError: E704, for any `OSError`: no space, no permission, a broken disk.
    """
    try:
        yield
    except OSError as error:
        raise refused(error) from error


def refused(error: OSError, hint: str | None = None) -> PatchHubError:
    """The error for something that the operating system refused."""
    where = "" if error.filename is None else f": {error.filename}"
    words = f"{error.strerror}{where}" if error.strerror else str(error) or type(error).__name__
    return PatchHubError("E704", words, hint=hint, errno=error.errno)
