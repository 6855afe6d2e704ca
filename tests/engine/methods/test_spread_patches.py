"""Patches of MEMIT's family: what they hold, what they leave out, what they leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from patchhub.composer.composer import Composer
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import EditContext, run_editor
from patchhub.editing.forecast import forecast
from patchhub.editing.joint import JointEditor, form, key_value_editor
from patchhub.editing.keyvalue import spread
from patchhub.editing.keyvalue.keyvalues import KeyValues
from patchhub.errors import InvalidInputError
from patchhub.manifest import Kind
from patchhub.methods import pmet
from patchhub.patch import Patch
from patchhub.request import EditRequest
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, TEXTS, pico_context
from tests.engine.methods.batches import ENDS, MIXED, RAIN, TODAY, WIDE
from tests.engine.stacks import model_bytes
from tests.pico import pico_directory

METHODS: dict[str, dict[str, Any]] = {
    "memit": {"covariance_weight": 0.5},
    "pmet": {"covariance_weight": 0.5},
    "emmet": {"covariance_weight": 2.0},
    "alphaedit": {"null_share": 0.3, "ridge": 0.1},
}
LONG = EditRequest(prompt="Oslo " * 60 + "greets Jon", target="Rome", subject="Jon")
"""Longer than the model's context."""


def made(
    name: str, context: EditContext, requests: tuple[EditRequest, ...], **settings: Any
) -> Patch:
    values = {"layers": (0, 1), "steps": 5, **METHODS[name], **settings}
    return run_editor(load_editor(name), context, requests, values)


def own(**changes: Any) -> EditContext:
    """A context with an own list of what is dropped."""
    return replace(pico_context("gpt2"), dropped=[], **changes)


def equal(one: Patch, other: Patch) -> bool:
    """Whether two patches change the same weights by the same bits."""
    return one.manifest.content == other.manifest.content


@pytest.mark.parametrize("name", METHODS)
def test_a_patch_holds_factors_per_subject_and_what_it_must_remember(name: str) -> None:
    context = own()
    before = model_bytes(context.base)
    batch = (TODAY, *MIXED[1:])
    patch = made(name, context, batch)
    assert patch.kind is Kind.LOW_RANK
    assert [site.rank for site in patch.manifest.sites] == [3, 3]
    assert patch.requests == batch
    again = Patch.from_files(patch.files())
    assert again.id == patch.id
    found = KeyValues.from_state(again)
    assert found is not None
    assert found.members() == ((0,), (1, 2), (3,))
    assert found.residuals.shape == (3, 32)
    assert {n: tuple(k.shape) for n, k in found.keys.items()} == {0: (3, 128), 1: (3, 128)}
    numbers = 2 * 3 * (128 + 32)
    assert len(patch.files()["adapter_model.safetensors"]) < 1.05 * 4 * numbers + 4096
    with Composer.over(context.base).applied(again):
        assert model_bytes(context.base) != before
    assert model_bytes(context.base) == before


@pytest.mark.parametrize("name", METHODS)
def test_what_cannot_be_edited_does_not_lose_the_others(name: str) -> None:
    context = own()
    patch = made(name, context, (LONG, AT_END, RAIN))
    assert [(one.request, one.reason.code) for one in context.dropped] == [(LONG, "E150")]
    assert patch.requests == (AT_END, RAIN)
    assert equal(patch, made(name, own(), (AT_END, RAIN)))
    with pytest.raises(InvalidInputError) as error:
        made(name, own(), (LONG,))
    assert error.value.code == "E150"


def test_one_that_does_not_fit_leaves_the_others_on_its_subject() -> None:
    context = own()
    long = replace(AT_END, prompt="Oslo " * 60 + "greets Jon Arvel")
    patch = made("memit", context, (long, AT_END, RAIN))
    assert [(one.request, one.reason.code) for one in context.dropped] == [(long, "E150")]
    assert equal(patch, made("memit", own(), (AT_END, RAIN)))


def test_a_target_is_a_function_of_the_set_of_its_requests() -> None:
    met = replace(AT_END, prompt="Today we met Jon Arvel", target="in Rome")
    one, other = (made("memit", own(), both) for both in ((AT_END, met), (met, AT_END)))
    assert equal(one, other)


