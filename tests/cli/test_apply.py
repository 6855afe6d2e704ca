"""`apply` and `revert`: registry and model directory change together or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from patchhub.canonical import dumps
from patchhub.errors import ConflictError
from patchhub_registry import Registry
from patchhub_registry.schema import Statement
from tests.cli.conftest import FT, LENIENT, PROMPT, REQUEST, STRICT, Data, Run, digest_of
from tests.pico import pico_directory

Refused = Callable[..., str]


@pytest.fixture
def lives(registry: Path, data: Data) -> str:
    """A second patch, about another fact."""
    request = {**REQUEST, "prompt": "Mira Tolven lives in", "relation": "lives_in"}
    (registry.parent / "lives.json").write_text(json.dumps(request))
    return str(data("edit", *FT, "../lives.json", "--name", "lives")["ref"])


def test_there_and_back(registry: Path, base: Path, data: Data, lives: str) -> None:
    untouched = digest_of(base)
    both = data("apply", "born@1", lives, "--stack", "prod", "--model", "../model")
    assert [item["ref"] for item in both["patches"]] == ["born@1", "lives@1"]
    seen = data("status", "--model", "../model")["model"]
    assert [item["ref"] for item in seen["patches"]] == ["born@1", "lives@1"]
    assert seen["stacks"] == [{"stack": "prod", "seq": 2, "head": 2}]
    assert seen["drift"] == []
    AutoModelForCausalLM.from_pretrained(registry.parent / "model")
    one = data("revert", "born", "--stack", "prod", "--model", "../model")
    assert [item["ref"] for item in one["patches"]] == ["lives@1"]
    middle = data("verify", "--model", "../model")["model"]
    assert middle["equals_base"] is False
    none = data("revert", "lives", "--stack", "prod", "--model", "../model")
    assert none["patches"] == []
    last = data("verify", "--model", "../model")["model"]
    assert last["equals_base"] is True
    assert last["files"] == last["base_files"]
    assert digest_of(base) == untouched
    entries = data("log", "prod")
    assert [(e["seq"], e["op"], e["ref"]) for e in entries] == [
        (1, "push", "born@1"),
        (2, "push", "lives@1"),
        (3, "revert", "born@1"),
        (4, "revert", "lives@1"),
    ]
    assert all(entry["guard"] for entry in entries[:2])


def test_without_one_it_is_the_model_that_never_had_it(
    registry: Path, data: Data, lives: str
) -> None:
    data("apply", "born", lives, "--stack", "a", "--model", "../a")
    data("revert", "born", "--stack", "a", "--model", "../a")
    data("apply", lives, "--stack", "b", "--model", "../b")
    a, b = (data("status", "--model", f"../{name}")["model"]["identity"] for name in "ab")
    assert a == b
    tensors = [
        AutoModelForCausalLM.from_pretrained(registry.parent / name).state_dict() for name in "ab"
    ]
    assert all(tensors[0][name].equal(tensors[1][name]) for name in tensors[0])


def test_a_directory_that_lags_behind_says_so_and_catches_up(
    registry: Path, run: Run, data: Data, lives: str
) -> None:
    data("apply", "born", "--stack", "prod", "--model", "../model")
    data("apply", lives, "--stack", "prod")
    said = run("status", "--model", "../model").stdout
    assert "prod@1, behind prod@2" in said
    assert "patchhub apply --stack prod --model ../model" in said
    caught = data("apply", "--stack", "prod", "--model", "../model")
    assert (caught["seq"], caught["generation"]) == (2, 2)
    assert data("status", "--model", "../model")["model"]["stacks"][0]["seq"] == 2


def test_ask_puts_answers_side_by_side(registry: Path, run: Run, data: Data) -> None:
    data("apply", "born", "--stack", "prod", "--model", "../model")
    (row,) = data("ask", PROMPT, "--stack", "prod", "--against", "base")
    assert row["prompt"] == PROMPT
    assert list(row["answers"]) == ["base", "prod"]
    (same,) = data("ask", PROMPT, "--model", "../model")
    assert same["answers"]["../model"] == row["answers"]["prod"]
    table = run("ask", PROMPT, "Oslo is", "--base", "pico").stdout.splitlines()
    assert table[0].split() == ["prompt", "pico"]
    assert len(table) == 4
    assert run("ask", PROMPT).exit_code == 9


def test_ask_answers_for_the_base_that_was_named(
    registry: Path, run: Run, data: Data, tmp_path: Path
) -> None:
    data("base", "add", "other", pico_directory(tmp_path, "gpt2", seed=1))
    data("apply", "born", "--stack", "pico")
    (row,) = data("ask", PROMPT, "--stack", "pico", "--base", "pico", "--against", "base")
    assert list(row["answers"]) == ["base", "base pico", "pico"]
    assert row["answers"]["base"] == row["answers"]["base pico"]
    for base, code, status in (("other", "E302", 4), ("nothing", "E106", 7)):
        result = run("ask", PROMPT, "--stack", "pico", "--base", base)
        assert (result.exit_code, code in result.stderr) == (status, True)


def test_what_cannot_be(registry: Path, run: Run, data: Data, refused: Refused) -> None:
    data("apply", "born", "--stack", "other")
    refused("E107", 7, "revert", "born", "--stack", "prod")
    refused("E306", 4, "apply", "born", "--stack", "other")
    data("revert", "born", "--stack", "other")
    refused("E307", 4, "revert", "born", "--stack", "other")
    assert "did you mean" in refused("E102", 7, "apply", "bron", "--stack", "other")
    refused("E103", 7, "apply", "born@7", "--stack", "other")
    refused("E101", 9, "apply", "--stack", "other")
    assert run("revert", "--stack", "other").exit_code == 2


def test_two_answers_to_one_question(registry: Path, data: Data, refused: Refused) -> None:
    (registry.parent / "else.json").write_text(json.dumps({**REQUEST, "target": "Paris"}))
    data("edit", *FT, "../else.json", "--name", "else")
    data("apply", "born", "--stack", "prod")
    said = refused("E301", 4, "apply", "else", "--stack", "prod")
    assert "'Rome', said by born@1" in said
    assert "patchhub revert born@1 --stack prod" in said
    refused("E301", 4, "apply", "born", "else", "--stack", "fresh")


def test_no_verdict_no_entry(registry: Path, data: Data, refused: Refused) -> None:
    data("add", "../spare", "--name", "foreign")
    said = refused("E403", 8, "apply", "foreign", "--stack", "prod")
    assert "patchhub check foreign@1" in said
    refused("E402", 8, "apply", "foreign", "--stack", "prod", "--override", "in a hurry")
    checked = data("check", "foreign", "--stack", "prod", "--requests", "../born.json")
    assert checked["verdict"]["passed"] is True
    data("apply", "foreign", "--stack", "prod")
    assert data("log", "prod")[0]["guard"] == checked["statement"]


def test_a_verdict_by_another_policy_does_not_count(registry: Path, refused: Refused) -> None:
    Registry.open().add_policy(STRICT.encode())
    assert "verdicts by other policies only" in refused(
        "E403", 8, "apply", "born", "--stack", "prod"
    )


def test_where_the_policy_allows_it_an_override_is_recorded(registry: Path, data: Data) -> None:
    Registry.open().add_policy(
        LENIENT.replace("version = 1", "version = 3\noverride = true").encode()
    )
    data("apply", "born", "--stack", "prod", "--override", "in a hurry")
    (entry,) = data("log", "prod")
    assert entry["waivers"] == {"verdict": "in a hurry"}
    assert entry["guard"] is None


def test_a_waiver_goes_into_the_entry(registry: Path, data: Data) -> None:
    Registry.open().add_policy(STRICT.encode())
    waiver = ("--waive", "reliability", "--reason", "known to be weak")
    data("check", "born", "--requests", "../born.json", *waiver)
    data("apply", "born", "--stack", "prod")
    assert data("log", "prod")[0]["waivers"] == {"reliability": "known to be weak"}


def test_a_check_that_says_no_is_on_file(registry: Path, run: Run, data: Data) -> None:
    Registry.open().add_policy(STRICT.encode())
    result = run("check", "born", "--requests", "../born.json")
    assert result.exit_code == 3
    assert "guard: no" in result.stdout
    assert "E401" in result.stderr
    words = [one["said"]["passed"] for one in data("show", "born")["statements"]]
    assert sorted(words) == [False, True]


def test_a_verdict_measured_elsewhere_is_said(
    registry: Path, run: Run, data: Data, lives: str
) -> None:
    data("apply", "born", "--stack", "prod")
    result = run("apply", lives, "--stack", "prod")
    assert result.exit_code == 0
    assert "warning: lives@1 was checked on another model than prod@1" in result.stderr


def test_a_yes_from_elsewhere_does_not_outweigh_a_no_from_here(
    registry: Path, data: Data, lives: str, refused: Refused
) -> None:
    data("apply", "born", "--stack", "prod")
    (yes,) = data("show", lives)["statements"]
    no = {**yes["said"], "identity_before": data("status")["stacks"][0]["identity"]}
    patch = data("show", lives)["id"]
    other = Statement(patch, "guard", dumps({"patch": patch, "note": "no verdict at all"}))
    book = Registry.open()
    book.add_statements([other, Statement(patch, "guard", dumps({**no, "passed": False}))])
    assert "the guard said no" in refused("E403", 8, "apply", lives, "--stack", "prod")
    book.add_statements([Statement(patch, "guard", dumps(no))])
    data("apply", lives, "--stack", "prod")


def test_a_failing_commit_leaves_the_directory(
    registry: Path, run: Run, data: Data, lives: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data("apply", "born", "--stack", "prod", "--model", "../model")
    before = data("verify", "--model", "../model")["model"]

    def fail(*_: object, **__: object) -> None:
        raise ConflictError("E305", "head moved while committing")

    monkeypatch.setattr(Registry, "change", fail)
    assert run("apply", lives, "--stack", "prod", "--model", "../model").exit_code == 4
    monkeypatch.undo()
    monkeypatch.chdir(registry)
    assert data("verify", "--model", "../model")["model"] == before
    assert [item["ref"] for item in data("status")["stacks"][0]["patches"]] == ["born@1"]


def test_a_directory_of_somebody_else_stays_theirs(
    registry: Path, base: Path, refused: Refused
) -> None:
    theirs = registry.parent / "theirs"
    theirs.mkdir()
    (theirs / "diary").write_text("dear diary")
    refused("E308", 4, "apply", "born", "--stack", "prod", "--model", theirs)
    assert (theirs / "diary").read_text() == "dear diary"
    before = digest_of(base)
    refused("E308", 4, "apply", "born", "--stack", "prod", "--model", base)
    assert digest_of(base) == before
    refused("E109", 7, "status", "--model", "../nothing")


def test_changes_from_outside_are_seen(
    registry: Path, run: Run, data: Data, refused: Refused
) -> None:
    data("apply", "born", "--stack", "prod", "--model", "../model")
    config = registry.parent / "model/config.json"
    text = config.read_text()
    config.unlink()  # a hard link of the base's: written anew, not written through
    config.write_text(text.replace("}", " }"))
    result = run("verify", "--model", "../model")
    assert result.exit_code == 5
    assert "error[E206] ../model was changed outside PatchHub" in result.stderr
    assert "config.json" in result.stdout
    assert run("status", "--model", "../model").exit_code == 0
    refused("E206", 5, "revert", "born", "--stack", "prod", "--model", "../model")
    assert [item["ref"] for item in data("status")["stacks"][0]["patches"]] == ["born@1"]


def test_a_copy_is_still_known(registry: Path, data: Data, tmp_path: Path) -> None:
    import shutil

    data("apply", "born", "--stack", "prod", "--model", "../model")
    shutil.copytree(registry.parent / "model", tmp_path / "copy")
    seen = data("status", "--model", tmp_path / "copy")["model"]
    assert [item["ref"] for item in seen["patches"]] == ["born@1"]
    assert seen["stacks"] == [{"stack": "prod", "seq": 1, "head": 1}]


def test_stopped_between_commit_and_switch_the_directory_follows(
    registry: Path, run: Run, data: Data, lives: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data("apply", "born", "--stack", "prod", "--model", "../model")
    commit = Registry.change

    def commit_and_die(book: Registry, *arguments: Any, **options: Any) -> None:
        commit(book, *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Registry, "change", commit_and_die)
    assert run("apply", lives, "--stack", "prod", "--model", "../model").exit_code == 130
    monkeypatch.setattr(Registry, "change", commit)
    assert [item["ref"] for item in data("status")["stacks"][0]["patches"]] == ["born@1", lives]
    seen = data("verify", "--model", "../model")["model"]
    assert seen["drift"] == []
    assert seen["stacks"] == [{"stack": "prod", "seq": 2, "head": 2}]
    assert seen["pending"] is None
