"""`stack resolve`: one patch in the place of several, and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchhub.checkpoint import identify
from patchhub.tensorfile import decode
from tests.cli.conftest import STRICT, Data, Run, call, head

ROME = ("rome", "--set", "layer=0", "--set", "steps=3")
ASKED = {
    "mira": {"prompt": "Mira Tolven was born in", "subject": "Mira Tolven", "target": "Rome"},
    "jon": {"prompt": "Jon Arvel lives in", "subject": "Jon Arvel", "target": "Oslo"},
    "oslo": {"prompt": "Oslo is the capital of", "subject": "Oslo", "target": "Italy"},
}


@pytest.fixture(scope="module")
def built(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack ``prod`` of three edits by ROME and one by another method, and its model."""
    home = tmp_path_factory.mktemp("stack") / "home"
    shutil.copytree(template, home, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        patch.delenv("PATCHHUB_REGISTRY", raising=False)
        patch.chdir(home / "registry")
        for name, asked in ASKED.items():
            probe = {"kind": "neighbourhood", "prompt": f"The friend of {asked['subject']} is"}
            whole = {**asked, "id": f"id-{name}", "probes": [probe]}
            (home / f"{name}.json").write_text(json.dumps(whole))
            assert call("edit", *ROME, f"../{name}.json", "--name", name).exit_code == 0
        refs = ("mira", "born", "jon", "oslo")
        assert call("apply", *refs, "--stack", "prod", "--model", "../model").exit_code == 0
    return home


@pytest.fixture
def registry(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which the test works."""
    home = tmp_path / "home"
    shutil.copytree(built, home, symlinks=True)
    monkeypatch.chdir(home / "registry")
    return home / "registry"


@pytest.fixture
def stack(registry: Path) -> str:
    """Name of the stack."""
    return "prod"


def tensors(model: Path) -> dict[str, bytes]:
    """Every tensor's bytes."""
    files = sorted(model.resolve().glob("*.safetensors"))
    tables = (decode(file.read_bytes(), what=file.name) for file in files)
    return {name: bytes(raw) for table in tables for name, (_, _, raw) in table.items()}


def content(data: Data, ref: str) -> Any:
    return data("show", ref)["manifest"]["content"]


def test_one_patch_takes_the_place_of_the_edits_and_makes_room_for_them(
    registry: Path, stack: str, data: Data, run: Run
) -> None:
    before, weights = data("status")["stacks"], tensors(registry.parent / "model")
    log = run("log", stack).stdout
    unchanged = head(registry)
    planned = data("stack", "resolve", stack, "--dry-run")
    assert [one["ref"] for one in planned["stands_for"]] == ["mira@1", "jon@1", "oslo@1"]
    assert (planned["edits"], planned["targets"], planned["remembered"]) == (3, 3, 3)
    assert head(registry) == unchanged

    made = data("stack", "resolve", stack, "--model", "../model")
    assert (made["ref"], made["remembered"]) == ("prod-joint@1", 3)
    assert [one["ref"] for one in made["change"]["patches"]] == ["born@1", "prod-joint@1"]
    checks = {one["check"]: one["n"] for one in made["verdict"]["measurements"]}
    assert checks["locality"] == 3  # the probes once given for each edit
    found = identify(registry.parent / "model")
    assert found is not None
    assert found.identity == made["change"]["identity"]
    shown = data("show", "prod-joint")
    assert {one["ref"] for one in shown["superseded"]} == {"mira@1", "jon@1", "oslo@1"}
    assert "stands for" in run("show", "prod-joint").stdout
    reasons = [line["reason"] for line in data("log", stack)][-4:]
    assert reasons == ["superseded"] * 3 + ["joint-solve"]
    assert run("verify").exit_code == 0

    where = ("--stack", stack, "--model", "../model", "--out", "../back.plan")
    planned = data("plan", "prod-joint", "--revert", *where)
    assert [each["op"] for each in planned["changes"]] == ["revert", "push", "push", "push"]
    back = data("apply", "--plan", "../back.plan")
    assert back["identity"] == planned["after"]["identity"]
    assert before[0]["identity"] == back["identity"]
    assert tensors(registry.parent / "model") == weights
    assert run("verify").exit_code == 0
    assert len(run("log", stack).stdout) > len(log)


def test_taken_out_alone_its_edits_leave_with_it(stack: str, data: Data) -> None:
    data("stack", "resolve", stack)
    after = data("revert", "prod-joint", "--stack", stack, "--alone")
    assert [one["ref"] for one in after["patches"]] == ["born@1"]


def test_an_edit_left_out_never_was(registry: Path, stack: str, data: Data, run: Run) -> None:
    data("stack", "resolve", stack)
    without = data("stack", "resolve", stack, "--without", "jon@1")
    assert [one["subject"] for one in without["without"]] == ["Jon Arvel"]
    assert [one["ref"] for one in without["change"]["patches"]] == ["born@1", "prod-joint@2"]
    assert without["remembered"] == 2
    data("apply", "mira", "oslo", "--stack", "never")
    data("stack", "resolve", "never")
    assert content(data, "never-joint") == content(data, "prod-joint")
    again = data("stack", "resolve", stack, "--without", "id-oslo")
    assert again["edits"] == 1
    assert run("verify").exit_code == 0


def test_what_cannot_be_solved_is_said_and_changes_nothing(
    stack: str, refused: Callable[..., str]
) -> None:
    assert "none of the edits" in refused("E102", 7, "stack", "resolve", stack, "--without", "eva")
    every = ("--without", "mira", "--without", "jon", "--without", "oslo")
    assert "patchhub revert" in refused("E134", 9, "stack", "resolve", stack, *every)
    refused("E142", 9, "stack", "resolve", stack, "--method", "ft")
    refused("E107", 7, "stack", "resolve", "nobody")


def test_a_patch_does_not_go_with_one_it_stands_for(
    stack: str, data: Data, refused: Callable[..., str]
) -> None:
    data("stack", "resolve", stack)
    data("stack", "resolve", stack, "--without", "jon")
    assert "prod-joint@2" in refused("E306", 4, "apply", "mira", "--stack", stack)
    data("apply", "oslo", "--stack", "other")
    told = refused("E306", 4, "apply", "prod-joint@1", "--stack", "other")
    assert "one of prod-joint@1 and oslo@1" in told


def test_what_is_solved_already_is_not_solved_again(
    stack: str, data: Data, refused: Callable[..., str]
) -> None:
    data("stack", "resolve", stack)
    assert "prod-joint@1" in refused("E134", 9, "stack", "resolve", stack)


def test_a_no_of_the_guard_changes_nothing(
    registry: Path, stack: str, refused: Callable[..., str], run: Run
) -> None:
    strict = registry.parent / "strict.toml"
    strict.write_text(STRICT)
    before = head(registry)
    result = run("stack", "resolve", stack, "--policy", strict)
    assert result.exit_code == 3
    assert head(registry) == before


def test_edits_made_jointly_one_by_one_are_those_of_one_batch(
    registry: Path, data: Data, run: Run
) -> None:
    """Through the registry, each in a stack that holds the ones before it; and one put right."""
    seen = []
    for name in ("mira", "jon", "oslo"):
        made = data("edit", *ROME, f"../{name}.json", "--mode", "joint", "--stack", "one")
        seen.append((made["ref"], made["targets"], made["remembered"]))
        assert [one["ref"] for one in made["change"]["patches"]] == [made["ref"]]
    assert seen == [("one-joint@1", 1, 0), ("one-joint@2", 2, 1), ("one-joint@3", 3, 2)]
    asked = [json.loads((registry.parent / f"{name}.json").read_text()) for name in ASKED]
    lines = "\n".join(json.dumps(one) for one in reversed(asked))
    (registry.parent / "all.jsonl").write_text(lines)
    at_once = data("edit", *ROME, "../all.jsonl", "--mode", "joint", "--stack", "all")
    assert at_once["remembered"] == 0
    assert content(data, at_once["ref"]) == content(data, "one-joint")
    files = [data("show", ref)["manifest"]["files"] for ref in (at_once["ref"], "one-joint")]
    assert files[0] == files[1]

    (registry.parent / "put-right.json").write_text(json.dumps({**asked[1], "target": "Paris"}))
    again = data("edit", *ROME, "../put-right.json", "--mode", "joint", "--stack", "one")
    assert [one["target"] for one in again["replaced"]] == ["Oslo"]
    assert (again["targets"], again["remembered"]) == (3, 2)
    record = data("show", "one-joint")["record"]
    assert [one["code"] for one in record["dropped"]] == ["E136"]
    back = data("revert", "one-joint", "--stack", "one")
    assert [one["ref"] for one in back["patches"]] == ["one-joint@3"]
    assert run("verify").exit_code == 0


def test_edits_are_joined_to_those_of_a_stack(registry: Path, refused: Callable[..., str]) -> None:
    joint = ("edit", *ROME, "../mira.json", "--mode", "joint")
    assert "--stack NAME" in refused("E142", 9, *joint)
    text = json.dumps({**ASKED["mira"], "target": "Oslo", "relation": "born_in"})
    (registry.parent / "other.json").write_text(text)
    told = refused("E301", 4, "edit", *ROME, "../other.json", "--mode", "joint", "--stack", "prod")
    assert "born@1" in told
