from __future__ import annotations

import pytest
import torch
from torch import Tensor

from patchhub.editing.passes.resume import CutRows, from_layer, recorded_below
from patchhub.editing.passes.trace import by_row, changed_output
from patchhub.editing.wording.tokens import Row, subject_row, target_row
from patchhub.errors import InvalidInputError
from patchhub.sites import module_of
from tests.engine.editing.support import pico_base
from tests.pico import DECODER_ONLY, WIDTH

SINGLE = {"gemma2": torch.float32}
"""Gemma 2's attention passes through float32, where float64's mask is infinite and padding NaN."""


def precision(family: str) -> tuple[torch.dtype, float]:
    """The dtype to compute in, and what may differ."""
    dtype = SINGLE.get(family, torch.float64)
    return dtype, 1e-9 if dtype is torch.float64 else 1e-4


def rows(family: str) -> list[Row]:
    tokenizer = pico_base(family).tokenizer
    return [
        target_row(tokenizer, "Mira Tolven was born in", "Rome", (0, 11)),
        target_row(tokenizer, "The home of Jon Arvel is in the", "city of Oslo", (12, 21)),
        target_row(tokenizer, "Rome is", "big", (0, 1)),
        target_row(tokenizer, "The mayor of Oslo is Jon", "Arvel", (21, 24)),  # slot = lookup
        subject_row(tokenizer, "Mira is a", (0, 4)),
    ]


def places(batch: CutRows) -> tuple[Tensor, Tensor]:
    return batch.slots[:, 0], batch.slots[:, 1]


def plain(family: str, delta: Tensor | None, layer: int) -> Tensor:
    """Log-probabilities at all slots, one whole row at a time."""
    base = pico_base(family, precision(family)[0])
    module = module_of(base.model, base.arch.path("mlp", layer, base.model))
    found = []
    for row in rows(family):

        def change(output: Tensor, at: int = row.lookup) -> Tensor:
            mark = torch.zeros_like(output)
            by_row(mark, 1)[:, at] = 0.0 if delta is None else delta
            return output + mark

        with torch.no_grad(), changed_output(module, change):
            logits = base.model(input_ids=torch.tensor([row.ids])).logits[0]
        found += [logits[slot] for slot in row.slots]
    return torch.stack(found)


@pytest.mark.parametrize("family", DECODER_ONLY)
@pytest.mark.parametrize("layer", [0, 1])
def test_cut_rows_equal_whole_passes_also_with_a_change_at_the_cut(family: str, layer: int) -> None:
    dtype, close = precision(family)
    base = pico_base(family, dtype)
    batch = CutRows(base.model, base.arch, rows(family), 0)
    delta = torch.linspace(-2, 2, WIDTH, dtype=dtype)
    module = module_of(base.model, base.arch.path("mlp", layer, base.model))

    def change(output: Tensor) -> Tensor:
        hidden = by_row(output, len(rows(family)))
        return torch.cat([hidden[:, :1] + delta, hidden[:, 1:]], dim=1).reshape(output.shape)

    with torch.no_grad(), recorded_below(base.model, base.arch, layer) as below:
        unchanged = batch.run(*places(batch))
    assert torch.allclose(unchanged, plain(family, None, layer), rtol=close, atol=close)
    with torch.no_grad(), from_layer(base.model, base.arch, layer, below):
        for _ in range(2):  # the cache must not grow
            with changed_output(module, change):
                changed = batch.run(*places(batch))
    assert torch.allclose(changed, plain(family, delta, layer), rtol=close, atol=close)
    assert not torch.allclose(changed, unchanged, atol=1e-3)


def test_blocks_below_are_really_not_run() -> None:
    base = pico_base("llama")
    batch = CutRows(base.model, base.arch, rows("llama"), 0)
    with torch.no_grad(), recorded_below(base.model, base.arch, 1) as below:
        batch.run(*places(batch))
    calls: list[int] = []
    inner = module_of(base.model, base.arch.path("mlp", 0, base.model))
    handle = inner.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad(), from_layer(base.model, base.arch, 1, below):
        batch.run(*places(batch))
    handle.remove()
    assert calls == []


def test_labels_and_slots_are_those_of_the_rows() -> None:
    base = pico_base("gpt2")
    wanted = rows("gpt2")
    batch = CutRows(base.model, base.arch, wanted, 0)
    assert batch.labels.tolist() == [label for row in wanted for label in row.labels]
    pairs = [[i, s - row.lookup] for i, row in enumerate(wanted) for s in row.slots]
    assert batch.slots.tolist() == pairs


def test_rows_beyond_the_context_are_refused() -> None:
    base = pico_base("gpt2")
    row = target_row(base.tokenizer, "Mira " + "was born in " * 30 + "at", "Rome", (0, 4))
    with pytest.raises(InvalidInputError) as error:
        CutRows(base.model, base.arch, [row], 0)
    assert error.value.code == "E150"
