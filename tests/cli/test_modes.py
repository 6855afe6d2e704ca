"""`edit --mode`: what becomes of several requests, together and apart, and of those that fail."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchhub.guard.policy import Policy
from patchhub.patch import Patch
from patchhub_registry import Registry
from patchhub_registry.operations import guarding
from tests.cli.conftest import FT, REQUEST, STRICT, Data, Run, digest_of, head

Refused = Callable[..., str]

BORN: dict[str, Any] = REQUEST
LIVES = {**REQUEST, "prompt": "Mira Tolven lives in", "relation": "lives_in", "target": "Paris"}
SPEAKS = {**REQUEST, "prompt": "Jon Arvel speaks", "subject": "Jon Arvel", "relation": "speaks"}
ROME = ("rome", "--set", "layer=0", "--set", "steps=2")


@pytest.fixture
def facts(registry: Path) -> Path:
    path = registry.parent / "facts.json"
    path.write_text(json.dumps([BORN, LIVES, SPEAKS]))
    return path


@pytest.fixture
def wary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A guard that is strict about what is said of where Mira lives."""
    (tmp_path / "strict.toml").write_text(STRICT)
    strict, plain = Policy.read(tmp_path / "strict.toml"), guarding.judge

    def judge(*given: Any, policy: Policy, **more: Any) -> guarding.Judged:
        requests = given[3]
        rules = strict if requests[0].prompt == LIVES["prompt"] else policy
        return plain(*given, policy=rules, **more)

    monkeypatch.setattr(guarding, "judge", judge)


