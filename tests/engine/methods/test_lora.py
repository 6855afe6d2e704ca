"""LoRA against the plain reference in float64, and what is exported against PEFT's own merge."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from patchhub.composer.composer import Composer
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.training.adapters import lora_adapters
from patchhub.editing.training.projections import projections
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.loading import load_base
from patchhub.methods import lora
from patchhub.sites import is_in_out, module_of, site_for
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, pico_base, pico_context
from tests.engine.methods.rows import plain_rows
from tests.pico import DECODER_ONLY
from tests.reference.lora_reference import adapt
from tests.reference.rome_reference import encode

EDITOR = load_editor("lora")
REQUESTS = [REQUEST, MIDDLE, AT_END]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The factors of every run of the method before they are rounded to float32."""
    seen: list[Any] = []

    @contextmanager
    def watched(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with lora_adapters(*args, **kwargs) as factors:
            seen.append(factors)
            yield factors

    monkeypatch.setattr(lora, "lora_adapters", watched)
    return seen


@pytest.mark.parametrize(
    ("family", "parts", "settings", "tolerance"),
    [
        ("gpt2", ("mlp_out",), {"layers": (1,), "rank": 1}, 1e-9),
        ("gpt2", ("mlp_in", "mlp_out"), {"weight_decay": 0.5, "batch_size": 2}, 1e-9),
        ("gptj", ("attention_in",), {"layers": (0,), "alpha": 3}, 1e-9),
        ("gptj", ("attention_out",), {"lr": 5e-2, "stop_loss": 1.0}, 1e-9),
        ("t5", ("attention_in", "mlp_out"), {"batch_size": 2}, 1e-9),
        # This family rounds norms to float32 whatever the model's dtype is.
        ("llama", ("attention_in", "mlp_in"), {"layers": (1,)}, 1e-4),
    ],
    ids=["one site", "decay, chunks", "scale", "stops", "encoder-decoder", "gated"],
)
def test_factors_equal_the_reference(
    family: str,
    parts: tuple[str, ...],
    settings: dict[str, Any],
    tolerance: float,
    trained: list[Any],
) -> None:
    values: dict[str, Any] = {
        "rank": 2,
        "alpha": 8,
        "steps": 12,
        "weight_decay": 0.0,
        "stop_loss": 0.01,
    }
    values |= {"lr": 5e-3, "batch_size": 128, **settings}
    base = pico_base(family, torch.float64)
    context = pico_context(family, torch.float64)
    patch = run_editor(EDITOR, context, REQUESTS, {**values, "parts": parts})
    paths = projections(base, values.get("layers", (0, 1)), parts)
    generator = torch.Generator().manual_seed(0)
    start = []
    for path in paths:
        width = site_for(base.model, base.fingerprint, f"{path}.weight").matrix_shape[1]
        draw = torch.rand(values["rank"], width, generator=generator)
        start.append(((2 * draw - 1) / width**0.5).double())
    expected = adapt(
        base.model,
        [(f"{path}.weight", is_in_out(module_of(base.model, path))) for path in paths],
        start,
        plain_rows(base, REQUESTS),
        scale=values["alpha"] / values["rank"],
        steps=values["steps"],
        lr=values["lr"],
        decay=values["weight_decay"],
        stop=values["stop_loss"],
        batch_size=values["batch_size"],
    )
    (found,) = trained
    assert len(found) == len(expected) == len(patch.manifest.sites)
    for path, pair, (a, b) in zip(paths, found, expected, strict=True):
        roles = patch.payload[f"{path}.weight"]
        for mine, theirs in zip(pair, (a, b), strict=True):
            scale = float(theirs.abs().max())
            assert scale > 1e-3
            assert float((mine.detach() - theirs).abs().max()) <= tolerance * scale
        stored = b * values["alpha"] / values["rank"]
        assert torch.allclose(roles["B"].double(), stored, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_peft_merges_to_what_the_composer_makes(family: str, tmp_path: Path) -> None:
    base = pico_base(family)
    context = pico_context(family)
    patch = run_editor(
        EDITOR, context, [REQUEST], {"steps": 4, "parts": ("attention_in", "mlp_out")}
    )
    patch.write(tmp_path / "patch")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        merged: Any = PeftModel.from_pretrained(
            load_base(base.directory).model, str(tmp_path / "patch")
        ).merge_and_unload()
    ids = torch.tensor([encode(base.tokenizer, REQUEST.prompt)])
    with Composer.over(base).applied(patch):
        ours = base.model(input_ids=ids).logits
        for site in patch.manifest.sites:
            mine = base.model.get_parameter(site.tensor)
            assert torch.allclose(mine, merged.get_parameter(site.tensor), rtol=0, atol=2e-6)
    assert torch.allclose(ours, merged(input_ids=ids).logits, atol=1e-4)
    assert not torch.allclose(ours, base.model(input_ids=ids).logits, atol=1e-2)


@pytest.mark.parametrize("family", DECODER_ONLY)
def test_every_family_learns_by_every_part(family: str) -> None:
    base = pico_base(family)
    parts = ("attention_in", "attention_out", "mlp_in", "mlp_out")
    patch = run_editor(
        EDITOR, pico_context(family), [REQUEST, MIDDLE], {"parts": parts, "steps": 2, "rank": 1}
    )
    assert {site.rank for site in patch.manifest.sites} == {1}
    paths = [
        path
        for layer in (0, 1)
        for path in (
            base.arch.path("attention_out", layer, base.model),
            base.arch.path("mlp_out", layer, base.model),
            *base.arch.paths("attention_in", layer, base.model),
            *base.arch.paths("mlp_in", layer, base.model),
        )
    ]
    assert len(paths) >= 8
    wanted = {site_for(base.model, base.fingerprint, f"{path}.weight").tensor for path in paths}
    assert {site.tensor for site in patch.manifest.sites} == wanted
    for roles in patch.payload.values():
        assert bool(roles["B"].any())


def test_default_settings_are_recorded_with_all_blocks() -> None:
    patch = run_editor(EDITOR, pico_context("gpt2"), [REQUEST], {"steps": 1})
    assert patch.manifest.method.hparams["layers"] == [0, 1]
    assert len(patch.manifest.sites) == 4
    assert {site.rank for site in patch.manifest.sites} == {8}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((n, -1) for n in ("rank", "alpha", "steps", "lr", "batch_size", "stop_loss")),
        ("weight_decay", -0.1),
        ("parts", ()),
        ("parts", ("head",)),
        ("layers", ()),
    ],
)
def test_settings_out_of_range_are_typed_errors(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError) as error:
        run_editor(EDITOR, pico_context("gpt2"), [REQUEST], {name: value})
    assert error.value.code == "E142"
    assert error.value.data["setting"] == name


def test_adapters_leave_when_putting_them_in_fails() -> None:
    model = pico_base("gpt2").model
    modules, own = dict(model.named_modules()), set(model.__dict__)
    generator = torch.Generator()
    paths = ["transformer.h.0.attn.c_attn", "transformer.h.0.mlp.act"]
    for wrong in (paths, ["transformer.h.0.mlp.nothing"]):
        with (
            pytest.raises((NotFoundError, ValueError)),
            lora_adapters(model, wrong, rank=1, alpha=1, generator=generator),
        ):
            pytest.fail("an activation takes no adapter")
        assert dict(model.named_modules()) == modules
        assert set(model.__dict__) == own
