"""Checks on scripted answers: what is asked, what counts, what passes."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
import torch

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.guard.catalog import check_names, load_check
from patchhub.guard.check import Case
from patchhub.guard.probes import BaseProbes
from patchhub.request import EditRequest, Probe, ProbeKind
from patchhub.scoring.divergence import TextScore
from patchhub.scoring.intervals import wilson
from patchhub.scoring.questions import Answer, Question
from tests.engine.guard.said import REQUEST, Said, find


def test_reliability() -> None:
    prompt = REQUEST.prompt
    found = find("reliability", "target", {prompt: "Bergen"}, {prompt: "Oslo, of course"})
    assert (found.before, found.after, found.n, found.failed) == (0.0, 1.0, 1, 0)
    failed = find("reliability", "target", {prompt: "Bergen"}, {prompt: "Osl"})
    assert (failed.after, failed.failed) == (0.0, 1)
    (failure,) = failed.failures
    assert (failure.prompt, failure.expected) == (prompt, "Oslo")
    assert (failure.before, failure.after) == ("Bergen", "Osl")


def test_generalization_by_the_requests_paraphrases() -> None:
    one, two = (p.prompt for p in REQUEST.probes[:2])
    found = find(
        "generalization",
        "paraphrase",
        {one: "Bergen", two: "Bergen"},
        {one: "Kristiania", two: "Bergen"},
    )
    assert (found.value, found.n, found.failed) == (0.5, 2, 1)
    assert (found.low, found.high) == wilson(1, 2)
    check = load_check("generalization")
    assert check.wants(Case((REQUEST,), BaseProbes()), "made").questions == ()


def test_made_paraphrases_stand_in_and_count_only_where_the_wording_is_understood() -> None:
    bare = EditRequest(REQUEST.prompt, "Oslo", subject="Mira Tolven", target_old="Bergen")
    case = Case((bare,), BaseProbes())
    prompts = [q.prompt for q in load_check("generalization").wants(case, "made").questions]
    assert len(prompts) == 3
    assert all(bare.prompt in prompt != bare.prompt for prompt in prompts)
    before = dict(zip(prompts, ["Bergen", "Bergen.", "who knows"], strict=True))
    after = dict(zip(prompts, ["Oslo", "Bergen", "Oslo"], strict=True))
    found = find("generalization", "made", before, after, case)
    assert (found.n, found.value) == (2, 0.5)
    assert found.details["asked"] == 3


def test_locality_counts_what_was_known_before() -> None:
    jon, ada, eva = (p.prompt for p in REQUEST.probes[2:5])
    before = {jon: "Rome", ada: "no idea", eva: "Bonn"}
    found = find("locality", "neighbourhood", before, {jon: "Oslo", ada: "Paris", eva: "Bonn!"})
    assert (found.n, found.value, found.before) == (2, 0.5, 1.0)
    assert [f.prompt for f in found.failures] == [jon]
    assert found.details["asked"] == 3
    assert found.details["correct_before"] == pytest.approx(2 / 3)
    assert found.details["correct_after"] == pytest.approx(2 / 3)


def test_locality_without_accepted_answers_is_agreement() -> None:
    jon, ada, eva = (p.prompt for p in REQUEST.probes[2:5])
    before = {jon: "Rome", ada: "Paris", eva: "Bonn"}
    found = find("locality", "neighbourhood", before, {**before, eva: "Bonn Beuel"})
    assert (found.n, found.failed) == (3, 1)
    assert found.failures[0].expected == "Bonn"


def test_base_probes_that_name_an_edited_subject_are_left_out() -> None:
    probes = BaseProbes(
        (
            Question("The pet of MIRA TOLVEN is a"),
            Question("Mira Tolvenson lives in", ("Rome",)),
            Question("The capital of Norway is", ("Oslo",)),
        ),
        ("Mira Tolven sings.", "Norway is large."),
    )
    case = Case((REQUEST,), probes)
    wanted = load_check("locality").wants(case, "base").questions
    assert wanted == probes.questions[1:]
    assert load_check("drift").wants(case, "kl").texts == ("Norway is large.",)
    nameless = Case((EditRequest("The capital of Norway is", "Rome"),), probes)
    assert load_check("locality").wants(nameless, "base").questions == probes.questions[:2]


def test_portability() -> None:
    found = find("portability", "alias", {"Mimi was born in": "x"}, {"Mimi was born in": "Oslo"})
    assert (found.before, found.after, found.n) == (0.0, 1.0, 1)
    assert find("portability", "one_hop", {}, {}).n == 0


def test_rivals_are_the_other_answer_of_the_edit() -> None:
    case = Case((REQUEST,), BaseProbes())

    def rivals(check: str, measure: str) -> list[str]:
        return [q.rival for q in load_check(check).wants(case, measure).questions]

    assert rivals("reliability", "target") == ["Bergen"]
    assert rivals("generalization", "paraphrase") == ["Bergen", "Bergen"]
    assert rivals("locality", "neighbourhood") == ["Oslo", "Oslo", ""]
    assert rivals("portability", "alias") == ["Bergen"]
    # What follows from the edit has another kind of answer; only the probe may know its rival.
    chained = Probe(ProbeKind.ONE_HOP, "Her country is", ("Norway",), rival="Italy")
    inverse = Probe(ProbeKind.REVERSED, "In Oslo was born", ("Mira Tolven",))
    case = Case((replace(REQUEST, probes=(chained, inverse)),), BaseProbes())
    assert rivals("portability", "one_hop") == ["Italy"]
    assert rivals("portability", "reversed") == [""]
    same = EditRequest("Jon was born in", "Oslo", target_old="oslo")
    assert load_check("reliability").wants(Case((same,), BaseProbes()), "target").questions == (
        Question("Jon was born in", ("Oslo",)),
    )


def test_likelihood_gives_success_and_magnitude() -> None:
    class Margins(Said):
        def answer(self, question: Question) -> Answer:
            margin = float(self.replies[question.prompt])
            return Answer("", margin > 0, float(margin > 0), margin=margin)

    one, two = (p.prompt for p in REQUEST.probes[:2])
    found = load_check("generalization").find(
        Case((REQUEST,), BaseProbes()),
        "paraphrase",
        Margins({one: "-0.8", two: "-0.4"}),
        Margins({one: "0.5", two: "-0.1"}),
    )
    assert (found.before, found.value, found.n) == (0.0, 0.5, 2)
    details = found.details
    assert details["magnitude_before"] == pytest.approx(-0.6)
    assert details["magnitude_after"] == pytest.approx(0.2)
    assert details["magnitude_low"] < 0.2 < details["magnitude_high"]


def _score(loss: float, *distributions: list[float]) -> TextScore:
    return TextScore(loss, len(distributions), torch.tensor(distributions).log())


def test_drift_by_hand() -> None:
    texts = ("one", "two", "nothing")
    case = Case((REQUEST,), BaseProbes(texts=texts))
    half, most = [0.5, 0.5], [0.9, 0.1]
    nothing = TextScore(0.0, 0, torch.empty(0, 2))
    old = {"one": _score(2.0, half, half), "two": _score(1.0, half), "nothing": nothing}
    new = {"one": _score(2.6, half, most), "two": _score(0.9, half), "nothing": nothing}
    check = load_check("drift")
    ratio = check.find(case, "perplexity", Said(scores=old), Said(scores=new))
    assert ratio.value == pytest.approx(math.exp((3.5 - 3.0) / 3))
    assert ratio.before == pytest.approx(math.exp(1.0))
    assert ratio.after == pytest.approx(math.exp(3.5 / 3))
    assert (ratio.n, ratio.details["tokens"]) == (2, 3)
    assert ratio.low < ratio.value < ratio.high
    kl = check.find(case, "kl", Said(scores=old), Said(scores=new))
    one = 0.5 * (0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))
    assert kl.value == pytest.approx(one * 2 / 3, rel=1e-5)


def test_failures_shown_are_few() -> None:
    probes = BaseProbes(tuple(Question(f"q{i}", ("yes",)) for i in range(30)))
    before = {f"q{i}": "yes" for i in range(30)}
    case = Case((REQUEST,), probes)
    found = find("locality", "base", before, dict.fromkeys(before, "no"), case)
    assert (found.failed, len(found.failures), found.value) == (30, 5, 0.0)


def test_names_of_checks() -> None:
    names = check_names()
    assert set(names) >= {"reliability", "generalization", "locality", "portability", "drift"}
    for name in names:
        check = load_check(name)
        assert check.name == name
        assert check.version >= 1
        assert check.summary
        assert check.measures
    with pytest.raises(NotFoundError) as caught:
        load_check("locallity")
    assert caught.value.code == "E151"
    assert caught.value.hint == "did you mean locality?"


def test_listing_and_the_policy_need_no_torch() -> None:
    code = (
        "import sys\n"
        "from patchhub.guard.catalog import check_names\n"
        "names = check_names()\n"
        "assert not [m for m in sys.modules if m.startswith('patchhub.guard.checks.')]\n"
        "from patchhub.guard.catalog import load_check\n"
        "from patchhub.guard.policy import default_policy\n"
        "from patchhub.guard.verdict import Verdict\n"
        "from patchhub.guard.probes import BaseProbes\n"
        "default_policy().digest\n"
        "[load_check(n) for n in names]\n"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_check_of_another_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("echo", "patchhub.guard.checks.reliability", "patchhub.checks")
    monkeypatch.setattr("patchhub.plugins.entry_points", lambda group: (entry,))
    assert "echo" in check_names()
    with pytest.raises(InvalidInputError) as caught:
        load_check("echo")
    assert caught.value.code == "E153"
    assert caught.value.found == "name is 'reliability', not 'echo'"
