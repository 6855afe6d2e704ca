"""Targets of many requests in one batch, and one ROME edit, beside the plain serial path.

On one thread, by the processor's time, which a busy machine changes little. The plain path does
some of the requests, the batch all; both are given per request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import torch

from benches.plain import Plain, plain_rome, plain_target
from patchhub.editing.blocks import edit_layer
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor, settings_of
from patchhub.editing.memory import Peak
from patchhub.editing.passes.budget import Budget
from patchhub.editing.prepare import prepare_context
from patchhub.editing.targets import Target, TargetSettings, find_targets, wanted_for
from patchhub.editing.targets.batch import size_of
from patchhub.editing.wording.templates import ContextTemplates, sample_templates
from patchhub.editing.wording.tokens import filler_id
from patchhub.loading import LoadedBase, load_base
from patchhub.sandbox import edit_requests, load_world, model_path, texts

MODELS = Path(__file__).parent.parent / "tests/models"
NAMES = ("sandbox-gpt2", "sandbox-llama")
REQUESTS, SAMPLE = 100, 4
CONTEXTS = 5
"""MEMIT's: so many texts besides the bare prompt."""
STEPS = 16
"""Fewer than usual, so what is done once weighs more here than it will."""
GOALS: Mapping[str, float] = {"batch": 10, "single": 2}
CLOSE = 1e-3


def _base(name: str) -> LoadedBase:
    return load_base(model_path() if name == NAMES[0] else MODELS / name)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", NAMES)
def bench_targets_of_a_hundred(name: str, figure: Callable[[str], None]) -> None:
    base = _base(name)
    layer = edit_layer(base.model, base.arch, "insert")
    settings = _settings(base)
    problems = [
        wanted_for(base.tokenizer, _contexts(base), [request])
        for request in edit_requests(load_world(), REQUESTS, 0)
    ]
    chosen = problems[:: REQUESTS // SAMPLE]
    filler = filler_id(base.tokenizer)
    base.model.requires_grad_(False)
    plain_target(base, chosen[0], settings, layer=layer, site="block")
    start = process_time()
    plain = [plain_target(base, one, settings, layer=layer, site="block") for one in chosen]
    middle = process_time()
    with Peak(base.model.device) as peak:
        found = find_targets(
            base.model, base.arch, problems, settings, layer=layer, filler=filler, site="block"
        )
    end = process_time()
    for one, expected in zip(found[:: REQUESTS // SAMPLE], plain, strict=True):
        _check(one, expected)
    slow, fast = (middle - start) / len(chosen), (end - middle) / len(problems)
    figure(
        f"{1e3 * slow:.0f} ms one by one (of {len(chosen)}), {1e3 * fast:.1f} in a batch of "
        f"{len(problems)}: {slow / fast:.1f} × (goal {GOALS['batch']:.0f}); "
        f"peak {peak.bytes / 2**20:.0f} MiB of the process, {_estimate(base, problems, layer)}"
    )
    assert slow / fast > GOALS["batch"] / 2


@pytest.mark.parametrize("name", NAMES)
def bench_one_rome_edit(name: str, figure: Callable[[str], None]) -> None:
    base, rome = _base(name), load_editor("rome")
    (request,) = edit_requests(load_world(), 1, seed=0)
    settings = settings_of(rome, base, {"steps": STEPS})
    context = prepare_context(
        base, rome, [request], seed=0, settings=settings, corpus=texts(load_world(), 300)
    )
    layer = edit_layer(base.model, base.arch, "insert")
    assert context.templates is not None
    assert context.moments is not None
    wanted = wanted_for(base.tokenizer, context.templates, [request])
    inverse = torch.linalg.inv(context.moments.second(layer)).to(base.model.dtype)
    base.model.requires_grad_(False)
    seconds = {"plain": float("inf"), "here": float("inf")}
    for _ in range(3):
        start = process_time()
        left, right = plain_rome(base, wanted, settings, layer, inverse)
        middle = process_time()
        patch = run_editor(rome, context, [request], settings)
        end = process_time()
        seconds["plain"] = min(seconds["plain"], middle - start)
        seconds["here"] = min(seconds["here"], end - middle)
    ((_, roles),) = patch.payload.items()
    cosine = torch.nn.functional.cosine_similarity(roles["A"][0], right, dim=0)
    assert float(cosine) > 0.99
    assert float(torch.nn.functional.cosine_similarity(roles["B"][:, 0], left, dim=0).abs()) > 0.9
    ratio = seconds["plain"] / seconds["here"]
    figure(
        f"{1e3 * seconds['plain']:.0f} ms plain, {1e3 * seconds['here']:.0f} here: "
        f"{ratio:.1f} × (goal {GOALS['single']:.0f})"
    )
    assert ratio > GOALS["single"] / 2


def _settings(base: LoadedBase) -> TargetSettings:
    own = settings_of(load_editor("rome"), base, None)
    return TargetSettings(steps=STEPS, lr=own.lr, stop_loss=own.stop_loss)


def _contexts(base: LoadedBase) -> ContextTemplates:
    every = sample_templates(base.model, base.tokenizer, torch.Generator().manual_seed(0)).texts
    return ContextTemplates((every[0], *every[-CONTEXTS:]))


def _estimate(base: LoadedBase, problems: Any, layer: int) -> str:
    budget = Budget(base.model, base.arch, layer)
    sizes = [size_of(one) for one in problems]
    groups = budget.groups(sizes, None)
    most = max(budget.bytes([sizes[i] for i in group]) for group in groups)
    return f"estimate {most / 2**20:.0f} MiB in {len(groups)} groups"


def _check(found: Any, expected: Plain) -> None:
    assert isinstance(found, Target)
    assert len(found.losses) == len(expected.losses)
    for one, other in zip(found.losses[:4], expected.losses[:4], strict=True):
        assert abs(one - other) <= CLOSE * (1 + abs(other))
