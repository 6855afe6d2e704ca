"""Streamed keys and values equal plain whole passes, row by row, for every family."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from torch import Tensor

from patchhub.editing.keyvalue.keys import KeyStream, Prompts
from patchhub.editing.passes.trace import by_row, seen_inputs, seen_outputs, swapped, unwrap
from patchhub.editing.wording.prompts import prompt_of
from patchhub.editing.wording.templates import ContextTemplates
from patchhub.editing.wording.tokens import Row, target_row
from patchhub.loading import LoadedBase
from patchhub.request import EditRequest
from patchhub.sites import module_of
from tests.engine.editing.support import pico_base
from tests.engine.editing.test_resume import precision
from tests.pico import DECODER_ONLY

TEMPLATES = ContextTemplates(("{}", "Oslo. {}", "Jon speaks French. {}"))
ASKED = (
    (("Mira Tolven was born in", "Rome", "Mira Tolven"),),
    (
        ("The city where Jon Arvel lives is", "Bergen", "Jon Arvel"),
        ("Jon Arvel works for", "Nordlys", "Jon Arvel"),
    ),
    (("Paris is", "big", "Paris"),),
)


def targets(base: LoadedBase, templates: ContextTemplates) -> list[Prompts]:
    found = []
    for prompts in ASKED:
        rows = []
        for prompt, answer, subject in prompts:
            request = EditRequest(prompt, answer, subject)
            rows.append(
                tuple(
                    target_row(base.tokenizer, one.text, answer, one.subject(request))
                    for one in (prompt_of(base.tokenizer, request, t) for t in templates.texts)
                )
            )
        found.append(Prompts(tuple(rows)))
    return found


def at_lookup(base: LoadedBase, row: Row, path: str) -> tuple[Tensor, Tensor]:
    """Input and output of a module, from one whole pass."""
    module = {"it": module_of(base.model, path)}
    with torch.no_grad(), seen_inputs(module) as into, seen_outputs(module) as out:
        base.model(input_ids=torch.tensor([row.ids]))
    found = (by_row(x, 1)[0, row.lookup].double() for x in (into["it"], unwrap(out["it"])))
    return next(found), next(found)


def plain(base: LoadedBase, prompts: Prompts, down: str, site: str) -> tuple[Tensor, Tensor]:
    keys, values = [], []
    for bare, *others in prompts.rows:
        key = at_lookup(base, bare, down)[0]
        if others:
            rest = torch.stack([at_lookup(base, row, down)[0] for row in others]).mean(0)
            key = (key + rest) / 2
        keys.append(key)
        values.append(at_lookup(base, bare, site)[1])
    return torch.stack(keys).mean(0), torch.stack(values).mean(0)


@pytest.mark.parametrize(
    ("family", "memory"),
    [*((family, None) for family in DECODER_ONLY), *(("gptj", n) for n in (1, 20_000, 200_000))],
)
def test_keys_and_values_follow_the_weights_as_they_are_written(
    family: str, memory: int | None
) -> None:
    dtype, tolerance = precision(family)
    base = pico_base(family, dtype)
    every = targets(base, TEMPLATES)
    site = "mlp" if memory == 1 else "block"
    stream = KeyStream(base.model, base.arch, every, top=1, site=site, filler=0, memory=memory)
    make = torch.Generator().manual_seed(0)
    with ExitStack() as stack:
        for layer in (0, 1):
            found, values = stream.read([layer])
            down = base.arch.path("mlp_out", layer, base.model)
            top = base.arch.path(site, 1, base.model)
            for i, prompts in enumerate(every):
                key, value = plain(base, prompts, down, top)
                for one, other in ((found[layer][i], key), (values[i], value)):
                    assert float((one - other).norm()) < tolerance * float(other.norm())
            module = module_of(base.model, down)
            own = module.get_parameter("weight").detach()
            noise = torch.randn(own.shape, generator=make) * own.std()
            stack.enter_context(swapped(module, "weight", own + noise.to(own.dtype)))


def test_several_layers_are_read_in_one_pass_also_without_contexts() -> None:
    base = pico_base("llama", torch.float64)
    every = targets(base, ContextTemplates(("{}",)))
    stream = KeyStream(base.model, base.arch, every, top=1, filler=0)
    found, values = stream.read([0, 1])
    for layer in (0, 1):
        alone, same = KeyStream(base.model, base.arch, every, top=1, filler=0).read([layer])
        assert torch.allclose(found[layer], alone[layer], rtol=1e-12)
        assert torch.allclose(values, same, rtol=1e-12)
    bare = every[0].rows[0][0]
    key, _ = at_lookup(base, bare, base.arch.path("mlp_out", 1, base.model))
    assert torch.allclose(found[1][0], key, rtol=1e-10)
