"""MQuAKE: questions over chains of facts, some of which are edited.

Source: Zhong et al. 2023, arXiv:2305.14795 (CF, CF-3k, T). A record has one edit or several that
belong together: one request each, with ids ``case/1``, ``case/2``, …. The chain's question stands
on the last of them and needs the others, so it counts only where all of them were made. It is right
if any of its wordings is answered rightly, and counts if the unedited model knows the steps of the
chain that are not edited. A chain of two facts is one hop away from its edit.
"""

from __future__ import annotations

from dataclasses import dataclass

from patchhub.fields import Fields
from patchhub.layouts.counterfact import Rewrite, rewrite
from patchhub.request import EditRequest, Probe, ProbeKind, Query

NAME = "MQuAKE"
MARKS = ("requested_rewrite", "questions")


@dataclass(frozen=True, slots=True)
class _Hop:
    """One fact of a chain, asked in two ways."""

    question: str
    cloze: str
    answers: tuple[str, ...]

    def states(self, fact: Rewrite) -> bool:
        """Whether this is the edited fact."""
        return self.cloze == fact.prompt or self.question == fact.question


def read(record: Fields) -> tuple[EditRequest, ...]:
    """The requests in one record; surrounding white space in texts is dropped."""
    facts = [rewrite(row) for row in record.inners("requested_rewrite")]
    if not facts:
        raise record.error("requested_rewrite", "must not be empty", expected="a list of edits")
    hops = [_hop(row) for row in record.inners("new_single_hops")]
    names = _names(record, len(facts))
    chain = _chain(record, facts, hops, names)
    record.ignore("single_hops", "orig", "answer_extended")
    requests = []
    for name, fact in zip(names, facts, strict=True):
        probes = [Probe(ProbeKind.PARAPHRASE, fact.question, _answers(fact, hops))]
        kept = (probes if fact.question else []) + ([chain] if name == names[-1] else [])
        requests.append(_request(record, fact, name, tuple(kept)))
    return tuple(requests)


def _names(record: Fields, count: int) -> list[str]:
    if count == 1:
        case = record.optional(record.integer, "case_id")
        return ["" if case is None else str(case)]
    case = record.integer("case_id")
    return [f"{case}/{number}" for number in range(1, count + 1)]


def _request(record: Fields, fact: Rewrite, name: str, probes: tuple[Probe, ...]) -> EditRequest:
    return record.make(
        lambda: EditRequest(
            fact.prompt, fact.new, fact.subject, fact.old, fact.relation, name, probes
        )
    )


def _chain(record: Fields, facts: list[Rewrite], hops: list[_Hop], names: list[str]) -> Probe:
    questions = record.flat("questions", depth=1)
    if not questions:
        raise record.error("questions", "must not be empty", expected="a list of questions")
    answers = _accepted(record, "new_answer", "new_answer_alias")
    before = _accepted(record, "answer", "answer_alias")
    given = [hop for hop in hops if not any(hop.states(fact) for fact in facts)]
    return Probe(
        ProbeKind.ONE_HOP if len(hops) <= 2 else ProbeKind.TWO_HOP,
        questions[0],
        answers,
        given=tuple(Query(hop.question, hop.answers) for hop in given),
        also=tuple(Query(question, answers) for question in questions[1:]),
        needs=tuple(names[:-1]),
        rival=before[0],
    )


def _hop(row: Fields) -> _Hop:
    question, cloze = (row.filled(name, strip=True) for name in ("question", "cloze"))
    answers = _accepted(row, "answer", "answer_alias")
    row.end()
    return _Hop(question, cloze, answers)


def _accepted(row: Fields, name: str, alias: str) -> tuple[str, ...]:
    first = row.filled(name, strip=True)
    return tuple(dict.fromkeys((first, *(row.optional(row.flat, alias) or ()))))


def _answers(fact: Rewrite, hops: list[_Hop]) -> tuple[str, ...]:
    """The new answer and what the chain accepts for it."""
    known = (hop.answers for hop in hops if hop.states(fact))
    return tuple(dict.fromkeys((fact.new, *next(known, ()))))
