from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from patchhub.errors import InvalidInputError
from patchhub.kinds import Roles, WeightKind, kind_of, storage, weight_kind
from patchhub.manifest import Kind
from tests.engine.patches import dense, low_rank, site, sparse

NUMBERS = st.floats(-100, 100, width=32) | st.sampled_from([0.0, -0.0, 1e-38, 3e38, 1e-45])


def matrix(draw: st.DrawFn, rows: int, columns: int) -> Tensor:
    row = st.lists(NUMBERS, min_size=columns, max_size=columns)
    values = draw(st.lists(row, min_size=rows, max_size=rows))
    return torch.tensor(values, dtype=torch.float32).reshape(rows, columns)


Made = tuple[WeightKind, Roles, tuple[int, ...]]
"""A kind, tensors of it, and the shape of what they add to."""


@st.composite
def updates(draw: st.DrawFn) -> Made:
    d_out, d_in, rank = (draw(st.integers(1, 4)) for _ in range(3))
    name = draw(st.sampled_from([Kind.LOW_RANK, Kind.DENSE, Kind.SPARSE]))
    if name is Kind.LOW_RANK:
        factors = {"A": matrix(draw, rank, d_in), "B": matrix(draw, d_out, rank)}
        return weight_kind(name), factors, (d_out, d_in)
    shape = (d_out,) if draw(st.booleans()) else (d_out, d_in)
    if name is Kind.DENSE:
        delta = matrix(draw, d_out, d_in)
        return weight_kind(name), {"delta": delta[:, 0] if len(shape) == 1 else delta}, shape
    roles = lines(draw, shape, rank)
    kind_of(name).validate(site("h.weight", shape), roles)
    return weight_kind(name), roles, shape


def lines(draw: st.DrawFn, shape: tuple[int, ...], vectors: int) -> Roles:
    axis = "rows" if len(shape) == 1 else draw(st.sampled_from(["rows", "columns"]))
    count = shape[1] if axis == "columns" else shape[0]
    length = 1 if len(shape) == 1 else shape[0] if axis == "columns" else shape[1]
    entries = {(draw(st.integers(0, count - 1)), vector) for vector in range(vectors)}
    more = st.tuples(st.integers(0, count - 1), st.integers(0, vectors - 1))
    index, vector = zip(*sorted(entries | draw(st.sets(more, max_size=4))), strict=True)
    return {
        axis: torch.tensor(index, dtype=torch.int32),
        "vector": torch.tensor(vector, dtype=torch.int32),
        "values": matrix(draw, vectors, length),
    }


def exact(roles: Roles, shape: tuple[int, ...]) -> list[list[Fraction]]:
    """Δ as exact rational numbers, a vector as one column."""
    if "values" in roles:
        found = [[Fraction()] * (shape[1] if len(shape) == 2 else 1) for _ in range(shape[0])]
        axis = "rows" if "rows" in roles else "columns"
        for line, which in zip(roles[axis].tolist(), roles["vector"].tolist(), strict=True):
            for i, x in enumerate(roles["values"][which].tolist()):
                row, column = (line, i) if axis == "rows" else (i, line)
                found[row][column] += Fraction(x)
        return found
    if "delta" in roles:
        rows = roles["delta"].reshape(roles["delta"].shape[0], -1)
        return [[Fraction(x) for x in row] for row in rows.tolist()]
    a, b = roles["A"].tolist(), roles["B"].tolist()
    return [
        [
            sum((Fraction(x) * Fraction(y) for x, y in zip(row, column, strict=True)), Fraction())
            for column in zip(*a, strict=True)
        ]
        for row in b
    ]


