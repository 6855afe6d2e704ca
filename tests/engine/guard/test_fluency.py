from __future__ import annotations

import math
from dataclasses import replace

import pytest

from patchhub.guard.catalog import load_check
from patchhub.guard.check import Case
from patchhub.guard.probes import BaseProbes
from patchhub.request import EditRequest, Format, Probe, ProbeKind
from patchhub.scoring.consistency import References
from tests.engine.guard.said import Said


def test_fluency_by_hand() -> None:
    bare = EditRequest("Mira Tolven was born in", "Oslo", subject="Mira Tolven")
    case = Case((bare,), BaseProbes())
    openings = load_check("fluency").wants(case, "entropy").openings
    assert openings == ("Mira Tolven was born in", "Mira Tolven")
    # Four different words: three bigrams and two trigrams, H_2 = log2 3, H_3 = 1.
    fine, loop = "a b c d", "a a a a a a a a a a a a"
    both = 100 * ((2 / 3) * math.log2(3) + 4 / 3) / 2
    before = Said(continuations={openings[0]: (fine, fine), openings[1]: (fine, loop)})
    after = Said(continuations={openings[0]: (fine, loop), openings[1]: (fine, loop)})
    check = load_check("fluency")
    lost = check.find(case, "entropy", before, after)
    assert (lost.before, lost.after) == pytest.approx((both * 3 / 4, both / 2))
    assert lost.value == pytest.approx(1 / 3)
    assert lost.n == 4
    assert lost.low < lost.value < lost.high
    circles = check.find(case, "repetition", before, after)
    assert (circles.n, circles.failed) == (3, 1)  # one went in circles before
    assert circles.failures[0].prompt == openings[0]
    assert check.find(case, "entropy", before, before).value == 0.0
    assert check.find(Case((), BaseProbes()), "entropy", before, after).n == 0


def test_messages_are_no_beginnings_of_texts() -> None:
    probes = (Probe(ProbeKind.PARAPHRASE, "Mira's birthplace?", ("Oslo",)),)
    plain = EditRequest("Where was Mira born?", "Oslo", subject="Mira", probes=probes)
    for form, expected in (
        (Format.PLAIN, ("Where was Mira born?", "Mira", "Mira's birthplace?")),
        (Format.CHAT, ("Mira",)),
    ):
        case = Case((replace(plain, format=form),), BaseProbes())
        assert load_check("fluency").wants(case, "entropy").openings == expected


def test_fluency_of_many_edits_takes_some_of_each_part() -> None:
    requests = tuple(EditRequest(f"prompt {i}", "x") for i in range(100))
    openings = load_check("fluency").wants(Case(requests, BaseProbes()), "entropy").openings
    assert len(openings) == 16
    assert openings[0] == "prompt 0"
    assert openings[-1] == "prompt 93"


def test_consistency_is_the_mean_over_requests_that_have_reference_texts() -> None:
    one = EditRequest("Ada was born in", "Oslo", subject="Ada", relation="born")
    two = EditRequest("Bo was born in", "Rome", subject="Bo", relation="born")
    references = References({("born", "Oslo"): ("fjord ships",), ("born", "Paris"): ("cafes",)})
    case = Case((one, two), BaseProbes(), references=references)
    check = load_check("fluency")
    openings = check.wants(case, "consistency").openings
    assert openings == ("Ada was born in", "Ada")
    before = Said(continuations=dict.fromkeys(openings, ("cafes cafes",)))
    after = Said(continuations=dict.fromkeys(openings, ("fjord ships",)))
    found = check.find(case, "consistency", before, after)
    assert (found.before, found.after) == pytest.approx((0.0, 1.0))
    assert found.n == 1
    without = Case((one, two), BaseProbes())
    assert check.wants(without, "consistency").nothing
    assert check.find(without, "consistency", before, after).n == 0
