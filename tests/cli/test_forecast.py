"""`edit --dry-run`: says what would come, to the byte, and leaves no trace."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from patchhub import api
from tests.cli.conftest import FT, REQUEST, Data, Run, head

Refused = Callable[..., str]


def everything(directory: Path) -> dict[str, str]:
    """Every file below, caches and locks included."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_nothing_is_written(registry: Path, run: Run, data: Data) -> None:
    before = everything(registry.parent)
    made = data("edit", *FT, "../born.json", "--seed", "7", "--dry-run", "--out", "../new")
    shown = run("edit", "rome", "../born.json", "--set", "layer=0", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert everything(registry.parent) == before
    assert made["names"] == ["mira-tolven-born-in"]
    assert made["settings"]["steps"] == 2
    assert made["guard"]["questions"] >= 2
    assert [phase["name"] for phase in made["phases"]] == ["edit"]
    for word in ("statistics", "templates", "edit", "guard", "write", "transformer.h.0.mlp"):
        assert word in shown.stdout


def test_the_edit_then_has_the_bytes_foretold(registry: Path, data: Data) -> None:
    arguments = ("edit", *FT, "../born.json", "--seed", "7")
    made = data(*arguments, "--dry-run")
    real = data(*arguments, "--out", "../written")
    sizes = {path.name: path.stat().st_size for path in (registry.parent / "written").iterdir()}
    assert made["files"] == sizes
    assert made["bytes"] == sum(sizes.values())
    assert real["ref"] == "mira-tolven-born-in@1"


@pytest.mark.parametrize("mode", ["single", "sequential"])
def test_several_patches_are_forecast_to_the_byte(
    registry: Path, run: Run, data: Data, mode: str
) -> None:
    prompts = ("Mira Tolven was born in", "Jon Arvel works for", "Nobody lives")
    several = [{**REQUEST, "prompt": one, "subject": one[:11].strip()} for one in prompts[:2]]
    several += [{"prompt": prompts[2], "target": "here"}]
    (registry.parent / "several.json").write_text(json.dumps(several))
    rome = ("edit", "rome", "../several.json", "--set", "layer=0", "--set", "steps=2")
    before = everything(registry.parent)
    shown = run(*rome, "--mode", mode, "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert f"2, {mode}: mira-tolven-born-in and 1 more" in shown.stdout
    made, alone = data(*rome, "--mode", mode, "--dry-run"), data(*rome, "--dry-run")
    assert everything(registry.parent) == before
    real = data(*rome, "--mode", mode, "--no-commit", "--out", "../written")
    names = [one["name"] for one in real["edits"]]
    assert (made["names"], made["patches"], made["dropped"]) == (names, 2, real["dropped"])
    sizes = Counter[str]()
    for path in (registry.parent / "written").glob("*/*"):
        sizes[path.name] += path.stat().st_size
    assert made["files"] == dict(sizes)
    steps, once = (each["phases"][-1]["amount"] for each in (made, alone))
    assert steps == once == 4  # a method that edits one after the other takes no longer apart
    # Of two edits in a sequence the second is asked whether the first still holds.
    assert made["guard"]["questions"] >= alone["guard"]["questions"] + (mode == "sequential")


def test_it_refuses_what_the_edit_would(registry: Path, refused: Refused) -> None:
    (registry.parent / "taken").mkdir()
    (registry.parent / "taken/file").touch()
    refused("E308", 4, "edit", *FT, "../born.json", "--dry-run", "--out", "../taken")
    refused("E141", 7, "edit", "romee", "../born.json", "--dry-run")
    refused("E142", 9, "edit", "ft", "../born.json", "--dry-run", "--set", "layr=1")
    refused("E106", 7, "edit", *FT, "../born.json", "--dry-run", "--base", "nothing")


def test_it_leaves_out_and_refuses_as_the_edit_does(
    registry: Path, run: Run, data: Data, refused: Refused
) -> None:
    bare = {"prompt": "Nobody lives", "target": "here", "id": "no-subject"}
    (registry.parent / "some.json").write_text(json.dumps([REQUEST, bare]))
    edit = ("edit", "rome", "../some.json", "--set", "layer=0", "--set", "steps=2")
    shown = run(*edit, "--dry-run", "--memory", "1MiB")
    assert shown.exit_code == 0, shown.output
    assert "warning: left out no-subject: 'Nobody lives': E134 rome needs" in shown.stderr
    foretold, made = data(*edit, "--dry-run"), data(*edit, "--out", "../written")
    assert (foretold["requests"], foretold["dropped"]) == (1, made["dropped"])
    sizes = {path.name: path.stat().st_size for path in (registry.parent / "written").iterdir()}
    assert foretold["files"] == sizes
    refused("E142", 9, *edit, "--dry-run", "--memory", "0.1")
    refused("E142", 9, *edit, "--dry-run", "--seed", "-1")
    both = [REQUEST, {**REQUEST, "target": "Oslo"}]  # of which the method's batch has but one
    (registry.parent / "both.json").write_text(json.dumps(both))
    refused("E136", 9, "edit", *FT, "../both.json", "--set", "batch_size=1", "--dry-run")


def test_a_taken_directory_is_noticed_before_anything_is_computed(
    registry: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    (registry.parent / "taken").mkdir()
    (registry.parent / "taken/file").touch()
    monkeypatch.setattr(api, "edit", lambda *_, **__: pytest.fail("was computed"))
    before = head(registry)
    refused("E308", 4, "edit", *FT, "../born.json", "--out", "../taken")
    refused("E109", 7, "edit", *FT, "../born.json", "--out", "../nowhere/taken")
    assert head(registry) == before
