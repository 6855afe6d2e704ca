"""A whole MEMIT batch of a hundred requests beside the plain serial path: targets, keys, solves.

With the settings that the sandbox models recommend. Statistics of the keys are made before, for
both. The plain path finds the targets of some requests; its time for all of them is theirs per
evaluation of the loss, times the evaluations of all. It reads all keys and writes all layers, with
the targets found here where it has none of its own. One thread by the processor's time, which a
busy machine changes little; two by the wall's, which means something on a quiet machine only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pytest
import torch
from torch import Tensor

from benches.plain import Plain, plain_memit, plain_target
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import EditContext, run_editor, settings_of
from patchhub.editing.keyvalue import spread
from patchhub.editing.memory import Peak
from patchhub.editing.prepare import prepare_context
from patchhub.editing.targets import Target, Wanted, find_targets
from patchhub.loading import load_base
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.sandbox import edit_requests, load_world, model_path, texts

MODELS = Path(__file__).parent.parent / "tests/models"
NAMES = ("sandbox-gpt2", "sandbox-llama")
REQUESTS, SAMPLE = 100, 5
GOAL, FLOOR = 10, 5
CLOSE = 1e-3
"""Of the first losses of a target."""
ALIKE = 0.02
"""Of the updates, relative to their size: Adam spreads rounding over many steps."""

Clock = Callable[[], float]


@dataclass
class _Spied:
    """What the search for targets was asked and found, and when it began and ended."""

    clock: Clock
    wanted: Sequence[Wanted] = ()
    found: list[Any] = field(default_factory=list)
    seconds: float = 0.0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def bench_memit_of_a_hundred(
    name: str, threads: int, figure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = process_time if threads == 1 else perf_counter
    context, settings, requests = _prepared(name)
    editor, base = load_editor("memit"), context.base
    spied = _spy(monkeypatch, clock)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with Peak(base.model.device) as peak:
            start = clock()
            patch = run_editor(editor, context, requests, settings)
            here = clock() - start
        base.model.requires_grad_(False)
        start = clock()
        plain = _plain_targets(context, settings, spied)
        slow = (clock() - start) / _evaluations(plain.values()) * _evaluations(spied.found)
        deltas = _deltas(spied, plain)
        assert context.moments is not None
        moments = {layer: context.moments.second(layer) for layer in settings.layers}
        start = clock()
        updates = plain_memit(base, spied.wanted, deltas, moments, settings.covariance_weight)
        rest = clock() - start
    finally:
        torch.set_num_threads(before)
    difference = _difference(patch, updates)
    ratio = (slow + rest) / here
    figure(
        f"{slow + rest:.1f} s one by one ({slow:.1f} for targets, by {len(plain)} of "
        f"{REQUESTS}; {rest:.1f} for keys and solves), {here:.1f} in a batch "
        f"({spied.seconds:.1f} for targets): {ratio:.1f} × (goal {GOAL}); "
        f"updates differ by {difference:.0e}; peak {peak.bytes / 2**20:.0f} MiB of the process"
    )
    assert threads > 1 or ratio > FLOOR
    assert difference < ALIKE


def _prepared(name: str) -> tuple[EditContext, Any, list[EditRequest]]:
    """Of as many subjects as requests: those on one subject would share a target."""
    world, memit = load_world(), load_editor("memit")
    base = load_base(model_path() if name == NAMES[0] else MODELS / name)
    first: dict[str, EditRequest] = {}
    for request in edit_requests(world, 2 * REQUESTS, 0):
        first.setdefault(str(request.subject), request)
    requests = list(first.values())[:REQUESTS]
    assert len(requests) == REQUESTS
    settings = spread.resolved(base, settings_of(memit, base, None))
    context = prepare_context(
        base, memit, requests, seed=0, settings=settings, corpus=texts(world, 300)
    )
    return context, settings, requests


def _spy(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> _Spied:
    spied = _Spied(clock)

    def spying(model: Any, arch: Any, wanted: Sequence[Wanted], *rest: Any, **more: Any) -> Any:
        start = clock()
        spied.wanted, spied.found = wanted, find_targets(model, arch, wanted, *rest, **more)
        spied.seconds = clock() - start
        return spied.found

    monkeypatch.setattr(spread, "find_targets", spying)
    return spied


def _plain_targets(context: EditContext, settings: Any, spied: _Spied) -> dict[int, Plain]:
    """Of every so many requests."""
    return {
        i: plain_target(
            context.base, spied.wanted[i], settings, layer=settings.layers[-1], site="block"
        )
        for i in range(0, REQUESTS, REQUESTS // SAMPLE)
    }


def _deltas(spied: _Spied, plain: dict[int, Plain]) -> Tensor:
    """The plain path's own where it has one, which must be the same."""
    for i, expected in plain.items():
        found = spied.found[i]
        assert isinstance(found, Target)
        for one, other in zip(found.losses[:4], expected.losses[:4], strict=True):
            assert abs(one - other) <= CLOSE * (1 + abs(other))
    return torch.stack(
        [plain[i].delta if i in plain else one.delta for i, one in enumerate(spied.found)]
    )


def _evaluations(targets: Any) -> int:
    return sum(len(one.losses) for one in targets)


def _difference(patch: Patch, updates: dict[int, Tensor]) -> float:
    """The largest distance of two updates of one tensor, relative to its size."""
    found = [roles["B"].double() @ roles["A"].double() for roles in patch.payload.values()]
    return max(
        float((one - other).norm() / other.norm())
        for one, other in zip(found, updates.values(), strict=True)
    )
