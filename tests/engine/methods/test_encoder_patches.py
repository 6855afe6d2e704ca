"""Patches of an encoder-decoder's encoder: what they change, what they say, what they leave."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

import patchhub
from patchhub.composer.composer import Composer
from patchhub.editing.blocks import INSERT, SPREAD, edit_layers
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.joint import Form, Formula
from patchhub.editing.joint.entries import find_entry
from patchhub.editing.keyvalue.rank_one import InsertSettings, observe
from patchhub.editing.statistics.moments import compute_moments
from patchhub.editing.targets import wanted_for
from patchhub.editing.wording.sampling import sample_texts
from patchhub.editing.wording.templates import BARE
from patchhub.edits import ExperimentalWarning
from patchhub.errors import InvalidInputError
from patchhub.loading import LoadedBase
from patchhub.patch import Patch
from patchhub.sites import architecture, module_of
from tests.engine.editing.support import MIDDLE, REQUEST, TEMPLATES, TEXTS, pico_base, pico_context
from tests.engine.joint.support import memit_mean
from tests.engine.methods import encoders
from tests.engine.methods.batches import MIXED, WIDE, relative
from tests.engine.stacks import model_bytes
from tests.pico import WIDTH, pico_directory
from tests.reference import joint_reference

SETTINGS: dict[str, Any] = {"layers": (0, 1), "steps": 12, "clamp": 20.0, "covariance_weight": 0.5}
MEMIT = load_editor("memit")


def nats(base: LoadedBase, request: patchhub.EditRequest) -> float:
    """Of the whole target, with the end token; the library itself shifts the labels."""
    asked = base.tokenizer(request.prompt, return_tensors="pt")
    labels = base.tokenizer(request.target, return_tensors="pt").input_ids
    return float(base.model(**asked, labels=labels).loss)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_a_patch_is_of_the_encoder_alone_and_goes_without_a_trace(tmp_path: Path) -> None:
    context = pico_context("t5")
    model, before = context.base.model, nats(context.base, REQUEST)
    bare = model_bytes(context.base)
    patch = run_editor(MEMIT, context, MIXED, SETTINGS)
    assert model_bytes(context.base) == bare
    wo = "encoder.block.{}.layer.1.DenseReluDense.wo.weight"
    assert [site.tensor for site in patch.manifest.sites] == [wo.format(0), wo.format(1)]
    assert Patch.from_files(patch.files()).id == patch.id
    patch.write(tmp_path / "patch")
    plain = AutoModelForSeq2SeqLM.from_pretrained(pico_directory(tmp_path, "t5"))
    ids = {"input_ids": torch.arange(2, 22)[None], "decoder_input_ids": torch.arange(5)[None]}
    state = {name: one.clone() for name, one in model.state_dict().items()}
    with Composer.over(context.base).applied(patch):
        moved = {n for n, one in model.state_dict().items() if not torch.equal(one, state[n])}
        assert moved == {wo.format(0), wo.format(1)}
        assert nats(context.base, REQUEST) < before - 0.3
        ours = model(**ids).logits
    assert model_bytes(context.base) == bare
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(plain, tmp_path / "patch").eval()(**ids).logits
    assert torch.allclose(theirs, ours, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model(**ids).logits, ours, rtol=1e-2, atol=1e-2)


def test_what_is_taught_is_the_shifted_target_with_its_end() -> None:
    base = pico_base("t5", WIDE)
    row = wanted_for(base.tokenizer, BARE, [MIDDLE], 0).rows[0]
    assert row.labels == tuple(base.tokenizer(MIDDLE.target).input_ids)
    assert row.labels[-1] == base.tokenizer.eos_token_id
    assert (row.said, row.slots) == ((0, *row.labels[:-1]), tuple(range(len(row.labels))))
    context = pico_context("t5", WIDE, templates=BARE)
    settings = InsertSettings(layer=0, steps=2)
    labels = torch.tensor([row.labels])
    loss = base.model(input_ids=torch.tensor([row.ids]), labels=labels).loss
    assert observe(context, MIDDLE, settings).losses[0] == pytest.approx(float(loss), rel=1e-9)


@pytest.mark.parametrize(("name", "marked"), [("rome", True), ("ft", False)])
def test_what_nothing_is_published_of_is_marked_and_said(name: str, marked: bool) -> None:
    given: dict[str, Any] = {"rome": {"layer": 0, "steps": 2}, "ft": {"layers": (0,), "steps": 1}}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        patch = patchhub.edit(pico_base("t5"), name, REQUEST, settings=given[name], texts=TEXTS)
    assert patch.manifest.method.experimental == marked
    assert [one.category for one in told] == [ExperimentalWarning] * marked
    llama = run_editor(load_editor("rome"), pico_context("llama"), [REQUEST], given["rome"])
    assert not llama.manifest.method.experimental


@pytest.mark.filterwarnings("ignore::patchhub.edits.ExperimentalWarning")
def test_edits_one_by_one_are_the_edits_at_once() -> None:
    base = pico_base("t5")

    def joint(request: patchhub.EditRequest, *more: patchhub.EditRequest, **given: Any) -> Patch:
        found = patchhub.edit(base, "memit", (request, *more), mode="joint", texts=TEXTS, **given)
        assert found.manifest.method.experimental
        return found

    one = joint(REQUEST, settings=SETTINGS)
    both = joint(REQUEST, MIDDLE, settings=SETTINGS)
    assert joint(MIDDLE, onto=[one]).manifest.content == both.manifest.content


@pytest.mark.parametrize("site", ["block", "mlp_out"])
def test_what_a_joint_solve_takes_equals_the_reference(site: str) -> None:
    context, layers = pico_context("t5", WIDE), (0, 1)
    delta = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))
    form = Form(
        Formula(layers, lambda n, keys: keys, 1.0, lambda left: left**-0.5),
        site=site,
        mean=memit_mean,
        delta=lambda wanted: pytest.fail("the target is known"),
        settings=None,
        templates=TEMPLATES,
    )
    found = find_entry(context, form, (REQUEST,), delta)
    rows = [
        joint_reference.Row(ids[: len(ids) - len(labels) + 1], bare=number == 0, at=lookup)
        for number, (ids, lookup, labels) in enumerate(encoders.rows_of(REQUEST))
    ]
    keys, shares = joint_reference.entry(
        encoders.model(),
        [encoders.module("mlp_out", n) for n in layers],
        encoders.module(site, 1),
        [rows],
        delta.double(),
        [0.5**0.5, 1.0],
        lambda own: 0.5 * own[0] + 0.5 * torch.stack(own[1:]).mean(0),
    )
    for layer in layers:  # stored in single precision
        assert relative(found.keys[layer].double(), keys[layer]) < 1e-6
        assert relative(found.shares[layer].double(), shares[layer]) < 1e-6
    assert not torch.allclose(found.shares[1], delta - found.shares[0], rtol=1e-2)


def test_statistics_are_of_what_the_encoder_gets() -> None:
    base, texts = pico_base("t5", WIDE), TEXTS[:20]
    found = compute_moments(base, texts, (1,))
    seen: list[torch.Tensor] = []
    down = module_of(base.model, base.arch.path("mlp_out", 1, base.model, "encoder"))
    handle = down.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    for text in texts:
        base.model.get_encoder()(input_ids=base.tokenizer(text, return_tensors="pt").input_ids)
    handle.remove()
    keys = torch.cat(seen)
    assert found.count == len(keys)
    assert relative(found.sums[1], keys.T @ keys) < 1e-12


def test_own_texts_are_what_the_decoder_says_to_nothing() -> None:
    base = pico_base("t5")
    make = torch.Generator().manual_seed
    nothing = base.tokenizer("", return_tensors="pt")
    model: Any = base.model
    greedy = model.generate(**nothing, max_new_tokens=7, do_sample=False)[0, 1:]
    said = str(base.tokenizer.decode(greedy, skip_special_tokens=True)).strip()
    found = sample_texts(base.model, base.tokenizer, make(0), count=2, length=8, top_k=1)
    assert found == [said, said]
    drawn = sample_texts(base.model, base.tokenizer, make(1), count=3, length=40)
    assert drawn == sample_texts(base.model, base.tokenizer, make(1), count=3, length=40)
    assert len(set(drawn)) == 3


def test_blocks_are_counted_where_an_edit_goes() -> None:
    sizes: dict[str, Any] = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_heads": 2, "vocab_size": 8}
    config = T5Config(num_layers=3, num_decoder_layers=2, **sizes)
    model = T5ForConditionalGeneration(config)
    for purpose, last in ((INSERT, 2), (SPREAD, 2), ("finetune", 1)):
        with pytest.raises(InvalidInputError, match="no published block") as error:
            edit_layers(model, architecture("t5"), purpose)
        assert error.value.expected == f"layers between 0 and {last}"
