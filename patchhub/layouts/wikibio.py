"""KnowEdit's WikiBio: the next sentence of a biography.

Source: Hartvigsen et al. 2023, arXiv:2211.11031, in the form of Zhang et al. 2024,
arXiv:2401.01286. The prompt is the whole passage so far, the target a whole sentence.
"""

from __future__ import annotations

from patchhub.fields import Fields
from patchhub.layouts.easyedit import derived
from patchhub.request import EditRequest

NAME = "WikiBio"
MARKS = ("text", "labels")


def read(record: Fields) -> tuple[EditRequest]:
    """The request in one record; surrounding white space in texts is dropped."""
    prompt = record.filled("text", strip=True)
    target = record.filled("labels", strip=True)
    subject = record.filled("concept", strip=True)
    probes = tuple(derived(record))
    return (record.make(lambda: EditRequest(prompt, target, subject, probes=probes)),)
