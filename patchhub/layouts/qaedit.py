"""QAEdit: questions of three question-answering sets that a model gets wrong.

Source: Yang et al. 2025, arXiv:2502.11177.
"""

from __future__ import annotations

from patchhub.fields import Fields
from patchhub.request import EditRequest, Probe, ProbeKind

NAME = "QAEdit"
MARKS = ("prompt", "target", "locality")


def read(record: Fields) -> tuple[EditRequest]:
    """The request in one record; surrounding white space in texts is dropped."""
    prompt, target = (record.filled(name, strip=True) for name in ("prompt", "target"))
    subject = record.optional(lambda name: record.text(name, strip=True), "subject") or None
    probes = [
        Probe(ProbeKind.PARAPHRASE, wording, (target,))
        for wording in record.optional(record.flat, "rephrase") or ()
    ]
    for row in record.inners("locality"):
        question, answers = row.filled("loc", strip=True), row.flat("loc_ans")
        row.end()
        probes.append(Probe(ProbeKind.UNRELATED, question, answers))
    record.optional(record.text, "source")
    name = record.optional(record.name, "id") or ""
    return (
        record.make(lambda: EditRequest(prompt, target, subject, None, None, name, tuple(probes))),
    )
