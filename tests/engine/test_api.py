"""The public Python calls."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import patchhub
from patchhub.loading import load_base
from tests.engine.stacks import patches_on
from tests.pico import pico_directory


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_loaded_model_has_the_numbers_that_from_pretrained_gives(
    tmp_path: Path, family: str, dtype: torch.dtype
) -> None:
    """Buffers too: rotary frequencies stay in float32 whatever the model's dtype."""
    directory = pico_directory(tmp_path, family)
    found = patchhub.load(directory, dtype=dtype)
    wanted = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
    for own, other in (
        (found.named_parameters(), wanted.named_parameters()),
        (found.named_buffers(), wanted.named_buffers()),
    ):
        for (name, one), (_, two) in zip(own, other, strict=True):
            assert one.dtype == two.dtype, name
            assert torch.equal(one, two), name


def test_a_stack_is_rounded_to_the_stored_dtype_and_then_cast(tmp_path: Path) -> None:
    directory = pico_directory(tmp_path, "gpt2", dtype=torch.bfloat16)
    patches = patches_on(load_base(directory), "gpt2", 2)
    wide = patchhub.load(directory, patches)
    narrow = patchhub.load(directory, patches, dtype=torch.bfloat16)
    bare = patchhub.load(directory)
    changed = 0
    for name, parameter in wide.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, narrow.get_parameter(name).float())
        changed += not torch.equal(parameter, bare.get_parameter(name))
    assert changed == len({tensor for patch in patches for tensor in patch.payload})
