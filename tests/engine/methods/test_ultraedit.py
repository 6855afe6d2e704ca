"""UltraEdit against the plain reference in float64, and what its normaliser remembers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.training.normaliser import Normaliser, from_state, to_state
from patchhub.editing.training.projections import projections
from patchhub.errors import IntegrityError, InvalidInputError
from patchhub.manifest import Kind
from patchhub.methods import ultraedit
from patchhub.patch import Patch
from patchhub.request import EditRequest
from tests.engine.editing.support import AT_END, MIDDLE, REQUEST, pico_base, pico_context
from tests.engine.methods.rows import plain_rows
from tests.reference.ultraedit_reference import State
from tests.reference.ultraedit_reference import ultraedit as plainly

EDITOR = load_editor("ultraedit")
JON = EditRequest(prompt="Jon Arvel was born in", target="the city of Oslo")
FOUR = [REQUEST, MIDDLE, AT_END, JON]
WIDE = torch.float64


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The changes of each projection of the latest run before they are rounded to float32."""
    seen: list[Tensor] = []
    real = ultraedit.update

    def watched(*args: Any) -> dict[str, Tensor]:
        roles = real(*args)
        seen.append(roles["delta"] if "delta" in roles else roles["B"] @ roles["A"])
        return roles

    monkeypatch.setattr(ultraedit, "update", watched)
    return seen


@pytest.mark.parametrize(
    ("family", "layers", "parts", "batch_size"),
    [
        ("gpt2", (0, 1), ("mlp_out",), 2),
        ("llama", (1,), ("mlp_in", "mlp_out"), 3),
        ("gptj", (0, 1), ("mlp_in",), 10),
        ("t5", (0, 1), ("mlp_out", "attention_out"), 3),
    ],
    ids=["one shape", "two shapes", "one pass", "encoder-decoder"],
)
def test_changes_equal_the_reference(
    family: str,
    layers: tuple[int, ...],
    parts: tuple[str, ...],
    batch_size: int,
    changed: list[Tensor],
) -> None:
    base, state = pico_base(family, WIDE), State()
    below: tuple[Patch, ...] = ()
    paths = projections(base, layers, parts)
    for requests in (FOUR[:3], FOUR[3:]):
        settings = {"layers": layers, "parts": parts, "batch_size": batch_size, "eta": 1e-3}
        context = replace(pico_context(family, WIDE), below=below)
        changed.clear()
        patch = run_editor(EDITOR, context, requests, settings)
        rows = plain_rows(base, requests)
        wanted = plainly(base.model, paths, rows, eta=1e-3, batch=batch_size, state=state)
        for found, path in zip(changed, paths, strict=True):
            scale = float(wanted[path].abs().max())
            assert scale > 1e-5
            assert float((found - wanted[path]).abs().max()) <= 1e-9 * scale
            stored = patch.payload[f"{path}.weight"]
            product = stored["B"].double() @ stored["A"].double()
            assert torch.allclose(product, wanted[path], rtol=0, atol=1e-5 * scale)
        kept = from_state(Patch.from_files(patch.files()).state)
        assert kept.keys() == state.keys()
        for shape, (mean, spread, count) in state.items():
            assert kept[shape].count == count
            assert torch.allclose(kept[shape].mean, mean, rtol=1e-9, atol=1e-12)
            assert torch.allclose(kept[shape].spread, spread, rtol=1e-9, atol=1e-12)
        below = (patch,)


