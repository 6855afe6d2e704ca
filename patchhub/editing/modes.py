"""How the requests of one call become patches; torch-free, for the command line names them."""

from __future__ import annotations

from enum import StrEnum

from patchhub.errors import InvalidInputError


class Mode(StrEnum):
    """What `edit` makes of several requests."""

    BATCH = "batch"
    """One patch of all of them."""
    SINGLE = "single"
    """A patch of each, on the same model: each is the patch that it would be alone."""
    SEQUENTIAL = "sequential"
    """A patch of each, on the model that carries those of the requests before it."""
    JOINT = "joint"
    """One patch of all of them and of the earlier edits by the method, solved as if asked for at
    once."""

    @classmethod
    def of(cls, word: str) -> Mode:
        """The mode of a name.

        Raises:
            InvalidInputError: E142, there is none of that name.
        """
        try:
            return cls(word)
        except ValueError:
            raise InvalidInputError(
                "E142", "no such mode", expected=" | ".join(cls), found=word
            ) from None
