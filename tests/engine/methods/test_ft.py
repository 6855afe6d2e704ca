"""Fine-tuning against the plain reference in float64, and what the box promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.errors import InvalidInputError
from patchhub.manifest import Orientation
from patchhub.request import EditRequest
from patchhub.sites import parameter_for
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, pico_context
from tests.reference.ft_reference import finetune
from tests.reference.rome_reference import encode

EDITOR = load_editor("ft")


def wanted(
    family: str, requests: list[EditRequest], layer: int, settings: dict[str, Any]
) -> dict[str, torch.Tensor]:
    base = pico_context(family, torch.float64).base
    rows = [
        (encode(base.tokenizer, r.prompt), encode(base.tokenizer, " " + r.target)) for r in requests
    ]
    return finetune(
        base.model,
        base.arch.path("mlp_out", layer, base.model),
        rows,
        **{
            "objective": "target_new",
            "steps": 25,
            "lr": 5e-4,
            "clamp": 5e-4,
            "stop": 0.01,
            "batch_size": 128,
            **settings,
        },
    )


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
@pytest.mark.parametrize(
    ("requests_", "layer", "settings"),
    [
        ([REQUEST], 0, {}),
        ([MIDDLE], 1, {"objective": "prompt_last"}),
        ([REQUEST, MIDDLE, AT_END], 1, {"clamp": None, "lr": 1e-2, "batch_size": 2}),
        ([REQUEST], 1, {"clamp": None, "lr": 5e-2, "stop": 1.0}),
    ],
    ids=["ft-m", "ft-l", "chunks", "stops"],
)
def test_changes_equal_the_reference(
    family: str, requests_: list[EditRequest], layer: int, settings: dict[str, Any]
) -> None:
    named = {"stop_loss" if name == "stop" else name: v for name, v in settings.items()}
    context = pico_context(family, torch.float64)
    patch = run_editor(EDITOR, context, requests_, {"layer": layer, **named})
    reference = wanted(family, requests_, layer, settings)
    assert len(patch.manifest.sites) == len(reference)
    for site in patch.manifest.sites:
        delta = patch.payload[site.tensor]["delta"].double()
        expected = reference[site.tensor.rpartition(".")[2]]
        expected = expected.T if site.orientation is Orientation.IN_OUT else expected
        # The patch is stored in float32; the loop before it agrees to 1e-9.
        assert torch.allclose(delta, expected, rtol=1e-7, atol=1e-12)
        assert float(expected.abs().max()) > 1e-4


def test_no_weight_leaves_the_box() -> None:
    context = pico_context("gpt2")
    patch = run_editor(EDITOR, context, [REQUEST], {"layer": 0, "clamp": 1e-4, "lr": 1e-2})
    for roles in patch.payload.values():
        assert float(roles["delta"].abs().max()) <= 1e-4 * (1 + 1e-6)


@pytest.mark.parametrize(
    "name", ["steps", "lr", "batch_size", "clamp", "weight_decay", "stop_loss"]
)
def test_settings_out_of_range_are_typed_errors(name: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        run_editor(EDITOR, pico_context("gpt2"), [REQUEST], {"layer": 0, name: -1})
    assert error.value.code == "E142"
    assert error.value.data["setting"] == name


def test_weight_and_bias_are_trained_where_there_is_one() -> None:
    settings = {"layer": 1}
    gpt2 = run_editor(EDITOR, pico_context("gpt2"), [REQUEST], settings)
    llama = run_editor(EDITOR, pico_context("llama"), [REQUEST], settings)
    assert [s.tensor for s in gpt2.manifest.sites] == [
        "transformer.h.1.mlp.c_proj.bias",
        "transformer.h.1.mlp.c_proj.weight",
    ]
    assert [s.tensor for s in llama.manifest.sites] == ["model.layers.1.mlp.down_proj.weight"]
    for site in gpt2.manifest.sites:
        model = pico_context("gpt2").base.model
        stored = parameter_for(model, site)
        delta = gpt2.payload[site.tensor]["delta"]
        assert delta.numel() == stored.numel()
