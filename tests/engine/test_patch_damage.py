import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchhub import canonical
from patchhub.errors import InvalidInputError, NotFoundError, PatchHubError
from patchhub.kinds import storage
from patchhub.manifest import Algebra, FileEntry, Kind
from patchhub.patch import Patch
from tests.engine.patches import dense, low_rank, sparse


@pytest.mark.parametrize("made", [low_rank, dense, sparse])
def test_every_flipped_byte_is_noticed(made: Callable[..., Patch]) -> None:
    patch = made(state={"keys": torch.ones(1)})
    files = patch.files()
    for name, data in files.items():
        for place in range(len(data)):
            broken = bytearray(data)
            broken[place] ^= 1 << (place % 8)
            damaged = {**files, name: bytes(broken)}
            with pytest.raises(PatchHubError) as caught:
                Patch.from_files(damaged, expect=patch.id)
            assert caught.value.exit in (5, 9)
            if name != "patch.json":
                with pytest.raises(PatchHubError) as caught:
                    Patch.from_files(damaged)
                assert caught.value.code == "E202"


@pytest.mark.parametrize("made", [low_rank, dense, sparse])
def test_a_flipped_byte_of_the_manifest_is_an_error_or_another_id(
    made: Callable[..., Patch],
) -> None:
    patch = made()
    files = patch.files()
    survived = 0
    for place in range(len(files["patch.json"])):
        broken = bytearray(files["patch.json"])
        broken[place] ^= 1
        try:
            other = Patch.from_files({**files, "patch.json": bytes(broken)})
        except PatchHubError:
            continue
        survived += 1
        assert other.id != patch.id
    # Digests of what lies outside the patch (base, pre), the method's name and settings.
    assert 0 < survived < len(files["patch.json"]) / 2


def test_truncation_of_every_file_is_noticed() -> None:
    files = low_rank().files()
    for name, data in files.items():
        for length in range(0, len(data), 7):
            with pytest.raises(PatchHubError) as caught:
                Patch.from_files({**files, name: data[:length]})
            assert caught.value.exit == 5


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    files = low_rank().files()
    for name in files:
        with pytest.raises(PatchHubError) as caught:
            Patch.from_files({n: d for n, d in files.items() if n != name})
        assert (caught.value.code, caught.value.exit) == ("E117", 5)
        assert name in str(caught.value)
    with pytest.raises(PatchHubError, match="E117"):
        Patch.from_files({**files, "extra.bin": b"x"})
    low_rank().write(tmp_path / "p")
    for name in ("sub", "link", ".hidden"):
        path = tmp_path / "p" / name
        if name == "sub":
            path.mkdir()
        elif name == "link":
            path.symlink_to(tmp_path / "p" / "patch.json")
        else:
            path.write_text("x")
        with pytest.raises(PatchHubError, match="E117") as caught:
            Patch.read(tmp_path / "p")
        assert name in str(caught.value)
        path.rmdir() if name == "sub" else path.unlink()
    assert Patch.read(tmp_path / "p").id == low_rank().id
    with pytest.raises(NotFoundError, match="E109"):
        Patch.read(tmp_path / "none")
    with pytest.raises(PatchHubError, match="E117"):
        Patch.read(tmp_path)


def test_another_id_than_expected() -> None:
    with pytest.raises(PatchHubError) as caught:
        Patch.from_files(low_rank().files(), expect=low_rank(seed=1).id)
    assert (caught.value.code, caught.value.exit) == ("E202", 5)


def resigned(patch: Patch, **changes: bytes | None) -> dict[str, bytes]:
    """The patch's files with some replaced, and a manifest whose digests agree with them."""
    files = patch.files()
    for name, data in changes.items():
        key = {"config": "adapter_config.json", "weights": "adapter_model.safetensors"}.get(
            name, {"dense": "patch.safetensors", "requests": "requests.jsonl"}.get(name, name)
        )
        if data is None:
            del files[key]
        else:
            files[key] = data
    del files["patch.json"]
    entries = {n: FileEntry(canonical.sha256(d), len(d)) for n, d in files.items()}
    return {"patch.json": replace(patch.manifest, files=entries).to_bytes(), **files}


def test_resigning_alone_is_harmless() -> None:
    assert Patch.from_files(resigned(low_rank())).id == low_rank().id


def changed_config(**more: canonical.Json) -> bytes:
    config = json.loads(low_rank().files()["adapter_config.json"])
    return canonical.dumps({**config, **more})


def weights(**more: torch.Tensor) -> bytes:
    data = low_rank().files()["adapter_model.safetensors"]
    tensors = storage.decode(data, what="x")
    key = "base_model.model.h.0.fc.lora_{}.weight"
    return storage.encode({**tensors, **{key.format(n): t for n, t in more.items()}})


