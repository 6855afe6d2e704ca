"""What a composer refuses leaves model and stack as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchhub.composer.composer import Composer
from patchhub.composer.pristine import CheckpointPristine
from patchhub.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError
from patchhub.loading import LoadedBase, load_base
from patchhub.manifest import Orientation
from patchhub.patch import Patch
from patchhub.tensorfile import open_checkpoint
from tests.engine.composer.support import loaded
from tests.engine.stacks import TENSORS, model_bytes, patch_on, patches_on
from tests.pico import pico_directory


def refused(base: LoadedBase, composer: Composer, patch: Patch, code: str) -> str:
    before = model_bytes(base)
    with pytest.raises((IntegrityError, InvalidInputError, ConflictError)) as caught:
        composer.apply(patch)
    assert caught.value.code == code
    assert model_bytes(base) == before
    assert not composer.stack
    return str(caught.value)


def test_a_patch_of_another_base_is_refused(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    other = load_base(pico_directory(tmp_path, "gpt2", seed=1))
    composer = Composer.over(base)
    name = TENSORS["gpt2"][0]
    words = refused(base, composer, patch_on(other, [name]), "E201")
    assert name in words
    assert other.fingerprint.tensors[name].sha256 in words
    cast = load_base(pico_directory(tmp_path, "gpt2", dtype=torch.bfloat16))
    assert "BF16" in refused(base, composer, patch_on(cast, [name]), "E201")
    llama = loaded(tmp_path, "llama")
    words = refused(base, composer, patch_on(llama, TENSORS["llama"][:1]), "E201")
    assert "no such tensor" in words


def test_equal_tensors_in_another_base_are_refused_too(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    patch = patch_on(base, TENSORS["gpt2"][:1])
    foreign = replace(patch, manifest=replace(patch.manifest, base="1" * 64))
    assert "weights" in refused(base, Composer.over(base), foreign, "E201")


def test_base_files_that_changed_are_noticed(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    composer = Composer.over(base)
    header = open_checkpoint(base.directory).tensors[TENSORS["gpt2"][0]]
    with header.file.open("r+b") as stream:
        stream.seek(header.begin)
        stream.write(b"\x01\x02\x03\x04")
    words = refused(base, composer, patch_on(base, TENSORS["gpt2"][:2]), "E201")
    assert "fetch them again" in words


def test_a_base_that_changes_after_it_was_read_is_noticed(tmp_path: Path) -> None:
    # Another dtype than stored: else the parameters themselves would lie in the file.
    base = load_base(pico_directory(tmp_path, "llama", dtype=torch.bfloat16))
    composer = Composer.over(base)
    patch = patch_on(base, TENSORS["llama"][:1])
    composer.apply(patch)
    before = model_bytes(base)
    header = open_checkpoint(base.directory).tensors[TENSORS["llama"][0]]
    held = header.file.read_bytes()
    header.file.write_bytes(held[: header.begin] + bytes(4) + held[header.begin + 4 :])
    with pytest.raises(IntegrityError, match="E201"):
        composer.revert(patch.id)
    header.file.write_bytes(held[: header.begin])
    with pytest.raises(IntegrityError, match="E111"):
        composer.revert(patch.id)
    header.file.unlink()
    with pytest.raises(NotFoundError, match="E109"):
        composer.revert(patch.id)
    assert model_bytes(base) == before
    assert composer.stack == (patch,)
    header.file.write_bytes(held)
    composer.revert(patch.id)
    assert not composer.stack


def test_a_directory_that_holds_another_model_is_refused(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    other = loaded(tmp_path, "llama")
    with pytest.raises(IntegrityError, match="E201"):
        Composer.over(replace(base, directory=other.directory))


def test_twice_and_never_are_conflicts(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    composer = Composer.over(base)
    patch, other = patches_on(base, "gpt2", 2)
    composer.apply(patch)
    before = model_bytes(base)
    with pytest.raises(ConflictError, match="E306"):
        composer.apply(other, patch)
    with pytest.raises(ConflictError, match="E307") as caught:
        composer.revert(patch.id, other.id)
    assert caught.value.expected == patch.short
    assert model_bytes(base) == before
    assert composer.stack == (patch,)


def test_patches_that_disagree_about_orientation_are_refused(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    square = "transformer.h.0.attn.c_proj.weight"
    one, two = patch_on(base, [square]), patch_on(base, [square], seed=1)
    site = replace(two.manifest.sites[0], orientation=Orientation.OUT_IN)
    turned = replace(two, manifest=replace(two.manifest, sites=(site,)))
    with pytest.raises(InvalidInputError, match="E112"):
        Composer.over(base).set_stack([one, turned])


def test_parameters_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    patch = patch_on(base, TENSORS["gpt2"][:1])
    files = open_checkpoint(base.directory)
    base.model.to(torch.device("meta"))  # type: ignore[arg-type]
    composer = Composer(base.model, base.fingerprint, CheckpointPristine(files))
    with pytest.raises(InvalidInputError, match="E112"):
        composer.apply(patch)
    tied = loaded(tmp_path)
    blocks = [tied.model.get_submodule(f"transformer.h.{i}.mlp.c_proj") for i in (0, 1)]
    blocks[1].weight = blocks[0].weight
    with pytest.raises(InvalidInputError, match="tied"):
        Composer.over(tied).apply(patch)


def test_a_second_composer_does_not_take_patched_weights_for_the_base(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    first = Composer.over(base)
    (patch,) = patches_on(base, "gpt2", 1)
    with first.applied(patch):
        with pytest.raises(ConflictError, match="E309") as caught:
            Composer.over(base)
        assert patch.short in str(caught.value)
    Composer.over(base).apply(patch)


def test_two_composers_do_not_write_over_each_other(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    bare = model_bytes(base)
    one, other = Composer.over(base), Composer.over(base)
    first, second = patches_on(base, "gpt2", 2)
    one.apply(first)
    refused(base, other, second, "E309")
    one.revert(first.id)
    other.apply(second)
    with pytest.raises(ConflictError, match="E309"):
        one.set_stack([])
    other.revert(second.id)
    one.apply(first)
    one.revert(first.id)
    assert model_bytes(base) == bare
