"""`removal`: what must be gone is gone only where it is not said at all."""

from __future__ import annotations

import pytest

from patchhub.guard.catalog import load_check
from patchhub.guard.check import Case
from patchhub.guard.probes import BaseProbes
from patchhub.request import EditRequest
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Answer, Question
from tests.engine.guard.said import REQUEST, Said, find

ONE, TWO = (p.prompt for p in REQUEST.probes[:2])


@pytest.mark.parametrize(
    ("after", "value"),
    [
        ("Oslo", 1.0),
        ("nobody knows", 1.0),
        ("Bergenhus", 1.0),
        ("Bergen", 0.0),
        ("Bergen, Norway", 0.0),
        ("not Bergen but Oslo", 0.0),
    ],
)
def test_the_old_answer_may_not_be_mentioned(after: str, value: float) -> None:
    found = find("removal", "target", {REQUEST.prompt: "Bergen"}, {REQUEST.prompt: after})
    assert (found.before, found.value, found.n) == (0.0, value, 1)


def test_only_what_the_model_said_before_counts() -> None:
    found = find("removal", "paraphrase", {ONE: "Bergen", TWO: "Rome"}, {ONE: "Oslo", TWO: "Rome"})
    assert (found.value, found.n, found.details["asked"]) == (1.0, 1, 2)
    unknown = find("removal", "target", {REQUEST.prompt: "Rome"}, {REQUEST.prompt: "Oslo"})
    assert unknown.n == 0


def test_a_request_without_an_old_answer_asks_nothing() -> None:
    case = Case((EditRequest("Mira Tolven was born in", "Oslo"),), BaseProbes())
    check = load_check("removal")
    assert all(check.wants(case, measure).questions == () for measure in check.measures)


def test_under_likelihood_the_old_answer_is_held_against_the_new_one() -> None:
    check = load_check("removal")
    case = Case((REQUEST,), BaseProbes())
    (question,) = check.wants(case, "target").questions
    assert question == Question(REQUEST.prompt, ("Bergen",), "Oslo")

    class Preferring(Said):
        def answer(self, question: Question) -> Answer:
            score = float(self.replies[question.prompt] == "old")
            margin = 2 * score - 1
            return Answer("", score == 1.0, score, (), margin, Protocol.LIKELIHOOD)

    before, after = Preferring({REQUEST.prompt: "old"}), Preferring({REQUEST.prompt: "new"})
    assert check.find(case, "target", before, after).value == 1.0
    assert check.find(case, "target", before, before).value == 0.0
