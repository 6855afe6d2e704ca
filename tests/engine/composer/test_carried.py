"""Copies, pickles and saved directories of a patched model are never taken for a bare base."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from patchhub.checkpoint import identify, verify_directory
from patchhub.composer.carried import carried_by
from patchhub.composer.composer import Composer
from patchhub.composer.identity import composed_identity
from patchhub.errors import ConflictError, InvalidInputError
from patchhub.loading import LoadedBase, load_base
from patchhub.patch import Patch
from tests.engine.composer.support import loaded
from tests.engine.stacks import TENSORS, patch_on, patches_on
from tests.pico import pico_directory, pico_tokenizer


@pytest.fixture
def base(tmp_path: Path) -> LoadedBase:
    return loaded(tmp_path)


@pytest.fixture
def patches(base: LoadedBase) -> list[Patch]:
    found = patches_on(base, "gpt2", 2)
    Composer.over(base).set_stack(found)
    return found


def pickled(model: PreTrainedModel) -> Any:
    return pickle.loads(pickle.dumps(model))


def saved_and_loaded(model: PreTrainedModel) -> Any:
    stream = io.BytesIO()
    torch.save(model, stream)
    return torch.load(io.BytesIO(stream.getvalue()), weights_only=False)


def is_refused(base: LoadedBase, model: PreTrainedModel, patches: list[Patch]) -> None:
    copied = LoadedBase(model, base.tokenizer, base.directory, base.fingerprint, base.arch)
    with pytest.raises(ConflictError) as caught:
        Composer.over(copied)
    assert caught.value.code == "E309"
    assert all(patch.short in str(caught.value) for patch in patches)


@pytest.mark.parametrize("way", [copy.deepcopy, copy.copy, pickled, saved_and_loaded])
def test_copies_are_known_and_save_as_themselves(
    way: Any, base: LoadedBase, patches: list[Patch], tmp_path: Path
) -> None:
    twin = way(base.model)
    assert carried_by(twin) == tuple(patch.id for patch in patches)
    is_refused(base, twin, patches)
    twin.get_parameter("transformer.ln_f.weight").data.fill_(1.25)
    twin.save_pretrained(tmp_path / "twin")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "twin")
    norm = found.get_parameter("transformer.ln_f.weight")
    assert bool((norm == 1.25).all())  # its own weights, not its model's
    identity = identify(tmp_path / "twin")
    assert identity is not None
    assert [item.id for item in identity.stack] == [patch.id for patch in patches]


def test_a_copy_of_a_bare_model_is_bare(base: LoadedBase) -> None:
    composer = Composer.over(base)
    with composer.applied(*patches_on(base, "gpt2", 1)):
        assert carried_by(base.model)
    for twin in (base.model, copy.deepcopy(base.model), pickled(base.model)):
        assert carried_by(twin) == ()
        Composer(twin, base.fingerprint, composer._pristine)


@pytest.mark.parametrize("shard", ["1KB", "50GB"])
def test_a_saved_model_says_what_it_is(
    base: LoadedBase, patches: list[Patch], tmp_path: Path, shard: str
) -> None:
    target = tmp_path / "saved"
    base.model.save_pretrained(target, max_shard_size=shard)
    base.tokenizer.save_pretrained(target)
    found = identify(target)
    assert found is not None
    ids = [patch.id for patch in patches]
    assert (found.base, [item.id for item in found.stack]) == (base.fingerprint.weights, ids)
    assert found.identity == composed_identity(base.fingerprint.weights, ids)
    assert found.touched == composed_digests(base, patches)
    assert verify_directory(target, base.fingerprint) == []
    again = AutoModelForCausalLM.from_pretrained(target)
    for name, parameter in base.model.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
    with pytest.raises(ConflictError, match="E309"):
        load_base(target)
    patched = load_base(target, fingerprint=base.fingerprint)
    with pytest.raises(ConflictError, match="E309"):
        Composer.over(patched)


def composed_digests(base: LoadedBase, patches: list[Patch]) -> dict[str, str]:
    fresh = load_base(base.directory, fingerprint=base.fingerprint)
    composer = Composer.over(fresh)
    composer.set_stack(patches)
    return composer.digests()


def test_what_was_changed_after_the_patches_is_found(
    base: LoadedBase, patches: list[Patch], tmp_path: Path
) -> None:
    base.model.get_parameter("transformer.ln_f.weight").data[0] += 1
    base.model.save_pretrained(tmp_path / "saved")
    drifts = verify_directory(tmp_path / "saved", base.fingerprint, deep=True)
    assert "transformer.ln_f.weight" in {drift.where for drift in drifts}


def test_saving_after_a_revert_takes_the_claim_back(base: LoadedBase, tmp_path: Path) -> None:
    target, composer = tmp_path / "saved", Composer.over(base)
    pico_tokenizer().save_pretrained(target)
    with composer.applied(*patches_on(base, "gpt2", 1)):
        base.model.save_pretrained(target)
    base.model.save_pretrained(target)
    found = identify(target)
    assert found is not None
    assert found.stack == ()
    assert load_base(target).fingerprint.weights == base.fingerprint.weights


def test_saving_stays_what_it_is(base: LoadedBase, patches: list[Patch], tmp_path: Path) -> None:
    base.model.save_pretrained(tmp_path / "other", is_main_process=False)
    assert not (tmp_path / "other" / "patchhub.json").exists()
    (tmp_path / "file").write_text("x")
    base.model.save_pretrained(tmp_path / "file")  # transformers says so and goes on
    base.model.save_pretrained(str(tmp_path / "text"), variant="x")
    assert (tmp_path / "text" / "model.x.safetensors").is_file()
    assert identify(tmp_path / "text") is not None
    assert patches


def test_a_model_in_half_precision_says_the_stored_digests(tmp_path: Path) -> None:
    stored = loaded(tmp_path, "llama", torch.bfloat16)
    wide = load_base(stored.directory, dtype=torch.float32)
    composer = Composer.over(wide)
    composer.apply(patch_on(stored, TENSORS["llama"], rank=None))
    wide.model.save_pretrained(tmp_path / "wide")
    found = identify(tmp_path / "wide")
    assert found is not None
    assert found.touched == composer.digests()
    drifts = verify_directory(tmp_path / "wide", stored.fingerprint)
    assert {drift.found.split()[0] for drift in drifts} == {"F32"}


def test_a_model_that_nobody_uses_leaves_memory_at_once(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    Composer.over(base).apply(patch_on(base, TENSORS["gpt2"][:1]))
    alive = weakref.ref(base.model)
    gc.disable()
    try:
        del base
        assert alive() is None
    finally:
        gc.enable()


def test_a_base_without_a_tokenizer_is_refused_in_words(tmp_path: Path) -> None:
    directory = pico_directory(tmp_path, "gpt2")
    for file in directory.glob("token*"):
        file.unlink()
    with pytest.raises(InvalidInputError) as caught:
        load_base(directory)
    assert caught.value.code == "E143"
    assert "tokenizer" in str(caught.value.hint)
