"""`plan`: what would happen, said before; a saved plan is done only if it still holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import FT, REQUEST, Data, Run, digest_of

Refused = Callable[..., str]


@pytest.fixture
def lives(registry: Path, data: Data) -> str:
    """A second patch, about another fact, on the same tensors."""
    request = {**REQUEST, "prompt": "Mira Tolven lives in", "relation": "lives_in"}
    (registry.parent / "lives.json").write_text(json.dumps(request))
    return str(data("edit", *FT, "../lives.json", "--name", "lives")["ref"])


def _inodes(model: Path, base: Path) -> dict[int, int]:
    """Size by inode of the files of weights of all generations and of the base."""
    folders = (model.with_name("model.patchhub"), base)
    files = (path.stat() for folder in folders for path in folder.rglob("*.safetensors"))
    return {stat.st_ino: stat.st_size for stat in files}


def test_a_plan_says_what_apply_then_does(registry: Path, data: Data, lives: str) -> None:
    before = digest_of(registry)
    planned = data("plan", "born", "--stack", "prod", "--model", "../model")
    assert digest_of(registry) == before
    assert not (registry.parent / "model").is_symlink()
    assert (planned["op"], planned["begins"], planned["possible"]) == ("apply", True, True)
    done = data("apply", "born", "--stack", "prod", "--model", "../model")
    assert planned["after"] == {k: done[k] for k in ("seq", "identity", "patches")}
    assert planned["changes"][0]["guard"] == data("log", "prod")[0]["guard"]
    assert planned["directory"]["next"] == done["generation"]
    written = {one["file"] for one in planned["directory"]["written"]}
    model = registry.parent / "model"
    assert written == {p.name for p in model.resolve().glob("*.safetensors")}
    (changed,) = [t for t in planned["touched"] if t["tensor"].endswith("c_proj.weight")]
    assert (changed["before"], changed["after"]) == ([], ["born@1"])


def test_bytes_and_reuse_are_what_is_then_written(
    registry: Path, base: Path, data: Data, lives: str
) -> None:
    data("apply", "born", "--stack", "prod", "--model", "../model")
    model = registry.parent / "model"
    for command, *rest in (
        ["apply", lives],
        ["revert", "born", "--revert"],
        ["revert", lives, "--revert"],
        ["apply", "born"],
    ):
        target = ("--stack", "prod", "--model", "../model")
        planned = data("plan", *rest, *target)["directory"]
        before = _inodes(model, base)
        data(command, rest[0], *target)
        new = {i: size for i, size in _inodes(model, base).items() if i not in before}
        assert len(new) == len(planned["written"])
        headers = sum(new.values()) - planned["bytes"]
        assert 0 <= headers <= 1000 * len(new)
        assert planned["generation"] + 1 == planned["next"]


def test_exit_code_says_pending(registry: Path, run: Run, data: Data, lives: str) -> None:
    target = ("--stack", "prod", "--model", "../model")
    assert run("plan", "born", "--stack", "prod").exit_code == 0
    found = run("plan", "born", "--stack", "prod", "--exit-code", "--json")
    assert found.exit_code == 10
    assert json.loads(found.stdout)["ok"] is True
    data("apply", "born", *target)
    assert run("plan", *target, "--exit-code").exit_code == 0
    assert "changes    none" in run("plan", *target).stdout
    data("apply", lives, "--stack", "prod")
    caught = run("plan", "--model", "../model", "--exit-code")
    assert caught.exit_code == 10
    assert "catch-up on prod@2" in caught.stdout
    data("apply", *target)
    assert run("plan", "--model", "../model", "--exit-code").exit_code == 0


def test_what_refuses_is_told_and_only_exit_code_makes_it_a_failure(
    registry: Path, run: Run, data: Data
) -> None:
    (registry.parent / "else.json").write_text(json.dumps({**REQUEST, "target": "Paris"}))
    data("edit", *FT, "../else.json", "--name", "else")
    data("add", "../spare", "--name", "foreign")
    data("apply", "born", "--stack", "prod")
    for ref, stack, rule, code, status in (
        ("else", "prod", "K1", "E301", 4),
        ("born", "prod", "K2", "E306", 4),
        ("foreign", "prod", "K2", "E306", 4),  # the same edit under another name
        ("foreign", "fresh", "guard", "E403", 8),
    ):
        found = data("plan", ref, "--stack", stack)
        assert found["possible"] is False
        assert {"rule": rule, "refused": code}.items() <= next(
            each for each in found["conflicts"] if each["refused"]
        ).items()
        assert run("plan", ref, "--stack", stack).exit_code == 0
        refused = run("plan", ref, "--stack", stack, "--exit-code", "--json")
        assert refused.exit_code == status
        assert json.loads(refused.stdout)["error"]["code"] == code
        assert run("apply", ref, "--stack", stack).exit_code == status
        assert run("plan", ref, "--stack", stack, "--out", "../no.plan").exit_code == status
        assert not (registry.parent / "no.plan").exists()
    rules = {each["rule"] for each in data("plan", "else", "--stack", "prod")["conflicts"]}
    assert "K3" in rules


def test_a_patch_computed_on_top_of_others_says_so(
    registry: Path, run: Run, data: Data, lives: str
) -> None:
    data("apply", "born", "--stack", "prod")
    request = {**REQUEST, "prompt": "Mira Tolven speaks", "relation": "speaks"}
    (registry.parent / "speaks.json").write_text(json.dumps(request))
    data("edit", *FT, "../speaks.json", "--stack", "prod", "--name", "speaks")
    alone = data("plan", "speaks", "--stack", "fresh")["conflicts"]
    assert [(c["rule"], c["refused"]) for c in alone] == [("K5", None)]
    assert run("plan", "speaks", "--stack", "fresh").stderr.startswith("warning: speaks@1 was")
    data("apply", "speaks", "--stack", "prod")
    leaving = data("plan", "born", "--revert", "--stack", "prod")["conflicts"]
    assert [(c["rule"], c["refused"]) for c in leaving] == [("K8", None)]
    assert "speaks@1 was computed on top of born@1" in leaving[0]["text"]
    assert data("plan", "born", "speaks", "--revert", "--stack", "prod")["conflicts"] == []


def test_a_saved_plan_is_done_as_planned(registry: Path, data: Data, lives: str) -> None:
    target = ("--stack", "prod", "--model", "../model")
    planned = data("plan", "born", lives, *target, "--out", "../change.plan")
    done = data("apply", "--plan", "../change.plan")
    assert planned["after"] == {k: done[k] for k in ("seq", "identity", "patches")}
    assert done["directory"] == str(registry.parent / "model")
    data("plan", "born", "--revert", *target, "--out", "../back.plan")
    back = data("apply", "--plan", "../back.plan")
    assert [item["ref"] for item in back["patches"]] == [lives]


def test_a_stale_plan_is_refused_and_says_what_happened(
    registry: Path, data: Data, refused: Refused, lives: str
) -> None:
    data("plan", "born", "--stack", "prod", "--out", "../change.plan")
    data("apply", lives, "--stack", "prod")
    said = refused("E304", 4, "apply", "--plan", "../change.plan")
    assert "plan is stale: made at prod@0, now at prod@1" in said
    assert "1 push lives@1 (touches 2 tensors of this plan)" in said
    data("apply", "born", "--stack", "prod", "--model", "../model")
    data("plan", lives, "--revert", "--stack", "prod", "--model", "../model", "--out", "../p")
    data("apply", "--stack", "prod", "--model", "../model")
    assert "the directory would not be the same" in refused("E304", 4, "apply", "--plan", "../p")


def test_what_is_no_plan(registry: Path, run: Run, refused: Refused) -> None:
    refused("E109", 7, "apply", "--plan", "../nothing.plan")
    (registry.parent / "bad.plan").write_text('{"schema":1}')
    refused("E113", 9, "apply", "--plan", "../bad.plan")
    (registry.parent / "bad.plan").write_text("not JSON")
    refused("E116", 5, "apply", "--plan", "../bad.plan")
    refused("E101", 9, "plan", "--stack", "prod")
    refused("E107", 7, "plan", "born")
    refused("E102", 7, "plan", "nope", "--stack", "prod")
    assert run("apply", "born").exit_code == 2
    assert run("apply", "--stack", "prod", "--plan", "x").exit_code == 2
