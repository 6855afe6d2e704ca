"""What a forecast promises: sizes to the byte, text counted, nothing kept, nothing changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from patchhub.api import forecast as forecast_of
from patchhub.editing.catalog import METHODS, load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.forecast import Forecast, forecast
from patchhub.editing.prepare import prepare_context
from patchhub.editing.statistics.corpus import corpus_for
from patchhub.editing.statistics.moments import content_key, moments_of
from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, TEXTS, pico_base
from tests.test_editor_contract import complete, first, snapshot, trained_in

CHOOSE = {"kn"}
"""Methods that choose other sites for each request: of several, sizes are an estimate."""
THREE = [REQUEST, MIDDLE, EditRequest("Jon Arvel works for", "Tolven", subject="Jon Arvel")]


def foreseen(name: str, requests: list[EditRequest], **settings: object) -> Forecast:
    editor = load_editor(name)
    return forecast(
        pico_base("gpt2"),
        editor,
        [complete(editor, request) for request in requests],
        seed=3,
        settings={**first(editor), **settings},
        moments_cache=trained_in(name, "gpt2"),
        corpus=TEXTS,
    )


@pytest.mark.parametrize("requests_", [[REQUEST], THREE], ids=["one", "three"])
@pytest.mark.parametrize("name", METHODS.own())
def test_sizes_are_those_of_the_real_patch(name: str, requests_: list[EditRequest]) -> None:
    editor, base = load_editor(name), pico_base("gpt2")
    requests_ = [complete(editor, request) for request in requests_]
    steps = editor.cost.steps  # type: ignore[attr-defined]
    settings = {} if steps is None else {steps: 11}
    found = foreseen(name, requests_, **settings)
    values = {**first(editor), **settings}
    given: dict[str, Any] = {"settings": values, "moments_cache": trained_in(name, "gpt2")}
    context = prepare_context(base, editor, requests_, seed=3, corpus=TEXTS, **given)
    real = run_editor(editor, context, requests_, values)
    sizes = {file: len(data) for file, data in real.files().items()}
    if name in CHOOSE and len(requests_) > 1:
        assert found.files.keys() == sizes.keys()
        assert sum(found.files.values()) == pytest.approx(sum(sizes.values()), rel=0.3)
        return
    assert found.files == sizes
    assert found.settings == real.manifest.method.hparams
    assert found.sites == real.manifest.sites


@pytest.mark.parametrize("name", METHODS.own())
def test_model_and_generators_stay_as_they_were(name: str) -> None:
    model = pico_base("gpt2").model
    before = snapshot(model)
    found = foreseen(name, [REQUEST])
    assert snapshot(model) == before
    (edit,) = (phase for phase in found.phases if phase.name == "edit")
    assert edit.seconds is not None
    assert edit.seconds > 0
    assert found.memory > 10**7
    assert found.spent > 0


def test_requests_that_come_one_by_one_multiply_steps_and_rank() -> None:
    one, three = foreseen("rome", [REQUEST]), foreseen("rome", THREE)
    steps = [f.phases[-1].amount for f in (one, three)]
    assert steps == [20, 60]
    assert [f.sites[0].rank for f in (one, three)] == [1, 3]
    assert foreseen("ft", THREE).phases[-1].amount == 25


def test_text_that_has_to_be_read_is_counted(tmp_path: Path) -> None:
    base, editor = pico_base("gpt2"), load_editor("rome")
    settings: dict[str, Any] = {"layer": 0}

    def statistics(**more: Any) -> int:
        values = {"seed": 0, "settings": settings, "moments_cache": tmp_path, "corpus": TEXTS}
        found = forecast(base, editor, [AT_END], **{**values, **more})
        (phase,) = (p for p in found.phases if p.name == "statistics")
        assert (phase.seconds == 0) == (phase.amount == 0)
        return phase.amount

    expected = statistics()
    assert list(tmp_path.iterdir()) == []
    corpus = corpus_for(base, 0, TEXTS)
    key = content_key(base, corpus.record)
    assert statistics(elsewhere={key: (0,)}) == 0
    assert statistics(elsewhere={key: (1,)}) == expected
    real = moments_of(base, corpus, (0,), cache=tmp_path)
    assert expected == pytest.approx(real.count, rel=0.2)
    assert statistics() == 0
    assert statistics(settings={"layer": 1}) == expected
    own = corpus_for(base, 0, None)
    assert statistics(corpus=None) == own.samples * own.length > 0
    assert statistics(corpus=TEXTS * 20, statistics="fast") == 10 * 128
    assert statistics(settings={"layer": 0, "covariance": True}, seed=1) == 0


def test_a_method_that_says_no_cost_gets_no_figures() -> None:
    real = load_editor("ft")
    names = ("name", "needs", "kind", "hparams", "moment_layers", "edit")
    silent: Any = SimpleNamespace(**{name: getattr(real, name) for name in names})
    found = forecast(pico_base("gpt2"), silent, THREE, seed=0, settings={"layers": [0]})
    assert found.phases[-1].seconds is None
    assert (found.files, found.sites, found.trial) == ({}, (), None)
    assert found.settings["layers"] == [0]


def test_what_an_edit_refuses_its_forecast_refuses() -> None:
    base = pico_base("gpt2")
    for request, settings, code in (
        (EditRequest("Mira was born in", "Rome"), {"layer": 0}, "E134"),
        (REQUEST, {"layer": 0, "lr": -1.0}, "E142"),
        (REQUEST, {}, "E142"),
    ):
        with pytest.raises(InvalidInputError) as error:
            forecast_of(base, "rome", [request], settings=settings)
        assert error.value.code == code
