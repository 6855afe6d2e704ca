"""Edits solved together: what goes on after a failure, what comes back, by whose policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from patchhub_registry import Registry
from tests.cli.conftest import FT, STRICT, Data, Run, head
from tests.cli.test_stack import ROME, built, registry, stack

__all__ = ["built", "registry", "stack"]


def held(name: str = "prod") -> list[str]:
    return [item.ref for item in Registry.open().stack(name).items]


def test_a_solve_can_be_repeated_after_its_rollback(stack: str, data: Data, run: Run) -> None:
    first = data("stack", "resolve", stack)
    data("revert", "prod-joint", "--stack", stack)
    again = data("stack", "resolve", stack)
    assert (again["ref"], again["id"]) == (first["ref"], first["id"])
    assert held() == ["born@1", "prod-joint@1"]
    assert run("verify").exit_code == 0


def test_a_directory_of_others_is_refused_before_anything_is_computed(
    registry: Path, stack: str, data: Data, refused: Callable[..., str]
) -> None:
    (registry.parent / "taken").mkdir()
    refused("E308", 4, "stack", "resolve", stack, "--model", "../taken")
    assert data("stack", "resolve", stack, "--model", "../model")["ref"] == "prod-joint@1"


def test_a_joint_edit_is_one_commit_or_none(
    registry: Path, data: Data, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("edit", *ROME, "../mira.json", "--mode", "joint", "--stack", "new", "--out", "../o")
    before = head(registry)
    for step in ("operations.joining.change", "writer.Writer._swap"):
        with monkeypatch.context() as patch:
            patch.setattr(f"patchhub_registry.{step}", lambda *a, **k: 1 / 0)
            assert run(*command).exit_code != 0
        assert head(registry) == before
        assert "new" not in Registry.open().stacks()
        assert run("show", "new-joint").exit_code == 7
    assert not (registry.parent / "o").exists()
    assert data(*command)["ref"] == "new-joint@1"
    with Registry.open().repository as repository:
        assert [one.hexsha for one in repository.head.commit.parents] == [before]
    assert run("verify").exit_code == 0


def test_what_a_later_request_was_to_replace_stays_where_that_cannot_be_edited(
    registry: Path, data: Data
) -> None:
    joint = ("edit", *ROME, "--mode", "joint", "--stack", "new")
    data(*joint, "../mira.json")
    mira = json.loads((registry.parent / "mira.json").read_text())
    long = {**mira, "target": "x y " * 80 + "z", "id": "long"}
    oslo = json.loads((registry.parent / "oslo.json").read_text())
    (registry.parent / "two.json").write_text(json.dumps([long, oslo]))
    made = data(*joint, "../two.json")
    assert [(one["id"], one["code"]) for one in made["dropped"]] == [("long", "E150")]
    assert made["replaced"] == []
    assert held("new") == ["new-joint@2"]
    files = Registry.open().read_patch_files("new-joint@2")["requests.jsonl"].splitlines()
    assert sorted(json.loads(line)["target"] for line in files) == ["Italy", "Rome"]
    (registry.parent / "two.json").write_text(json.dumps([{**mira, "target": "Oslo"}]))
    made = data(*joint, "../two.json")
    assert [one["target"] for one in made["replaced"]] == ["Rome"]
    assert [one["code"] for one in made["dropped"]] == ["E136"]


def test_only_what_it_displaced_comes_back(stack: str, data: Data) -> None:
    data("stack", "resolve", stack)
    data("apply", "mira", "--stack", "other")
    data("revert", "mira", "--stack", "other")
    data("apply", "prod-joint", "--stack", "other")
    assert data("revert", "prod-joint", "--stack", "other")["patches"] == []


def test_two_solves_are_taken_back_one_after_the_other(stack: str, data: Data) -> None:
    data("stack", "resolve", stack)
    data("stack", "resolve", stack, "--without", "jon")
    data("revert", "prod-joint", "--stack", stack)
    assert held() == ["born@1", "prod-joint@1"]
    data("revert", "prod-joint", "--stack", stack)
    assert held() == ["born@1", "mira@1", "jon@1", "oslo@1"]


def test_no_policy_file_lets_a_patch_past_the_policy_in_force(
    registry: Path, stack: str, data: Data, run: Run
) -> None:
    lenient = registry.parent / "policy.toml"
    Registry.open().add_policy(STRICT.encode())
    before = head(registry)
    refused = run("stack", "resolve", stack, "--policy", lenient)
    assert (refused.exit_code, "E401" in refused.stderr) == (3, True), refused.output
    assert head(registry) == before
    waived = ("--waive", "reliability", "--reason", "weak")
    (registry.parent / "own.toml").write_text(STRICT.replace("version = 2", "version = 3"))
    made = data("stack", "resolve", stack, "--policy", "../own.toml", *waived)
    entry = Registry.open().log(stack)[-1]
    assert entry.waivers == {"reliability": "weak"}
    said = data("show", made["ref"])["statements"]
    assert sum(one["type"] == "guard" for one in said) == 2
    assert run("verify").exit_code == 0


def test_what_was_computed_on_what_left_is_checked_again(
    registry: Path, stack: str, data: Data, run: Run
) -> None:
    edit = ("edit", *FT, "../born.json", "--stack", stack, "--name", "above", "--seed", "9")
    data(*edit)
    data("revert", "born", "--stack", stack)
    data("apply", "above", "--stack", stack)
    Registry.open().add_policy(STRICT.encode())
    waived = ("--waive", "reliability", "--reason", "weak")
    told = run("stack", "resolve", stack, *waived)
    assert told.exit_code == 0, told.output
    assert "the guard now says no to above@1" in told.stderr
    assert held() == ["above@1", "prod-joint@1"]


def test_a_joint_edit_begins_a_stack_and_says_its_name_and_base(
    stack: str, data: Data, run: Run, refused: Callable[..., str]
) -> None:
    joint = ("edit", *ROME, "../jon.json", "--mode", "joint", "--stack")
    assert "--name NAME" in refused("E101", 9, *joint, "n" * 60)
    begun = run(*joint, "begun")
    assert (begun.exit_code, "bare base" in begun.stderr) == (0, False)
    made = data("edit", *ROME, "../mira.json", "--mode", "joint", "--stack", "new")
    assert (made["name"], made["base"]) == ("new-joint", "pico")


def test_a_seed_that_is_said_is_taken(registry: Path, data: Data) -> None:
    joint = ("edit", *ROME, "--mode", "joint", "--stack", "new")
    first = data(*joint, "../mira.json", "--seed", "7")
    taken = data(*joint, "../jon.json")
    said = data(*joint, "../oslo.json", "--seed", "0")
    seeds = [data("show", one["ref"])["manifest"]["method"]["seed"] for one in (first, taken, said)]
    assert seeds == [7, 7, 0]


def test_the_amount_of_text_is_that_of_the_patches(stack: str, data: Data) -> None:
    data("edit", *ROME, "../mira.json", "--name", "fast", "--statistics", "3")
    data("apply", "fast", "--stack", "lean")
    made = data("stack", "resolve", "lean", "--memory", "1GiB")
    assert data("show", made["ref"])["manifest"]["method"]["corpus"]["amount"] == "3"
    other = data("stack", "resolve", "lean", "--statistics", "4")
    assert data("show", other["ref"])["manifest"]["method"]["corpus"]["amount"] == "4"


def test_a_joint_edit_that_changes_nothing_is_refused(
    registry: Path, stack: str, data: Data, refused: Callable[..., str]
) -> None:
    joint = ("--mode", "joint", "--stack", "new")
    data("edit", *ROME, "../mira.json", *joint)
    assert "new-joint@1" in refused("E134", 9, "edit", *ROME, "../mira.json", *joint)
    long = {"prompt": "Jon is " * 60 + "Oslo is", "subject": "Oslo", "target": "Rome", "id": "long"}
    (registry.parent / "long.json").write_text(json.dumps(long))
    refused("E150", 9, "edit", *ROME, "../long.json", *joint)
    assert held("new") == ["new-joint@1"]


def test_a_method_without_edits_in_the_stack_is_told(
    stack: str, refused: Callable[..., str]
) -> None:
    told = refused("E142", 9, "stack", "resolve", stack, "--method", "memit")
    assert "no edits by memit in the stack" in told


def test_an_edit_that_was_left_out_may_come_in_by_itself(
    stack: str, data: Data, refused: Callable[..., str]
) -> None:
    data("stack", "resolve", stack, "--without", "jon")
    data("apply", "jon", "--stack", stack)
    assert held() == ["born@1", "prod-joint@1", "jon@1"]
    data("stack", "resolve", stack)
    data("stack", "resolve", stack, "--without", "oslo")
    data("apply", "oslo", "--stack", stack)
    told = refused("E306", 4, "revert", "prod-joint@3", "--stack", stack)
    assert "--alone" in told
    data("revert", "prod-joint@3", "--stack", stack, "--alone")
    assert held() == ["born@1", "oslo@1"]