A3, B3 = torch.zeros(3, 4), torch.zeros(5, 3)
A3[0], B3[:, 0] = 1.0, 1.0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"config": changed_config(lora_alpha=6)}, "E118"),
        ({"config": changed_config(modules_to_save=["lm_head"])}, "E118"),
        ({"config": changed_config() + b" "}, "E118"),
        ({"config": None}, "E117"),
        ({"weights": None}, "E117"),
        ({"weights": b"PK\x03\x04" + b"x" * 60}, "E110"),
        ({"weights": b"\0" * 4}, "E111"),
        ({"weights": weights(A=torch.full((3, 4), torch.nan))}, "E118"),
        ({"weights": weights(A=A3 * torch.nan, B=B3)}, "E118"),
        ({"weights": weights(A=A3, B=B3 + 1)}, "E118"),
        ({"weights": weights(A=torch.zeros(3, 5), B=B3)}, "E112"),
        ({"weights": weights(A=A3.half(), B=B3.half())}, "E112"),
        ({"weights": weights(A=torch.zeros(3))}, "E112"),
        ({"weights": weights(A=torch.zeros(0, 4))}, "E112"),
        ({"weights": weights(C=A3)}, "E118"),
        ({"weights": weights(A=A3, B=B3)}, "E118"),
        ({"requests": b""}, "E118"),
        ({"requests": b'{"prompt":"a","target":"b"}\n'}, "E118"),
        ({"requests": b'{"prompt": "a","target":"b"}\n'}, "E116"),
        ({"requests": b'{"prompt":"a","target":"b","x":1}\n'}, "E131"),
        ({"requests": b"\xff\n"}, "E116"),
        ({"requests": low_rank().files()["requests.jsonl"][:-1]}, "E118"),
        ({"patch.safetensors": b"x"}, "E118"),
        ({"state.safetensors": b"x"}, "E111"),
        ({"state.safetensors": storage.encode({"a": torch.tensor([torch.inf])})}, "E115"),
    ],
)
def test_files_that_agree_with_their_digests_but_not_with_each_other(
    changes: dict[str, bytes | None], code: str
) -> None:
    with pytest.raises(PatchHubError) as caught:
        Patch.from_files(resigned(low_rank(), **changes))
    assert caught.value.code == code
    assert caught.value.exit in (5, 9)


def test_nan_in_a_file_with_the_right_digest() -> None:
    tensors = storage.decode(dense().files()["patch.safetensors"], what="x")
    tensors["h.0.fc.bias/delta"][2] = torch.nan
    with pytest.raises(InvalidInputError) as caught:
        Patch.from_files(resigned(dense(), dense=storage.encode(tensors)))
    assert (caught.value.code, caught.value.exit) == ("E115", 9)
    assert "h.0.fc.bias" in str(caught.value)


def test_a_resaved_tensor_file_is_recognised_but_not_accepted() -> None:
    patch = dense()
    data = patch.files()["patch.safetensors"]
    length = int.from_bytes(data[:8], "little")
    padded = (
        (length + 8).to_bytes(8, "little") + data[8 : 8 + length] + b" " * 8 + data[8 + length :]
    )
    with pytest.raises(PatchHubError, match="E118") as caught:
        Patch.from_files(resigned(patch, dense=padded))
    assert "patch.safetensors" in str(caught.value)


def test_sparse_patches_add_and_do_not_set() -> None:
    patch = sparse()
    sets = replace(patch.manifest, algebra=Algebra.ASSIGN).to_bytes()
    with pytest.raises(PatchHubError, match="algebra") as caught:
        Patch.from_files({**patch.files(), "patch.json": sets})
    assert caught.value.code == "E118"


@pytest.mark.parametrize("role", ["columns", "vector", "values"])
def test_a_sparse_patch_without_one_of_its_tensors(role: str) -> None:
    tensors = storage.decode(sparse().files()["patch.safetensors"], what="x")
    del tensors[f"h.0.fc.weight/{role}"]
    with pytest.raises(PatchHubError, match=role) as caught:
        Patch.from_files(resigned(sparse(), dense=storage.encode(tensors)))
    assert caught.value.code == "E118"


def test_manifests_that_do_not_follow_from_the_tensors() -> None:
    patch = low_rank()
    sites = patch.manifest.sites
    for changed, code in (
        (replace(patch.manifest, content="0" * 64), "E118"),
        (replace(patch.manifest, algebra=Algebra.ASSIGN), "E118"),
        (replace(patch.manifest, sites=sites[:1]), "E118"),
        (replace(patch.manifest, sites=()), "E118"),
        (replace(patch.manifest, sites=(sites[0], replace(sites[1], rank=2))), "E118"),
        (replace(patch.manifest, sites=(replace(sites[0], rank=None), sites[1])), "E112"),
        (replace(patch.manifest, sites=(replace(sites[0], shape=(5, 5)), sites[1])), "E112"),
        (replace(patch.manifest, kind=Kind.DENSE), "E117"),
        (replace(patch.manifest, kind=Kind.CODEBOOK), "E117"),
        (replace(patch.manifest, kind=Kind.MEMORY), "E113"),
    ):
        with pytest.raises(PatchHubError) as caught:
            Patch.from_files({**patch.files(), "patch.json": changed.to_bytes()})
        assert caught.value.code == code
