"""`revert` of a patch that others were computed on: it leaves, the guard is asked about those."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchhub.errors import InvalidInputError
from patchhub_registry import Registry
from patchhub_registry.operations import guarding
from tests.cli.conftest import FT, LENIENT, STRICT, Data, Run, head
from tests.cli.test_modes import LIVES, commits, facts, wary

__all__ = ["facts", "wary"]

SEQUENCE = ("--mode", "sequential", "--name", "s", "--seed")


def test_what_was_computed_on_a_reverted_patch_is_checked_again(
    registry: Path, facts: Path, data: Data, run: Run
) -> None:
    made = data("edit", *FT, facts, *SEQUENCE, "6")["edits"]
    refs = [one["ref"] for one in made]
    data("apply", *refs, "--stack", "prod", "--model", "../model")
    before = head(registry)
    out = data("revert", "s-1@1", "--stack", "prod", "--model", "../model")
    assert commits(before) == 2  # the rollback does not wait for the guard
    assert [one["ref"] for one in out["rechecked"]] == ["s-2@1", "s-3@1"]
    for one, (own, other) in zip(out["rechecked"], [(1, 2), (2, 1)], strict=True):
        assert one["verdict"]["patch"] == made[own]["id"]
        assert one["verdict"]["stack"] == [made[other]["id"]]
        # The probes given with the requests are asked, though patches are stored without.
        counts = {each["measure"]: each["n"] for each in one["verdict"]["measurements"]}
        assert counts["neighbourhood"] == 1
    assert len(data("show", "s-2")["statements"]) == len(data("show", "s-1")["statements"]) + 1
    assert data("revert", "s-3@1", "--stack", "prod").get("rechecked") is None
    assert run("verify").exit_code == 0


def test_a_no_after_a_rollback_is_told_and_the_rollback_holds(
    registry: Path, facts: Path, data: Data, run: Run, request: pytest.FixtureRequest
) -> None:
    made = data("edit", *FT, facts, *SEQUENCE, "7")["edits"]
    data("apply", *(one["ref"] for one in made), "--stack", "prod")
    request.getfixturevalue("wary")
    result = run("--json", "revert", "s-1@1", "--stack", "prod")
    body = json.loads(result.stdout)
    assert (result.exit_code, body["error"]["code"]) == (3, "E401")
    assert body["error"]["message"] == "reverted, and the guard now says no to s-2@1"
    assert body["error"]["found"] == "reliability.target of s-2@1"
    assert [one["verdict"]["passed"] for one in body["data"]["rechecked"]] == [False, True]
    assert [item.ref for item in Registry.open().stack("prod").items] == ["s-2@1", "s-3@1"]


def test_an_error_after_a_rollback_does_not_hide_it(
    registry: Path, facts: Path, run: Run, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = data("edit", *FT, facts, *SEQUENCE, "11")["edits"]
    data("apply", *(one["ref"] for one in made), "--stack", "prod")

    def fail(*_: object, **__: object) -> None:
        raise InvalidInputError("E150", "a probe is too long")

    monkeypatch.setattr(guarding, "judge", fail)
    result = run("revert", "s-1@1", "--stack", "prod")
    assert result.exit_code == 0, result.output
    assert "warning: s-2@1 was computed on top of s-1@1: check it again" in result.stderr
    assert "warning: not checked again: E150 a probe is too long" in result.stderr
    assert [item.ref for item in Registry.open().stack("prod").items] == ["s-2@1", "s-3@1"]


def test_a_saved_plan_to_revert_asks_the_guard_as_revert_does(
    registry: Path, facts: Path, run: Run, data: Data
) -> None:
    made = data("edit", *FT, facts, *SEQUENCE, "12")["edits"]
    data("apply", *(one["ref"] for one in made), "--stack", "prod")
    data("plan", "s-1@1", "--revert", "--stack", "prod", "--out", "../one.plan")
    out = data("apply", "--plan", "../one.plan")
    assert [one["ref"] for one in out["rechecked"]] == ["s-2@1", "s-3@1"]
    data("plan", "s-2@1", "--revert", "--stack", "prod", "--out", "../two.plan")
    quiet = run("apply", "--plan", "../two.plan", "--no-check")
    assert quiet.exit_code == 0, quiet.output
    assert "warning: s-3@1 was computed on top of s-2@1: check it again" in quiet.stderr
    assert run("apply", "s-2@1", "--stack", "prod", "--no-check").exit_code == 2


def test_what_was_waived_stays_waived(registry: Path, facts: Path, data: Data) -> None:
    Registry.open().add_policy(STRICT.encode())
    waived = ("--waive", "reliability", "--reason", "weak")
    made = data("edit", *FT, facts, *SEQUENCE, "8", *waived)["edits"]
    data("apply", *(one["ref"] for one in made), "--stack", "prod")
    for one in data("revert", "s-1@1", "--stack", "prod")["rechecked"]:
        assert one["verdict"]["waived"] == {"reliability": "weak"}
        assert one["verdict"]["passed"]
    without = LENIENT.replace("reliability.target", "generalization.paraphrase")
    Registry.open().add_policy(without.encode())
    (last,) = data("revert", "s-2@1", "--stack", "prod")["rechecked"]
    assert last["verdict"]["waived"] == {}  # a check that this policy does not have


def test_a_rollback_needs_neither_guard_nor_base(
    registry: Path, facts: Path, data: Data, run: Run
) -> None:
    made = data("edit", *FT, facts, *SEQUENCE, "9")["edits"]
    data("apply", *(one["ref"] for one in made), "--stack", "prod")
    quiet = run("revert", "s-1@1", "--stack", "prod", "--no-check")
    assert quiet.exit_code == 0, quiet.output
    assert "warning: s-2@1 was computed on top of s-1@1: check it again" in quiet.stderr
    head_now = head(registry)
    wrong = run("revert", "s-2@1", "--stack", "prod", "--device", "nowhere")
    assert (wrong.exit_code, "E152" in wrong.stderr, head(registry)) == (9, True, head_now)
    (registry / ".patchhub/local.json").unlink()
    before = head(registry)
    bare = run("revert", "s-2@1", "--stack", "prod")
    assert bare.exit_code == 0, bare.output
    assert "warning: s-3@1 was computed on top of s-2@1: check it again" in bare.stderr
    assert "warning: not checked again: E109" in bare.stderr
    assert commits(before) == 1


def test_a_request_is_asked_once_with_every_probe_ever_given(
    registry: Path, facts: Path, data: Data
) -> None:
    made = data("edit", *FT, facts, *SEQUENCE, "10")["edits"]
    data("apply", *(one["ref"] for one in made), "--stack", "prod")
    more = {"kind": "neighbourhood", "prompt": "Jon Arvel lives in"}
    (registry.parent / "more.json").write_text(json.dumps({**LIVES, "probes": [more]}))
    data("check", "s-2@1", "--stack", "prod", "--requests", "../more.json")
    first, _ = data("revert", "s-1@1", "--stack", "prod")["rechecked"]
    counts = {each["measure"]: each["n"] for each in first["verdict"]["measurements"]}
    assert (counts["target"], counts["neighbourhood"]) == (1, 2)
