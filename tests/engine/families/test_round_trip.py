"""Patches on every family: PEFT, the composer in memory and the one on disk say the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from patchhub.checkpoint import materialise
from patchhub.checkpoint.files import directory_digest
from patchhub.composer.composer import Composer
from patchhub.loading import LoadedBase, load_base
from patchhub.patch import Patch
from patchhub.sites import is_in_out, module_of
from tests.engine.checkpoint.conftest import parameter_bytes
from tests.engine.families.support import CASES, DTYPES, base_of, logits
from tests.engine.stacks import columns_on, patch_on
from tests.pico import ARCHITECTURES

pytestmark = pytest.mark.slow

TOLERANCE = 5e-6


def projections(base: LoadedBase) -> list[str]:
    """Every kind of projection, and the head where it is its own; of Conv1D and Linear one only."""
    names = []
    for name, stack in base.arch.stacks.items():
        parts = ("attention_in", "cross_attention_in", "mlp_in")
        paths = [path for part in parts for path in base.arch.paths(part, 1, base.model, name)]
        names += [*paths, stack.attention_out.format(0), stack.mlp_out.format(1)]
    head = base.model.get_parameter(f"{base.arch.head}.weight")
    if head is not base.model.get_parameter(f"{base.arch.embedding}.weight"):
        names += [base.arch.head]
    turned = [is_in_out(module_of(base.model, name)) for name in names]
    return [f"{name}.weight" for name, one in zip(names, turned, strict=True) if one == turned[0]]


def low_rank(base: LoadedBase, *, seed: int = 0) -> Patch:
    return patch_on(base, projections(base), seed=seed, rank=2, scale=0.02)


def dense(base: LoadedBase, *, seed: int = 1) -> Patch:
    """Of an embedding (the head too, where they are tied), norms, and biases where there are."""
    stack = base.arch.decoder
    owners = [base.arch.embedding, stack.norms[0].format(0), stack.final_norm]
    owners += [stack.mlp_out.format(0), *base.arch.paths("attention_in", 0, base.model)]
    there = dict(base.model.named_parameters())
    names = [f"{owner}.{end}" for owner in owners for end in ("weight", "bias")]
    return patch_on(base, [name for name in names if name in there], seed=seed, rank=None)


def lines(base: LoadedBase) -> Patch:
    """Of columns of a down-projection and of the embedding, and of elements of a norm."""
    stack = base.arch.decoder
    owners = (base.arch.embedding, stack.mlp_out.format(1), stack.final_norm)
    return columns_on(base, [f"{owner}.weight" for owner in owners], seed=2)


def fresh(base: LoadedBase, directory: Path) -> LoadedBase:
    return load_base(directory, dtype=base.model.dtype, fingerprint=base.fingerprint)


@pytest.mark.parametrize(("family", "tied"), CASES)
def test_peft_loads_a_patch_and_says_what_the_composer_says(
    family: str, tied: bool, tmp_path: Path
) -> None:
    base = base_of(family, tied)
    plain, patch = logits(base.model), low_rank(base)
    with Composer.over(base).applied(patch) as model:
        wanted = logits(model)
    patch.write(tmp_path / "patch")
    with warnings.catch_warnings():
        # PEFT asks every model for an attribute that transformers is about to rename.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        # T5's configuration says so whatever the checkpoint holds.
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        adapted = PeftModel.from_pretrained(
            fresh(base, base.directory).model, str(tmp_path / "patch")
        )
    assert (wanted - plain).abs().max() > 0.01
    assert (logits(adapted) - wanted).abs().max() <= TOLERANCE * max(1.0, float(wanted.abs().max()))
    assert torch.equal(logits(base.model), plain)


@pytest.mark.parametrize(("dtype", "shards"), DTYPES, ids=lambda value: str(value))
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_directory_holds_what_the_composer_composes(
    family: str, dtype: torch.dtype, shards: int, tmp_path: Path
) -> None:
    base = base_of(family, None, dtype, shards)
    assert len(list(base.directory.glob("model*.safetensors"))) >= shards
    assert (base.directory / "model.safetensors.index.json").is_file() == (shards > 1)
    both, target = [low_rank(base), dense(base), lines(base)], tmp_path / "served"
    bare = parameter_bytes(base.model)
    for stack in (both, both[1:], []):
        materialise(target, base.directory, base.fingerprint, stack)
        with Composer.over(base).applied(*stack) as model:
            wanted = parameter_bytes(model)
        assert (wanted == bare) == (not stack)
        assert parameter_bytes(fresh(base, target).model) == wanted
    assert directory_digest(target) == directory_digest(base.directory)


@pytest.mark.parametrize(("family", "tied"), CASES)
def test_embedding_and_head_whether_tied_or_not(family: str, tied: bool, tmp_path: Path) -> None:
    base, target = base_of(family, tied), tmp_path / "served"
    patch = patch_on(base, [f"{base.arch.head}.weight"], rank=3)
    with Composer.over(base).applied(patch) as model:
        wanted = parameter_bytes(model)
    changed = {name for name, data in parameter_bytes(base.model).items() if data != wanted[name]}
    aliases = {*base.arch.ties, *base.arch.ties.values()}
    assert changed == (aliases if tied else {f"{base.arch.head}.weight"})
    materialise(target, base.directory, base.fingerprint, [patch])
    assert parameter_bytes(fresh(base, target).model) == wanted
