import contextlib
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch as library
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from patchhub import tensorfile
from patchhub.errors import IntegrityError, InvalidInputError, NotFoundError, PatchHubError
from patchhub.kinds import storage
from patchhub.tensorfile import Raw, open_checkpoint, read_bytes, read_header
from tests.pico import pico_directory

SAMPLE: dict[str, Raw] = {
    "w": ("F32", (2, 3), bytes(range(24))),
    "b": ("BF16", (3,), bytes(range(6))),
    "empty": ("F16", (0, 4), b""),
    "one": ("I64", (), bytes(8)),
}


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Tensor]:
    names = draw(st.lists(st.text(min_size=1, max_size=6), max_size=5, unique=True))
    result = {}
    for name in names:
        dtype = draw(st.sampled_from(list(storage.DTYPES.values())))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        raw = torch.randint(0, 2, (*shape, dtype.itemsize), dtype=torch.uint8)
        result[name] = raw.view(dtype).reshape(shape)
    return result


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype
        and a[n].shape == b[n].shape
        and storage.to_bytes(a[n]) == storage.to_bytes(b[n])
        for n in a
    )


@settings(deadline=None, max_examples=60)
@given(tensors().filter(lambda t: all(max(n) < "\ud800" or min(n) > "\udfff" for n in t)))
def test_round_trip_with_the_library_both_ways(made: dict[str, Tensor]) -> None:
    made = {name: tensor for name, tensor in made.items() if name != "__metadata__"}
    ours, theirs = storage.encode(made), library.save(made)
    assert ours == theirs
    assert same(library.load(ours), made)
    assert same(storage.decode(theirs, what="x"), made)


def test_the_bytes_do_not_depend_on_the_order(tmp_path: Path) -> None:
    turned = dict(reversed(SAMPLE.items()))
    assert tensorfile.encode(turned) == tensorfile.encode(SAMPLE)
    tensorfile.write(tmp_path / "a", turned, {"format": "pt"}, fsync=True)
    assert (tmp_path / "a").read_bytes() == tensorfile.encode(SAMPLE, {"format": "pt"})
    assert (tmp_path / "a").read_bytes() == library.save(
        storage.decode(tensorfile.encode(SAMPLE), what="x"), {"format": "pt"}
    )


def test_headers_give_the_place_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    tensorfile.write(path, SAMPLE)
    headers = read_header(path)
    for name, (dtype, shape, data) in SAMPLE.items():
        header = headers[name]
        assert (header.dtype, header.shape, header.file) == (dtype, shape, path)
        assert read_bytes(header) == data
        assert path.read_bytes()[header.begin : header.end] == data


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    tensorfile.write(path, SAMPLE)
    headers = read_header(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(PatchHubError, match="E111"):
        read_bytes(headers["b"])
    path.unlink()
    with pytest.raises(NotFoundError, match="E109"):
        read_bytes(headers["b"])


@pytest.mark.parametrize(
    ("made", "metadata", "code"),
    [
        ({"a": ("F32", (2,), bytes(7))}, {}, "E112"),
        ({"a": ("F33", (2,), bytes(8))}, {}, "E112"),
        ({}, {"a": "b", "c": "d"}, "E113"),
    ],
)
def test_what_cannot_be_written(made: dict[str, Raw], metadata: dict[str, str], code: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        tensorfile.encode(made, metadata)
    assert caught.value.code == code


def refusal(data: bytes, path: Path) -> PatchHubError:
    """The error for these bytes, the same from disk and from memory."""
    path.write_bytes(data)
    with pytest.raises(PatchHubError) as disk:
        read_header(path)
    with pytest.raises(PatchHubError) as memory:
        tensorfile.decode(data, what="a")
    assert disk.value.code == memory.value.code
    return disk.value


def test_truncation_anywhere_is_noticed(tmp_path: Path) -> None:
    data = tensorfile.encode(SAMPLE)
    for length in range(len(data)):
        error = refusal(data[:length], tmp_path / "a")
        assert (error.code, error.exit) == ("E111", 5)
    assert refusal(data + b"\0", tmp_path / "a").code == "E111"


def file_of(table: object, data: bytes = b"", *, raw: bytes | None = None) -> bytes:
    header = json.dumps(table).encode() if raw is None else raw
    return len(header).to_bytes(8, "little") + header + data


def row(begin: int, end: int, shape: list[int], dtype: str = "U8", **more: object) -> object:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]} | more


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (file_of({"a": row(0, 4, [4]), "b": row(2, 6, [4])}, bytes(6)), "overlaps"),
        (file_of({"a": row(0, 4, [4]), "b": row(0, 4, [4])}, bytes(4)), "overlaps"),
        (file_of({"a": row(0, 4, [4]), "b": row(5, 6, [1])}, bytes(6)), "gap"),
        (file_of({"a": row(1, 5, [4])}, bytes(5)), "gap"),
        (file_of({"a": row(0, 4, [4])}, bytes(5)), "belong to no tensor"),
        (file_of({"a": row(0, 4, [3])}, bytes(4)), "do not fit"),
        (file_of({"a": row(4, 0, [4])}, bytes(4)), "do not fit"),
        (file_of({"a": row(0, 4, [2**31, 2**31, 4])}, bytes(4)), "do not fit"),
        (file_of({"a": row(0, 0, [0, 2**60])}, b""), "out of range"),
        (file_of({"a": row(0, 1, [1], "F4")}, bytes(1)), "do not fit"),
        (file_of({"a": row(0, 4, [1], "F33")}, bytes(4)), "not known"),
        (file_of({"a": row(0, 4, [-4])}, bytes(4)), "out of range"),
        (file_of({"a": row(0, 4, [True])}, bytes(4)), "integer"),
        (file_of({"a": row(0, 4, [4], extra=1)}, bytes(4)), "not a known field"),
        (file_of({"a": {"dtype": "U8", "shape": [4]}}, bytes(4)), "missing"),
        (file_of({"a": row(0, 4, [4], data_offsets=[0])}, bytes(4)), "do not fit"),
        (file_of({"a": 4}, bytes(4)), "must be an object"),
        (file_of({"__metadata__": {"a": 1}}), "must be text"),
        (file_of({"__metadata__": "a"}), "must be an object"),
        (file_of({}, raw=b'{"a":{},"a":{}}'), "twice"),
        (file_of({}, raw=b'{"a":\xff}'), "not JSON"),
        (file_of({}, raw=b'{"a":'), "not JSON"),
        (file_of({}, raw=b'{"a":' + b"[" * 100_000), "not JSON"),
    ],
)  # fmt: skip
def test_headers_that_lie(data: bytes, words: str, tmp_path: Path) -> None:
    error = refusal(data, tmp_path / "a")
    assert (error.code, error.exit) == ("E111", 5)
    assert words in str(error)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("data.pkl", "x" * 50)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    legacy = tmp_path / "legacy"
    torch.save({"a": torch.zeros(2)}, legacy, _use_new_zipfile_serialization=False)
    for data, words in (
        ((tmp_path / "zip").read_bytes(), "pickle"),
        (pickle.dumps({"a": [1, 2, 3] * 9}), "pickle"),
        (legacy.read_bytes(), "pickle"),
        (pointer, "git lfs pull"),
        (b"<!DOCTYPE html>" + b" " * 100, "header of at most"),
        (b"\xff" * 64, "header of at most"),
        ((10**8 + 1).to_bytes(8, "little") + b"{}", "header of at most"),
        (file_of([], raw=b"[]"), "no JSON header"),
        (bytes(8), "no JSON header"),
    ):
        error = refusal(data, tmp_path / "a")
        assert (error.code, error.exit) == ("E110", 5), words
        assert words in str(error)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.booleans())
