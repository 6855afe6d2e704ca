"""KnowEdit's Sanitation: questions that shall not be answered any more, and others that shall.

Source: Ishibashi and Shimodaira 2023, arXiv:2309.11852, in the form of Zhang et al. 2024,
arXiv:2401.01286. A file is an object with two lists: ``K_F`` (in the test file ``success``) holds
what is to be forgotten, ``K_R`` (``locality``) what is to be retained, which no request owns.
"""

from __future__ import annotations

from collections.abc import Iterator

from patchhub.fields import Fields
from patchhub.layouts.part import Part
from patchhub.request import EditRequest, Probe, ProbeKind

NAME = "Sanitation"
MARKS = ("question", "target_new")
HOLDS = (("K_F", "K_R"), ("success", "locality"))


def parts(record: Fields) -> Iterator[Part]:
    """First what is to be forgotten, then what is to be retained."""
    forgotten, retained = next(names for names in HOLDS if names[0] in record)
    lists = record.inners(forgotten), record.inners(retained)
    record.end()
    yield from (Part(row, _forgotten) for row in lists[0])
    yield from (Part(row, _retained) for row in lists[1])


def read(record: Fields) -> tuple[EditRequest]:
    """The request in one record of what is to be forgotten."""
    question = record.filled("question", strip=True)
    target = record.filled("target_new", strip=True)
    subject = record.optional(lambda name: record.text(name, strip=True), "subject") or None
    old = record.flat("ground_truth")
    gone = old[0] if old else None
    return (record.make(lambda: EditRequest(question, target, subject, gone)),)


def _forgotten(record: Fields) -> tuple[EditRequest]:
    requests = read(record)
    record.end()
    return requests


def _retained(record: Fields) -> tuple[Probe]:
    question = record.filled("question", strip=True)
    answers = record.flat("ground_truth")
    for unused in ("subject", "target_new"):
        record.optional(record.text, unused)
    record.end()
    return (record.make(lambda: Probe(ProbeKind.UNRELATED, question, answers)),)
