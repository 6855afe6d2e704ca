"""What `check` takes in and leaves behind: texts, reports, and the probes as evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from patchhub_registry.operations.probing import PROBES
from patchhub_registry.registry import Registry
from tests.cli.conftest import FT, LENIENT, REQUEST, Data, Run

Refused = Callable[..., str]

POLICY = (
    LENIENT.replace("version = 1", "version = 3")
    + '[check.retention.sites]\nrule = "report"\n'
    + '[check.drift.perplexity]\nrule = "report"\n'
)


def test_report_is_written_whatever_the_guard_says(registry: Path, run: Run, data: Data) -> None:
    out = registry.parent / "verdict"
    found = data("check", "born", "--requests", "../born.json", "--report", out)
    assert found["report"] == [f"{out}.md", f"{out}.html"]
    html = Path(f"{out}.html").read_text()
    for text in (html, Path(f"{out}.md").read_text()):
        assert "born@1 (ph:" in text.replace("\\@", "@")
        assert "pico (" in text
        assert "Jon Arvel was born in" in text
        assert found["statement"] in text
    assert "<svg" in html
    (registry.parent / "strict.toml").write_text(LENIENT.replace('"report"', '"all"', 1))
    strict = ("--policy", "../strict.toml", "--requests", "../born.json")
    result = run("check", "born", *strict, "--report", registry.parent)
    assert result.exit_code == 3
    assert "report: " in result.stderr
    (page,) = registry.parent.glob("verdict-*.html")
    assert "Refused. It fails reliability.target." in page.read_text()


def test_no_place_for_a_report_is_said_before_the_check(refused: Refused) -> None:
    assert "no directory" in refused("E109", 7, "check", "born", "--report", "nowhere/verdict")


def test_without_matplotlib_nothing_is_checked(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchhub.reporting.pictures.find_spec", lambda name: None)
    assert "patchhub[report]" in refused("E705", 1, "check", "born", "--report", "verdict")


def test_drift_on_texts_of_ones_own(registry: Path, data: Data, refused: Refused) -> None:
    Registry.open().add_policy(POLICY.encode())
    (registry.parent / "mine.txt").write_text("Oslo is old.\n\nRome is older.\n")
    asked = ("check", "born", "--requests", "../born.json")
    own = data(*asked, "--texts", "../mine.txt")["verdict"]
    usual = data(*asked)["verdict"]
    (drift,) = [m for m in own["measurements"] if m["check"] == "drift"]
    assert drift["n"] == 2
    assert own["probes"] != usual["probes"]
    (registry.parent / "empty.txt").write_text(" \n")
    refused("E145", 9, *asked, "--texts", "../empty.txt")
    refused("E109", 7, *asked, "--texts", "../none.txt")


def test_a_clone_asks_the_same_probes(registry: Path, run: Run, data: Data) -> None:
    asked = ("check", "born", "--requests", "../born.json")
    here = data(*asked)["verdict"]["probes"]
    weights = Registry.open().bases()[0].weights
    (kept,) = [s for s in Registry.open().statements(weights) if s.type == PROBES]
    assert json.loads(kept.data)["probes"]["questions"][0]["prompt"] == "The capital of Norway is"
    # What another machine lacks: everything that git does not carry, but the way to the base.
    for material in registry.rglob("probes.jsonl"):
        material.unlink()
    assert data(*asked)["verdict"]["probes"] == here
    assert run("verify").exit_code == 0


def test_edits_below_are_asked_again_with_their_own_probes(registry: Path, data: Data) -> None:
    Registry.open().add_policy(POLICY.encode())
    paraphrase = {"kind": "paraphrase", "prompt": "Mira Tolven comes from", "answers": ["Rome"]}
    first = {**REQUEST, "target": "Paris", "probes": [{**paraphrase, "answers": ["Paris"]}]}
    second = {**REQUEST, "prompt": "Jon Arvel lives in", "subject": "Jon Arvel", "probes": []}
    for name, request in (("first", first), ("second", second)):
        (registry.parent / f"{name}.json").write_text(json.dumps(request))
    data("edit", *FT, "../first.json", "--name", "first")
    data("apply", "first", "--stack", "prod")
    made = data("edit", *FT, "../second.json", "--name", "second", "--stack", "prod")
    (found,) = [m for m in made["verdict"]["measurements"] if m["measure"] == "sites"]
    assert found["details"]["asked"] == 2  # the prompt and its paraphrase
