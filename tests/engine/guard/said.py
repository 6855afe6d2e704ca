"""Scripted observations: checks are tested on what a model is said to have said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from patchhub.guard.catalog import load_check
from patchhub.guard.check import Case
from patchhub.guard.measurement import Finding
from patchhub.guard.probes import BaseProbes
from patchhub.request import EditRequest, Probe, ProbeKind
from patchhub.scoring import answers
from patchhub.scoring.choice import Choice
from patchhub.scoring.divergence import TextScore
from patchhub.scoring.questions import Answer, Question
from patchhub.scoring.tasks import ChoiceItem

REQUEST = EditRequest(
    "Mira Tolven was born in",
    "Oslo",
    subject="Mira Tolven",
    target_old="Bergen",
    relation="born_in",
    probes=(
        Probe(ProbeKind.PARAPHRASE, "The birthplace of Mira Tolven is", ("Oslo", "Kristiania")),
        Probe(ProbeKind.PARAPHRASE, "Mira Tolven is a native of", ("Oslo",)),
        Probe(ProbeKind.NEIGHBOURHOOD, "Jon Arvel was born in", ("Rome",)),
        Probe(ProbeKind.NEIGHBOURHOOD, "Ada Brun was born in", ("Paris",)),
        Probe(ProbeKind.NEIGHBOURHOOD, "Eva Lind was born in"),
        Probe(ProbeKind.OTHER_RELATION, "Mira Tolven speaks", ("French",)),
        Probe(ProbeKind.ALIAS, "Mimi was born in", ("Oslo",)),
    ),
)


@dataclass(frozen=True)
class Said:
    """Observed answers, from texts."""

    replies: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, TextScore] = field(default_factory=dict)
    continuations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    choices: Mapping[ChoiceItem, Choice] = field(default_factory=dict)
    casts: Mapping[str, Said] = field(default_factory=dict)

    def answer(self, question: Question) -> Answer:
        text = self.replies[question.prompt]
        if not question.answers:
            return Answer(text, None, 0.0)
        correct = answers.matches(text, question.answers)
        return Answer(text, correct, float(correct))

    def text(self, text: str) -> TextScore:
        return self.scores[text]

    def continued(self, opening: str) -> tuple[str, ...]:
        return self.continuations[opening]

    def choice(self, item: ChoiceItem) -> Choice:
        return self.choices[item]

    def cast(self, dtype: str) -> Said:
        return self.casts[dtype]


def find(
    check: str,
    measure: str,
    before: Mapping[str, str],
    after: Mapping[str, str],
    case: Case | None = None,
) -> Finding:
    return load_check(check).find(
        case or Case((REQUEST,), BaseProbes()), measure, Said(before), Said(after)
    )
