"""Records with all fields at one level, as EasyEdit stores them.

Source: Wang et al. 2023, arXiv:2308.07269 (flattened CounterFact); Zhang et al. 2024,
arXiv:2401.01286 (KnowEdit: ZsRE, wiki_counterfact, wiki_recent); Wang et al. 2024, arXiv:2405.14768
(WISE: hallucination, temporal). The question in ``locality_prompt`` is a neighbour where the record
names the old answer, as CounterFact's do; WISE's is a passage about something else.
"""

from __future__ import annotations

from patchhub.fields import Fields
from patchhub.request import EditRequest, Probe, ProbeKind, Query

NAME = "EasyEdit, KnowEdit"
MARKS = ("target_new",)

_FOLLOWS = {
    "Subject_Aliasing": ProbeKind.ALIAS,
    "Reasoning": ProbeKind.ONE_HOP,
    "Logical_Generalization": ProbeKind.LOGICAL,
}
_STAYS = {
    "Relation_Specificity": ProbeKind.OTHER_RELATION,
    "Forgetfulness": ProbeKind.FORGETFULNESS,
}
_REPHRASED = ("rephrase_prompt", "rephrase", "ood_rephrase")


def read(record: Fields) -> tuple[EditRequest]:
    """The request in one record; surrounding white space in texts is dropped."""

    def text(name: str) -> str:
        return record.filled(name, strip=True)

    prompt, target, subject = text("prompt"), text("target_new"), text("subject")
    old = record.optional(record.flat, "ground_truth") or ()
    case = record.optional(record.integer, "case_id")
    wordings = [w for name in _REPHRASED for w in record.optional(record.flat, name) or ()]
    probes = [Probe(ProbeKind.PARAPHRASE, wording, (target,)) for wording in wordings]
    elsewhere = record.optional(text, "locality_prompt")
    answer = record.optional(text, "locality_ground_truth")
    if elsewhere is not None:
        kind = ProbeKind.NEIGHBOURHOOD if old else ProbeKind.UNRELATED
        probes.append(Probe(kind, elsewhere, () if answer is None else (answer,)))
    probes += derived(record)
    record.optional(record.text, "cond")
    name = "" if case is None else str(case)
    gone = old[0] if old else None
    return (
        record.make(lambda: EditRequest(prompt, target, subject, gone, None, name, tuple(probes))),
    )


def derived(record: Fields) -> list[Probe]:
    """The probes in KnowEdit's ``portability`` and ``locality``.

    What must follow and has no accepted answer, as a few tests have none, asks nothing and is left
    out; what must stay is then whatever the unedited model says.
    """
    probes: list[Probe] = []
    for name, kinds in (("portability", _FOLLOWS), ("locality", _STAYS)):
        group = record.optional(record.inner, name)
        if group is not None:
            for title, kind in kinds.items():
                for row in group.optional(group.inners, title) or ():
                    probes += _test(row, kind)
            group.end()
    return probes


def _test(row: Fields, kind: ProbeKind) -> list[Probe]:
    prompts = row.flat("prompt")
    if not prompts:
        raise row.error("prompt", "must not be blank", expected="text")
    answers = row.flat("ground_truth")
    row.end()
    if not answers and kind not in _STAYS.values():
        return []
    also = tuple(Query(prompt, answers) for prompt in prompts[1:])
    return [Probe(kind, prompts[0], answers, also=also)]
