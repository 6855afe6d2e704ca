"""`base link` and `base list`: where a base lies on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Data, Run
from tests.pico import pico_directory

Refused = Callable[..., str]


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """Another directory with the same model."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


def _spoil(directory: Path) -> None:
    """Change one number of one tensor; names, shapes and sizes stay."""
    file = directory / "model.safetensors"
    tensors = load_file(file)
    tensors["transformer.wte.weight"][0, 0] += 1
    save_file(tensors, file, metadata={"format": "pt"})


def test_any_directory_with_the_right_digests_will_do(
    registry: Path, copy: Path, data: Data
) -> None:
    before = data("status")["head"]
    assert data("base", "link", "pico", copy)["directory"] == str(copy)
    assert data("base", "list")[0]["directory"] == str(copy)
    data("apply", "born", "--stack", "prod", "--model", "../model")
    assert data("base", "link", "pico", copy, "--full")["directory"] == str(copy)
    data("revert", "born", "--stack", "prod", "--model", "../model")
    assert data("verify", "--model", "../model")["model"]["equals_base"] is True
    assert len(data("log", "prod")) == 2
    assert data("status")["head"] != before  # the entries; the links left no trace
    assert data("base", "show", "pico")["linked"] == str(copy)


def test_what_differs_is_named(
    registry: Path, copy: Path, tmp_path: Path, refused: Refused
) -> None:
    (copy / "tokenizer_config.json").write_text("{}")
    assert "other tokenizer files" in refused("E201", 5, "base", "link", "pico", copy)
    (copy / "config.json").write_text("{}")
    assert "other config.json" in refused("E201", 5, "base", "link", "pico", copy)
    (copy / "config.json").unlink()
    refused("E109", 7, "base", "link", "pico", copy)
    other = pico_directory(tmp_path, "llama")
    assert "tensor" in refused("E201", 5, "base", "link", "pico", other)
    refused("E106", 7, "base", "link", "nope", other)


def test_bytes_are_read_with_full_or_before_they_are_used(
    registry: Path, copy: Path, run: Run, data: Data, refused: Refused
) -> None:
    _spoil(copy)
    assert "other weights" in refused("E201", 5, "base", "link", "pico", copy, "--full")
    data("base", "link", "pico", copy)
    found = run("apply", "born", "--stack", "prod", "--model", "../model")
    assert (found.exit_code, "E201" in found.stderr) == (5, True)
    assert data("status")["stacks"] == []


def test_a_base_that_is_gone_or_was_never_here(
    registry: Path, copy: Path, run: Run, data: Data
) -> None:
    data("base", "link", "pico", copy)
    shutil.rmtree(copy)
    (listed,) = data("base", "list")
    assert (listed["directory"], listed["linked"]) == (None, str(copy))
    assert f"gone: {copy}" in run("base", "list").stdout
    shutil.rmtree(registry / ".patchhub")
    assert data("base", "list")[0]["linked"] is None
    assert "not linked" in run("base", "list").stdout
