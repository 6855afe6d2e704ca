import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from patchhub import canonical
from patchhub.errors import ConflictError, InvalidInputError, NotFoundError
from patchhub.kinds import kind_of
from patchhub.manifest import Kind, Manifest, MethodRecord, Orientation
from patchhub.patch import Patch
from patchhub.request import EditRequest, Probe, ProbeKind
from tests.engine.patches import (
    BASE,
    REQUESTS,
    build,
    dense,
    low_rank,
    patches,
    site,
    sparse,
)

GOLDEN = Path(__file__).parents[1] / "golden"


def equal(a: Patch, b: Patch) -> bool:
    return (
        a.manifest == b.manifest
        and a.requests == b.requests
        and same_tensors(a.state, b.state)
        and a.payload.keys() == b.payload.keys()
        and all(same_tensors(a.payload[n], b.payload[n]) for n in a.payload)
    )


def same_tensors(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a
    )


@settings(deadline=None, max_examples=40)
@given(patches())
def test_files_read_back_as_the_same_patch(patch: Patch) -> None:
    files = patch.files()
    again = Patch.from_files(files, expect=patch.id)
    assert equal(again, patch)
    assert again.files() == files
    assert patch.id == canonical.sha256(files["patch.json"])
    assert patch.short == f"ph:{patch.id[:12]}"
    for tensors in again.payload.values():
        for tensor in tensors.values():
            assert tensor.is_contiguous()
            assert tensor.dtype in (torch.float32, torch.int32)


@settings(deadline=None, max_examples=20)
@given(patches(), st.randoms(use_true_random=False))
def test_the_id_does_not_depend_on_the_order_of_names(patch: Patch, random: Any) -> None:
    sites = list(patch.manifest.sites)
    random.shuffle(sites)
    roles = {n: dict(reversed(list(r.items()))) for n, r in reversed(list(patch.payload.items()))}
    hparams = dict(reversed(list(patch.manifest.method.hparams.items())))
    again = Patch.build(
        patch.kind,
        roles,
        sites=sites,
        base=BASE,
        method=replace(patch.manifest.method, hparams=hparams),
        requests=patch.requests,
        onto=patch.manifest.onto,
        state=dict(reversed(list(patch.state.items()))),
    )
    assert again.id == patch.id
    files = dict(reversed(list(patch.files().items())))
    assert Patch.from_files(files).id == patch.id


def test_the_id_names_everything_that_was_edited() -> None:
    patch = low_rank()
    others = [
        low_rank(seed=1),
        low_rank(base="a" * 64),
        low_rank(onto=("a" * 64,)),
        low_rank(requests=REQUESTS[:1]),
        low_rank(requests=REQUESTS[::-1]),
        low_rank(method=MethodRecord("rome", 2, {"clamp": "4.0", "layer": 2})),
        low_rank(method=MethodRecord("rome", 1, {"clamp": "4.0", "layer": 3})),
        low_rank(state={"x": torch.ones(1)}),
    ]
    assert len({p.id for p in [patch, *others]}) == 9
    assert low_rank().id == patch.id
    same_weights = [p for p in others if p.manifest.content == patch.manifest.content]
    assert len(same_weights) == 7


def test_probes_are_no_part_of_a_patch() -> None:
    probe = Probe(ProbeKind.PARAPHRASE, "Mira's home is", ("Oslo",))
    asked = replace(REQUESTS[0], probes=(probe,))
    patch = low_rank(requests=[asked, REQUESTS[1]])
    assert patch.id == low_rank().id
    assert patch.requests == REQUESTS
    assert b"home" not in patch.files()["requests.jsonl"]


def test_the_method_record_names_the_requests() -> None:
    assert low_rank().manifest.method.requests == tuple(r.digest() for r in REQUESTS)


def test_a_patch_keeps_its_own_tensors() -> None:
    a, b, state = torch.ones(1, 4), torch.ones(5, 1), torch.ones(2)
    sites = [site("h.weight", (5, 4))]
    patch = build(Kind.LOW_RANK, {"h.weight": {"A": a, "B": b}}, sites, state={"s": state})
    before = patch.files()
    for tensor in (a, b, state):
        tensor.zero_()
    assert patch.files() == before
    assert patch.manifest.sites[0].rank == 1


def test_half_precision_is_widened_and_double_refused() -> None:
    sites = [site("h.bias", (3,))]
    values = torch.tensor([0.1, 1e-7, 3.0]).half()
    patch = build(Kind.DENSE, {"h.bias": {"delta": values}}, sites)
    assert torch.equal(patch.payload["h.bias"]["delta"], values.float())
    with pytest.raises(InvalidInputError, match="E112"):
        build(Kind.DENSE, {"h.bias": {"delta": values.double()}}, sites)


