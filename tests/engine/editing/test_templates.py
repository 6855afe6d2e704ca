from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from patchhub.editing.wording.sampling import sample_texts
from patchhub.editing.wording.templates import ContextTemplates, sample_templates
from patchhub.errors import InvalidInputError
from tests.engine.editing.support import pico_base
from tests.pico import FAMILIES, pico_tokenizer


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES)
def test_templates_are_clean_and_begin_with_the_bare_prompt(family: str) -> None:
    base = pico_base(family)
    templates = sample_templates(base.model, base.tokenizer, generator())
    assert templates.texts[0] == "{}"
    assert len(templates.texts) > 10
    for text in templates.texts[1:]:
        assert text.endswith(". {}")
        assert text.count("{") == text.count("}") == 1
        assert text.isprintable()


def test_the_generator_alone_decides() -> None:
    base = pico_base("gpt2")
    first = sample_templates(base.model, base.tokenizer, generator(1))
    random.seed(5)
    torch.manual_seed(5)
    np.random.seed(5)
    state = torch.get_rng_state()
    again = sample_templates(base.model, base.tokenizer, generator(1))
    other = sample_templates(base.model, base.tokenizer, generator(2))
    assert first == again
    assert first.digest == again.digest
    assert other.digest != first.digest
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_with_a_cache_equals_whole_passes(family: str) -> None:
    """The references' loops see only position 0 under current transformers; ours must not."""
    base = pico_base(family)
    texts = sample_texts(base.model, base.tokenizer, generator(), count=3, length=8, top_k=1)
    ids = torch.zeros((1, 1), dtype=torch.long)
    for _ in range(7):
        logits = base.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    greedy = pico_tokenizer().decode(ids[0].tolist(), skip_special_tokens=True)
    assert texts == [greedy] * 3


@pytest.mark.parametrize("texts", [(), ("Well. {}",), ("{}", "no slot"), ("{}", "{} and {}")])
def test_malformed_templates_are_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError) as error:
        ContextTemplates(texts)
    assert error.value.code == "E142"
