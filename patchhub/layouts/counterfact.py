"""CounterFact's original layout and the fields that later work added to it.

Source: Meng et al. 2022, arXiv:2202.05262 (CounterFact); Hoelscher-Obermaier et al. 2023,
arXiv:2305.17553 (distracting neighbours); Yao et al. 2023, arXiv:2305.13172 (one hop, other
relation, alternative subject). Attribute and generation prompts have no counterpart among the
probes.
"""

from __future__ import annotations

from dataclasses import dataclass

from patchhub.fields import Fields
from patchhub.layouts.native import fill
from patchhub.request import EditRequest, Probe, ProbeKind

NAME = "CounterFact"
MARKS = ("requested_rewrite",)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A fact to be rewritten, as CounterFact and MQuAKE write it down.

    Attributes:
        template: The prompt with ``{}`` in the subject's place, or without.
        prompt: The same with the subject.
        subject: What the fact is about.
        new: The new answer.
        old: The old one.
        relation: Wikidata's name of the relation.
        question: The same fact asked as a question; "" for none.
    """

    template: str
    prompt: str
    subject: str
    new: str
    old: str
    relation: str
    question: str


def rewrite(row: Fields) -> Rewrite:
    """The fact in an object of a ``requested_rewrite``."""
    subject = row.filled("subject", strip=True)
    template = row.filled("prompt", strip=True)
    prompt = fill(row, "prompt", template, subject)
    new, old = _object(row, "target_new"), _object(row, "target_true")
    relation = row.filled("relation_id")
    question = row.optional(lambda name: row.text(name, strip=True), "question")
    row.end()
    return Rewrite(template, prompt, subject, new, old, relation, question or "")


def read(record: Fields) -> tuple[EditRequest]:
    """The request in one CounterFact record; surrounding white space in texts is dropped."""
    inner = record.inner("requested_rewrite")
    fact = rewrite(inner)
    case = record.optional(record.integer, "case_id")
    probes = [
        *_prompts(record, "paraphrase_prompts", ProbeKind.PARAPHRASE, fact.new),
        *_prompts(record, "neighborhood_prompts", ProbeKind.NEIGHBOURHOOD, fact.old),
        *_prompts(record, "distracting_neighborhood_prompts", ProbeKind.DISTRACTOR, fact.old),
        *other_relation(record),
        *one_hop(record),
    ]
    alias = record.optional(lambda name: record.filled(name, strip=True), "alternative_subject")
    if alias is not None:
        probes.append(
            Probe(ProbeKind.ALIAS, fill(inner, "prompt", fact.template, alias), (fact.new,))
        )
    for unused in ("attribute_prompts", "generation_prompts"):
        record.optional(record.texts, unused)
    record.optional(record.integer, "pararel_idx")
    name = "" if case is None else str(case)
    return (
        record.make(
            lambda: EditRequest(
                fact.prompt, fact.new, fact.subject, fact.old, fact.relation, name, tuple(probes)
            )
        ),
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
