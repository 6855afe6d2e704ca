"""How near `edit --dry-run` comes to what the edit then takes, on the embedded model."""

from __future__ import annotations

import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from patchhub.editing.catalog import METHODS, load_editor
from patchhub.editing.editor import TRAINED, run_editor
from patchhub.editing.forecast import forecast
from patchhub.editing.prepare import prepare_context
from patchhub.loading import load_base
from patchhub.sandbox import edit_requests, load_world, model_path, texts

FACTOR = 3.0


UNTRAINED = [name for name in METHODS.own() if TRAINED not in load_editor(name).needs]


@pytest.mark.parametrize("method", UNTRAINED)
def bench_forecast(benchmark: BenchmarkFixture, method: str) -> None:
    world = load_world()
    base, editor = load_base(model_path()), load_editor(method)
    requests, corpus = edit_requests(world, 3, seed=0), texts(world, 2500)

    def real() -> tuple[float, int]:
        begun = time.perf_counter()
        context = prepare_context(base, editor, requests, seed=0, settings={}, corpus=corpus)
        patch = run_editor(editor, context, requests, {})
        return time.perf_counter() - begun, sum(map(len, patch.files().values()))

    real()
    seconds, size = real()
    found = benchmark.pedantic(  # type: ignore[no-untyped-call]
        forecast,
        (base, editor, requests),
        {"seed": 0, "settings": {}, "corpus": corpus},
        rounds=1,
        iterations=1,
    )
    foretold = sum(phase.seconds or 0.0 for phase in found.phases)
    benchmark.extra_info.update(
        edit=round(seconds, 3), foretold=round(foretold, 3), ratio=round(foretold / seconds, 2)
    )
    assert sum(found.files.values()) == size
    assert 1 / FACTOR < foretold / seconds < FACTOR
