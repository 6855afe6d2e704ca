"""Every metric on small cases worked by hand: by the plain reference, and by the program."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from patchhub.guard.catalog import load_check
from patchhub.guard.check import Case
from patchhub.guard.probes import BaseProbes
from patchhub.guard.session import Seen
from patchhub.request import EditRequest, Probe, ProbeKind
from patchhub.scoring import answers, variety
from patchhub.scoring.agreement import agreement
from patchhub.scoring.choice import choose
from patchhub.scoring.consistency import WordWeights, consistency
from patchhub.scoring.divergence import kl_per_text, perplexity
from patchhub.scoring.intervals import bootstrap, harmonic_mean, wilson
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question
from patchhub.scoring.scorer import Scorer
from patchhub.scoring.tasks import ChoiceItem
from tests.engine.scoring.table import Table, table_model
from tests.reference import metrics_reference as reference

FOLDER = Path(__file__).parents[2] / "golden" / "metrics"


def _cases(name: str) -> list[dict[str, Any]]:
    """The cases of a file, each with what all of them share."""
    value = json.loads((FOLDER / f"{name}.json").read_text())
    return [{**value, **case} for case in value.pop("cases")]


def _scorer(case: dict[str, Any], table: Table | None = None) -> Scorer:
    return Scorer(*table_model(case["vocabulary"], case["table"] if table is None else table))


def _near(value: object) -> object:
    return pytest.approx(value, abs=2e-6)


def test_there_is_a_file_for_every_metric_and_a_test_for_every_file() -> None:
    used = {name for name in FOLDER.glob("*.json") if f'_cases("{name.stem}")' in _SOURCE}
    assert used == set(FOLDER.glob("*.json"))
    assert len(used) == 11


_SOURCE = Path(__file__).read_text()


@pytest.mark.parametrize("case", _cases("token_accuracy"))
def test_token_accuracy(case: dict[str, Any]) -> None:
    expected = Fraction(case["expected"])
    assert reference.forced(case, case["prompt"], case["answer"]) == case["forced"]
    assert reference.token_accuracy(case, case["prompt"], case["answer"]) == expected
    scorer = _scorer(case)
    question = Question(case["prompt"], (case["answer"],))
    (found,) = scorer.ask([question], Protocol.TEACHER_FORCED)
    assert scorer.tokenizer.convert_ids_to_tokens(list(found.tokens)) == case["forced"]
    assert found.score == float(expected)
    assert found.correct is (expected == 1)


@pytest.mark.parametrize("case", _cases("rome"))
def test_rome(case: dict[str, Any]) -> None:
    assert reference.rome(case, case) == _near(case["expected"])
    probes = [Probe(ProbeKind.PARAPHRASE, p, (case["new"],)) for p in case["paraphrases"]]
    probes += [Probe(ProbeKind.NEIGHBOURHOOD, p, (case["true"],)) for p in case["neighbours"]]
    request = EditRequest(
        case["prompt"], case["new"], target_old=case["true"], probes=tuple(probes)
    )
    whole = Case((request,), BaseProbes())
    scorer = _scorer(case)
    found = {}
    for letter, check, measure in (
        ("E", "reliability", "target"),
        ("P", "generalization", "paraphrase"),
        ("N", "locality", "neighbourhood"),
    ):
        questions = load_check(check).wants(whole, measure).questions
        said = dict(zip(questions, scorer.ask(questions, Protocol.LIKELIHOOD), strict=True))
        finding = load_check(check).find(whole, measure, Seen(said), Seen(said))
        found[f"{letter}S"] = sum(one.after for one in finding.trials) / len(finding.trials)
        found[f"{letter}M"] = finding.details["magnitude_after"]
    found["S"] = harmonic_mean([found[name] for name in ("ES", "PS", "NS")])
    assert found == _near(case["expected"])


@pytest.mark.parametrize("case", _cases("generation_match"))
def test_generation_match(case: dict[str, Any]) -> None:
    said = answers.said(case["continuation"])
    assert said == case["said"]
    assert answers.matches(said, case["accepted"]) is case["expected"]


@pytest.mark.parametrize("case", _cases("agreement"))
def test_agreement(case: dict[str, Any]) -> None:
    accepted = (case["answer"],) if case["answer"] else ()
    question = Question(case["prompt"], accepted, case["rival"])
    protocol = Protocol(case["protocol"])
    before, after = (
        _scorer(case, case[state]).ask([question], protocol)[0] for state in ("before", "after")
    )
    expected = Fraction(case["expected"])
    assert agreement(before, after) == float(expected)
    if protocol is Protocol.TEACHER_FORCED:
        rows = [
            reference.forced({**case, "table": case[state]}, case["prompt"], case["answer"])
            for state in ("before", "after")
        ]
        same = [one == other for one, other in zip(*rows, strict=True)]
        assert Fraction(sum(same), len(same)) == expected


@pytest.mark.parametrize("case", _cases("fluency"))
def test_fluency(case: dict[str, Any]) -> None:
    assert reference.entropy(case["text"]) == _near(case["entropy"])
    assert reference.repetition(case["text"]) == Fraction(case["repetition"])
    assert variety.entropy(case["text"]) == _near(case["entropy"])
    assert variety.repeated(case["text"]) == _near(float(Fraction(case["repetition"])))


@pytest.mark.parametrize("case", _cases("consistency"))
def test_consistency(case: dict[str, Any]) -> None:
    texts = case["generations"], case["references"]
    assert reference.consistency(case["corpus"], *texts) == _near(case["expected"])
    assert consistency(*texts, WordWeights.of(case["corpus"])) == _near(case["expected"])


@pytest.mark.parametrize("case", _cases("perplexity"))
def test_perplexity(case: dict[str, Any]) -> None:
    assert reference.perplexity(case, case["texts"]) == _near(case["expected"])
    scores = _scorer(case).texts(case["texts"])
    assert perplexity(scores) == pytest.approx(case["expected"], rel=1e-6)


@pytest.mark.parametrize("case", _cases("divergence"))
def test_divergence(case: dict[str, Any]) -> None:
    old, new = ({**case, "table": case[state]} for state in ("before", "after"))
    assert reference.divergence(old, new, case["text"]) == _near(case["expected"])
    before, after = (_scorer(world).texts([case["text"]]) for world in (old, new))
    assert kl_per_text(before, after) == _near([case["expected"]])


@pytest.mark.parametrize("case", _cases("choice"))
def test_choice(case: dict[str, Any]) -> None:
    assert reference.choice(case, case["prompt"], case["choices"]) == case["expected"]
    item = ChoiceItem(case["prompt"], tuple(case["choices"]), case["expected"]["per_token"])
    (found,) = choose(*table_model(case["vocabulary"], case["table"]), [item])
    assert {"per_token": found.per_token, "total": found.total} == case["expected"]
    assert found.right


@pytest.mark.parametrize("case", _cases("wilson"))
def test_wilson(case: dict[str, Any]) -> None:
    ends = pytest.approx((case["low"], case["high"]), abs=5e-5)
    exact = reference.wilson(case["successes"], case["n"])
    assert exact == ends
    assert wilson(case["successes"], case["n"]) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("case", _cases("bootstrap"))
def test_bootstrap(case: dict[str, Any]) -> None:
    values = [Fraction(value) for value in case["values"]]
    assert reference.bootstrap(values) == _near(tuple(case["expected"]))
    for seed in range(5):
        assert bootstrap([float(v) for v in values], seed=seed) == _near(tuple(case["expected"]))
