"""Kinds that act while the model runs: what a patch of them is, and what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchhub.errors import PatchHubError
from patchhub.kinds import kind_of
from patchhub.kinds.codebook import group_of
from patchhub.kinds.rows import ACTIVATIONS, POSITIONS, code
from patchhub.manifest import Kind
from patchhub.patch import Patch
from tests.engine.patches import build, site

Payload = dict[str, dict[str, Tensor]]
GATE, LATER = "h.0.fc.weight", "h.1.fc.weight"
SHAPE = (5, 4)


def ints(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


def neurons(**more: Tensor) -> Payload:
    roles = {"keys": torch.ones(2, 5), "bias": torch.ones(2), "values": torch.ones(2, 5)}
    return {GATE: {**roles, "activation": code(ACTIVATIONS, "relu"), **more}}


def gate() -> dict[str, Tensor]:
    group = ints(group_of("Rome"), group_of("Oslo"))
    return {"keys": torch.randn(2, 4), "radius": torch.ones(2), "group": group}


def values() -> Payload:
    places = code(POSITIONS, "last").repeat(2)
    return {GATE: {**gate(), "values": torch.randn(2, 5), "position": places}}


def blocks() -> Payload:
    ranks = {"A": torch.randn(3, 4), "B": torch.randn(5, 3), "owner": ints(0, 0, 1)}
    return {GATE: {**gate(), "block": ints(1, 0)}, LATER: ranks}


def change() -> Payload:
    roles = {"index": ints(0, 7, 19), "changes": torch.randn(3)}
    gated = {"threshold": torch.ones(1), "activation": code(ACTIVATIONS, "silu")}
    return {GATE: {**roles, **gated}}


def made(kind: Kind, payload: Payload) -> Patch:
    return build(kind, payload, [site(name, SHAPE) for name in payload])


WHOLE = [
    (Kind.NEURONS, neurons, 2),
    (Kind.NEURONS, lambda: neurons(up=torch.ones(2, 5)), 2),
    (Kind.CODEBOOK, values, 2),
    (Kind.CODEBOOK, blocks, 2),
    (Kind.CODEBOOK, change, 3),
]


@pytest.mark.parametrize(("kind", "make", "count"), WHOLE, ids=range(len(WHOLE)))
def test_a_patch_comes_back_from_its_directory(
    tmp_path: Path, kind: Kind, make: Any, count: int
) -> None:
    patch = made(kind, make())
    patch.write(tmp_path / "p")
    again = Patch.read(tmp_path / "p", expect=patch.id)
    assert again.files() == patch.files()
    assert again.manifest.sites[0].rank == count
    for name, roles in patch.payload.items():
        for role, tensor in roles.items():
            assert torch.equal(again.payload[name][role], tensor)


@pytest.mark.parametrize(("kind", "make", "count"), WHOLE, ids=range(len(WHOLE)))
def test_an_edit_made_several_times_fits_the_sites(kind: Kind, make: Any, count: int) -> None:
    patch = made(kind, make())
    several = {n: dict(kind_of(kind).repeated(r, 3)) for n, r in patch.payload.items()}
    rows = 3 * count if count == 2 else count  # a sparse update does not grow
    assert made(kind, several).manifest.sites[0].rank == rows


def changed(payload: Payload, place: str, role: str, tensor: Tensor | None) -> Payload:
    roles = {k: v for k, v in payload[place].items() if k != role}
    return {**payload, place: roles if tensor is None else {**roles, role: tensor}}


def two_gates() -> Payload:
    return {**values(), LATER: values()[GATE]}


DAMAGED = [
    (Kind.NEURONS, lambda: changed(neurons(), GATE, "activation", ints(9))),
    (Kind.NEURONS, lambda: changed(neurons(), GATE, "bias", None)),
    (Kind.NEURONS, lambda: changed(neurons(), GATE, "keys", torch.ones(2, 4))),
    (Kind.NEURONS, lambda: changed(neurons(), GATE, "values", torch.ones(2, 5).double())),
    (Kind.CODEBOOK, lambda: changed(values(), GATE, "radius", -torch.ones(2))),
    (Kind.CODEBOOK, lambda: changed(values(), GATE, "position", ints(0, 3))),
    (Kind.CODEBOOK, lambda: changed(values(), GATE, "values", torch.ones(1, 5))),
    (Kind.CODEBOOK, lambda: changed(values(), GATE, "block", ints(0, 1))),
    (Kind.CODEBOOK, two_gates),
    (Kind.CODEBOOK, lambda: changed(blocks(), GATE, "block", ints(0, 0))),
    (Kind.CODEBOOK, lambda: {GATE: blocks()[GATE]}),
    (Kind.CODEBOOK, lambda: {LATER: blocks()[LATER]}),
    (Kind.CODEBOOK, lambda: changed(blocks(), LATER, "owner", ints(1, 0, 0))),
    (Kind.CODEBOOK, lambda: {GATE: {**blocks()[GATE], **blocks()[LATER], "owner": ints(0)[0]}}),
    (Kind.CODEBOOK, lambda: changed(change(), GATE, "index", ints(0, 0, 2))),
    (Kind.CODEBOOK, lambda: changed(change(), GATE, "index", ints(0, 1, 20))),
    (Kind.CODEBOOK, lambda: changed(change(), GATE, "threshold", torch.zeros(1))),
    (Kind.CODEBOOK, lambda: {**values(), LATER: blocks()[LATER]}),
]


@pytest.mark.parametrize(("kind", "make"), DAMAGED, ids=range(len(DAMAGED)))
def test_what_does_not_fit_is_no_patch(kind: Kind, make: Any) -> None:
    with pytest.raises(PatchHubError) as caught:
        made(kind, make())
    assert caught.value.code == "E112"


def test_rows_that_want_the_same_have_one_group() -> None:
    assert group_of("Rome") == group_of("Rome") != group_of("Oslo")
    assert 0 <= group_of("Rome") < 2**31
