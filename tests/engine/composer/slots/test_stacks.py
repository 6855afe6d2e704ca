"""What the slots hold is a function of the stack: any order, any patch out of the middle."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from patchhub.composer.composer import Composer
from patchhub.composer.slots.radii import floor, resolved
from patchhub.composer.slots.room import Room
from patchhub.composer.slots.swap import PREFIX
from patchhub.kinds.storage import to_bytes
from patchhub.loading import LoadedBase
from patchhub.patch import Patch
from tests.engine.composer.slots.support import (
    MLP_OUT,
    PROMPTS,
    batch,
    blocks_on,
    change_on,
    key_of,
    neurons_on,
    values_on,
)
from tests.engine.composer.support import loaded
from tests.engine.stacks import columns_on, model_bytes, patch_on
from tests.reference.live_reference import radii


def many(base: LoadedBase, count: int) -> list[Patch]:
    """Patches of every kind; keys of one prompt in several of them, with several wishes."""
    family = base.model.config.model_type
    low, high = (MLP_OUT[family].format(i) for i in (0, 1))
    made = []
    for i in range(count):
        texts = [PROMPTS[i % 4], PROMPTS[(i + 1 + i // 4) % 4]]
        makers: list[Callable[[], Patch]] = [
            partial(neurons_on, base, high, i, count=1 + i % 3),
            partial(values_on, base, low, texts, seed=i, radius=0.3 + i / 50),
            partial(blocks_on, base, low, [high], texts, seed=i),
            partial(change_on, base, high, PROMPTS, i),
            partial(patch_on, base, [low, high], seed=i),
            partial(columns_on, base, [low], seed=i),
        ]
        made.append(makers[i % len(makers)]())
    return made


def slots(base: LoadedBase) -> dict[str, bytes]:
    found = base.model.named_buffers()
    return {name: to_bytes(tensor) for name, tensor in found if f".{PREFIX}" in name}


def logits(base: LoadedBase) -> Tensor:
    with torch.no_grad():
        found: Tensor = base.model(**batch(base, PROMPTS, "right")).logits
    return found


@pytest.mark.parametrize("reserved", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_what_left_was_never_there(tmp_path: Path, family: str, reserved: bool) -> None:
    torch.set_num_threads(1)
    base, choose = loaded(tmp_path, family), random.Random(7)
    bare, patches = model_bytes(base), many(base, 24)
    composer = Composer.over(base)
    if reserved:
        room = Room(ranks=40, keys=60, deltas=6, neurons=20)
        composer.reserve([MLP_OUT[family].format(i) for i in (0, 1)], room)
    for _ in range(3):
        stay = choose.sample(patches, 10)
        composer.set_stack([])
        composer.set_stack(stay)
        wanted = logits(base), slots(base), model_bytes(base)
        passing = [patch for patch in patches if patch not in stay]
        composer.set_stack([])
        for patch in choose.sample(patches, len(patches)):
            composer.apply(patch)
        for patch in choose.sample(passing, len(passing)):
            composer.revert(patch.id)
        order = {patch.id: place for place, patch in enumerate(stay)}
        composer.set_stack(sorted(composer.stack, key=lambda patch: order[patch.id]))
        assert torch.equal(logits(base), wanted[0])
        assert slots(base) == wanted[1]
        assert model_bytes(base) == wanted[2]
    composer.set_stack([])
    assert model_bytes(base) == bare
    assert bool(slots(base)) == reserved


def test_order_settles_ties_and_nothing_else(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    base = loaded(tmp_path)
    low = MLP_OUT["gpt2"].format(0)
    one, other = (values_on(base, low, PROMPTS[i : i + 2], seed=i) for i in (0, 1))
    composer = Composer.over(base)
    composer.set_stack([one, other])
    first = logits(base)
    composer.set_stack([other, one])
    second = logits(base)
    # Both have a key of the second prompt, and want different things: the upper one has its way.
    assert [torch.equal(a, b) for a, b in zip(first, second, strict=True)] == [
        True,
        False,
        True,
        True,
    ]
    composer.set_stack([one])
    assert torch.equal(logits(base)[1], second[1])


def test_radii_are_the_reference_s_and_free_of_order() -> None:
    make = torch.Generator().manual_seed(0)
    keys = torch.randn(600, 16, generator=make)
    keys[300:] = keys[:300] + 1e-3 * torch.randn(300, 16, generator=make)
    group = torch.randint(0, 5, (600,), generator=make)
    radius = 3 * torch.rand(600, generator=make)
    found = resolved(keys, radius, group)
    wanted = radii([{"keys": keys, "group": group, "radius": radius}])[0]
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert bool((found < radius).any())
    assert not bool((found > radius).any())
    order = torch.randperm(600, generator=make)
    assert torch.equal(resolved(keys[order], radius[order], group[order]), found[order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_smallest_radius_is_above_the_noise_of_batching(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    """A key of radius 0 fires for its prompt, alone or padded among others, and for no other."""
    torch.set_num_threads(1)
    base = loaded(tmp_path, "llama", dtype)
    high = MLP_OUT["llama"].format(1)
    patch = values_on(base, high, PROMPTS[:3], radius=0.0)
    key = key_of(base, high, PROMPTS[0])
    with Composer.over(base).applied(patch) as model:
        for side in ("left", "right"):
            inputs = batch(base, PROMPTS, side)
            places = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
            with torch.no_grad():
                model(**inputs, position_ids=places, use_cache=False)
            (chosen,) = model.model.layers[1].mlp.down_proj.live_state.choices.values()
            assert chosen[0].ge(0).tolist() == [True, True, True, False]
    least = floor(key[None], dtype)
    assert 0 < float(least) < 0.05 * float(key.norm())
