"""A question and its answer: TOFU, and the question sets of MUSE.

Source: Maini et al. 2024, arXiv:2401.06121 (TOFU: fictitious authors, with paraphrases and wrong
answers of the same form); Shi et al. 2024, arXiv:2407.06460 (MUSE). The edit teaches the answer.
The paraphrased question is held, under likelihood, against the first wrong answer: the comparison
behind TOFU's truth ratio. Further wrong answers have no counterpart among the probes.
"""

from __future__ import annotations

from patchhub.fields import Fields
from patchhub.request import EditRequest, Probe, ProbeKind

NAME = "TOFU"
MARKS = ("question", "answer")


def read(record: Fields) -> tuple[EditRequest]:
    """The request in one record; surrounding white space in texts is dropped."""
    question = record.filled("question", strip=True)
    answer = record.filled("answer", strip=True)
    asked = record.optional(lambda name: record.text(name, strip=True), "paraphrased_question")
    said = record.optional(record.flat, "paraphrased_answer") or ()
    wrong = record.optional(record.flat, "perturbed_answer") or ("",)
    accepted = tuple(dict.fromkeys((*said, answer)))
    rival = wrong[0] if wrong[0] not in accepted else ""
    probes = (Probe(ProbeKind.PARAPHRASE, asked, accepted, rival=rival),) if asked else ()
    return (record.make(lambda: EditRequest(question, answer, probes=probes)),)
