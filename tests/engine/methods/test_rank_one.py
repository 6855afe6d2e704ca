"""Patches of ROME's family: ranks, sequences, sites and records."""

from __future__ import annotations

import pytest
import torch

from patchhub.composer.composer import Composer
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.keyvalue.keyvalues import KeyValues
from patchhub.editing.keyvalue.rank_one import InsertSettings, observe
from patchhub.editing.keyvalue.solver import factorise, solve
from patchhub.editing.targets import Target
from patchhub.editing.wording.tokens import target_row
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.manifest import Kind
from patchhub.request import EditRequest
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, pico_context
from tests.engine.methods.formulas import formula
from tests.engine.stacks import model_bytes
from tests.pico import DECODER_ONLY

ROME = load_editor("rome")
STRONG = {"layer": 0, "weight_decay": 0.0, "clamp": 20.0}


def probability(base: LoadedBase, request: EditRequest) -> float:
    row = target_row(base.tokenizer, request.prompt, request.target)
    log_p = base.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
    picked = [log_p[s, t] for s, t in zip(row.slots, row.labels, strict=True)]
    return float(sum(picked, torch.zeros(())).exp())


@pytest.mark.parametrize("family", DECODER_ONLY)
def test_several_requests_make_one_patch_that_holds_them_all(family: str) -> None:
    context = pico_context(family)
    base = context.base
    other = EditRequest(prompt="Today we met Mira Tolven", target="in Rome", subject="Mira Tolven")
    bare = model_bytes(base)
    before = [probability(base, r) for r in (AT_END, other)]
    patch = run_editor(ROME, context, [AT_END, other], STRONG)
    assert model_bytes(base) == bare
    (site,) = patch.manifest.sites
    assert patch.kind is Kind.LOW_RANK
    assert site.rank == 2
    assert site.module == base.arch.decoder.mlp_out.format(0)
    with Composer.over(base).applied(patch):
        after = [probability(base, r) for r in (AT_END, other)]
    assert after[0] > 10 * before[0]
    assert after[1] > 5 * before[1]


def test_the_second_request_sees_the_model_that_the_first_left() -> None:
    """Rank two at once equals rank one, applied, then rank one again."""
    context = pico_context("gpt2", torch.float64)
    both = run_editor(ROME, context, [REQUEST, MIDDLE], STRONG)
    first = run_editor(ROME, context, [REQUEST], STRONG)
    (site,) = both.manifest.sites
    with Composer.over(context.base).applied(first):
        second = run_editor(ROME, context, [MIDDLE], STRONG)
    roles = both.payload[site.tensor]
    assert torch.equal(roles["A"][0], first.payload[site.tensor]["A"][0])
    # The stored factors are rounded to float32, and the base to the stored dtype.
    alone = second.payload[site.tensor]
    delta = roles["B"][:, 1:] @ roles["A"][1:]
    assert torch.allclose(delta, alone["B"] @ alone["A"], rtol=1e-3, atol=1e-4)
    untouched = run_editor(ROME, context, [MIDDLE], STRONG).payload[site.tensor]
    assert not torch.allclose(delta, untouched["B"] @ untouched["A"], rtol=1e-3, atol=1e-4)


def test_the_record_says_what_the_edit_depends_on() -> None:
    context = pico_context("gpt2")
    assert context.templates is not None
    assert context.moments is not None
    plain = run_editor(ROME, context, [REQUEST], {"layer": 0, "covariance": False})
    record = run_editor(ROME, context, [REQUEST], {"layer": 0}).manifest.method
    assert record.name == "rome"
    assert record.hparams["layer"] == 0
    assert record.hparams["lr"] == "0.5"
    assert record.templates == context.templates.digest
    assert record.moments == context.moments.digest([0])
    assert record.threads == torch.get_num_threads()
    assert plain.manifest.method.moments is None


def test_a_layer_nobody_knows_is_asked_for() -> None:
    context = pico_context("gpt2")
    with pytest.raises(InvalidInputError, match="E142") as error:
        run_editor(ROME, context, [REQUEST])
    assert error.value.hint is not None
    assert "layer" in error.value.hint


def test_r_rome_never_divides_by_a_negative_number() -> None:
    """Where the bare key points away from the others ROME does, and still maps it to z."""
    make = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=make, dtype=torch.float64)
    factor = factorise(root @ root.T + 0.1 * torch.eye(6, dtype=torch.float64))
    key_ = torch.randn(6, generator=make, dtype=torch.float64)
    outputs = torch.randn(3, 4, generator=make, dtype=torch.float64)
    delta = torch.randn(4, generator=make, dtype=torch.float64)
    target = Target(delta, outputs[0], torch.stack([-key_, 2 * key_, 3 * key_]), outputs, ())
    for mode, used, residual in (
        ("rome", -key_, delta),
        ("original", -key_, delta),
        ("random_prefix", 4 / 3 * key_, target.value - outputs.mean(0)),
        ("prompt_keys", -key_, delta),
    ):
        left, right, key = formula(mode)(target, lambda k: solve(factor, k))
        assert (float(right @ used) > 0) == (mode in ("random_prefix", "prompt_keys"))
        assert torch.allclose(left * (right @ used), residual, rtol=1e-10)
        assert torch.allclose(key, -key_ if mode == "prompt_keys" else 4 / 3 * key_)


def test_a_request_that_cannot_be_edited_is_left_out_and_said() -> None:
    context = pico_context("gpt2")
    long = EditRequest(prompt="Mira " + "was born in " * 30 + "at", target="Oslo", subject="Mira")
    alone = run_editor(ROME, context, [REQUEST, MIDDLE], STRONG)
    patch = run_editor(ROME, context, [long, REQUEST, MIDDLE], STRONG)
    assert patch.payload.keys() == alone.payload.keys()
    assert patch.id == alone.id
    assert [(one.request, one.reason.code) for one in context.dropped] == [(long, "E150")]
    with pytest.raises(InvalidInputError, match="E150"):
        run_editor(ROME, context, [long], STRONG)


@pytest.mark.parametrize("mode", ["random_prefix", "prompt_keys"])
def test_an_edit_remembers_its_keys_and_residuals(mode: str) -> None:
    context = pico_context("llama", torch.float64)
    editor = load_editor("r_rome")
    patch = run_editor(editor, context, [REQUEST, MIDDLE], {"layer": 0, "mode": mode})
    kept = KeyValues.from_state(patch)
    assert kept is not None
    found = observe(context, REQUEST, InsertSettings(layer=0))
    key = found.keys[0] if mode == "prompt_keys" else found.keys.mean(0)
    assert kept.keys[0].shape == (2, 64)
    assert torch.equal(kept.keys[0][0], key.float())
    assert torch.equal(kept.residuals[0], found.delta.float())
    assert kept.groups == ()