def commits(since: str) -> int:
    command = ["git", "rev-list", "--count", f"{since}..HEAD"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_single_edits_are_those_they_would_be_alone(
    registry: Path, facts: Path, data: Data, run: Run
) -> None:
    before = head(registry)
    made = data("edit", *FT, facts, "--mode", "single", "--seed", "5")["edits"]
    assert commits(before) == 1
    refs = ["mira-tolven-born-in@1", "mira-tolven-lives-in@1", "jon-arvel-speaks@1"]
    assert [one["ref"] for one in made] == refs
    for one, request in zip(made, (BORN, LIVES, SPEAKS), strict=True):
        (registry.parent / "alone.json").write_text(json.dumps(request))
        out = registry.parent / one["name"]
        alone = ("edit", *FT, "../alone.json", "--seed", "5", "--no-commit", "--out", out)
        assert data(*alone)["id"] == one["id"]
        assert data("show", one["ref"])["manifest"]["onto"] == []
        assert data("show", one["ref"])["statements"][0]["said"] == one["verdict"]
    assert run("verify").exit_code == 0


def test_sequential_edits_stand_on_each_other(registry: Path, facts: Path, data: Data) -> None:
    data("apply", "born", "--stack", "prod")
    born = data("show", "born")["id"]
    before = head(registry)
    options = ("--mode", "sequential", "--stack", "prod", "--name", "new", "--seed", "2")
    made = data("edit", *FT, facts, *options)["edits"]
    assert commits(before) == 1
    assert [one["ref"] for one in made] == ["new-1@1", "new-2@1", "new-3@1"]
    ids = [born, *(one["id"] for one in made)]
    for place, one in enumerate(made, 1):
        assert data("show", one["ref"])["manifest"]["onto"] == ids[:place]
        assert one["verdict"]["stack"] == ids[:place]
    # Another word about the same fact is in the stack already: the first one cannot go there.
    plan = data("plan", *(one["ref"] for one in made[1:]), "--stack", "prod")
    assert [c["rule"] for c in plan["conflicts"] if c["refused"]] == []


def test_one_no_does_not_lose_the_others(registry: Path, facts: Path, wary: None, run: Run) -> None:
    before = head(registry)
    result = run("--json", "edit", *FT, facts, "--mode", "sequential", "--seed", "3")
    body = json.loads(result.stdout)
    assert (result.exit_code, body["exit"], body["error"]["code"]) == (3, 3, "E401")
    assert body["error"]["data"] == {"patches": ["mira-tolven-lives-in"]}
    first, second, third = body["data"]["edits"]
    assert [one["verdict"]["passed"] for one in (first, second, third)] == [True, False, True]
    assert (second["ref"], second["directory"]) == (None, None)
    assert commits(before) == 1
    book = Registry.open()
    assert {p.ref for p in book.list()} == {"born@1", first["ref"], third["ref"]}
    # What was refused carries nothing: the last stands on the first alone.
    assert book.resolve(third["ref"]).manifest.onto == (first["id"],)
    assert not book.statements(second["id"])
    shown = run("edit", *FT, facts, "--mode", "single", "--seed", "4")
    assert shown.exit_code == 3
    assert "2 passed, 1 refused" in shown.stdout
    assert "reliability.target 0.000 (n = 1)" in shown.stdout
    assert "guard said no to mira-tolven-lives-in; the 2 others are kept" in shown.stderr


def test_when_all_are_refused_nothing_is_committed(registry: Path, facts: Path, run: Run) -> None:
    (registry.parent / "strict.toml").write_text(STRICT)
    before = digest_of(registry)
    options = ("--mode", "single", "--policy", "../strict.toml", "--out", "../none")
    none = run("edit", *FT, facts, *options)
    assert (none.exit_code, "speaks; nothing is kept" in none.stderr) == (3, True)
    assert digest_of(registry) == before
    assert not (registry.parent / "none").exists()
    written = run("edit", *FT, facts, *options, "--no-commit")
    assert "all are written, none is committed" in written.stderr
    assert digest_of(registry) == before


def test_directories_lie_in_one_that_appears_whole(
    registry: Path, facts: Path, data: Data, refused: Refused
) -> None:
    before = digest_of(registry)
    out = registry.parent / "out"
    made = data("edit", *FT, facts, "--mode", "single", "--no-commit", "--out", out)["edits"]
    assert digest_of(registry) == before
    assert sorted(p.name for p in out.iterdir()) == sorted(one["name"] for one in made)
    for one in made:
        assert one["ref"] is None
        assert Patch.read(Path(one["directory"])).id == one["id"]
    refused("E308", 4, "edit", *FT, facts, "--mode", "single", "--out", out)


def test_a_patch_that_is_there_already_is_not_added_again(
    registry: Path, facts: Path, data: Data
) -> None:
    (registry.parent / "twice.json").write_text(json.dumps([BORN, LIVES, LIVES]))
    made = data("edit", *FT, "../twice.json", "--mode", "single")["edits"]
    assert [one["ref"] for one in made] == [
        "born@1",
        "mira-tolven-lives-in@1",
        "mira-tolven-lives-in@1",
    ]
    before = head(registry)
    again = data("edit", *FT, "../twice.json", "--mode", "single")["edits"]
    assert [one["ref"] for one in again] == [one["ref"] for one in made]
    assert commits(before) == 0


def test_a_request_that_comes_twice_in_a_sequence_makes_two_patches(
    registry: Path, data: Data
) -> None:
    (registry.parent / "twice.json").write_text(json.dumps([LIVES, LIVES]))
    out = ("--no-commit", "--out", registry.parent / "out")
    made = data("edit", *FT, "../twice.json", "--mode", "sequential", *out)["edits"]
    assert [one["name"] for one in made] == ["mira-tolven-lives-in", "mira-tolven-lives-in-2"]
    first, second = (Patch.read(Path(one["directory"])) for one in made)
    assert second.manifest.onto == (first.id,)


def test_what_cannot_be_edited_is_left_out_and_said(
    registry: Path, run: Run, data: Data, refused: Refused
) -> None:
    bare = {"prompt": "Nobody lives", "target": "here", "id": "no-subject"}
    (registry.parent / "some.json").write_text(json.dumps([BORN, bare]))
    result = run("edit", *ROME, "../some.json", "--name", "some")
    assert result.exit_code == 0, result.output
    assert "warning: left out no-subject: 'Nobody lives': E134 rome needs" in result.stderr
    shown = data("show", "some")
    (left,) = shown["record"]["dropped"]
    assert (left["code"], left["request"] in json.dumps(shown["manifest"])) == ("E134", False)
    assert len(shown["manifest"]["method"]["requests"]) == 1
    assert run("verify").exit_code == 0
    body = json.loads(
        run("--json", "edit", *ROME, "../some.json", "--mode", "single", "--seed", "1").stdout
    )
    assert (body["ok"], len(body["data"]["edits"])) == (True, 1)
    (said,) = body["data"]["dropped"]
    assert (said["id"], said["code"], said["request"]) == ("no-subject", "E134", left["request"])
    assert body["warnings"] == [f"left out no-subject: 'Nobody lives': E134 {said['what']}"]
    (alone,) = body["data"]["edits"]
    assert data("show", alone["ref"])["record"]["dropped"] == shown["record"]["dropped"]
    (registry.parent / "none.json").write_text(json.dumps([bare, {**bare, "id": "other"}]))
    for mode in ("batch", "single"):
        refused("E134", 9, "edit", *ROME, "../none.json", "--mode", mode)


def test_requests_of_one_patch_may_not_contradict_each_other(
    registry: Path, data: Data, refused: Refused
) -> None:
    (registry.parent / "both.json").write_text(json.dumps([BORN, {**BORN, "target": "Oslo"}]))
    said = refused("E136", 9, "edit", *FT, "../both.json")
    assert "'Rome' and 'Oslo'" in said
    made = data("edit", *FT, "../both.json", "--mode", "single", "--seed", "1")["edits"]
    assert [one["ref"] for one in made] == ["mira-tolven-born-in@1", "mira-tolven-born-in-2@1"]


def test_options_that_do_not_go_together(registry: Path, facts: Path, run: Run) -> None:
    several = ("--mode", "single")
    assert run("edit", *FT, facts, "--mode", "joint", "--dry-run").exit_code == 2
    assert run("edit", "auto", facts, *several).exit_code == 2
    assert run("edit", *FT, facts, "--mode", "twice").exit_code == 2


def test_memory_and_amounts_are_read_and_refused(
    registry: Path, data: Data, run: Run, refused: Refused
) -> None:
    for word in ("much", "-1", "1e9", "2GiBs"):
        assert run("edit", *FT, "../born.json", "--memory", word).exit_code == 2
    refused("E142", 9, "edit", *FT, "../born.json", "--memory", "0.1")
    refused("E142", 9, "edit", *ROME, "../born.json", "--statistics", "some")
    given = ("--memory", "1.5 MB", "--statistics", "20", "--name", "little")
    made = data("edit", *ROME, "../born.json", *given)
    method = data("show", made["ref"])["manifest"]["method"]
    assert (method["corpus"]["source"], method["corpus"]["amount"]) == ("texts", "20")
