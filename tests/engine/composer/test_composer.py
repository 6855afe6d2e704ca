"""A model's weights are a function of (base, stack), whatever happened before."""

from __future__ import annotations

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
from patchhub.composer.pristine import BaseTensor, CheckpointPristine, MemoryPristine
from patchhub.kinds.storage import to_bytes
from patchhub.loading import LoadedBase, load_base
from patchhub.manifest import Site
from patchhub.patch import Patch
from tests.engine.composer.support import loaded
from tests.engine.stacks import TENSORS, model_bytes, patch_on, patches_on
from tests.reference.exact_sum_reference import compose_element, low_rank_delta

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def parameter(base: LoadedBase, name: str) -> Tensor:
    return base.model.get_parameter(name).detach()


# --- (base, stack) and nothing else --------------------------------------------------------------


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
def test_a_failure_while_reading_the_base_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    base = loaded(tmp_path)
    first, second = patches_on(base, "gpt2", 1)[0], patch_on(base, TENSORS["gpt2"][:3], seed=9)
    composer = Composer.over(base)
    composer.apply(first)
    before = model_bytes(base)
    calls = iter(range(100))
    honest = CheckpointPristine.tensor

    def broken(self: CheckpointPristine, site: Site) -> BaseTensor:
        if next(calls) == failing:
            raise MemoryError
        return honest(self, site)

    monkeypatch.setattr(CheckpointPristine, "tensor", broken)
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
    honest = exact_sum.compose_into
    calls = iter(range(100))

    def broken(out: Tensor, *rest: Any) -> None:
        if next(calls) == failing:
            out[: len(out) // 2] = 7.0  # half of it is written already
            raise error
        honest(out, *rest)

    monkeypatch.setattr(module, "compose_into", broken)
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
