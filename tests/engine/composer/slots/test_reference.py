"""Live patches against the equations, prompt by prompt: batched, padded, cached, generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.composer.composer import Composer
from patchhub.loading import LoadedBase
from patchhub.patch import Patch
from tests.engine.composer.slots.support import (
    MLP_OUT,
    PROMPTS,
    batch,
    blocks_on,
    change_on,
    ids_of,
    neurons_on,
    values_on,
)
from tests.engine.composer.support import loaded
from tests.reference.live_reference import Plain

NEW = 4


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def roles_at(patches: Sequence[Patch], tensor: str, role: str) -> list[dict[str, Tensor]]:
    return [dict(p.payload[tensor]) for p in patches if role in p.payload.get(tensor, {})]


def acting(base: LoadedBase, patches: Sequence[Patch]) -> list[tuple[Any, str, Any]]:
    """What the reference is to do at which module, in the order in which hooks run."""
    found: list[tuple[Any, str, Any]] = []
    names = sorted({name for patch in patches for name in patch.payload})
    books = [p for p in patches if any("radius" in roles for roles in p.payload.values())]
    for name in names:
        module = base.model.get_submodule(name.removesuffix(".weight"))
        if changes := roles_at(patches, name, "threshold"):
            found.append((module, "changes", changes))
        if rows := roles_at(books, name, "radius"):
            found.append((module, "books_here", rows))
        ranks = [
            (number, dict(patch.payload[name]))
            for number, patch in enumerate(books)
            if "owner" in patch.payload.get(name, {})
        ]
        if ranks:
            found.append((module, "ranks", ranks))
        if neurons := roles_at(patches, name, "bias"):
            mlp = base.model.get_submodule(name.rpartition(".")[0].rpartition(".")[0])
            found.append((mlp, "neurons", neurons))
    return found


def answered(base: LoadedBase, patches: Sequence[Patch], text: str) -> tuple[Tensor, Tensor]:
    """Greedy answer and all its logits, by whole passes over one unpadded row."""
    ids = ids_of(base, text)
    logits = []
    with Plain(acting(base, patches), ids.shape[1]), torch.no_grad():
        for _ in range(NEW):
            logits.append(base.model(ids, use_cache=False).logits[:, -1])
            ids = torch.cat([ids, logits[-1].argmax(-1, keepdim=True)], dim=1)
    return ids[0, -NEW:], torch.cat(logits)


def stack_on(base: LoadedBase, family: str) -> dict[str, list[Patch]]:
    low, high = (MLP_OUT[family].format(i) for i in (0, 1))
    return {
        "neurons": [neurons_on(base, high, i, gated=i % 2 == 0) for i in range(3)],
        "last": [values_on(base, low, PROMPTS[:2]), values_on(base, low, PROMPTS[2:3], seed=1)],
        "prompt": [values_on(base, low, PROMPTS[1:3], position="prompt")],
        "all": [values_on(base, high, PROMPTS[:3], position="all")],
        "blocks": [
            blocks_on(base, low, [high], PROMPTS[:2]),
            blocks_on(base, low, [low, high], PROMPTS[2:3], seed=4),
        ],
        "change": [change_on(base, high, PROMPTS, seed) for seed in (0, 1)],
    }


@pytest.mark.parametrize("what", ["neurons", "last", "prompt", "all", "blocks", "change"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_generation_follows_the_equations(tmp_path: Path, family: str, what: str) -> None:
    base = loaded(tmp_path, family)
    patches = stack_on(base, family)[what]
    wanted = [answered(base, patches, text) for text in PROMPTS]
    bare = [answered(base, [], text) for text in PROMPTS]
    moved = [float((a[1] - b[1]).abs().max()) for a, b in zip(wanted, bare, strict=True)]
    assert max(moved) > 0.1
    if what != "neurons":
        assert min(moved) == 0.0  # one prompt is none of the edits'
    with Composer.over(base).applied(*patches) as composed:
        model: Any = composed
        found = model.generate(
            **batch(base, PROMPTS, "left"),
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        right = batch(base, PROMPTS, "right")
        with torch.no_grad():
            padded = model(**right).logits
    for row, (answer, logits) in enumerate(wanted):
        last = int(right["attention_mask"][row].sum()) - 1
        assert torch.allclose(padded[row, last], logits[0], atol=2e-4)
        assert found.sequences[row, -NEW:].tolist() == answer.tolist()
        own = torch.stack([step[row] for step in found.logits])
        assert torch.allclose(own, logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_all_kinds_together_follow_the_equations(tmp_path: Path, family: str) -> None:
    base = loaded(tmp_path, family)
    kinds = stack_on(base, family)
    patches = [*kinds["last"], *kinds["neurons"], *kinds["change"]]
    wanted = [answered(base, patches, text) for text in PROMPTS]
    composer = Composer.over(base)
    composer.set_stack(patches)
    model: Any = base.model
    found = model.generate(
        **batch(base, PROMPTS, "left"), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False
    )
    assert [row[-NEW:].tolist() for row in found] == [one[0].tolist() for one in wanted]


def test_a_public_call_gives_the_whole_model(tmp_path: Path) -> None:
    import patchhub

    base = loaded(tmp_path, "llama")
    patches = stack_on(base, "llama")["last"]
    wanted = answered(base, patches, PROMPTS[0])[0]
    patches[0].write(tmp_path / "patch")
    model: Any = patchhub.load(base.directory, [tmp_path / "patch", patches[1]])
    assert model.__class__.__name__ == "LlamaForCausalLM"
    inputs = ids_of(base, PROMPTS[0])
    found = model.generate(inputs, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
    assert found[0, -NEW:].tolist() == wanted.tolist()
