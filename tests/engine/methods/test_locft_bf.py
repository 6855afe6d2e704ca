"""Mini-batch fine-tuning against the plain reference in float64, and what it trains on again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.training.dense import dense_patch
from patchhub.editing.training.finetune import LabelLoss
from patchhub.errors import InvalidInputError
from patchhub.methods import locft_bf
from patchhub.patch import Patch
from patchhub.request import EditRequest
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, pico_base, pico_context
from tests.engine.methods.rows import plain_rows
from tests.reference.ft_reference import finetune

EDITOR = load_editor("locft_bf")
JON = EditRequest(prompt="Jon Arvel was born in", target="the city of Oslo")
FOUR = [REQUEST, MIDDLE, AT_END, JON]
WIDE = torch.float64


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The change of the latest run before it is rounded to float32."""
    seen: dict[str, Tensor] = {}

    def watched(*args: Any) -> Any:
        seen.update(args[-1])
        return dense_patch(*args)

    monkeypatch.setattr(locft_bf, "dense_patch", watched)
    return seen


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gpt2", {"batch_size": 3, "steps": 6, "lr": 1e-2}),
        ("llama", {"batch_size": 100, "steps": 4}),
        ("t5", {"batch_size": 2, "steps": 4, "end": False}),
        ("gpt2", {"batch_size": 2, "lr": 5e-2, "stop_loss": 1.0}),
    ],
    ids=["mini-batches", "one batch", "encoder-decoder", "stops"],
)
def test_the_change_equals_the_reference(
    family: str, settings: dict[str, Any], changed: dict[str, Tensor]
) -> None:
    values = {"layer": 1, "batch_size": 100, "steps": 25, "lr": 5e-4, "stop_loss": 0.01, **settings}
    base = pico_base(family, WIDE)
    run_editor(EDITOR, pico_context(family, WIDE), FOUR, values)
    generator = torch.Generator().manual_seed(0)
    path = base.arch.path("mlp_out", 1, base.model)
    wanted = finetune(
        base.model,
        [path],
        plain_rows(base, FOUR, end=values.get("end", True)),
        objective="target_new",
        steps=values["steps"],
        lr=values["lr"],
        clamp=None,
        stop=values["stop_loss"],
        batch_size=values["batch_size"],
        only="weight",
        orders=(torch.randperm(4, generator=generator).tolist() for _ in range(25)),
    )
    assert list(changed) == list(wanted) == [f"{path}.weight"]
    (found,), (expected,) = changed.values(), wanted.values()
    scale = float(expected.abs().max())
    assert scale > 1e-4
    assert float((found - expected).abs().max()) <= 1e-9 * scale


def patch_of(requests: list[EditRequest]) -> Patch:
    return run_editor(EDITOR, pico_context("gpt2", WIDE), requests, {"layer": 0, "steps": 1})


def test_what_lies_below_is_trained_on_again_if_asked(
    changed: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = replace(MIDDLE, target="Oslo")
    below = (patch_of([REQUEST, MIDDLE]), patch_of([newer, AT_END]))
    taught: list[list[tuple[int, ...]]] = []

    def watched(base: Any, rows: Any, *args: Any, **kwargs: Any) -> Any:
        taught.append([row.labels for row in rows])
        return LabelLoss(base, rows, *args, **kwargs)

    monkeypatch.setattr(locft_bf, "LabelLoss", watched)

    def labels(*requests: EditRequest) -> list[tuple[int, ...]]:
        return [tuple(t) for _, t in plain_rows(pico_base("gpt2"), requests, end=True)]

    def train(*requests: EditRequest, replay: int) -> list[tuple[int, ...]]:
        context = replace(pico_context("gpt2", WIDE), below=below)
        settings = {"layer": 0, "steps": 1, "replay": replay}
        patch = run_editor(EDITOR, context, requests, settings)
        assert patch.requests == requests
        assert patch.manifest.onto == tuple(p.id for p in below)
        return taught[-1]

    assert train(JON, replay=0) == labels(JON)
    again = train(JON, replay=9)
    assert again[:1] == labels(JON)
    assert sorted(again[1:]) == sorted(labels(REQUEST, newer, AT_END))
    assert len(train(JON, replay=2)) == 3
    other = replace(AT_END, target="of Bergen")
    assert sorted(train(other, replay=9)) == sorted(labels(other, REQUEST, newer))


def test_a_request_that_is_too_long_does_not_lose_the_others() -> None:
    long = EditRequest(prompt="Mira " + "was born in " * 30 + "at", target="Rome")
    context = pico_context("gpt2")
    patch = run_editor(EDITOR, context, [long, REQUEST], {"layer": 0, "steps": 2})
    assert patch.requests == (REQUEST,)
    assert [(d.request, d.reason.code) for d in context.dropped] == [(long, "E150")]


@pytest.mark.parametrize("name", ["steps", "lr", "batch_size", "weight_decay", "replay"])
def test_settings_out_of_range_are_typed_errors(name: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        run_editor(EDITOR, pico_context("gpt2"), [REQUEST], {"layer": 0, name: -1})
    assert error.value.data["setting"] == name
