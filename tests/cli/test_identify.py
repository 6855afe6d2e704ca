"""`identify`: which base and which stack a directory is, and how much of that is certain."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from patchhub.composer.composer import Composer
from patchhub.loading import load_base
from patchhub_registry import Registry
from tests.cli.conftest import FT, REQUEST, Data, Run
from tests.pico import pico_directory

Refused = Callable[..., str]


@pytest.fixture
def model(registry: Path, data: Data) -> Path:
    """A directory at prod@1, with prod@2 known to the registry."""
    request = {**REQUEST, "prompt": "Mira Tolven lives in", "relation": "lives_in"}
    (registry.parent / "lives.json").write_text(json.dumps(request))
    data("edit", *FT, "../lives.json", "--name", "lives")
    data("apply", "born", "--stack", "prod", "--model", "../model")
    data("apply", "lives", "--stack", "prod")
    return registry.parent / "model"


def _anonymous(model: Path, directory: Path) -> Path:
    """A copy of what a directory holds that says nothing of itself."""
    shutil.copytree(model.resolve(), directory)
    (directory / "patchhub.json").unlink(missing_ok=True)
    return directory


def _change(directory: Path, name: str) -> None:
    """Change one number of one tensor, wherever it is stored."""
    for file in directory.glob("*.safetensors"):
        tensors = load_file(file)
        if name in tensors:
            file.unlink()  # it may be a link to the base's own
            tensors[name].view(-1)[0] += 1
            save_file(tensors, file, metadata={"format": "pt"})


def _said(found: Any) -> tuple[str, str, list[str], list[int]]:
    stacks = [each["seq"] for each in found["stacks"]]
    return found["by"], found["base"], [item["ref"] for item in found["patches"]], stacks


def test_a_directory_of_ours(model: Path, run: Run, data: Data) -> None:
    found = data("identify", model)
    assert _said(found) == ("state", "pico", ["born@1"], [1])
    assert set(found["checked"].values()) == {"verified"}
    said = run("identify", "../model").stdout
    assert "pico: born@1" in said
    assert "prod@1, behind prod@2" in said


def test_a_copy_elsewhere(model: Path, tmp_path: Path, run: Run, data: Data) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "elsewhere"))
    found = data("identify", copy)
    assert _said(found) == ("identity", "pico", ["born@1"], [1])
    assert (found["certain"], found["checked"]["others"]) == (False, "claimed")
    assert f"patchhub identify {copy} --verify" in run("identify", copy).stdout
    assert data("identify", copy, "--verify")["certain"] is True


def test_a_bare_base(model: Path, base: Path, tmp_path: Path, data: Data) -> None:
    found = data("identify", base)
    assert _said(found) == ("bytes", "pico", [], [])
    assert found["checked"]["others"] == "not read"
    verified = data("identify", _anonymous(base, tmp_path / "copy"), "--verify")
    assert (verified["certain"], verified["patches"]) == (True, [])


def test_by_bytes_a_state_of_a_stack(model: Path, tmp_path: Path, run: Run, data: Data) -> None:
    found = data("identify", _anonymous(model, tmp_path / "one"))
    assert _said(found) == ("bytes", "pico", ["born@1"], [1])
    data("apply", "--stack", "prod", "--model", "../model")
    both = data("identify", _anonymous(model, tmp_path / "two"), "--verify")
    assert _said(both) == ("bytes", "pico", ["born@1", "lives@1"], [2])
    assert both["certain"] is True
    data("apply", "lives", "--stack", "alone", "--model", "../alone")
    data("revert", "lives", "--stack", "alone")
    third = data("identify", _anonymous(model.with_name("alone"), tmp_path / "three"))
    assert third["patches"][0]["ref"] == "lives@1"
    assert third["stacks"] == [{"stack": "alone", "seq": 1, "head": 2}]


def test_by_bytes_a_patch_that_is_in_no_stack(
    model: Path, registry: Path, tmp_path: Path, data: Data
) -> None:
    loaded = load_base(Path(data("base", "show", "pico")["directory"]))
    with Registry.open() as book, Composer.over(loaded).applied(book.read("lives")):
        loaded.model.save_pretrained(tmp_path / "saved")
    for file in (tmp_path / "saved").glob("patchhub.json"):
        file.unlink()
    found = data("identify", tmp_path / "saved")
    assert _said(found) == ("bytes", "pico", ["lives@1"], [])


def test_a_model_saved_from_memory(model: Path, tmp_path: Path, run: Run, data: Data) -> None:
    loaded = load_base(Path(data("base", "show", "pico")["directory"]))
    with Registry.open() as book, Composer.over(loaded).applied(book.read("born")):
        loaded.model.save_pretrained(tmp_path / "saved")
        cast_to = loaded.model.to(torch.bfloat16)  # type: ignore[arg-type]
        cast_to.save_pretrained(tmp_path / "cast")
        loaded.model.to(torch.float32)  # type: ignore[arg-type]
    found = data("identify", tmp_path / "saved", "--verify")
    assert _said(found) == ("identity", "pico", ["born@1"], [1])
    assert (found["certain"], found["checked"]["tokenizer"]) == (True, "differs")
    cast = data("identify", tmp_path / "cast")
    assert _said(cast) == ("identity", "pico", ["born@1"], [1])
    assert cast["checked"]["headers"] == "BF16 instead of F32"
    assert cast["certain"] is False


def test_one_that_is_not_what_it_says(model: Path, tmp_path: Path, run: Run) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    _change(copy, "transformer.h.1.mlp.c_proj.weight")
    found = run("identify", copy, "--json")
    body = json.loads(found.stdout)
    assert (found.exit_code, body["error"]["code"]) == (5, "E206")
    assert body["data"]["checked"]["touched"] == "differs"
    other = Path(shutil.copytree(model, tmp_path / "other"))
    _change(other, "transformer.wpe.weight")
    assert run("identify", other).exit_code == 0  # claimed, and said so
    assert run("identify", other, "--verify").exit_code == 5


def test_unknown_with_what_is_nearest(
    model: Path, base: Path, tmp_path: Path, refused: Refused
) -> None:
    tuned = _anonymous(base, tmp_path / "tuned")
    _change(tuned, "transformer.h.1.mlp.c_proj.weight")
    said = refused("E107", 7, "identify", tuned)
    assert "has the tensors of base pico" in said
    assert "transformer.h.1.mlp.c_proj.weight" in said
    far = _anonymous(base, tmp_path / "far")
    _change(far, "transformer.wpe.weight")
    assert "1 of the 28 tensors" in refused("E107", 7, "identify", far, "--verify")
    llama = pico_directory(tmp_path, "llama")
    assert "nearest is pico: 0 of 28" in refused("E106", 7, "identify", llama)
    half = pico_directory(tmp_path, "gpt2", dtype=torch.float16)
    assert "nearest is pico: 0 of 28" in refused("E106", 7, "identify", half)
    refused("E109", 7, "identify", tmp_path / "nothing")


def test_two_bases_of_one_shape_are_told_apart(
    model: Path, base: Path, tmp_path: Path, data: Data
) -> None:
    other = pico_directory(tmp_path, "gpt2", seed=1)
    data("base", "add", "aaa", other)
    assert data("identify", _anonymous(other, tmp_path / "a"))["base"] == "aaa"
    assert data("identify", _anonymous(base, tmp_path / "b"))["base"] == "pico"
    assert data("identify", _anonymous(model, tmp_path / "c"))["patches"][0]["ref"] == "born@1"
