"""One edit with each method on the embedded model, settings as the model recommends."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from patchhub.editing.catalog import editor_names, load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.prepare import prepare_context
from patchhub.loading import load_base
from patchhub.sandbox import edit_requests, load_world, model_path, texts


@pytest.mark.parametrize("method", editor_names())
def bench_single_edit(benchmark: BenchmarkFixture, method: str) -> None:
    world = load_world()
    base, editor = load_base(model_path()), load_editor(method)
    (request,) = edit_requests(world, 1, seed=0)
    context = prepare_context(
        base, editor, [request], seed=0, settings={}, corpus=texts(world, 300)
    )
    patch = benchmark.pedantic(  # type: ignore[no-untyped-call]
        run_editor, (editor, context, [request], {}), rounds=5, iterations=1, warmup_rounds=1
    )
    benchmark.extra_info["bytes"] = sum(map(len, patch.files().values()))
    assert patch.manifest.method.name == method
