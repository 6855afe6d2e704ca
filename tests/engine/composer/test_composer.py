"""A model's weights are a function of (base, stack), whatever happened before."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.canonical import sha256
from patchhub.composer import composer as module
from patchhub.composer import exact_sum
from patchhub.composer.composer import Composer
from patchhub.composer.identity import composed_identity
from patchhub.composer.pristine import CheckpointPristine, MemoryPristine
from patchhub.errors import ConflictError, IntegrityError, InvalidInputError
from patchhub.kinds.storage import to_bytes
from patchhub.loading import LoadedBase, load_base
from patchhub.manifest import Orientation
from patchhub.patch import Patch
from patchhub.tensorfile import open_checkpoint
from tests.engine.stacks import TENSORS, model_bytes, patch_on, patches_on
from tests.pico import pico_directory
from tests.reference.exact_sum_reference import compose_element, low_rank_delta

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def loaded(parent: Path, family: str = "gpt2", dtype: torch.dtype = torch.float32) -> LoadedBase:
    return load_base(pico_directory(parent, family, dtype=dtype), dtype=dtype)


def parameter(base: LoadedBase, name: str) -> Tensor:
    return base.model.get_parameter(name).detach()


# --- (base, stack) and nothing else --------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_300_random_operations_leave_a_function_of_base_and_stack(
    tmp_path: Path, dtype: torch.dtype, family: str
) -> None:
    base = loaded(tmp_path, family, dtype)
    bare = model_bytes(base)
    patches = patches_on(base, family, 8)
    composer = Composer.over(base)
    rng = random.Random(0)
    seen: dict[str, str] = {composer.identity: bare}
    again = 0
    for step in range(300):
        torch.set_num_threads(2 if step % 50 == 49 else 1)
        _random_operation(composer, patches, rng)
        ids = [patch.id for patch in composer.stack]
        assert composer.identity == composed_identity(base.fingerprint.weights, ids)
        found = model_bytes(base)
        again += composer.identity in seen
        assert seen.setdefault(composer.identity, found) == found
    assert again > 100  # the same stacks were reached on many ways
    assert len(seen) > 50
    composer.set_stack([])
    assert model_bytes(base) == bare
    _equals_a_fresh_model(tmp_path, base, composer, patches)


def _random_operation(composer: Composer, patches: list[Patch], rng: random.Random) -> None:
    free = [patch for patch in patches if patch not in composer.stack]
    choice = rng.random()
    if choice < 0.4 and free:
        composer.apply(*rng.sample(free, rng.randint(1, min(2, len(free)))))
    elif choice < 0.8 and composer.stack:
        chosen = rng.sample(composer.stack, rng.randint(1, min(2, len(composer.stack))))
        composer.revert(*(rng.choice([patch.id, patch.short]) for patch in chosen))
    else:
        composer.set_stack(rng.sample(composer.stack, len(composer.stack)))


def _equals_a_fresh_model(
    tmp_path: Path, base: LoadedBase, composer: Composer, patches: list[Patch]
) -> None:
    composer.set_stack(patches)
    fresh = load_base(base.directory, dtype=base.model.dtype, fingerprint=base.fingerprint)
    Composer.over(fresh).set_stack(patches[::-1])
    assert model_bytes(fresh) == model_bytes(base)


@pytest.mark.parametrize("dtype", DTYPES)
def test_composed_tensors_equal_the_rational_reference(tmp_path: Path, dtype: torch.dtype) -> None:
    base = loaded(tmp_path, "gpt2", dtype)
    name = TENSORS["gpt2"][0]
    before = parameter(base, name).T.tolist()  # Conv1D: (d_in, d_out) as stored
    patches = [patch_on(base, [name], seed=i, rank=1 + i) for i in range(3)]
    Composer.over(base).set_stack(patches)
    deltas = [
        low_rank_delta(p.payload[name]["A"].tolist(), p.payload[name]["B"].tolist())
        for p in patches
    ]
    form = str(dtype).removeprefix("torch.")
    found = parameter(base, name).T.tolist()
    for i in range(0, len(before), 3):
        for j in range(len(before[0])):
            terms: list[Fraction] = [delta[i][j] for delta in deltas]
            assert found[i][j] == compose_element(before[i][j], terms, form)


def test_runtime_dtype_is_a_cast_of_the_stored_rounding(tmp_path: Path) -> None:
    stored = loaded(tmp_path, "llama", torch.bfloat16)
    wide = load_base(stored.directory, dtype=torch.float32)
    name = TENSORS["llama"][0]
    patch = patch_on(stored, [name], rank=4)
    Composer.over(stored).apply(patch)
    Composer.over(wide).apply(patch)
    assert parameter(wide, name).dtype == torch.float32
    assert torch.equal(parameter(wide, name), parameter(stored, name).float())


def test_writes_go_into_the_parameters_that_are_there(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    before = {n: (id(p), p.data_ptr()) for n, p in base.model.named_parameters()}
    Composer.over(base).set_stack(patches_on(base, "gpt2", 4))
    assert {n: (id(p), p.data_ptr()) for n, p in base.model.named_parameters()} == before
    assert not any(p.requires_grad for p in base.model.parameters())


def test_only_touched_tensors_change(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    before = {n: to_bytes(p) for n, p in base.model.named_parameters()}
    patch = patch_on(base, TENSORS["gpt2"][:2])
    Composer.over(base).apply(patch)
    changed = {n for n, p in base.model.named_parameters() if to_bytes(p) != before[n]}
    assert changed == set(TENSORS["gpt2"][:2])


def test_tied_weights_change_together_and_come_back(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    bare = model_bytes(base)
    patch = patch_on(base, ["lm_head.weight"], rank=2)
    assert [site.tensor for site in patch.manifest.sites] == ["transformer.wte.weight"]
    composer = Composer.over(base)
    composer.apply(patch)
    assert model_bytes(base) != bare
    tied = [base.model.get_parameter(n) for n in ("lm_head.weight", "transformer.wte.weight")]
    assert tied[0] is tied[1]
    composer.revert(patch.id)
    assert model_bytes(base) == bare


def test_digests_are_those_of_the_stored_bytes(tmp_path: Path) -> None:
    base = loaded(tmp_path, "llama", torch.bfloat16)
    composer = Composer.over(base)
    assert composer.digests() == {}
    composer.set_stack(patches_on(base, "llama", 6))
    digests = composer.digests()
    assert set(digests) == {name for patch in composer.stack for name in patch.payload}
    for name, found in digests.items():
        assert found == sha256(to_bytes(parameter(base, name)))


def test_memory_pristine_gives_the_same_bytes(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    bare = model_bytes(base)
    patches = patches_on(base, "gpt2", 5)
    composer = Composer(base.model, base.fingerprint, MemoryPristine(base.model))
    composer.set_stack(patches)
    found = model_bytes(base)
    composer.set_stack([])
    assert model_bytes(base) == bare
    Composer.over(base).set_stack(patches)
    assert model_bytes(base) == found


# --- all or nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failure_while_composing_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    base = loaded(tmp_path)
    first, second = patches_on(base, "gpt2", 1)[0], patch_on(base, TENSORS["gpt2"][:3], seed=9)
    composer = Composer.over(base)
    composer.apply(first)
    before = model_bytes(base)
    calls = iter(range(100))
    honest = exact_sum.compose

    def broken(*args: Any) -> Tensor:
        if next(calls) == failing:
            raise MemoryError
        return honest(*args)

    monkeypatch.setattr(module, "compose", broken)
    with pytest.raises(MemoryError):
        composer.apply(second)
    assert model_bytes(base) == before
    assert composer.stack == (first,)


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_while_writing_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, error: type[BaseException]
) -> None:
    base = loaded(tmp_path)
    composer = Composer.over(base)
    composer.apply(patch_on(base, TENSORS["gpt2"][:1], seed=1))
    before, stack = model_bytes(base), composer.stack
    patch = patch_on(base, TENSORS["gpt2"][:3], seed=9)
    honest = torch.nn.Parameter.copy_
    calls = iter(range(100))

    def broken(self: Tensor, other: Tensor) -> Tensor:
        number = next(calls)
        if number == failing:
            honest(self[:1], other[:1])  # half of it is written already
            raise error
        return honest(self, other)

    monkeypatch.setattr(torch.nn.Parameter, "copy_", broken)
    with pytest.raises(error):
        composer.apply(patch)
    assert model_bytes(base) == before
    assert composer.stack == stack


def test_context_manager_restores_when_the_body_raises(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    below, patch = patches_on(base, "gpt2", 2)
    composer = Composer.over(base)
    composer.apply(below)
    before = model_bytes(base)
    with composer.applied(patch) as model:
        assert model is base.model
        assert list(composer.stack) == [below, patch]
        assert model_bytes(base) != before
    assert model_bytes(base) == before
    with pytest.raises(ZeroDivisionError):
        _fail_inside(composer, patch, below)
    assert list(composer.stack) == [below]
    assert model_bytes(base) == before


def _fail_inside(composer: Composer, patch: Patch, below: Patch) -> None:
    with composer.applied(patch):
        composer.revert(below.id)
        raise ZeroDivisionError


# --- what is refused -----------------------------------------------------------------------------


def refused(base: LoadedBase, composer: Composer, patch: Patch, code: str) -> str:
    before = model_bytes(base)
    with pytest.raises((IntegrityError, InvalidInputError, ConflictError)) as caught:
        composer.apply(patch)
    assert caught.value.code == code
    assert model_bytes(base) == before
    assert composer.stack == ()
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


# --- realised updates ----------------------------------------------------------------------------


def test_realised_updates_show_what_rounding_leaves(tmp_path: Path) -> None:
    fine, coarse = loaded(tmp_path), loaded(tmp_path, dtype=torch.bfloat16)
    name = TENSORS["gpt2"][0]
    for base, low, high in ((fine, 0.99999, 1.0), (coarse, 0.05, 0.95)):
        patch = patch_on(base, [name], rank=2, scale=3e-4)
        composer = Composer.over(base)
        found = composer.realised(patch)[name]
        assert low <= found.cosine <= high
        assert 0 < found.changed <= 1
        composer.apply(patch)
        assert composer.realised(patch)[name] == found  # in the stack or not
    assert found.changed < 0.5
    assert composer.realised(patch_on(coarse, [name], scale=1.0))[name].norm_ratio == (
        pytest.approx(1, abs=0.01)
    )


def test_realised_of_an_update_too_small_to_see(tmp_path: Path) -> None:
    base = loaded(tmp_path, dtype=torch.bfloat16)
    name = TENSORS["gpt2"][0]
    found = Composer.over(base).realised(patch_on(base, [name], scale=1e-12))[name]
    assert (found.norm_ratio, found.cosine, found.changed) == (0.0, 0.0, 0.0)


def test_a_second_composer_does_not_take_patched_weights_for_the_base(tmp_path: Path) -> None:
    base = loaded(tmp_path)
    first = Composer.over(base)
    (patch,) = patches_on(base, "gpt2", 1)
    with first.applied(patch):
        with pytest.raises(ConflictError, match="E309") as caught:
            Composer.over(base)
        assert patch.short in str(caught.value)
    Composer.over(base).apply(patch)
