"""Damaged input: each kind its own code and status; registry and model stay as they are."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchhub import canonical
from tests.cli.conftest import FT, Data, Run, digest_of

Refused = Callable[..., str]
WEIGHTS = "patch.safetensors"


@pytest.fixture
def patch(registry: Path) -> Path:
    """A patch directory that is not in the registry yet."""
    return registry.parent / "spare"


@pytest.fixture
def model(registry: Path, data: Data, base: Path) -> Callable[[], str]:
    """A patched model directory; gives a digest of it and of the base."""
    data("apply", "born", "--stack", "prod", "--model", "../model")

    def digest() -> str:
        return digest_of(registry.parent / "model") + digest_of(base)

    return digest


def _rewrite(patch: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and put the digests of the files as they are now into it."""
    file = patch / "patch.json"
    manifest = json.loads(file.read_bytes())
    for name in manifest["files"]:
        content = (patch / name).read_bytes()
        manifest["files"][name] = {"sha256": canonical.sha256(content), "size": len(content)}
    change(manifest)
    file.write_bytes(canonical.dumps(manifest))


def _keep(_: dict[str, Any]) -> None:
    pass


def _truncated(patch: Path) -> None:
    file = patch / WEIGHTS
    file.write_bytes(file.read_bytes()[:-8])
    _rewrite(patch, _keep)


def _swapped(patch: Path) -> None:
    file = patch / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")


def _pickled(patch: Path) -> None:
    (patch / WEIGHTS).write_bytes(pickle.dumps({"weights": [1.0]}))
    _rewrite(patch, _keep)


def _foreign(patch: Path) -> None:
    (patch / "setup.py").write_text("import os")


def _missing(patch: Path) -> None:
    (patch / "requests.jsonl").unlink()


def _nan(patch: Path) -> None:
    file = patch / WEIGHTS
    file.write_bytes(file.read_bytes()[:-4] + struct.pack("<f", float("nan")))
    _rewrite(patch, _keep)


def _shape(patch: Path) -> None:
    _rewrite(patch, lambda manifest: manifest["sites"][0].update(shape=[64]))


def _other_base(patch: Path) -> None:
    _rewrite(patch, lambda manifest: manifest.update(base="0" * 64))


def _other_tensor(patch: Path) -> None:
    _rewrite(patch, lambda manifest: manifest["sites"][0].update(pre="0" * 64))


def _unknown_field(patch: Path) -> None:
    _rewrite(patch, lambda manifest: manifest["method"].update(author="me"))


def _new_schema(patch: Path) -> None:
    _rewrite(patch, lambda manifest: manifest.update(schema=99))


def _pretty(patch: Path) -> None:
    file = patch / "patch.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()), indent=2))


@pytest.mark.parametrize(
    ("damage", "code", "status", "word"),
    [
        (_truncated, "E111", 5, WEIGHTS),
        (_swapped, "E202", 5, WEIGHTS),
        (_pickled, "E110", 5, "pickle"),
        (_foreign, "E117", 5, "setup.py"),
        (_missing, "E117", 5, "requests.jsonl"),
        (_nan, "E115", 9, "NaN"),
        (_shape, "E112", 9, "transformer.h.1"),
        (_other_base, "E201", 5, "patchhub base add"),
        (_other_tensor, "E201", 5, "transformer.h.1"),
        (_unknown_field, "E113", 9, "author"),
        (_new_schema, "E114", 9, "99"),
        (_pretty, "E116", 5, "patch.json"),
    ],
)
def test_damaged_patch(
    damage: Callable[[Path], None],
    code: str,
    status: int,
    word: str,
    patch: Path,
    model: Callable[[], str],
    refused: Refused,
) -> None:
    before = model()
    damage(patch)
    assert word in refused(code, status, "add", patch, "--name", "damaged")
    assert model() == before


def test_the_same_patch_unharmed_is_taken(patch: Path, data: Data) -> None:
    _rewrite(patch, _keep)
    assert data("add", patch, "--name", "sound")["ref"] == "sound@1"


@pytest.mark.parametrize(
    "name",
    ["../x", "a\nb", "x" * 300, "-rf", ".", "Capital", "a/b", "a b", "\x1b[2J", "con"],
)
def test_malicious_names(
    name: str, patch: Path, base: Path, model: Callable[[], str], refused: Refused
) -> None:
    before = model()
    edit = ("edit", *FT, "../born.json", "--seed", "8", f"--name={name}")
    for command in (
        ("add", patch, f"--name={name}"),
        edit,
        ("base", "add", "--", name, base),
        ("edit", *FT, "../born.json", "--seed", "8", "--name=x", f"--stack={name}"),
        ("check", "born", f"--stack={name}"),
        ("apply", "born", f"--stack={name}"),
        ("revert", "born", f"--stack={name}"),
        ("log", "--", name),
    ):
        said = refused("E101", 9, *command)
        assert "\x1b" not in said
        assert len(said) < 600
    if name != "con":  # reserved as a name, but as a reference it is only unknown
        refused("E101", 9, "apply", "--stack=fresh", "--", name)
        refused("E101", 9, "show", "--", name)
    assert model() == before


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "E130"),
        ('{"prompt": "A is", "target": "B", "colour": "red"}', "E131"),
        ('{"prompt": "A is ", "target": "B"}', "E131"),
        ('{"prompt": "A is", "subject": "C", "target": "B"}', "E132"),
        ('{"prompt": "C and C is", "subject": "C", "target": "B"}', "E133"),
        ('{"question": "A is"}', "E135"),
    ],
)
def test_damaged_requests(
    content: str, code: str, registry: Path, model: Callable[[], str], refused: Refused
) -> None:
    before = model()
    (registry.parent / "bad.json").write_text(content)
    assert "bad.json" in refused(code, 9, "edit", *FT, "../bad.json", "--name", "x")
    assert model() == before


def test_a_damaged_base_is_not_added(
    registry: Path, base: Path, tmp_path: Path, refused: Refused
) -> None:
    import shutil

    refused("E109", 7, "base", "add", "other", tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    refused("E111", 5, "base", "add", "other", copy)
    weights.write_bytes(pickle.dumps([1]))
    refused("E110", 5, "base", "add", "other", copy)
    weights.unlink()
    refused("E147", 5, "base", "add", "other", copy)
    weights.write_bytes(whole[:-1] + b"\x01")
    said = refused("E108", 4, "base", "add", "pico", copy)
    assert "give this one another name" in said or "another name" in said


def test_a_base_with_damaged_words_is_not_added(
    registry: Path, base: Path, tmp_path: Path, refused: Refused
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    texts = tmp_path / "texts.txt"
    for content in (b"", b" \n", b"caf\xe9"):
        texts.write_bytes(content)
        assert "texts.txt" in refused("E145", 9, "base", "add", "x", copy, "--texts", texts)
    (copy / "config.json").write_text("{")
    assert "config.json" in refused("E147", 5, "base", "add", "x", copy)


def test_a_damaged_registry_is_noticed(registry: Path, run: Run) -> None:
    (weights,) = registry.glob(f"patches/*/born/1/{WEIGHTS}")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    result = run("verify")
    assert result.exit_code == 5
    assert WEIGHTS in result.stderr
    body = json.loads(run("verify", "--json").stdout)
    assert body["data"]["findings"][0]["code"] == body["error"]["code"] == "E202"
