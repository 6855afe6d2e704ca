"""Fine-tuning against the plain reference in float64, and what the box promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import EditContext, run_editor
from patchhub.editing.training.dense import dense_patch
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Orientation
from patchhub.methods import ft
from patchhub.request import EditRequest
from patchhub.sites import architecture, module_of, parameter_for
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, pico_base, pico_context
from tests.engine.methods.rows import plain_rows
from tests.pico import DECODER_ONLY
from tests.reference.ft_reference import finetune

EDITOR = load_editor("ft")
THREE = [REQUEST, MIDDLE, AT_END]


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The changes of the latest run before they are rounded to float32."""
    seen: dict[str, Tensor] = {}

    def watched(*args: Any) -> Any:
        seen.update(args[-1])
        return dense_patch(*args)

    monkeypatch.setattr(ft, "dense_patch", watched)
    return seen


def wanted(
    family: str, requests: list[EditRequest], layers: tuple[int, ...], settings: dict[str, Any]
) -> dict[str, Tensor]:
    base = pico_base(family, torch.float64)
    return finetune(
        base.model,
        [base.arch.path("mlp_out", layer, base.model) for layer in layers],
        plain_rows(base, requests),
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


LARGE = {"clamp": None, "lr": 1e-2}


@pytest.mark.parametrize(
    ("family", "requests_", "layers", "settings"),
    [
        ("gpt2", [REQUEST], (0,), {"steps": 6}),
        ("gptj", [MIDDLE], (1,), {"objective": "prompt_last", "steps": 6}),
        ("t5", [MIDDLE], (1,), {"objective": "prompt_last", "steps": 6}),
        ("llama", THREE, (1,), {**LARGE, "batch_size": 2, "steps": 8}),
        ("gpt2", [REQUEST], (1,), {"clamp": None, "lr": 5e-2, "stop": 1.0}),
        ("gptj", THREE, (0, 1), {**LARGE, "batch_size": 2, "steps": 4}),
    ],
    ids=["ft-m", "ft-l", "ft-l of an encoder-decoder", "chunks", "stops", "two blocks"],
)
def test_changes_equal_the_reference(
    family: str,
    requests_: list[EditRequest],
    layers: tuple[int, ...],
    settings: dict[str, Any],
    changed: dict[str, Tensor],
) -> None:
    named = {"stop_loss" if name == "stop" else name: v for name, v in settings.items()}
    context = pico_context(family, torch.float64)
    patch = run_editor(EDITOR, context, requests_, {"layers": layers, **named})
    reference = wanted(family, requests_, layers, settings)
    assert changed.keys() == reference.keys()
    for name, expected in reference.items():
        scale = float(expected.abs().max())
        assert scale > 1e-4
        assert float((changed[name] - expected).abs().max()) <= 1e-9 * scale
    for site in patch.manifest.sites:
        upright = changed[site.tensor]
        upright = upright.T if site.orientation is Orientation.IN_OUT else upright
        assert torch.equal(patch.payload[site.tensor]["delta"], upright.float())


@pytest.mark.parametrize("alignment", ["shifted", "reference"])
def test_an_encoder_decoder_is_trained_with_the_shift_or_as_published(
    alignment: str, changed: dict[str, Tensor]
) -> None:
    settings: dict[str, Any] = {**LARGE, "alignment": alignment, "steps": 5}
    run_editor(EDITOR, pico_context("t5", torch.float64), THREE, {"layers": (0, 1), **settings})
    reference = wanted("t5", THREE, (0, 1), settings)
    for name, expected in reference.items():
        assert torch.allclose(changed[name], expected, rtol=0, atol=1e-9 * float(expected.max()))
    other = "shifted" if alignment == "reference" else "reference"
    against = wanted("t5", THREE, (0, 1), {**settings, "alignment": other})
    assert not all(torch.allclose(changed[n], t, atol=1e-4) for n, t in against.items())


def test_published_blocks_of_t5() -> None:
    assert architecture("t5").edit_layers["finetune"] == {"24": (0, 21)}


@pytest.mark.parametrize("family", ["gpt2", "opt", "t5"])
def test_what_is_computed_once_changes_nothing(family: str, changed: dict[str, Tensor]) -> None:
    context = pico_context(family, torch.float64)
    settings = {"layers": (1,), "steps": 4, "batch_size": 2}
    run_editor(EDITOR, context, THREE, settings)
    kept = dict(changed)
    run_editor(EDITOR, replace(context, memory=1), THREE, settings)
    for name, change in kept.items():
        assert torch.allclose(changed[name], change, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("family", sorted({*DECODER_ONLY} - {"gpt2", "opt"}))
def test_every_family_begins_at_its_down_projection(
    family: str, changed: dict[str, Tensor]
) -> None:
    base = pico_base(family)
    context = EditContext(base=base, generator=torch.Generator(), seed=0)
    settings = {"layers": (1,), "steps": 3, "lr": 1e-2, "clamp": None}
    counts = []
    for memory in (None, 1):
        with counted(base, "attention", 1) as calls:
            run_editor(EDITOR, replace(context, memory=memory), THREE, settings)
        counts.append(len(calls))
        if memory is None:
            kept = dict(changed)
    assert counts == [1, 1 + 3 * 3]  # one row in each pass of three steps
    for name, change in kept.items():
        assert float(change.abs().max()) > 1e-3
        assert torch.allclose(changed[name], change, rtol=0, atol=1e-5)


@contextmanager
def counted(base: LoadedBase, part: str, layer: int) -> Iterator[list[int]]:
    """How often a module of the model really computes."""
    module = module_of(base.model, base.arch.path(part, layer, base.model))
    own, calls = type(module).forward, list[int]()

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self is module:
            calls.append(1)
        return own(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(module), "forward", forward)
        yield calls


def test_no_weight_leaves_the_box() -> None:
    context = pico_context("gpt2")
    patch = run_editor(EDITOR, context, [REQUEST], {"layers": (0,), "clamp": 1e-4, "lr": 1e-2})
    for roles in patch.payload.values():
        assert float(roles["delta"].abs().max()) <= 1e-4 * (1 + 1e-6)


def test_a_request_that_is_too_long_does_not_lose_the_others() -> None:
    long = EditRequest(prompt="Mira " + "was born in " * 30 + "at", target="Rome")
    context = pico_context("gpt2")
    patch = run_editor(EDITOR, context, [long, REQUEST], {"layers": (0,), "steps": 2})
    assert patch.requests == (REQUEST,)
    assert patch.manifest.method.requests == (REQUEST.digest(),)
    assert [(d.request, d.reason.code) for d in context.dropped] == [(long, "E150")]
    alone = run_editor(EDITOR, pico_context("gpt2"), [REQUEST], {"layers": (0,), "steps": 2})
    assert patch.id == alone.id
    with pytest.raises(InvalidInputError) as error:
        run_editor(EDITOR, pico_context("gpt2"), [long], {"layers": (0,)})
    assert error.value.code == "E150"


@pytest.mark.parametrize("name", ["ft", "lora", "locft_bf", "ultraedit"])
def test_the_tokenizers_padding_side_means_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = load_editor(name)
    settings = {"layer": 1} if name == "locft_bf" else {"layers": (1,)}
    made = set()
    for side in ("left", "right"):
        monkeypatch.setattr(pico_base("gpt2").tokenizer, "padding_side", side)
        made.add(run_editor(editor, pico_context("gpt2"), THREE, settings).id)
    assert len(made) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((n, -1) for n in ("steps", "lr", "batch_size", "clamp", "weight_decay", "stop_loss")),
        ("layers", ()),
        ("alignment", "reference"),
        ("alignment", "none"),
    ],
)
def test_settings_out_of_range_are_typed_errors(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError) as error:
        run_editor(EDITOR, pico_context("gpt2"), [REQUEST], {"layers": (0,), name: value})
    assert error.value.code == "E142"
    assert error.value.data["setting"] == name


def test_every_token_at_once_needs_the_shift() -> None:
    settings = {"layers": (0,), "alignment": "reference", "objective": "prompt_last"}
    with pytest.raises(InvalidInputError) as error:
        run_editor(EDITOR, pico_context("t5"), [REQUEST], settings)
    assert error.value.data["setting"] == "objective"


def test_weight_and_bias_are_trained_where_there_is_one() -> None:
    settings = {"layers": (1,)}
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