@pytest.mark.parametrize("count", [5, 64, 90])
def test_both_ways_to_solve_give_the_same(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    keys, wanted = (torch.randn(count, n, generator=generator, dtype=WIDE) for n in (64, 32))
    factors = ultraedit.update(keys, wanted, dense=False)
    dense = ultraedit.update(keys, wanted, dense=True)["delta"]
    assert factors["A"].shape == (count, 64)
    assert torch.allclose(factors["B"] @ factors["A"], dense, rtol=1e-9, atol=1e-12)


def test_the_normaliser_follows_its_recurrence_and_depends_on_order() -> None:
    rows = torch.randn(9, 5, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    once = Normaliser.empty(5).after(rows[:4]).after(rows[4:5]).after(rows[5:])
    assert once.count == 9
    assert torch.allclose(once.mean, rows.mean(0))
    exact = ((rows - rows.mean(0)) ** 2).sum(0)
    extra = rows[:4].var(0) + rows[5:].var(0)  # b var instead of (b - 1) var, in each batch of many
    assert torch.allclose(once.spread, exact + extra)
    other = Normaliser.empty(5).after(rows[:3]).after(rows[3:])
    assert not torch.allclose(other.spread, once.spread)


def test_two_calls_on_one_model_leave_the_normaliser_of_one() -> None:
    context = pico_context("gpt2", WIDE)
    settings = {"layers": (0, 1), "batch_size": 1}
    rows = plain_rows(context.base, FOUR)
    by_length = sorted(range(4), key=lambda i: -len(rows[i][0]) - len(rows[i][1]))
    longest_first = [FOUR[i] for i in by_length]
    one = run_editor(EDITOR, context, longest_first, settings)
    first = run_editor(EDITOR, context, longest_first[:2], settings)
    again = replace(context, below=(first,))
    second = run_editor(EDITOR, again, longest_first[2:], settings)
    assert second.state.keys() == one.state.keys()
    for name, tensor in one.state.items():
        assert torch.equal(second.state[name], tensor)
    apart = run_editor(EDITOR, context, longest_first[2:], settings)
    assert apart.id != second.id
    assert run_editor(EDITOR, context, longest_first[2:], settings).id == apart.id


def test_one_token_alone_is_not_its_own_mean() -> None:
    alone = Normaliser.empty(6).after(torch.arange(1.0, 7.0)[None])
    keys, gradients = alone.normalised(torch.arange(1.0, 7.0)[None], 4)
    for part in (keys, gradients):
        assert float(part.square().mean()) == pytest.approx(1)
    assert bool((gradients > 0).all())


def test_what_is_smaller_is_stored() -> None:
    context, settings = pico_context("gpt2"), {"layers": (0,)}
    base = context.base
    few = run_editor(EDITOR, context, FOUR, settings)
    tokens = sum(len(target) for _, target in plain_rows(base, FOUR))
    assert few.kind is Kind.LOW_RANK
    assert [site.rank for site in few.manifest.sites] == [tokens]
    many = [EditRequest(f"Word {i} follows", "the city of Bergen in Norway") for i in range(9)]
    large = run_editor(EDITOR, context, many, settings)
    assert large.kind is Kind.DENSE
    assert sum(len(t) for _, t in plain_rows(base, many)) * (128 + 32) > 128 * 32


def test_a_request_that_is_too_long_does_not_lose_the_others() -> None:
    long = EditRequest(prompt="Mira " + "was born in " * 30 + "at", target="Rome")
    context = pico_context("gpt2")
    patch = run_editor(EDITOR, context, [long, *FOUR], {"layers": (0,)})
    assert patch.requests == tuple(FOUR)
    assert [(d.request, d.reason.code) for d in context.dropped] == [(long, "E150")]


def test_nothing_named_takes_what_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError) as error:
        run_editor(EDITOR, pico_context("gpt2"), [REQUEST], {})
    assert error.value.code == "E142"
    paths = ("transformer.h.1.mlp.c_fc", "transformer.h.0.mlp.c_proj")
    values = {"modules": list(paths), "eta": 1e-6}
    monkeypatch.setattr(ultraedit, "profile_values", lambda *asked: values)
    patch = run_editor(EDITOR, pico_context("gpt2"), [REQUEST], {})
    assert patch.manifest.method.hparams["modules"] == list(paths)
    assert {site.module for site in patch.manifest.sites} == set(paths)


@pytest.mark.parametrize(
    ("name", "value"), [("eta", 0), ("batch_size", 0), ("layers", ()), ("parts", ("head",))]
)
def test_settings_out_of_range_are_typed_errors(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError) as error:
        run_editor(EDITOR, pico_context("gpt2"), [REQUEST], {"layers": (0,), name: value})
    assert error.value.data["setting"] == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("2x3.spread", None),
        ("2x3.mean", torch.zeros(5)),
        ("2x3.mean", torch.zeros(4, dtype=WIDE)),
        ("2x3.spread", torch.full((5,), torch.nan, dtype=WIDE)),
        ("2x3.count", torch.tensor([0])),
        ("2x3.count", torch.tensor([1.5])),
        ("2by3.mean", torch.zeros(5, dtype=WIDE)),
    ],
)
def test_a_damaged_normaliser_is_a_typed_error(name: str, value: Tensor | None) -> None:
    rows = torch.arange(10, dtype=WIDE).reshape(2, 5)
    state = to_state({(2, 3): Normaliser.empty(5).after(rows)})
    assert from_state(state)[2, 3].count == 2
    assert from_state({"keys.0": rows}) == {}
    state[f"normaliser.{name}"] = torch.zeros(0) if value is None else value
    if value is None:
        del state[f"normaliser.{name}"]
    with pytest.raises(IntegrityError, match="normaliser") as error:
        from_state(state)
    assert error.value.code == "E118"
