"""Live patches in both halves of an encoder-decoder, and scorers that ask such models."""

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
from patchhub.scoring.teacher_forced import teacher_force
from tests.engine.composer.slots.support import (
    MLP_OUT,
    PROMPTS,
    batch,
    blocks_on,
    ids_of,
    neurons_on,
    values_on,
)
from tests.engine.composer.slots.test_reference import acting
from tests.engine.composer.support import loaded
from tests.reference.live_reference import Plain

NEW = 4
READ, SAID = MLP_OUT["t5"].format(1), MLP_OUT["t5 decoder"].format(1)
START: dict[str, Any] = {"decoder_input_ids": torch.zeros(1, 1, dtype=torch.long)}


@pytest.fixture
def base(tmp_path: Path) -> LoadedBase:
    torch.set_num_threads(1)
    return loaded(tmp_path, "t5")


def kinds(base: LoadedBase) -> dict[str, list[Patch]]:
    return {
        "encoder": [
            values_on(base, READ, PROMPTS[:2], position="prompt", **START),
            values_on(base, READ, PROMPTS[2:3], seed=1, **START),
        ],
        "decoder": [values_on(base, SAID, PROMPTS[:2], position="all", radius=1e-3, **START)],
        "both": [blocks_on(base, READ, [SAID], PROMPTS[:3], **START), neurons_on(base, SAID, 3)],
    }


def answered(base: LoadedBase, patches: Sequence[Patch], text: str, asked: int) -> Tensor:
    ids = ids_of(base, text)
    said: Tensor = START["decoder_input_ids"]
    with Plain(acting(base, patches), asked or ids.shape[1]), torch.no_grad():
        for _ in range(NEW):
            inputs = {"input_ids": ids, "decoder_input_ids": said}
            logits = base.model(**inputs, use_cache=False).logits
            said = torch.cat([said, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return said[0, 1:]


@pytest.mark.parametrize("where", ["encoder", "decoder", "both"])
def test_answers_follow_the_equations(base: LoadedBase, where: str) -> None:
    patches = kinds(base)[where]
    # The decoder's prompt is its start token.
    asked = 1 if where == "decoder" else 0
    wanted = [answered(base, patches, text, asked) for text in PROMPTS]
    bare = [answered(base, [], text, 0) for text in PROMPTS]
    assert any(not torch.equal(a, b) for a, b in zip(wanted, bare, strict=True))
    how: dict[str, Any] = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
    with Composer.over(base).applied(*patches) as composed:
        model: Any = composed
        # To the right: T5's relative positions count padding on the left, patched or not.
        found = model.generate(**batch(base, PROMPTS, "right"), **how)
        assert [row[1:].tolist() for row in found] == [one.tolist() for one in wanted]
        alone = [model.generate(ids_of(base, text), num_beams=2, **how)[0] for text in PROMPTS]
        beams = model.generate(**batch(base, PROMPTS, "right"), num_beams=2, **how)
        assert [row.tolist() for row in beams] == [row.tolist() for row in alone]


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_scorers_route_by_the_prompt_alone(tmp_path: Path, family: str) -> None:
    torch.set_num_threads(1)
    base = loaded(tmp_path, family)
    low = MLP_OUT["gpt2"].format(0)
    patches = kinds(base)["both"] if family == "t5" else [values_on(base, low, PROMPTS[:3])]
    pairs = [(text, answer) for text in PROMPTS for answer in ("Rome", "Oslo and Paris")]
    bare = teacher_force(base.model, base.tokenizer, pairs)
    wanted = [forced(base, patches, *pair) for pair in pairs]
    with Composer.over(base).applied(*patches) as model:
        found = teacher_force(model, base.tokenizer, pairs)
    assert [one.predicted for one in found] == wanted
    assert found != bare


def forced(base: LoadedBase, patches: Sequence[Patch], text: str, answer: str) -> tuple[int, ...]:
    """The most likely tokens along an answer, by whole passes over one row."""
    asked = ids_of(base, text)
    if base.model.config.is_encoder_decoder:
        said = ids_of(base, answer)[:, :-1]
        before = torch.cat([START["decoder_input_ids"], said[:, :-1]], dim=1)
        inputs = {"input_ids": asked, "decoder_input_ids": before}
        start = 0
    else:
        whole = ids_of(base, f"{text} {answer}")
        inputs, start = {"input_ids": whole[:, :-1]}, asked.shape[1] - 1
    with Plain(acting(base, patches), asked.shape[1]), torch.no_grad():
        logits = base.model(**inputs, use_cache=False).logits[0, start:]
    return tuple(logits.argmax(-1).tolist())
