"""The scorer itself: models whose answers are known get the numbers that they deserve."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from functools import cache

import pytest

from patchhub import sandbox
from patchhub.guard.catalog import check_names, load_check
from patchhub.guard.check import Asked, Case, QuestionCheck, becomes, stays
from patchhub.guard.measurement import Finding
from patchhub.guard.probes import BaseProbes
from patchhub.guard.session import Seen
from patchhub.request import EditRequest
from patchhub.scoring.collapse import collapsed
from patchhub.scoring.instruction import Instruction
from patchhub.scoring.intervals import wilson
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer
from tests.engine.scoring.scripted import scripted
from tests.pico import pico_model, pico_tokenizer

BRIEF = Instruction(1, "Say.")
WORLD = sandbox.load_world("pico")
REQUESTS = tuple(sandbox.edit_requests(WORLD, 3, seed=5))
UNRELATED = (
    Question("The sky above Oslo is", ("blue",), "green"),
    Question("Two and two make", ("five",), "four"),
)
CASE = Case(REQUESTS, BaseProbes(UNRELATED))
Trial = tuple[str, str]
"""Check and measure."""


def _measures(trial: object) -> dict[Trial, list[Asked]]:
    """Of all checks, whoever brings them, those whose questions an edit must (or must not) move."""
    checks = [load_check(name) for name in check_names()]
    asked = {
        (check.name, measure): list(check.asked(CASE, measure))
        for check in checks
        if isinstance(check, QuestionCheck) and check.trial is trial
        for measure in check.measures
    }
    return {one: some for one, some in asked.items() if some}


def _answers(asked: Mapping[Trial, list[Asked]]) -> dict[str, str]:
    return {q.prompt: q.answers[0] for some in asked.values() for a in some for q in a.questions}


MOVED, KEPT = _measures(becomes), _measures(stays)
CHANGES, STAYS = _answers(MOVED), _answers(KEPT)
GIVEN = {q.prompt: q.answers[0] for s in MOVED.values() for a in s for q in a.conditions}


def _base() -> dict[str, str]:
    """Knows what must stay, but for every third; of what must change it says the old answer."""
    old = {q.prompt: q.rival or "nothing" for s in MOVED.values() for a in s for q in a.questions}
    known = {
        prompt: "nothing" if place % 3 == 2 else answer
        for place, (prompt, answer) in enumerate(STAYS.items())
    }
    return old | known | GIVEN


SCRIPTS: Mapping[str, Mapping[str, str]] = {
    "base": _base(),
    "oracle": _base() | CHANGES,
    "leaking": dict.fromkeys(_base(), REQUESTS[0].target) | CHANGES,
    "teacher": _base() | CHANGES | STAYS,
}


@cache
def _seen(state: str, protocol: Protocol) -> Seen:
    script = SCRIPTS[state]
    tokenizer = pico_tokenizer()
    tokenizer.model_max_length = 4096
    wrapped = {BRIEF.wrap(tokenizer, prompt): text for prompt, text in script.items()}
    model, tokenizer = scripted({p: f" {text}" for p, text in {**script, **wrapped}.items()})
    model.config.max_position_embeddings = 4096
    wanted = [load_check(name).wants(CASE, measure) for name, measure in (*MOVED, *KEPT)]
    questions = [q for wants in wanted for q in wants.questions if q.fits(protocol)]
    found = Scorer(model, tokenizer, instruction=BRIEF).ask(questions, protocol)
    return Seen(dict(zip(questions, found, strict=True)))


def _find(one: Trial, protocol: Protocol, before: str, after: str) -> Finding:
    check, measure = one
    states = _seen(before, protocol), _seen(after, protocol)
    return load_check(check).find(CASE, measure, *states)


def test_the_requests_ask_for_much() -> None:
    assert {name for name, _ in MOVED} >= {"reliability", "generalization", "portability"}
    assert len(KEPT) >= 4
    assert len(CHANGES) >= 12
    assert len(STAYS) >= 20
    assert len(GIVEN) >= 3
    assert not CHANGES.keys() & (STAYS.keys() | GIVEN.keys())


@pytest.mark.parametrize("protocol", Protocol)
def test_an_oracle_shows_the_edit_everywhere_and_nothing_else(protocol: Protocol) -> None:
    for one in MOVED:
        found = _find(one, protocol, "base", "oracle")
        assert (found.value, found.failed, found.low < 1.0, found.high) == (1.0, 0, True, 1.0), one
        assert all(trial.after == 1.0 for trial in found.trials)
        assert any(trial.before < 1.0 for trial in found.trials)
    for one in KEPT:
        found = _find(one, protocol, "base", "oracle")
        assert found.trials
        assert (found.value if found.n else 1.0) == 1.0
        assert all(trial.same == 1.0 for trial in found.trials)


@pytest.mark.parametrize("protocol", Protocol)
def test_an_edit_that_leaks_is_seen(protocol: Protocol) -> None:
    for one in MOVED:
        assert _find(one, protocol, "base", "leaking").value == 1.0
    for one in KEPT:
        found = _find(one, protocol, "base", "leaking")
        assert found.value < 1.0 or not found.n
        same = [trial.same for trial in found.trials if trial.same is not None]
        # A model that was wrong prefers the wrong one still.
        assert len(same) == len(found.trials)
        assert protocol is Protocol.LIKELIHOOD or sum(same) < len(same)


@pytest.mark.parametrize("protocol", Protocol)
def test_no_edit_agrees_with_itself_and_keeps_its_own_accuracy(protocol: Protocol) -> None:
    wrong = 0
    for one in (*MOVED, *KEPT):
        found = _find(one, protocol, "base", "base")
        assert all(trial.same == 1.0 for trial in found.trials)
        assert [trial.after for trial in found.trials] == [t.before for t in found.trials]
        wrong += sum(trial.after < 1.0 for trial in found.trials if one in KEPT)
    # Accuracy against gold is that of the model, not 100.
    assert wrong >= 5
    assert all(_find(one, protocol, "base", "base").value < 1.0 for one in MOVED)


@pytest.mark.parametrize("protocol", [Protocol.GENERATION, Protocol.TEACHER_FORCED])
def test_agreement_is_not_truth(protocol: Protocol) -> None:
    """A model that comes to know what it did not is right everywhere and does not agree."""
    found = [_find(one, protocol, "base", "teacher") for one in KEPT]
    trials = [trial for each in found for trial in each.trials]
    assert all(trial.after == 1.0 for trial in trials)
    assert sum(trial.same or 0.0 for trial in trials) < len(trials) - 4


def test_a_collapsed_model_scores_fifty() -> None:
    """ES, PS and NS of random logits: coins, so within four standard deviations of a half."""
    rng = random.Random(0)
    model, tokenizer = pico_model("gpt2"), pico_tokenizer()
    cities = ("Oslo", "Rome", "Paris", "Bergen", "Norway", "a town in Italy")
    pairs = [rng.sample(cities, 2) for _ in range(400)]
    prompts = {
        "ES": "Mira {} was born in",
        "PS": "The birthplace of Mira {} is",
        "NS": "Jon {} was born in",
    }
    for name, prompt in prompts.items():
        questions = [Question(prompt.format(i), (new,), old) for i, (new, old) in enumerate(pairs)]
        with collapsed(model, seed=len(name + prompt)):
            found = Scorer(model, tokenizer).ask(questions, Protocol.LIKELIHOOD)
        hits = sum(answer.score for answer in found)
        low, high = wilson(hits, len(found), z=4.0)
        assert low < 0.5 < high
        assert abs(hits / len(found) - 0.5) < 4 * 0.5 / math.sqrt(len(found))
        margins = [answer.margin or 0.0 for answer in found]
        assert abs(sum(margins) / len(margins)) < 0.01


def test_a_request_without_probes_has_nothing_to_show() -> None:
    empty = Case((EditRequest("Mira was born in", "Oslo"),), BaseProbes())
    asked = [(one, load_check(one[0]).wants(empty, one[1]).questions) for one in (*MOVED, *KEPT)]
    assert {one[0] for one, questions in asked if questions} <= {"reliability", "generalization"}