@settings(deadline=None, max_examples=100)
@given(updates())
def test_terms_are_exact_and_bounded(update: Made) -> None:
    kind, roles, shape = update
    truth = exact(roles, shape)
    places = torch.tensor([(i, j) for i in range(len(truth)) for j in range(len(truth[0]))])
    terms = kind.products(roles, places[:, 0], places[:, 1])
    assert terms.shape == (len(places), kind.term_count(roles))
    assert terms.dtype == torch.float64
    bound = Fraction(kind.bound(roles) * (1 + 2.0**-20))
    for (i, j), row in zip(places.tolist(), terms.tolist(), strict=True):
        assert sum(map(Fraction, row)) == truth[i][j]
        assert bound >= sum(abs(Fraction(term)) for term in row)


@settings(deadline=None, max_examples=60)
@given(updates(), st.data())
def test_blocks_are_added_within_the_bound(update: Made, data: st.DataObject) -> None:
    kind, roles, shape = update
    truth = exact(roles, shape)
    rows, columns = (_part(data, len(x)) for x in (truth, truth[0]))
    block = (rows.stop - rows.start, columns.stop - columns.start)
    total = torch.full(block[: len(shape)], 0.25, dtype=torch.float64)
    turned = total.clone()
    if len(shape) == 2:  # as blocks of a Conv1D's weight lie
        turned = torch.full(block[::-1], 0.25, dtype=torch.float64).T
    for one in (total, turned):
        kind.add_to(one, roles, rows, columns)
    assert torch.equal(total, turned)
    limit = Fraction((kind.bound(roles) + 1) * (kind.term_count(roles) + 1) * 2.0**-52)
    for i, row in enumerate(total.reshape(len(total), -1).tolist()):
        for j, value in enumerate(row):
            wanted = truth[rows.start + i][columns.start + j] + Fraction(1, 4)
            assert abs(Fraction(value) - wanted) <= limit


@settings(deadline=None, max_examples=60)
@given(updates(), st.integers(1, 3))
def test_an_edit_made_several_times_is_as_many_times_the_edit(update: Made, times: int) -> None:
    kind, roles, shape = update
    several = kind.repeated(roles, times)
    if len(shape) == 2:
        kind.validate(site("h.weight", shape), several)
    once = kind.kind is Kind.DENSE  # one number per weight, whatever it is the sum of
    wanted = [[x * (1 if once else times) for x in row] for row in exact(roles, shape)]
    assert exact(several, shape) == wanted


@settings(deadline=None, max_examples=60)
@given(updates())
def test_factors_are_a_product_that_the_update_is(update: Made) -> None:
    kind, roles, shape = update
    pair = kind.factors(roles)
    assert (pair is None) == ("A" not in roles)
    if pair is not None:
        assert exact({"A": pair[1], "B": pair[0]}, shape) == exact(roles, shape)


def _part(data: st.DataObject, length: int) -> slice:
    start = data.draw(st.integers(0, length - 1))
    return slice(start, data.draw(st.integers(start + 1, length)))


def test_kinds_are_loaded_by_name() -> None:
    for kind in (Kind.LOW_RANK, Kind.DENSE, Kind.SPARSE):
        assert kind_of(kind).kind == kind
        assert kind_of(kind).algebra == "additive"
    assert kind_of(Kind.NEURONS).algebra == "output"
    assert kind_of(Kind.CODEBOOK).algebra == "override"
    for live in (Kind.NEURONS, Kind.CODEBOOK):
        with pytest.raises(InvalidInputError, match="do not change weights"):
            weight_kind(live)
    with pytest.raises(InvalidInputError) as caught:
        kind_of(Kind.MEMORY)
    assert caught.value.code == "E113"


def test_one_rank_on_disk_and_the_true_ranks_in_the_manifest() -> None:
    patch = low_rank(ranks=(1, 3, 2))
    tensors = storage.decode(patch.files()["adapter_model.safetensors"], what="x")
    assert {tuple(t.shape) for t in tensors.values()} == {(3, 4), (5, 3)}
    assert [site.rank for site in patch.manifest.sites] == [1, 3, 2]
    for i, rank in enumerate((1, 3, 2)):
        name = f"base_model.model.h.{i}.fc.lora_{{}}.weight"
        assert not tensors[name.format("A")][rank:].any()
        assert not tensors[name.format("B")][:, rank:].any()
        assert torch.equal(
            tensors[name.format("B")] @ tensors[name.format("A")],
            patch.payload[f"h.{i}.fc.weight"]["B"] @ patch.payload[f"h.{i}.fc.weight"]["A"],
        )


