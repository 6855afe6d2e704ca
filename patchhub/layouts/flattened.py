"""CounterFact flattened to one level, as EasyEdit stores it.

Source: Wang et al. 2023, arXiv:2308.07269; one paraphrase and one neighbour per record.
"""

from __future__ import annotations

from patchhub.fields import Fields
from patchhub.request import EditRequest, Probe, ProbeKind

NAME = "flattened CounterFact"
MARK = "target_new"


def read(record: Fields) -> EditRequest:
    """A request from one flattened record; surrounding white space in texts is dropped."""

    def text(name: str) -> str:
        return record.filled(name, strip=True)

    prompt, target, subject = text("prompt"), text("target_new"), text("subject")
    old = record.optional(text, "ground_truth")
    case = record.optional(record.integer, "case_id")
    probes = []
    rephrase = record.optional(text, "rephrase_prompt")
    if rephrase is not None:
        probes.append(Probe(ProbeKind.PARAPHRASE, rephrase, (target,)))
    neighbour = record.optional(text, "locality_prompt")
    answer = record.optional(text, "locality_ground_truth")
    if neighbour is not None:
        known = () if answer is None else (answer,)
        probes.append(Probe(ProbeKind.NEIGHBOURHOOD, neighbour, known))
    return record.make(
        lambda: EditRequest(
            prompt, target, subject, old, None, "" if case is None else str(case), tuple(probes)
        )
    )
