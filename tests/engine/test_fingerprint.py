import json
import shutil
from pathlib import Path

import pytest
import torch

from patchhub import canonical, tensorfile
from patchhub.errors import PatchHubError
from patchhub.fingerprint import (
    Fingerprint,
    check_headers,
    check_tensors,
    config_differences,
    fingerprint,
)
from patchhub.tensorfile import open_checkpoint, read_bytes
from tests.pico import pico_directory


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico_directory(tmp_path_factory.mktemp("base"), "llama")


def test_the_parts_are_plain_digests(base: Path) -> None:
    found = fingerprint(base)
    assert found.config == canonical.sha256((base / "config.json").read_bytes())
    assert found.tokenizer == {
        name: canonical.sha256((base / name).read_bytes())
        for name in ("tokenizer.json", "tokenizer_config.json")
    }
    files = open_checkpoint(base)
    table: dict[str, canonical.Json] = {
        name: {
            "dtype": "F32",
            "shape": list(header.shape),
            "sha256": canonical.sha256(read_bytes(header)),
        }
        for name, header in files.tensors.items()
    }
    assert found.weights == canonical.digest(table)
    assert "model.layers.1.mlp.down_proj.weight" in found.tensors


def test_sharding_does_not_matter(base: Path, tmp_path: Path) -> None:
    sharded = pico_directory(tmp_path, "llama", shards=4)
    assert len(open_checkpoint(sharded).shards) >= 4
    assert fingerprint(sharded) == fingerprint(base)
    assert fingerprint(sharded).weights == fingerprint(base).weights


def test_header_metadata_does_not_matter(base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    file = other / "model.safetensors"
    raw = tensorfile.decode(file.read_bytes(), what="x")
    tensorfile.write(file, raw, {"made": "elsewhere"})
    assert file.read_bytes() != (base / file.name).read_bytes()
    assert fingerprint(other) == fingerprint(base)


def test_a_cast_is_another_base(base: Path, tmp_path: Path) -> None:
    cast = pico_directory(tmp_path, "llama", dtype=torch.bfloat16)
    assert fingerprint(cast).weights != fingerprint(base).weights
    with pytest.raises(PatchHubError) as caught:
        check_headers(open_checkpoint(cast), fingerprint(base))
    assert (caught.value.code, caught.value.exit) == ("E201", 5)
    assert "BF16" in str(caught.value)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_do_not_matter(base: Path, threads: int) -> None:
    assert fingerprint(base, threads=threads) == fingerprint(base)


def test_progress_adds_up(base: Path) -> None:
    calls: list[tuple[int, int]] = []
    fingerprint(base, threads=4, progress=lambda done, total: calls.append((done, total)))
    size = sum(h.end - h.begin for h in open_checkpoint(base).tensors.values())
    assert calls[-1] == (size, size)
    assert {total for _, total in calls} == {size}
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert len(calls) > 10


def test_one_changed_bit_changes_the_weights_and_names_the_tensor(
    base: Path, tmp_path: Path
) -> None:
    before = fingerprint(base)
    other = Path(shutil.copytree(base, tmp_path / "other"))
    name = "model.layers.0.mlp.up_proj.weight"
    header = open_checkpoint(other).tensors[name]
    data = bytearray(header.file.read_bytes())
    data[header.end - 1] ^= 1
    header.file.write_bytes(data)
    files, after = open_checkpoint(other), fingerprint(other)
    assert {n for n in before.tensors if before.tensors[n] != after.tensors[n]} == {name}
    assert after.weights != before.weights
    check_headers(files, before)
    others = {n: e.sha256 for n, e in before.tensors.items() if n != name}
    check_tensors(files, others)
    with pytest.raises(PatchHubError) as caught:
        check_tensors(files, {n: e.sha256 for n, e in before.tensors.items()})
    assert caught.value.code == "E201"
    assert caught.value.data["tensor"] == name
    assert caught.value.expected == f"sha256 {before.tensors[name].sha256}"
    assert caught.value.found == f"sha256 {after.tensors[name].sha256}"


def test_missing_and_foreign_tensors(base: Path, tmp_path: Path) -> None:
    before = fingerprint(base)
    other = Path(shutil.copytree(base, tmp_path / "other"))
    file = other / "model.safetensors"
    raw = tensorfile.decode(file.read_bytes(), what="x")
    lost = raw.pop("model.norm.weight")
    file.write_bytes(tensorfile.encode(raw))
    with pytest.raises(PatchHubError, match="E201") as caught:
        check_headers(open_checkpoint(other), before)
    assert caught.value.found == "no such tensor"
    with pytest.raises(PatchHubError, match="E201"):
        check_tensors(open_checkpoint(other), {"model.norm.weight": "0" * 64})
    file.write_bytes(tensorfile.encode({**raw, "model.norm.weight": lost, "zz": lost}))
    with pytest.raises(PatchHubError, match="E201") as caught:
        check_headers(open_checkpoint(other), before)
    assert caught.value.data["tensor"] == "zz"


def test_a_file_cut_off_while_it_is_hashed(base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    files = open_checkpoint(other)
    file = other / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(PatchHubError, match="E111"):
        check_tensors(files, dict.fromkeys(files.tensors, "0" * 64))


def test_a_directory_without_config(base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    (other / "config.json").unlink()
    with pytest.raises(PatchHubError, match="E147"):
        fingerprint(other)


def test_records_read_back(base: Path) -> None:
    found = fingerprint(base)
    value = json.loads(canonical.dumps(found.to_json()))
    assert Fingerprint.from_json(value) == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": "x"}, "base.json: config"),
        ({"extra": 1}, "base.json: extra"),
        ({"tensors": []}, "tensors"),
        ({"tensors": {"a": {"dtype": "F32", "shape": [1]}}}, "tensors.a.sha256"),
        ({"tensors": {"a": {"dtype": "F32", "shape": [1.5], "sha256": "0" * 64}}}, "a.shape[0]"),
        ({"tokenizer": {"a": "0" * 63}}, "tokenizer.a"),
    ],
)
def test_wrong_records(change: dict[str, object], words: str) -> None:
    good: dict[str, object] = {"config": "0" * 64, "tensors": {}, "tokenizer": {}}
    assert Fingerprint.from_json(good).tensors == {}
    with pytest.raises(PatchHubError) as caught:
        Fingerprint.from_json({**good, **change}, what="base.json")
    assert (caught.value.code, caught.value.exit) == ("E113", 9)
    assert words in str(caught.value)


def test_config_differences_name_fields() -> None:
    a = b'{"layers": 2, "rope": {"theta": 1e4, "type": "x"}, "list": [1, 2]}'
    b = b'{"layers":2,"rope":{"type":"x","theta":2e4},"list":[2,1],"new":null}'
    assert config_differences(a, b) == [
        "list: [1, 2] -> [2, 1]",
        "new: absent -> null",
        "rope.theta: 10000.0 -> 20000.0",
    ]
    assert config_differences(a, a.replace(b" ", b"")) == []
    assert config_differences(b"{", a) == ["one of the files is not JSON"]
