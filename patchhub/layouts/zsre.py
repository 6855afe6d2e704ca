"""zsRE in the split that MEND introduced, and the fields that later work added to it.

Source: Levy et al. 2017, arXiv:1706.04115; Mitchell et al. 2021, arXiv:2110.11309; Yao et al.
2023, arXiv:2305.13172 (one hop, inverse relation, alternative subject). The edit is to ``alt``; the
first gold answer is what shall go.
"""

from __future__ import annotations

from patchhub.fields import Fields
from patchhub.layouts.counterfact import one_hop
from patchhub.request import EditRequest, Probe, ProbeKind

NAME = "zsRE"
MARKS = ("src",)


def read(record: Fields) -> tuple[EditRequest]:
    """The request in one zsRE record; surrounding white space in texts is dropped."""

    def text(name: str) -> str:
        return record.filled(name, strip=True)

    prompt, target, subject = text("src"), text("alt"), text("subject")
    gold = record.optional(record.texts, "answers") or ()
    case = record.optional(record.integer, "case_id")
    probes = []
    for asked, kind, answer in (
        ("rephrase", ProbeKind.PARAPHRASE, target),
        ("alter_subject_question", ProbeKind.ALIAS, target),
        ("inverse question", ProbeKind.REVERSED, subject),
    ):
        question = record.optional(text, asked)
        if question is not None:
            probes.append(Probe(kind, question, (answer,)))
    probes += [*_unrelated(record), *one_hop(record)]
    for unused in ("pred", "cond", "alternative_subject"):
        record.optional(record.text, unused)
    old = gold[0].strip() if gold else None
    name = "" if case is None else str(case)
    return (
        record.make(lambda: EditRequest(prompt, target, subject, old, None, name, tuple(probes))),
    )


def _unrelated(record: Fields) -> list[Probe]:
    question = record.optional(lambda name: record.filled(name, strip=True), "loc")
    answer = record.optional(lambda name: record.filled(name, strip=True), "loc_ans")
    if question is None:
        return []
    return [Probe(ProbeKind.UNRELATED, question, () if answer is None else (answer,))]
