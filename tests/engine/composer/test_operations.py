"""Random operations, in memory and on disk: weights are a function of (base, stack), bit by bit."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from patchhub.checkpoint import materialise, read_state
from patchhub.checkpoint.files import directory_digest
from patchhub.composer.composer import Composer
from patchhub.composer.identity import composed_identity
from patchhub.loading import LoadedBase, load_base
from patchhub.manifest import Kind, Orientation
from patchhub.patch import Patch
from patchhub.sites import is_in_out, module_of, parameter_for
from tests.engine.composer.support import same
from tests.engine.stacks import columns_on, model_bytes, patch_on
from tests.pico import pico_directory
from tests.reference.exact_sum_reference import compose_element

pytestmark = pytest.mark.slow

OPERATIONS = int(os.environ.get("PATCHHUB_TEST_OPERATIONS", "20"))
"""On each type of model in each dtype; ``make ops`` does a thousand."""
TYPES = {"gpt2": None, "llama": None, "gpt_neox": True, "t5": None}
"""Types of model and whether embedding and head are tied; ``None`` as the family does it."""
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass
class Bench:
    """A base with a stack, what its bytes were under each stack, and a directory of its own."""

    base: LoadedBase
    patches: list[Patch]
    target: Path
    rng: random.Random
    stored: dict[str, Tensor] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.composer = Composer.over(self.base)
        self.bare = model_bytes(self.base)
        self.untouched = directory_digest(self.base.directory)
        for file in self.base.directory.glob("*.safetensors"):
            self.stored |= load_file(file)

    def step(self) -> None:
        """One operation, then everything that must hold after it."""
        names = ("push", "push", "revert", "revert", "reorder", "again", "same", "clear", "swap")
        name = self.rng.choice(names)
        getattr(self, name)()
        self.done[name] += 1
        self.check()
        if self.rng.random() < 0.1:
            self.on_disk()

    def some(self, patches: Any) -> list[Patch]:
        return self.rng.sample(list(patches), min(len(patches), self.rng.randint(1, 3)))

    def push(self) -> None:
        free = [patch for patch in self.patches if patch not in self.composer.stack]
        self.composer.apply(*self.some(free))

    def revert(self) -> None:
        chosen = self.some(self.composer.stack)
        self.composer.revert(*(self.rng.choice([one.id, one.short]) for one in chosen))

    def reorder(self) -> None:
        stack = self.composer.stack
        self.composer.set_stack(self.rng.sample(stack, len(stack)))

    def again(self) -> None:
        for patch in self.some(self.composer.stack):
            self.composer.revert(patch.id)
            self.composer.apply(patch)

    def same(self) -> None:
        self.composer.set_stack(self.composer.stack)

    def clear(self) -> None:
        self.composer.set_stack([])

    def swap(self) -> None:
        self.composer.set_stack(self.rng.sample(self.patches, self.rng.randint(0, 6)))

    def check(self) -> None:
        ids = [patch.id for patch in self.composer.stack]
        identity = composed_identity(self.base.fingerprint.weights, ids)
        assert self.composer.identity == identity
        found = model_bytes(self.base)
        assert self.seen.setdefault(identity, found) == found
        assert (found == self.bare) or ids
        self.check_elements()

    def check_elements(self) -> None:
        """Some elements of every touched tensor against sums of rational numbers."""
        sites = {site.tensor: site for one in self.composer.stack for site in one.manifest.sites}
        for name, site in sites.items():
            stored, composed = self.stored[name], parameter_for(self.base.model, site)
            form = str(stored.dtype).removeprefix("torch.")
            for _ in range(3):
                at = tuple(self.rng.randrange(size) for size in stored.shape)
                upright = at[::-1] if site.orientation is Orientation.IN_OUT else at
                terms = [term(patch, name, upright) for patch in self.composer.stack]
                wanted = compose_element(float(stored[at]), terms, form)
                assert same(float(composed[at]), wanted), (name, at)

    def on_disk(self) -> None:
        stack = self.composer.stack
        materialise(self.target, self.base.directory, self.base.fingerprint, stack)
        assert read_state(self.target).identity == self.composer.identity
        assert model_bytes(self.loaded(self.target)) == model_bytes(self.base)
        if not stack:
            assert directory_digest(self.target) == self.untouched
        self.done["disk"] += 1

    def loaded(self, directory: Path) -> LoadedBase:
        dtype, fingerprint = self.base.model.dtype, self.base.fingerprint
        return load_base(directory, dtype=dtype, fingerprint=fingerprint)

    def finish(self) -> None:
        """All patches on a fresh base, in another order; then none, in memory and on disk."""
        self.composer.set_stack(self.patches)
        other = self.loaded(self.base.directory)
        assert model_bytes(other) == self.bare
        fresh = Composer.over(other)
        for patch in self.rng.sample(self.patches, len(self.patches)):
            fresh.apply(patch)
        assert model_bytes(other) == model_bytes(self.base)
        for _ in range(2):
            self.check()
            self.on_disk()
            self.composer.set_stack([])
        assert model_bytes(self.base) == self.bare
        assert directory_digest(self.base.directory) == self.untouched


def term(patch: Patch, tensor: str, at: tuple[int, ...]) -> Fraction:
    """What a patch adds to one element."""
    roles = patch.payload.get(tensor)
    if roles is None:
        return Fraction(0)
    if "delta" in roles:
        return Fraction(float(roles["delta"][at]))
    if "values" in roles:
        axis = "rows" if "rows" in roles else "columns"
        line, across = (at[-1], at[0]) if axis == "columns" else (at[0], 0)
        chosen = roles["vector"][roles[axis] == line].tolist()
        return sum((Fraction(float(roles["values"][i, across])) for i in chosen), Fraction(0))
    row, column = roles["B"][at[0]].tolist(), roles["A"][:, at[1]].tolist()
    return sum((Fraction(b) * Fraction(a) for b, a in zip(row, column, strict=True)), Fraction(0))


def assortment(base: LoadedBase) -> list[Patch]:
    """All kinds, on projections, embedding, head, norms and biases; one pair cancels out."""
    arch, there = base.arch, dict(base.model.named_parameters())
    outs = [stack.mlp_out.format(i) for stack in arch.stacks.values() for i in (0, 1)]
    ins = [path for name in arch.stacks for path in arch.paths("mlp_in", 1, base.model, name)]
    norms = [f"{arch.decoder.norms[0].format(0)}.{end}" for end in ("weight", "bias")]
    biases = [f"{path}.bias" for path in (*outs, *ins)]
    vectors = (*norms, *biases, f"{arch.decoder.final_norm}.weight")
    small = [name for name in vectors if name in there]
    ends = [f"{arch.embedding}.weight", f"{arch.head}.weight"]
    weights = [f"{path}.weight" for path in (*outs, *ins)]
    turned = [is_in_out(module_of(base.model, path)) for path in (*outs, *ins)]
    assert len(set(turned)) == 1
    patches = [
        patch_on(base, weights[:1], seed=1),
        patch_on(base, weights[:2], seed=2, rank=3),
        patch_on(base, weights, seed=3, rank=2, scale=1e-3),
        patch_on(base, weights[1:], seed=4, rank=8, scale=2.0),
        patch_on(base, ends[:1], seed=5, rank=2),
        patch_on(base, ends[1:], seed=6, rank=1, scale=0.5),
        patch_on(base, small, seed=7, rank=None),
        patch_on(base, [*weights[:1], *small[:1], ends[1]], seed=8, rank=None, scale=0.3),
        patch_on(base, weights[1:3], seed=9, rank=None, scale=1e-6),
        patch_on(base, [ends[0], weights[-1]], seed=10, rank=None),
        columns_on(base, [*weights[:2], ends[0], *small[:1]], seed=11),
    ]
    return [*patches, negative(base, patches[1]), negative(base, patches[7])]


def negative(base: LoadedBase, patch: Patch) -> Patch:
    """A patch that takes away what another one adds."""
    role = "B" if patch.kind is Kind.LOW_RANK else "delta"
    payload = {n: {**roles, role: -roles[role]} for n, roles in patch.payload.items()}
    manifest = patch.manifest
    return Patch.build(
        patch.kind,
        payload,
        sites=manifest.sites,
        base=manifest.base,
        method=manifest.method,
        requests=(),
    )


@pytest.mark.parametrize("family", TYPES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_whatever_is_done_weights_are_a_function_of_base_and_stack(
    tmp_path: Path, family: str, dtype: torch.dtype
) -> None:
    torch.set_num_threads(1)
    shards = 3 if family in ("llama", "t5") else 1
    directory = pico_directory(tmp_path, family, dtype=dtype, shards=shards, tied=TYPES[family])
    base = load_base(directory, dtype=dtype)
    made = Bench(base, assortment(base), tmp_path / "served", random.Random(0))
    for step in range(OPERATIONS):
        torch.set_num_threads(2 if step % 50 == 49 else 1)
        made.step()
    made.finish()
    assert made.done["disk"] >= OPERATIONS // 20
    if OPERATIONS >= 300:
        assert min(made.done.values()) > OPERATIONS // 20
        assert len(made.seen) < OPERATIONS  # the same stacks were reached on many ways