@pytest.mark.parametrize("made", [low_rank, dense, sparse])
def test_directories(tmp_path: Path, made: Callable[..., Patch]) -> None:
    patch = made(state={"keys": torch.ones(2, 3)})
    patch.write(tmp_path / "p")
    assert {f.name: f.read_bytes() for f in (tmp_path / "p").iterdir()} == patch.files()
    assert equal(Patch.read(tmp_path / "p", expect=patch.id), patch)
    assert [f.name for f in tmp_path.iterdir()] == ["p"]
    with pytest.raises(ConflictError) as caught:
        patch.write(tmp_path / "p")
    assert (caught.value.code, caught.value.exit) == ("E308", 4)
    (tmp_path / "empty").mkdir()
    patch.write(tmp_path / "empty")
    assert Patch.read(tmp_path / "empty").id == patch.id


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(ConflictError, match="E308"):
            low_rank().write(tmp_path / name)
    with pytest.raises(NotFoundError, match="E109"):
        low_rank().write(tmp_path / "none" / "p")
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["file", "link"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        low_rank().write(tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("made", [low_rank, dense, sparse])
def test_golden_patches(made: Callable[..., Patch]) -> None:
    directory = GOLDEN / f"patch-1-{made.__name__}"
    patch = Patch.read(directory)
    assert patch.files() == {f.name: f.read_bytes() for f in directory.iterdir()}
    assert patch.manifest.base == BASE
    assert [r.target for r in patch.requests] == ["Oslo", "Malmö"]
    assert kind_of(patch.kind).algebra == patch.manifest.algebra == "additive"
    assert all(isinstance(r, EditRequest) for r in patch.requests)
    assert isinstance(patch.manifest, Manifest)


def test_wrong_tensors_are_refused_when_a_patch_is_made() -> None:
    w, v = site("h.weight", (5, 4)), site("h.bias", (5,))
    turned = site("g.weight", (4, 5), Orientation.IN_OUT)
    a, b = torch.ones(2, 4), torch.ones(5, 2)
    nan = b.clone()
    nan[3, 1] = -torch.inf
    low, full = Kind.LOW_RANK, Kind.DENSE
    cases: list[tuple[Kind, dict[str, dict[str, torch.Tensor]], list[Any], str]] = [
        (low, {"h.weight": {"A": a, "B": nan}}, [w], "E115"),
        (low, {"h.weight": {"A": a, "B": b.T}}, [w], "E112"),
        (low, {"h.weight": {"A": a[:1], "B": b}}, [w], "E112"),
        (low, {"h.weight": {"A": a[:0], "B": b[:, :0]}}, [w], "E112"),
        (low, {"h.weight": {"A": a[0], "B": b}}, [w], "E112"),
        (low, {"h.weight": {"A": a}}, [w], "E112"),
        (low, {"h.weight": {"A": a, "B": b, "C": b}}, [w], "E112"),
        (low, {"h.weight": {"A": a.long(), "B": b}}, [w], "E112"),
        (low, {"h.weight": {"A": a, "B": b}}, [replace(w, rank=3)], "E112"),
        (low, {"h.bias": {"A": a, "B": b}}, [v], "E112"),
        (low, {}, [], "E112"),
        (low, {}, [w], "E112"),
        (low, {"h.weight": {"A": a, "B": b}}, [w, w], "E112"),
        (low, {n: {"A": a, "B": b} for n in ("g.weight", "h.weight")}, [w, turned], "E112"),
        (full, {"h.weight": {"delta": torch.ones(4, 5)}}, [w], "E112"),
        (full, {"h.bias": {"delta": torch.ones(5, 1)}}, [v], "E112"),
        (full, {"h.bias": {"delta": torch.full((5,), torch.nan)}}, [v], "E115"),
        (Kind.MEMORY, {"h.bias": {"delta": torch.ones(5)}}, [v], "E113"),
    ]
    for kind, payload, sites, code in cases:
        with pytest.raises(InvalidInputError) as caught:
            build(kind, payload, sites)
        assert (caught.value.code, caught.value.exit) == (code, 9)
    with pytest.raises(InvalidInputError, match="E115"):
        dense(state={"x": torch.tensor(torch.nan)})
    with pytest.raises(InvalidInputError, match="E112"):
        dense(state={"x": torch.zeros(2, dtype=torch.complex64)})
    with pytest.raises(InvalidInputError, match="E113"):
        dense(base="x")
    with pytest.raises(InvalidInputError, match="E113"):
        dense(method=MethodRecord("x", 1, {"rate": 0.5}))  # type: ignore[dict-item]
