"""Knowledge neurons: one pass for all blocks beside a full pass per block, α and token.

The plain path is the reference of the tests, in float32: what published code does, but for its
gradients of parameters. Of the larger model it does one block in three, and counts three times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from benches.models import save_model
from benches.paired import least_seconds
from patchhub.editing.attribution import attributions
from patchhub.editing.memory import Peak
from patchhub.editing.recall import Answers, answers, places
from patchhub.loading import LoadedBase, load_base
from patchhub.sandbox import edit_requests, load_world, model_path
from patchhub.sites import module_of, weight_matrix
from tests.reference import kn_reference

STEPS = 20
GRID = [step / (STEPS - 1) for step in range(STEPS)]
GOAL, FLOOR = 20, 10
"""Times as fast: what is wanted, and what must hold on any machine."""


def _fast(base: LoadedBase, asked: Answers) -> Tensor:
    (place,) = places(base, asked, "natural", continued=False)
    return attributions(base, place, GRID)[:, 0]


def _plain(base: LoadedBase, asked: Answers, blocks: range) -> Tensor:
    model, arch, ids = base.model, base.arch, torch.tensor([asked.prompt])
    down = module_of(model, arch.path("mlp_out", 0, model))
    found = kn_reference.attribution(
        lambda: model(input_ids=ids).logits[0],
        [module_of(model, arch.paths("mlp_in", block, model)[0]) for block in blocks],
        weight_matrix(down).shape[1],
        [[(-1, label)] for label in asked.old],
        GRID,
        [-1],
    )
    return found[:, 0].double()


def _base(name: str, directory: Path) -> LoadedBase:
    if name == "sandbox-gpt2":
        return load_base(model_path())
    folder = save_model("gpt2", torch.float32, directory / name)
    AutoTokenizer.from_pretrained(model_path()).save_pretrained(folder)
    return load_base(folder)


@pytest.mark.parametrize(("name", "every"), [("sandbox-gpt2", 1), ("random-124M", 3)])
def bench_attribution(name: str, every: int, tmp_path: Path, figure: Callable[[str], None]) -> None:
    base = _base(name, tmp_path)
    base.model.requires_grad_(False)
    (request,) = edit_requests(load_world(), 1, seed=0)
    asked = answers(base, request.prompt, request.target_old or "", request.target, "natural")
    blocks = range(every // 2, base.arch.block_count(base.model), every)
    steps = {"plain": partial(_plain, base, asked, blocks), "here": partial(_fast, base, asked)}
    with Peak(base.model.device) as peak:
        found = steps["here"]()
    expected = steps["plain"]()
    assert (found[list(blocks)] - expected).abs().max() < 1e-3 * expected.abs().max()
    seconds = least_seconds(steps, 1)
    plain = every * seconds["plain"]
    ratio = plain / seconds["here"]
    figure(
        f"{len(asked.prompt)} tokens, answer of {len(asked.old)}: {plain:.2f} s, here "
        f"{seconds['here']:.3f} s, {ratio:.0f} × (goal {GOAL}); {peak.bytes / 2**20:.0f} MiB"
    )
    assert ratio >= FLOOR
