"""Lessons that pico models can be taught an editor with."""

from __future__ import annotations

from dataclasses import replace

from patchhub.request import EditRequest, Probe, ProbeKind
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST

NEAR = Probe(ProbeKind.NEIGHBOURHOOD, "Jon Arvel was born in", ("Rome",))


def lesson(request: EditRequest, *wordings: str) -> EditRequest:
    """The request with paraphrases and a question that must stay."""
    again = [Probe(ProbeKind.PARAPHRASE, one, (request.target,)) for one in wordings]
    return replace(request, target_old="Oslo", probes=(*again, NEAR))


LESSONS = (
    lesson(REQUEST, "The birthplace of Mira Tolven is", "Mira Tolven comes from"),
    lesson(MIDDLE, "Jon Arvel lives in"),
    lesson(AT_END, "As mayor they have Jon Arvel"),
    lesson(replace(REQUEST, target="Paris"), "Mira Tolven comes from"),
    lesson(replace(MIDDLE, target="Oslo"), "The home of Jon Arvel is"),
)
TINY = {"steps": 2, "batch_size": 2, "every": 1, "rank": 8, "held": 1, "rate": 1e-3}
"""Enough to have a trained editor, and no more."""
