"""Low-rank patches are standard LoRA directories: PEFT and transformers load them unchanged."""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as hub_logging

from patchhub.fingerprint import fingerprint
from patchhub.manifest import Kind, MethodRecord, Orientation, Site
from patchhub.patch import Patch
from tests.engine.patches import REQUESTS
from tests.pico import pico_directory

SITES = {
    "gpt2": ("transformer.h.0.mlp.c_proj", "transformer.h.1.attn.c_attn"),
    "gptj": ("transformer.h.0.mlp.fc_out", "transformer.h.1.attn.q_proj"),
    "gpt_neox": ("gpt_neox.layers.0.mlp.dense_4h_to_h", "gpt_neox.layers.1.mlp.dense_h_to_4h"),
    "llama": ("model.layers.0.mlp.down_proj", "model.layers.1.self_attn.o_proj"),
}
RANKS = (1, 3)
IDS = torch.arange(1, 41).reshape(2, 20)
TOLERANCE = 5e-6


@dataclass(frozen=True)
class Case:
    base: Path
    patch: Path
    plain: Tensor
    edited: Tensor


@pytest.fixture(scope="module", params=sorted(SITES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A base, a patch of two ranks, and the logits before and after adding it directly."""
    folder = tmp_path_factory.mktemp(request.param)
    base = pico_directory(folder, request.param)
    made = torch.Generator().manual_seed(1)
    known = fingerprint(base)
    orientation = Orientation.IN_OUT if request.param == "gpt2" else Orientation.OUT_IN
    sites, payload = [], {}
    for module, rank in zip(SITES[request.param], RANKS, strict=True):
        entry = known.tensors[f"{module}.weight"]
        site = Site(f"{module}.weight", orientation, entry.shape, entry.dtype, entry.sha256)
        d_out, d_in = site.matrix_shape
        sites.append(site)
        payload[site.tensor] = {
            "A": torch.randn(rank, d_in, generator=made) * 0.1,
            "B": torch.randn(d_out, rank, generator=made) * 0.3,
        }
    patch = Patch.build(
        Kind.LOW_RANK,
        payload,
        sites=sites,
        base=known.weights,
        method=MethodRecord("rome", 1),
        requests=REQUESTS,
        state={"keys": torch.ones(2)},
    )
    patch.write(folder / "patch")
    model = load(base)
    plain = logits(model)
    for site in sites:
        delta = payload[site.tensor]["B"].double() @ payload[site.tensor]["A"].double()
        upright = delta.T if orientation is Orientation.IN_OUT else delta
        model.get_parameter(site.tensor).add_(upright.float())
    return Case(base, folder / "patch", plain, logits(model))


def load(directory: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    model.eval()  # type: ignore[no-untyped-call]
    model.requires_grad_(False)
    return model


@torch.no_grad()
def logits(model: torch.nn.Module) -> Tensor:
    found: Tensor = model(input_ids=IDS).logits
    return found


@pytest.fixture
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail on a warning from the loaders, raised or logged."""
    hub = hub_logging.get_logger("transformers")
    hub.addHandler(caplog.handler)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        # PEFT asks every model for an attribute that transformers is about to rename.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        yield
    hub.removeHandler(caplog.handler)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.usefixtures("silence")
def test_peft_loads_the_patch(case: Case) -> None:
    model = PeftModel.from_pretrained(load(case.base), str(case.patch))
    assert (case.edited - case.plain).abs().max() > 0.05
    assert (logits(model) - case.edited).abs().max() <= TOLERANCE
    assert (logits(model.merge_and_unload()) - case.edited).abs().max() <= TOLERANCE


@pytest.mark.usefixtures("silence")
def test_transformers_loads_the_patch(case: Case) -> None:
    model = load(case.base)
    info = model.load_adapter(str(case.patch))
    for keys in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not getattr(info, keys, None)
    assert (logits(model) - case.edited).abs().max() <= TOLERANCE
    model.disable_adapters()
    assert torch.equal(logits(model), case.plain)


@pytest.mark.usefixtures("silence")
def test_only_the_sites_get_an_adapter(case: Case) -> None:
    model = PeftModel.from_pretrained(load(case.base), str(case.patch))
    adapted = {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
    patch = Patch.read(case.patch)
    assert adapted == {f"base_model.model.{site.module}" for site in patch.manifest.sites}
    layers: list[Any] = [module for module in model.modules() if hasattr(module, "lora_A")]
    assert {layer.scaling["default"] for layer in layers} == {1.0}


def test_a_site_whose_module_has_another_name_in_the_running_model(tmp_path: Path) -> None:
    """GPT-2's first checkpoints call ``transformer.h.0.…`` just ``h.0.…``."""
    base = pico_directory(tmp_path, "gpt2")
    site = Site(
        "h.0.mlp.c_proj.weight",
        Orientation.IN_OUT,
        (128, 32),
        "F32",
        "0" * 64,
        runtime="transformer.h.0.mlp.c_proj",
    )
    factors = {"A": torch.full((1, 128), 0.1), "B": torch.full((32, 1), 0.2)}
    patch = Patch.build(
        Kind.LOW_RANK,
        {site.tensor: factors},
        sites=[site],
        base="0" * 64,
        method=MethodRecord("rome", 1),
        requests=REQUESTS,
    )
    patch.write(tmp_path / "patch")
    assert Patch.read(tmp_path / "patch").payload.keys() == {site.tensor}
    model = load(base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        adapted = logits(PeftModel.from_pretrained(load(base), str(tmp_path / "patch")))
    model.get_parameter("transformer.h.0.mlp.c_proj.weight").add_(0.1 * 0.2)
    assert (adapted - logits(model)).abs().max() <= TOLERANCE
