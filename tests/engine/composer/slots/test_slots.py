"""A model with slots is what it was: names, classes, files, copies; with empty ones, bits."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from patchhub.checkpoint.change import materialise
from patchhub.composer.composer import Composer
from patchhub.composer.slots.plane import routes_rows, state_of
from patchhub.composer.slots.room import Room
from patchhub.errors import InvalidInputError
from patchhub.identityfile import identify
from patchhub.loading import LoadedBase
from tests.engine.composer.slots.support import MLP_OUT, PROMPTS, batch, neurons_on, values_on
from tests.engine.composer.support import loaded
from tests.engine.stacks import model_bytes, patch_on

ROOM = Room(ranks=4, keys=20, deltas=1, neurons=4, sets=3)


@pytest.fixture(scope="module", params=["gpt2", "llama", "t5"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedBase:
    torch.set_num_threads(1)
    return loaded(tmp_path_factory.mktemp("base"), request.param)


@pytest.fixture
def gpt2(tmp_path: Path) -> LoadedBase:
    torch.set_num_threads(1)
    return loaded(tmp_path)


def logits(model: Any, base: LoadedBase) -> Tensor:
    inputs = batch(base, PROMPTS, "right")
    if base.model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[0, 5, 9]] * len(PROMPTS))
    with torch.no_grad():
        found: Tensor = model(**inputs).logits
    return found


def tensor_of(base: LoadedBase, layer: int = 1) -> str:
    return MLP_OUT[base.model.config.model_type].format(layer)


def test_empty_slots_change_no_bit_and_no_name(base: LoadedBase) -> None:
    model = base.model
    wanted, names = logits(model, base), [(n, type(m).__name__) for n, m in model.named_modules()]
    state, classes = list(model.state_dict()), [type(m) for m in model.modules()]
    composer = Composer.over(base)
    composer.reserve([tensor_of(base, 0), tensor_of(base)], ROOM)
    assert state_of(model) is not None
    assert torch.equal(logits(model, base), wanted)
    assert [(n, type(m).__name__) for n, m in model.named_modules()] == names
    assert list(model.state_dict()) == state
    assert all(isinstance(m, own) for m, own in zip(model.modules(), classes, strict=True))
    twins = (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), through_torch(model))
    for twin in twins:
        assert torch.equal(logits(twin, base), wanted)
        assert state_of(twin) is not state_of(model)


def through_torch(model: nn.Module) -> Any:
    kept = io.BytesIO()
    torch.save(model, kept)
    kept.seek(0)
    return torch.load(kept, weights_only=False)


def test_patches_go_with_copies_and_not_into_files(gpt2: LoadedBase, tmp_path: Path) -> None:
    tensor = tensor_of(gpt2)
    bare, own = logits(gpt2.model, gpt2), [type(m) for m in gpt2.model.modules()]
    weight, live = patch_on(gpt2, [tensor]), values_on(gpt2, tensor, PROMPTS[:2])
    composer = Composer.over(gpt2)
    composer.apply(weight)
    folded = logits(gpt2.model, gpt2)
    composer.apply(live)
    wanted = logits(gpt2.model, gpt2)
    assert not torch.equal(folded, wanted)
    twin = copy.deepcopy(gpt2.model)
    assert torch.equal(logits(twin, gpt2), wanted)
    gpt2.model.save_pretrained(tmp_path / "saved")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits(saved, gpt2), folded)
    identity = identify(tmp_path / "saved")
    assert identity is not None
    assert [item.id for item in identity.stack] == [weight.id]
    composer.revert(live.id)
    assert torch.equal(logits(gpt2.model, gpt2), folded)
    assert torch.equal(logits(twin, gpt2), wanted)  # a copy has slots of its own
    composer.set_stack([])
    assert torch.equal(logits(gpt2.model, gpt2), bare)
    assert [type(m) for m in gpt2.model.modules()] == own
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in gpt2.model.modules())


def test_an_adapter_on_top_adds_to_what_the_slots_do(base: LoadedBase) -> None:
    tensor = tensor_of(base)
    patch = neurons_on(base, tensor)
    composer = Composer.over(base)
    composer.set_stack([])
    before = model_bytes(base)
    with composer.applied(patch) as model:
        wanted = logits(model, base)
        name = tensor.split(".")[-2]
        turned = base.model.config.model_type == "gpt2"
        config = LoraConfig(target_modules=[name], r=2, fan_in_fan_out=turned)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            adapted = get_peft_model(model, config)
        assert torch.equal(logits(adapted, base), wanted)  # a fresh adapter adds nothing
        for parameter_name, parameter in adapted.named_parameters():
            if "lora_B" in parameter_name:
                parameter.data.fill_(0.05)
        assert not torch.allclose(logits(adapted, base), wanted)
        adapted.unload()
    assert model_bytes(base) == before


def test_reserved_slots_do_not_overflow(gpt2: LoadedBase) -> None:
    tensor = tensor_of(gpt2)
    composer = Composer.over(gpt2)
    composer.reserve([tensor], Room(neurons=4))
    first, second, third = (neurons_on(gpt2, tensor, seed) for seed in range(3))
    composer.set_stack([first, second])
    before = logits(gpt2.model, gpt2)
    for refused in ([third], [values_on(gpt2, tensor, PROMPTS[:1])]):
        with pytest.raises(InvalidInputError) as caught:
            composer.apply(*refused)
        assert caught.value.code == "E163"
        assert torch.equal(logits(gpt2.model, gpt2), before)
    with pytest.raises(InvalidInputError, match="E163"):
        composer.reserve([tensor], Room(neurons=3))
    composer.reserve([tensor], Room(neurons=6))
    composer.apply(third)
    assert len(composer.stack) == 3


def test_what_cannot_be_live_is_refused(gpt2: LoadedBase, tmp_path: Path) -> None:
    composer = Composer.over(gpt2)
    wrong = neurons_on(gpt2, "transformer.h.0.attn.c_proj.weight")
    with pytest.raises(InvalidInputError, match="E112"):
        composer.apply(wrong)
    dense = patch_on(gpt2, [tensor_of(gpt2)], rank=None)
    with pytest.raises(InvalidInputError, match="some requests only"), composer.rows([dense]):
        pass
    opt = loaded(tmp_path, "opt")
    flat = neurons_on(opt, MLP_OUT["opt"].format(0))
    with pytest.raises(InvalidInputError, match="neurons cannot be added here"):
        Composer.over(opt).apply(flat)
    assert composer.stack == ()


def test_a_checkpoint_cannot_hold_what_acts_live(gpt2: LoadedBase, tmp_path: Path) -> None:
    for patch in (neurons_on(gpt2, tensor_of(gpt2)), values_on(gpt2, tensor_of(gpt2), PROMPTS[:1])):
        with pytest.raises(InvalidInputError, match="do not change weights") as caught:
            materialise(tmp_path / "out", gpt2.directory, gpt2.fingerprint, [patch])
        assert caught.value.code == "E112"
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.patchhub").exists()
    assert Composer.over(gpt2).realised(patch) == {}


def test_models_say_whether_rows_of_a_batch_may_differ(gpt2: LoadedBase) -> None:
    tensor, composer = tensor_of(gpt2), Composer.over(gpt2)
    neurons, book = neurons_on(gpt2, tensor), values_on(gpt2, tensor, PROMPTS[:1])
    assert not routes_rows(gpt2.model)
    with composer.applied(neurons):
        assert not routes_rows(gpt2.model)
        with composer.rows([], [neurons_on(gpt2, tensor, 5)]):
            assert routes_rows(gpt2.model)
    with composer.applied(book):
        assert routes_rows(gpt2.model)
    assert not routes_rows(gpt2.model)
