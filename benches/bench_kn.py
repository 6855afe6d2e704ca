"""Knowledge neurons: one pass for all blocks beside a full pass per block, α and token.

The plain path is the reference of the tests, in float32: what published code does, but for its
gradients of parameters. Of the larger model it does one block in six, and counts six times. On one
thread, by the processor's time, which a busy machine changes little.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from benches.models import save_model
from patchhub.editing.memory import Peak
from patchhub.editing.neurons.attribution import attributions
from patchhub.editing.passes.recall import Answers, answers, places
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


@pytest.mark.parametrize(("name", "every"), [("sandbox-gpt2", 1), ("random-124M", 6)])
def bench_attribution(name: str, every: int, tmp_path: Path, figure: Callable[[str], None]) -> None:
    base = _base(name, tmp_path)
    base.model.requires_grad_(False)
    (request,) = edit_requests(load_world(), 1, seed=0)
    asked = answers(base, request.prompt, request.target_old or "", request.target, "natural")
    blocks = range(every // 2, base.arch.block_count(base.model), every)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _fast(base, asked)  # brings the mapped checkpoint into memory
        with Peak(base.model.device) as before:
            pass
        with Peak(base.model.device) as peak:
            found = _fast(base, asked)
        here = min(_seconds(lambda: _fast(base, asked)) for _ in range(3))
        start = process_time()
        expected = _plain(base, asked, blocks)
        plain = every * (process_time() - start)
    finally:
        torch.set_num_threads(threads)
    assert (found[list(blocks)] - expected).abs().max() < 1e-3 * expected.abs().max()
    held = (peak.bytes - before.bytes) / 2**20
    figure(
        f"{len(asked.prompt)} tokens, answer of {len(asked.old)}: plain {plain:.1f} s, here "
        f"{here:.2f} s, {plain / here:.0f} × (goal {GOAL}); {held:.0f} MiB beside the model"
    )
    assert plain / here >= FLOOR


def _seconds(work: Callable[[], object]) -> float:
    start = process_time()
    work()
    return process_time() - start
