"""`locate` and the profiles of settings, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchhub.locating.proposal import Proposal
from patchhub_registry import Registry
from tests.cli.conftest import Data, Run

LOOK = ("--limit", "1", "--pairs", "2", "--samples", "1")


@pytest.fixture
def requests(registry: Path) -> Path:
    file = registry.parent / "where.json"
    names = ("Mira Tolven", "Jon Arvel")
    asked = [{"prompt": f"{n} was born in", "subject": n, "target": "Rome"} for n in names]
    unknown = {**asked[0], "target_old": "Timbuktu"}
    file.write_text(json.dumps([*asked, unknown]))
    return file


def test_locate_says_where(registry: Path, requests: Path, run: Run) -> None:
    said = run("locate", requests, *LOOK, "--to", registry.parent / "where.html")
    assert said.exit_code == 0, said.output
    heads = ("block output", "MLP", "attention", "exchanged")
    assert any(all(head in line for head in heads) for line in said.stdout.splitlines())
    assert "left out: 'Mira Tolven was born in': E158" in said.stderr
    assert {p.suffix for p in registry.parent.glob("where.*")} == {".json", ".md", ".html", ".png"}


@pytest.mark.parametrize(
    ("proposal", "lines"),
    [
        (Proposal("decoder", 1, (0, 1), ("It is so.",)), ["--set layer=1", "--set layers=0,1"]),
        (Proposal("decoder", None, (), ("It is so.",)), ["no block proposed"]),
    ],
)
def test_what_to_set_is_what_was_proposed(
    registry: Path,
    requests: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    proposal: Proposal,
    lines: list[str],
) -> None:
    monkeypatch.setattr("patchhub.locating.locate.propose", lambda *_: proposal)
    said = run("locate", requests, *LOOK)
    assert said.exit_code == 0, said.output
    assert said.stdout.splitlines()[-len(lines) - 2 :] == ["- It is so.", "", *lines]


def test_locate_for_programs_is_the_call_of_the_same_name(
    registry: Path, requests: Path, data: Data
) -> None:
    shown = data("locate", requests, *LOOK)
    found = Registry.open().locate(requests, limit=1, pairs=2, samples=1)
    assert found.base == shown["base"] == "pico"
    assert shown["proposal"]["layer"] == found.located.proposal.layer
    assert len(shown["tracing"]["effects"]) == len(found.located.tracing.effects)
    assert shown["tracing"]["effects"][0]["low"] is None  # of a single fact
    assert {one["n"] for one in shown["interchange"]} == {2}
    assert [one["code"] for one in shown["left_out"]] == ["E158"]
    json.dumps(shown, allow_nan=False)


def test_a_seed_is_refused_as_edit_refuses_it(registry: Path, requests: Path, run: Run) -> None:
    for command in (("locate", requests, *LOOK), ("edit", "rome", "../born.json")):
        said = run(*command, "--seed", "-1")
        assert (said.exit_code, "the seed is out of range" in said.stderr) == (9, True)


def test_a_profile_for_other_models_names_them(registry: Path, run: Run) -> None:
    refused = run("edit", "rome", "../born.json", "--profile", "rome")
    assert refused.exit_code == 7
    assert "E160" in refused.stderr
    assert "gpt-j-6b (gptj, 28 blocks" in refused.stderr
    twice = run("edit", "rome", "../born.json", "--profile", "rome", "--set", "profile=rome")
    assert (twice.exit_code, "E142" in twice.stderr) == (9, True)
    assert run("edit", "auto", "../born.json", "--profile", "rome").exit_code == 2


def test_methods_list_their_profiles(data: Data, run: Run) -> None:
    found = data("methods", "rome")["profiles"]
    assert [one["name"] for one in found] == ["rome", "rome-easyedit"]
    assert found[0]["models"]["gpt2-xl"]["layer"] == 17
    assert "rome-easyedit" in run("methods", "rome").stdout
