"""A record inside another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from patchhub.fields import Fields
from patchhub.request import EditRequest, Probe


@dataclass(frozen=True, slots=True)
class Part:
    """A record and how it is read.

    Attributes:
        record: The record.
        read: Gives its requests, or what must stay whatever is edited.
    """

    record: Fields
    read: Callable[[Fields], Sequence[EditRequest | Probe]]