def test_arbitrary_bytes_raise_typed_errors_or_parse(data: bytes, framed: bool) -> None:
    with contextlib.suppress(IntegrityError):
        tensorfile.decode(file_of({}, raw=b"{" + data) if framed else data, what="a")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        read_header(tmp_path / "none")
    assert (caught.value.code, caught.value.exit) == ("E109", 7)


@pytest.mark.parametrize("shards", [1, 3])
def test_checkpoints_are_what_the_library_loads(tmp_path: Path, shards: int) -> None:
    directory = pico_directory(tmp_path, "gpt2", dtype=torch.bfloat16, shards=shards)
    files = open_checkpoint(directory)
    loaded: dict[str, Tensor] = {}
    for shard in sorted(directory.glob("*.safetensors")):
        loaded |= library.load_file(shard)
    assert files.tensors.keys() == loaded.keys()
    assert (files.index is None) == (shards == 1)
    for name, header in files.tensors.items():
        assert read_bytes(header) == storage.to_bytes(loaded[name])


def test_a_link_is_followed_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        tensorfile.write(tmp_path / name / "model.safetensors", SAMPLE)
    link = tmp_path / "link"
    link.symlink_to("one")
    files = open_checkpoint(link)
    link.unlink()
    link.symlink_to("two")
    assert {header.file.parent for header in files.tensors.values()} == {tmp_path / "one"}
    assert files.directory == tmp_path / "one"


def sharded(directory: Path, weight_map: object) -> Path:
    tensorfile.write(directory / "a.safetensors", {"x": SAMPLE["w"], "y": SAMPLE["b"]})
    tensorfile.write(directory / "b.safetensors", {"z": SAMPLE["b"]})
    text = weight_map if isinstance(weight_map, str) else json.dumps({"weight_map": weight_map})
    (directory / "model.safetensors.index.json").write_text(text)
    return directory


A, B = "a.safetensors", "b.safetensors"


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"x": A, "y": A, "z": "c.safetensors"}, "c.safetensors is missing"),
        ({"x": A, "z": B}, "about tensor y"),
        ({"x": A, "y": A, "z": B, "u": B}, "about tensor u"),
        ({"x": A, "y": B, "z": B}, "about tensor y"),
        ({"x": "../a.safetensors"}, "not a plain file name"),
        ({"x": 1}, "must be text"),
        ("{", "not JSON"),
        ('{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}', "not JSON"),
        ("{}", "missing"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_indices_that_lie(tmp_path: Path, weight_map: object, words: str) -> None:
    with pytest.raises(PatchHubError) as caught:
        open_checkpoint(sharded(tmp_path, weight_map))
    assert (caught.value.code, caught.value.exit) == ("E147", 5)
    assert words in str(caught.value)


def test_a_tensor_in_two_listed_shards(tmp_path: Path) -> None:
    directory = sharded(tmp_path, {"x": A, "y": A, "z": B})
    assert open_checkpoint(directory).tensors.keys() == {"x", "y", "z"}
    tensorfile.write(directory / B, {"z": SAMPLE["b"], "y": SAMPLE["b"]})
    with pytest.raises(PatchHubError, match="E147") as caught:
        open_checkpoint(directory)
    assert "y lies in two shards" in str(caught.value)


def test_directories_without_weights(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="E109"):
        open_checkpoint(tmp_path / "none")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(PatchHubError, match="E147") as caught:
        open_checkpoint(tmp_path)
    assert "pytorch_model.bin" in str(caught.value)
