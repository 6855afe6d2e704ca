"""CounterFact's original layout and the fields that later work added to it.

Source: Meng et al. 2022, arXiv:2202.05262 (CounterFact); Hoelscher-Obermaier et al. 2023,
arXiv:2305.17553 (distracting neighbours); Yao et al. 2023, arXiv:2305.13172 (one hop, other
relation, alternative subject). Attribute and generation prompts have no counterpart among the
probes.
"""

from __future__ import annotations

from patchhub.fields import Fields
from patchhub.layouts.native import fill
from patchhub.request import EditRequest, Probe, ProbeKind

NAME = "CounterFact"
MARK = "requested_rewrite"


def read(record: Fields) -> EditRequest:
    """A request from one CounterFact record; surrounding white space in texts is dropped."""
    rewrite = record.inner("requested_rewrite")
    subject = rewrite.filled("subject", strip=True)
    template = rewrite.filled("prompt", strip=True)
    new, old = _object(rewrite, "target_new"), _object(rewrite, "target_true")
    relation = rewrite.filled("relation_id")
    prompt = fill(rewrite, "prompt", template, subject)
    rewrite.optional(rewrite.text, "question")
    rewrite.end()
    case = record.optional(record.integer, "case_id")
    probes = [
        *_prompts(record, "paraphrase_prompts", ProbeKind.PARAPHRASE, new),
        *_prompts(record, "neighborhood_prompts", ProbeKind.NEIGHBOURHOOD, old),
        *_prompts(record, "distracting_neighborhood_prompts", ProbeKind.DISTRACTOR, old),
        *other_relation(record),
        *one_hop(record),
    ]
    alias = record.optional(lambda name: record.filled(name, strip=True), "alternative_subject")
    if alias is not None:
        probes.append(Probe(ProbeKind.ALIAS, fill(rewrite, "prompt", template, alias), (new,)))
    for unused in ("attribute_prompts", "generation_prompts"):
        record.optional(record.texts, unused)
    record.optional(record.integer, "pararel_idx")
    return record.make(
        lambda: EditRequest(
            prompt, new, subject, old, relation, "" if case is None else str(case), tuple(probes)
        )
    )


def one_hop(record: Fields) -> list[Probe]:
    """The probe in field ``portability``, if there is one."""
    row = record.optional(record.inner, "portability")
    if row is None:
        return []
    row.text("Recalled Relation")
    question = row.filled("New Question", strip=True)
    answer = row.filled("New Answer", strip=True)
    row.end()
    return [Probe(ProbeKind.ONE_HOP, question, (answer,))]


def other_relation(record: Fields) -> list[Probe]:
    """The probe in field ``unrelated_relation``, if there is one."""
    row = record.optional(record.inner, "unrelated_relation")
    if row is None:
        return []
    row.text("relation_id")
    question = row.filled("question", strip=True)
    answer = row.filled("object", strip=True)
    row.end()
    return [Probe(ProbeKind.OTHER_RELATION, question, (answer,))]


def _prompts(record: Fields, name: str, kind: ProbeKind, answer: str) -> list[Probe]:
    prompts = record.optional(record.texts, name) or ()
    return [Probe(kind, prompt.strip(), (answer,)) for prompt in prompts]


def _object(rewrite: Fields, name: str) -> str:
    row = rewrite.inner(name)
    text = row.filled("str", strip=True)
    row.optional(row.text, "id")
    row.end()
    return text
