"""What the sandbox's tokenizers are trained on: templates, class words and single syllables.

Names are left out: a name then is four to seven tokens, as names are for real models.
"""

from __future__ import annotations

from patchhub.sandbox import names, templates
from patchhub.sandbox.world import CLOSED

_SYLLABLE_REPEATS = 50


def corpus() -> list[str]:
    """Return the lines."""
    lines: list[str] = []
    for syllable in names.SYLLABLES:
        # One line per form keeps pairs of syllables from being merged into names.
        for form in (syllable, f" {syllable}", syllable.capitalize(), f" {syllable.capitalize()}"):
            lines += [form] * _SYLLABLE_REPEATS
    wordings = [t for group in templates.TEMPLATES.values() for t in group]
    wordings += [t for group in templates.PRONOUN.values() for t in group]
    wordings += [t for chain in templates.CHAINS for t in chain.templates]
    wordings += [*templates.ALIAS_STATEMENTS, *templates.ALIAS_REVERSED]
    lines += [f" {w.replace('{}', '').strip()}. {w.replace('{}', '').strip()}." for w in wordings]
    words = [word for group in CLOSED.values() for word in group]
    words += [*names.COMPANY_SUFFIXES, *names.UNIVERSITY_SUFFIXES]
    words += [*names.TITLE_FIRST, *names.TITLE_LAST]
    for word in [*words, "The", templates.NEW_FACT, templates.QUESTION]:
        lines += [f" {word}", f"{word}\n"] * 4
    return lines
