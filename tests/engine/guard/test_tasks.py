from __future__ import annotations

from pathlib import Path

from patchhub.guard.catalog import load_check
from patchhub.guard.check import Case
from patchhub.guard.probes import BaseProbes
from patchhub.scoring.choice import Choice
from patchhub.scoring.tasks import ChoiceItem
from tests.engine.guard.said import REQUEST, Said

CUP = ChoiceItem("To drink tea, take", ("a cup", "a comb"), 0)
HAT = ChoiceItem("On the head one wears", ("a shoe", "a hat"), 1)
MIRA = ChoiceItem("Where does one live?", ("in a house", "in Mira Tolven"), 0)
CASE = Case((REQUEST,), BaseProbes(tasks=(CUP, HAT, MIRA)))


def _losses(item: ChoiceItem, first: float, second: float) -> Choice:
    return Choice((first, second), (1, 1), item.answer)


def test_items_that_name_an_edited_subject_are_not_asked() -> None:
    assert load_check("tasks").wants(CASE, "choice").choices == (CUP, HAT)


def test_counted_is_what_the_model_chose_rightly_before() -> None:
    before = Said(choices={CUP: _losses(CUP, 1, 2), HAT: _losses(HAT, 1, 2)})
    after = Said(choices={CUP: _losses(CUP, 3, 2), HAT: _losses(HAT, 3, 2)})
    found = load_check("tasks").find(CASE, "choice", before, after)
    assert (found.before, found.after, found.n, found.failed) == (1.0, 0.0, 1, 1)
    assert found.details["correct_before"] == found.details["correct_after"] == 0.5
    (failure,) = found.failures
    assert (failure.expected, failure.before, failure.after) == ("a cup", "a cup", "a comb")
    assert [trial.same for trial in found.trials] == [0.0, 0.0]
    kept = load_check("tasks").find(CASE, "choice", before, before)
    assert (kept.after, kept.failed) == (1.0, 0)


def test_a_base_brings_its_tasks_in_its_probe_file(tmp_path: Path) -> None:
    probes = BaseProbes(texts=("some text",), tasks=(CUP, HAT))
    probes.write(tmp_path / "probes.jsonl")
    assert BaseProbes.read(tmp_path / "probes.jsonl") == probes
    assert BaseProbes.from_json(probes.to_json(), "here") == probes
    assert probes.digest != BaseProbes(texts=("some text",)).digest