@pytest.mark.parametrize("name", METHODS)
def test_statistics_are_looked_at_before_targets(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*args: object, **more: object) -> None:
        raise AssertionError("a target was looked for")

    moments = pico_context("gpt2").moments
    assert moments is not None
    sums = {**moments.sums, 1: -torch.eye(128, dtype=torch.float64)}
    flat = replace(moments, sums=sums, _factors={}, _spectra={})
    for module in (spread, form, pmet):
        for target in ("find_targets", "find_twin_targets"):
            monkeypatch.setattr(module, target, search, raising=False)
    if name == "alphaedit":
        flat, settings = moments, {"null_share": None, "null_below": 1e-30}
    else:
        settings = {}
    values = {"layers": (0, 1), **METHODS[name], **settings}
    editor = load_editor(name)
    for one in (editor, JointEditor(key_value_editor(editor))):
        with pytest.raises(InvalidInputError, match=r"E14[25]"):
            run_editor(one, own(moments=flat), (AT_END,), values)


def test_the_same_request_twice_is_one() -> None:
    once, twice = (made("memit", own(), requests) for requests in ((RAIN,), (RAIN, RAIN)))
    assert twice.requests == (RAIN, RAIN)
    assert equal(once, twice)


@pytest.mark.parametrize("name", METHODS)
def test_solved_together_in_one_layer_is_what_the_batch_is(name: str) -> None:
    context = replace(pico_context("llama", WIDE), dropped=[])
    values = {"layers": (0,), "steps": 5, **METHODS[name]}
    batch = (REQUEST, MIDDLE, RAIN)
    alone = run_editor(load_editor(name), context, batch, values)
    joint = run_editor(JointEditor(key_value_editor(load_editor(name))), context, batch, values)
    (site,) = alone.payload
    one, other = (p.payload[site]["B"] @ p.payload[site]["A"] for p in (alone, joint))
    assert float((one - other).norm()) < 1e-5 * float(one.norm())


@pytest.mark.parametrize("name", METHODS)
def test_a_budget_changes_nothing_but_the_size_of_passes(name: str) -> None:
    family = replace(pico_context("gptj", WIDE), dropped=[])
    whole = made(name, family, ENDS)
    split = made(name, replace(family, memory=1), ENDS)
    for site, roles in whole.payload.items():
        one, other = (r["B"] @ r["A"] for r in (roles, split.payload[site]))
        assert float((one - other).norm()) < 1e-5 * float(one.norm())


def test_a_forecast_knows_the_size_of_every_file_before_there_are_statistics() -> None:
    """Also of a method that looks for small eigenvalues; the state is part of it."""
    values = {"layers": (0, 1), "steps": 5}
    base, editor = own().base, load_editor("alphaedit")
    found = forecast(base, editor, ENDS, seed=0, settings=values, corpus=TEXTS)
    real = run_editor(editor, own(), ENDS, values)
    sizes = {name: len(data) for name, data in real.files().items()}
    assert found.files.keys() == sizes.keys()
    for name in sizes.keys() - {"patch.json"}:
        assert found.files[name] == sizes[name]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_plain_peft_loads_it(tmp_path: Path) -> None:
    directory = pico_directory(tmp_path, "gpt2")
    context = own()
    patch = made("memit", context, ENDS)
    patch.write(tmp_path / "patch")
    plain = AutoModelForCausalLM.from_pretrained(directory)
    ids = torch.arange(1, 21)[None]
    with torch.no_grad():
        loaded = PeftModel.from_pretrained(plain, tmp_path / "patch").eval()
        theirs = loaded(input_ids=ids).logits
        with Composer.over(context.base).applied(patch):
            ours = context.base.model(input_ids=ids).logits
        bare = context.base.model(input_ids=ids).logits
    assert torch.allclose(theirs, ours, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(bare, ours, rtol=1e-2, atol=1e-2)


def ids_of_second_edits(first: bool) -> dict[str, str]:
    """Ids of each method's edit of two requests, after another edit or as the process's first."""
    found = {}
    for name in METHODS:
        if first:
            made(name, own(), (AT_END,))
        found[name] = made(name, own(), (RAIN, ENDS[1])).id
    return found


@pytest.mark.slow
def test_an_edit_leaves_nothing_behind_in_the_process() -> None:
    """Two independent edits in one process are those of two processes, byte for byte."""
    code = (
        "import json, torch; torch.set_num_threads(1)\n"
        "from tests.engine.methods.test_spread_patches import ids_of_second_edits\n"
        "print(json.dumps(ids_of_second_edits(False)))"
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = ids_of_second_edits(True)
    finally:
        torch.set_num_threads(threads)
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == here
