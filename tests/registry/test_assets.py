"""Assets are named by what they are, kept in LFS's layout, and used again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from patchhub.canonical import Json, sha256
from patchhub.errors import IntegrityError, PatchHubError
from patchhub_registry import Registry
from patchhub_registry.asset import Asset
from patchhub_registry.lfs import Pointer
from patchhub_registry.paths import asset_file
from tests.pico import pico_directory
from tests.registry.support import WEIGHTS, git, status

KEY = sha256(b"key")
FACTS: Mapping[str, Json] = {"site": "h.{}.mlp.c_proj", "blocks": [0, 1], "tokens": 1000}


def put(registry: Registry, payload: bytes | Path = b"sums" * 9) -> Asset:
    return registry.assets.put("moments", WEIGHTS, KEY, FACTS, payload)


def test_put_get_list_and_file(registry: Registry, tmp_path: Path) -> None:
    made = put(registry)
    assert registry.assets.get(made.digest) == made
    assert registry.assets.list() == registry.assets.list("moments", WEIGHTS) == [made]
    assert registry.assets.list("editor") == registry.assets.list(base=KEY) == []
    assert registry.assets.file(made).read_bytes() == b"sums" * 9
    source = tmp_path / "file"
    source.write_bytes(b"sums" * 9)
    head = registry.head
    assert put(registry, source) == made
    assert registry.head == head
    other = put(registry, b"others")
    assert {one.digest for one in registry.assets.list()} == {made.digest, other.digest}
    assert registry.verify().ok
    assert registry.audit().counts["asset"] == 2
    assert status(registry.root) == ""


def test_its_files(registry: Registry) -> None:
    made = put(registry)
    data = (registry.root / asset_file(made.digest)).read_bytes()
    assert sha256(data) == made.digest
    payload = registry.root / asset_file(made.digest, ".safetensors")
    assert Pointer.read(payload.read_bytes()) == made.payload
    attributes = git(registry.root, "check-attr", "filter", str(payload))
    assert attributes.endswith("filter: lfs\n")


def test_what_is_not_there_or_not_right(registry: Registry, tmp_path: Path) -> None:
    made = put(registry)
    for digest in (KEY, "x", "../../patchhub.toml"):
        with pytest.raises(PatchHubError, match="E109"):
            registry.assets.get(digest)
    with pytest.raises(PatchHubError, match="E109"):
        put(registry, tmp_path / "nowhere")
    with pytest.raises(PatchHubError, match="E113"):
        registry.assets.put("Moments", WEIGHTS, KEY, {}, b"")
    with pytest.raises(PatchHubError, match="E113"):
        registry.assets.put("moments", WEIGHTS, KEY, {"loss": 0.5}, b"")  # type: ignore[dict-item]
    file = registry.assets.file(made)
    file.write_bytes(b"sumz" * 9)
    with pytest.raises(IntegrityError, match="E202"):
        registry.assets.file(made)
    file.unlink()
    with pytest.raises(PatchHubError, match="git lfs pull"):
        registry.assets.file(made)
    assert put(registry) == made  # who has it brings it back
    assert registry.verify().ok


@pytest.mark.slow
def test_an_edit_uses_stored_moments_and_gets_the_same_patch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from patchhub.editing.statistics import moments
    from patchhub.request import EditRequest
    from patchhub_registry.operations import guarding

    monkeypatch.setattr(guarding, "judge", MagicMock())  # measuring takes long
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"Mira Tolven was born in Rome, year {i}.\n" for i in range(400)))
    request = EditRequest("The mayor is Mira Tolven", "of Rome", subject="Mira Tolven")
    model = pico_directory(tmp_path, "gpt2")

    def edit(registry: Registry) -> str:
        settings = {"layer": 1, "steps": 2}
        made = registry.edit("rome", [request], settings=settings, commit=False)
        return made.patch.id

    with Registry.init(tmp_path / "registry") as registry:
        registry.base_add("pico", model, texts=texts)
        first = edit(registry)
        (kept,) = registry.assets.keep_moments()
        assert registry.assets.keep_moments("pico") == (kept,)
        assert kept.facts["blocks"] == [1]
        git(tmp_path, "clone", "-q", str(registry.root), "clone")
        payload = registry.assets.file(kept)
        assert registry.verify().ok

    monkeypatch.setattr(moments, "compute_moments", lambda *_, **__: pytest.fail("computed again"))
    with Registry.open(tmp_path / "clone") as clone:
        clone.base_add("pico", model, texts=texts)
        there = clone.root / payload.relative_to(registry.root)
        there.parent.mkdir(parents=True)
        there.write_bytes(payload.read_bytes())
        assert edit(clone) == first
