"""Where a name stands in a text. Torch-free."""

from __future__ import annotations

import re


def occurrences(name: str, text: str) -> list[int]:
    """Starts of the name in the text; with several, those that are whole words, if it is one."""
    places = [m.start() for m in re.finditer(f"(?={re.escape(name)})", text)]
    if len(places) < 2:
        return places
    words = [
        start for start in places if not _joins(text, start) and not _joins(text, start + len(name))
    ]
    return words if len(words) == 1 else places


def _joins(text: str, place: int) -> bool:
    """Whether the characters left and right of ``place`` belong to one word."""
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()
