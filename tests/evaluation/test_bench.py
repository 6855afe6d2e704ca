"""Whole experiments on the embedded model, with few and cheap edits."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.evaluation import place
from patchhub.evaluation.bench import bench
from patchhub.evaluation.datasets import Dataset, load_dataset
from patchhub.evaluation.records import COLLAPSED, UNEDITED, Row
from patchhub.evaluation.results import Provenance, Results
from patchhub.evaluation.setup import Setup
from patchhub.jobs.inline import Inline
from patchhub.request import EditRequest
from patchhub.sandbox import model_path
from patchhub.scoring.consistency import References
from patchhub.scoring.protocols import Protocol
from tests.evaluation import ROOT

pytestmark = pytest.mark.slow

EDITS = 6
T5 = ROOT / "tests/models/sandbox-t5"
SETUP = Setup(
    models=(model_path(),),
    methods=("ft",),
    sizes=(1, 3),
    checkpoints=2,
    again=2,
    protocols=(Protocol.GENERATION, Protocol.LIKELIHOOD),
    measures=("reliability", "generalization", "locality", "drift", "tasks", "fluency.consistency"),
    whole_every=3,
    base_questions=20,
    base_texts=4,
    base_tasks=20,
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    found = load_dataset("sandbox", limit=EDITS)
    first = found.requests[0]
    texts = {(first.relation or "", first.target): (f"Something else of {first.target}.",)}
    return replace(found, references=References(texts))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def single(data: Dataset, out: Path) -> Results:
    return bench("single", data, SETUP, out, Inline())


@pytest.fixture(scope="module")
def sequential(data: Dataset, out: Path) -> Results:
    return bench("sequential", data, SETUP, out, Inline())


def _mean(rows: list[Row]) -> float:
    return sum(row.value for row in rows) / len(rows)


def _rows(results: Results, method: str, measure: str, **fields: object) -> list[Row]:
    return [
        row
        for row in results.rows
        if (row.method, row.measure, row.figure) == (method, measure, fields.get("figure", "score"))
        and row.protocol == fields.get("protocol", "generation")
        and row.variant == fields.get("variant", "")
        and row.step == fields.get("step", row.step)
    ]


def test_edits_show_and_the_unedited_model_stays_where_it_was(single: Results) -> None:
    assert len(_rows(single, "ft", "reliability.target")) == EDITS
    assert _mean(_rows(single, "ft", "reliability.target")) >= 5 / 6
    assert _mean(_rows(single, UNEDITED, "reliability.target")) == 0
    assert _mean(_rows(single, UNEDITED, "locality.neighbourhood", figure="agreement")) == 1
    assert all(row.value == row.before for row in single.rows if row.method == UNEDITED)


def test_the_collapsed_model_is_wrong_in_words(single: Results) -> None:
    assert _mean(_rows(single, COLLAPSED, "locality.neighbourhood")) == 0
    perplexity = _rows(single, COLLAPSED, "drift.perplexity", protocol="", figure="value")
    assert perplexity[0].value > 100 * perplexity[0].before


def test_what_the_model_knew_is_on_file_for_every_case(single: Results) -> None:
    known = [k for k in single.known if k.protocol == "generation"]
    assert [k.case for k in known] == list(range(EDITS))
    assert sum(k.old for k in known) >= 5  # the embedded model knows its world
    assert not any(k.right for k in known)


def test_results_and_costs_are_written(single: Results, out: Path) -> None:
    assert Results.read(out / "single") == single
    costs = Provenance.read(out / "single")
    assert [one.size for one in costs.spent] == [1] * EDITS
    assert all(one.seconds > 0 and one.patch_bytes > 1000 for one in costs.spent)
    (prepared,) = costs.prepared
    assert 0.3 < prepared.latency < 3


def test_other_tasks_and_consistency_are_measured_once_a_state(
    single: Results, sequential: Results
) -> None:
    tasks = [row for row in single.rows if (row.method, row.measure) == ("ft", "tasks.choice")]
    accuracy = [row for row in tasks if row.figure == "accuracy"]
    assert [row.case for row in accuracy] == [0, 3]  # every third of six
    assert all(row.before > 0.9 for row in accuracy)
    steps = [row for row in sequential.rows if row.measure == "tasks.choice"]
    assert {row.case for row in steps} == {-1}
    similar = [row for row in single.rows if row.measure == "fluency.consistency"]
    assert {row.case for row in similar if row.method == "ft"} == {0}


def test_a_finished_experiment_is_not_done_again(single: Results, data: Dataset, out: Path) -> None:
    told: list[tuple[int, int]] = []
    again = bench(
        "single",
        data,
        SETUP,
        out,
        Inline(),
        progress=lambda _, done, all_: told.append((done, all_)),
    )
    assert again == single
    assert len(set(told)) == 1


def test_batches_share_single_edits_and_cover_every_case(
    single: Results, data: Dataset, out: Path
) -> None:
    setup = replace(SETUP, measures=("reliability",))
    results = bench("batch", data, setup, out, Inline())
    by_size = defaultdict(list)
    for row in _rows(results, "ft", "reliability.target"):
        by_size[row.size].append(row)
    assert {size: sorted(row.case for row in rows) for size, rows in by_size.items()} == {
        1: list(range(EDITS)),
        3: list(range(EDITS)),
    }
    alone = [(row.case, row.value) for row in _rows(single, "ft", "reliability.target")]
    assert [(row.case, row.value) for row in by_size[1]] == alone


def test_a_sequence_asks_for_all_edits_so_far(sequential: Results) -> None:
    for step in (3, 6):
        rows = _rows(sequential, "ft", "reliability.target", step=step)
        assert [row.case for row in rows] == list(range(step))
        assert _mean(rows) >= 2 / 3


def test_undone_edits_are_gone_and_the_others_stay(sequential: Results) -> None:
    gone = _rows(sequential, "ft", "reliability.target", variant="undone")
    kept = _rows(sequential, "ft", "reliability.target", variant="kept")
    assert len(gone) == 2
    assert len(kept) == EDITS - 2
    assert _mean(gone) == 0
    assert _mean(kept) >= 3 / 4


def test_of_contradicting_edits_the_latest_holds(sequential: Results) -> None:
    new = _rows(sequential, "ft", "reliability.target", variant="conflicting")
    old = _rows(sequential, "ft", "reliability.target", variant="superseded")
    assert [row.case for row in new] == [6, 7]
    assert _mean(new) >= 1 / 2
    assert _mean(old) <= 1 / 2
    repeated = _rows(sequential, "ft", "reliability.target", variant="repeated")
    assert len(repeated) == 2
    assert _mean(repeated) == 1


def test_a_method_that_cannot_edit_a_model_is_refused_not_lost(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*given: object, **more: object) -> None:
        raise InvalidInputError("E140", "not a model of this family")

    monkeypatch.setattr(place, "prepare_context", refusing)
    few = replace(data, requests=data.requests[:2])
    setup = replace(SETUP, models=(T5,), methods=("rome",))
    results = bench("single", few, setup, tmp_path, Inline())
    (refusal,) = results.refusals
    assert (refusal.method, refusal.code, refusal.cases) == ("rome", "E140", (0, 1))
    assert {row.method for row in results.rows} == {UNEDITED, COLLAPSED}


def test_a_request_that_a_method_refuses_is_left_out_of_its_batch(
    data: Dataset, tmp_path: Path
) -> None:
    vague = EditRequest("The person was born in", "Oslo", id="vague")
    few = replace(data, requests=(*data.requests[:2], vague))
    setup = replace(
        SETUP,
        methods=("rome",),
        sizes=(3,),
        measures=("reliability",),
        settings={"rome": {"steps": 2}},
    )
    results = bench("batch", few, setup, tmp_path, Inline())
    (refusal,) = results.refusals
    assert (refusal.code, refusal.cases) == ("E134", (2,))
    assert sorted(row.case for row in _rows(results, "rome", "reliability.target")) == [0, 1, 2]


def test_the_rest_of_a_data_set_is_a_batch_of_the_same_size(data: Dataset, out: Path) -> None:
    setup = replace(SETUP, sizes=(4, 100), measures=("reliability",))
    results = bench("batch", data, setup, out, Inline())
    rows = _rows(results, "ft", "reliability.target")
    assert {(row.size, row.step) for row in rows} == {(4, 4)}  # there are no hundred
    assert sorted(row.case for row in rows) == list(range(EDITS))


def test_a_refusal_of_some_data_does_not_outlive_it(data: Dataset, tmp_path: Path) -> None:
    setup = replace(
        SETUP, methods=("rome",), measures=("reliability",), settings={"rome": {"steps": 2}}
    )
    bare = tuple(replace(request, subject=None) for request in data.requests[:1])
    refused = bench("single", replace(data, requests=bare), setup, tmp_path, Inline())
    assert refused.refusals[0].code == "E134"
    named = replace(data, requests=data.requests[:1])
    assert bench("single", named, setup, tmp_path, Inline()).refusals == ()


def test_whole_model_numbers_leave_out_what_all_carried_edits_name(sequential: Results) -> None:
    n = {
        row.variant: row.n
        for row in sequential.rows
        if (row.method, row.measure, row.figure) == ("ft", "tasks.choice", "accuracy")
        and row.step >= EDITS
    }
    assert n["repeated"] == n["conflicting"] == n[""]


def test_the_same_fact_twice_is_two_cases(data: Dataset, tmp_path: Path) -> None:
    twice = replace(data, requests=(data.requests[0], *data.requests[:3]))
    setup = replace(SETUP, measures=("reliability",))
    results = bench("sequential", twice, setup, tmp_path, Inline())
    superseded = _rows(results, "ft", "reliability.target", variant="superseded")
    assert len({row.case for row in superseded}) == len(superseded) > 0


def test_wrong_words_are_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no such experiment"):
        bench("double", data, SETUP, tmp_path, Inline())
    with pytest.raises(NotFoundError, match="no such measure"):
        bench("single", data, replace(SETUP, measures=("charm",)), tmp_path, Inline())
    with pytest.raises(NotFoundError, match="no such measure"):
        bench("single", data, replace(SETUP, measures=("survival",)), tmp_path, Inline())
    with pytest.raises(InvalidInputError, match="named twice"):
        replace(SETUP, seeds=(0, 0))
    with pytest.raises(InvalidInputError, match="out of range"):
        replace(SETUP, again=-1)
    with pytest.raises(InvalidInputError, match="this dtype"):
        replace(SETUP, dtype="float16")
    with pytest.raises(InvalidInputError, match="methods that are not run"):
        replace(SETUP, settings={"rome": {}})
    copy = tmp_path / model_path().name
    shutil.copytree(model_path(), copy)
    with pytest.raises(InvalidInputError, match="one name"):
        bench("single", data, replace(SETUP, models=(model_path(), copy)), tmp_path, Inline())