def test_dense_files_hold_the_upright_matrix() -> None:
    patch = dense()
    tensors = storage.decode(patch.files()["patch.safetensors"], what="x")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "h.0.fc.bias/delta": (5,),
        "h.0.fc.weight/delta": (5, 4),
    }


def test_a_sparse_file_holds_entries_and_each_vector_once() -> None:
    tensors = storage.decode(sparse().files()["patch.safetensors"], what="x")
    assert tensors["h.0.fc.weight/columns"].tolist() == [1, 3]
    assert tensors["h.0.fc.weight/vector"].tolist() == [0, 0]
    assert {name: tuple(t.shape) for name, t in tensors.items() if "values" in name} == {
        "h.0.fc.weight/values": (1, 5),
        "h.1.fc.bias/values": (2, 1),
        "h.1.fc.weight/values": (3, 4),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"columns": [1, 5]},
        {"columns": [-1, 3]},
        {"columns": [3, 1]},
        {"columns": [3, 3]},
        {"columns": [], "vector": []},
        {"vector": [0, 1]},
        {"vector": [0]},
        {"values": torch.zeros(2, 4)},
        {"values": torch.zeros(1, 5)},
        {"values": torch.zeros(0, 4)},
        {"values": torch.zeros(4)},
        {"values": torch.zeros(1, 4).int()},
        {"columns": torch.tensor([1, 3])},
        {"columns": torch.tensor([1.0, 3.0])},
        {"rows": [1, 3]},
        {"columns": None},
        {"columns": None, "rows": [1, 3]},
    ],
)
def test_entries_have_one_form_and_fit_the_site(change: dict[str, object]) -> None:
    good = {
        "columns": torch.tensor([1, 3], dtype=torch.int32),
        "vector": torch.tensor([0, 0], dtype=torch.int32),
        "values": torch.zeros(1, 4),
    }
    where = site("h.weight", (4, 5))
    kind_of(Kind.SPARSE).validate(where, good)
    made = {
        role: torch.tensor(value, dtype=torch.int32) if isinstance(value, list) else value
        for role, value in {**good, **change}.items()
        if value is not None
    }
    with pytest.raises(InvalidInputError) as caught:
        kind_of(Kind.SPARSE).validate(where, made)  # type: ignore[arg-type]
    assert caught.value.code == "E112"


def test_a_vector_has_no_columns() -> None:
    one = torch.zeros(1, dtype=torch.int32)
    roles = {"columns": one, "vector": one, "values": torch.zeros(1, 1)}
    with pytest.raises(InvalidInputError, match="E112"):
        kind_of(Kind.SPARSE).validate(site("h.bias", (4,)), roles)


@pytest.mark.parametrize("dtype", storage.DTYPES)
def test_tensors_survive_storage_bit_by_bit(dtype: str) -> None:
    kind = storage.DTYPES[dtype]
    high = 2 if kind == torch.bool else 256
    raw = torch.randint(0, high, (3, 2, kind.itemsize), dtype=torch.uint8)
    tensor = raw.view(kind).reshape(3, 2)
    assert storage.dtype_name(kind) == dtype
    for view in (tensor, tensor.T, tensor[:, 1], tensor[:1, 1], tensor[0, 0], tensor[:0]):
        data = storage.to_bytes(view)
        back = storage.from_bytes(dtype, tuple(view.shape), data)
        assert (back.dtype, back.shape) == (view.dtype, view.shape)
        assert storage.to_bytes(back) == data
        assert data == b"".join(storage.to_bytes(x) for x in view.reshape(-1))
    with pytest.raises(InvalidInputError, match="E112"):
        storage.from_bytes("F4", (2,), b"x")
