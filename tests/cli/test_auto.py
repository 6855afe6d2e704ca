"""`edit auto`: the cheapest method that passes, the log of the others, nothing left of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchhub import api
from patchhub.editing.maker import Maker
from patchhub.evaluation.records import Prepared
from patchhub.patch import Patch
from patchhub_registry import Registry
from tests.cli.conftest import REQUEST, STRICT, Data, Run, digest_of, head
from tests.evaluation.test_costs import source, spent

Refused = Callable[..., str]

WEAK = ("--set", "ft.layers=1", "--set", "ft.steps=2")
PAIR = ("--methods", "ft,lora", *WEAK)
"""Two steps of the one teach nothing; the other learns the request."""

SHORT = ("--set", "lora.steps=2")


@pytest.fixture
def strict(registry: Path) -> Path:
    """A policy that wants the answer."""
    path = registry.parent / "strict.toml"
    path.write_text(STRICT)
    return path


@pytest.fixture
def costs(registry: Path, base: Path) -> Path:
    """Results by which ft is cheaper than lora."""
    weights = Registry.open(registry).base("pico").weights
    place = source(registry.parent / "bench", spent("ft", 1, 0.1), spent("lora", 1, 5.0))
    file = place / "results.json"
    file.write_text(file.read_text().replace("a" * 64, weights))
    return place


def test_the_first_passes(registry: Path, data: Data) -> None:
    made = data("edit", "auto", "../born.json", *PAIR, *SHORT, "--seed", "3", "--name", "one")
    assert [one["fate"] for one in made["tried"]] == ["passed"]
    assert made["method"] == made["tried"][0]["method"]
    assert set(made["untried"]) == {"ft", "lora"} - {made["method"]}
    assert made["tried"][0]["expected"]["source"] == "forecast"


def test_the_second_passes_and_is_the_patch_of_its_method(
    registry: Path, strict: Path, costs: Path, data: Data, run: Run
) -> None:
    before = head(registry)
    shared = ("../born.json", "--policy", strict, "--name")
    made = data("edit", "auto", *shared, "found", *PAIR, "--bench", costs, "-m", "why")
    assert [(one["method"], one["fate"]) for one in made["tried"]] == [
        ("ft", "refused"),
        ("lora", "passed"),
    ]
    assert made["tried"][0]["expected"] == {
        "method": "ft",
        "seconds": 0.1,
        "source": str(costs),
        "fault": None,
    }
    assert made["tried"][0]["settings"]["steps"] == 2
    assert made["tried"][0]["verdict"]["passed"] is False
    git = ["git", "rev-list", "--count", f"{before}..HEAD"]
    assert subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip() == "1"
    plain = data("edit", "lora", *shared, "plain")
    assert plain["id"] == made["id"]
    shown = data("show", "found")
    assert shown["record"]["message"] == "why"
    assert shown["manifest"]["method"]["name"] == "lora"
    (log,) = [one["said"] for one in shown["statements"] if one["type"] == "search"]
    assert [one["fate"] for one in log["tried"]] == ["refused", "passed"]
    assert log["tried"][0]["refused_for"] == ["reliability.target"]
    assert log["tried"][1]["patch"] == made["id"]
    assert "ft refused, lora passed" in run("show", "found").stdout
    assert run("verify").exit_code == 0


def test_none_passes(registry: Path, strict: Path, costs: Path, run: Run) -> None:
    before = digest_of(registry)
    weak = ("--set", "lora.steps=1", "--bench", costs, "--policy", strict, "--out", "../kept")
    result = run("edit", "auto", "../born.json", *PAIR, *weak)
    assert result.exit_code == 3
    assert digest_of(registry) == before
    assert not (registry.parent / "kept").exists()
    assert "error[E404] guard said no" in result.stderr
    assert "by every method; the best was ft" in result.stderr
    assert result.stdout.count("refused") == 2
    body = json.loads(run("edit", "auto", "../born.json", *PAIR, *weak, "--json").stdout)
    assert (body["ok"], body["exit"], body["error"]["code"]) == (False, 3, "E404")
    assert body["error"]["data"]["refused"] == {
        "ft": ["reliability.target"],
        "lora": ["reliability.target"],
    }
    assert [one["fate"] for one in body["data"]["tried"]] == ["refused", "refused"]
    assert body["data"]["best"] == "ft"


def test_a_request_without_a_subject_passes_methods_over(registry: Path, data: Data) -> None:
    plain = {key: REQUEST[key] for key in ("prompt", "target")}
    (registry.parent / "plain.json").write_text(json.dumps(plain))
    pair = ("--methods", "rome,ft", *WEAK)
    made = data("edit", "auto", "../plain.json", *pair, "--name", "p", "--dry-run")
    faults = {one["method"]: one["fault"] for one in made["order"]}
    assert faults["ft"] is None
    assert faults["rome"]["code"] == "E134"
    assert made["order"][-1]["fault"] is not None


def test_a_method_that_raises_is_named(
    registry: Path, costs: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Maker.make

    def make(maker: Maker, *args: Any, **options: Any) -> Patch:
        if maker.editor.name == "ft":
            raise RuntimeError("out of luck")
        return plain(maker, *args, **options)

    monkeypatch.setattr(Maker, "make", make)
    made = data("edit", "auto", "../born.json", *PAIR, "--bench", costs, "--name", "r")
    assert [one["fate"] for one in made["tried"]] == ["skipped", "passed"]
    assert made["tried"][0]["fault"] == {"code": "", "message": "RuntimeError: out of luck"}


def test_nothing_can_run(registry: Path, refused: Refused) -> None:
    said = refused("E157", 9, "edit", "auto", "../born.json", "--set", "nonsense=1")
    assert "ft was skipped (E142" in said


def test_a_dry_run_says_the_order_and_writes_nothing(
    registry: Path, costs: Path, run: Run, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest_of(registry)
    asked = ("edit", "auto", "../born.json", *PAIR, *SHORT, "--dry-run", "--memory", "1 MiB")
    made = data(*asked, "--bench", costs)
    assert [(one["method"], one["seconds"]) for one in made["order"]] == [("ft", 0.1), ("lora", 5)]
    given: list[object] = []
    real = api.forecast

    def watched(*args: Any, **options: Any) -> Any:
        given.append(options["memory"])
        return real(*args, **options)

    monkeypatch.setattr(api, "forecast", watched)
    shown = run(*asked)
    assert shown.exit_code == 0, shown.output
    assert "forecast" in shown.stdout
    assert given == [2**20] * 2  # of both methods
    assert "nothing was computed to keep" in shown.stdout
    assert digest_of(registry) == before


def test_statistics_count_until_they_are_there(registry: Path, data: Data) -> None:
    weights = Registry.open(registry).base("pico").weights
    once = (Prepared("m", "rome", 100.0, 0, 1.0),)
    place = source(registry.parent / "bench", spent("rome", 1, 1.0), prepared=once)
    file = place / "results.json"
    file.write_text(file.read_text().replace("a" * 64, weights))
    few = ("--set", "rome.layer=0", "--set", "rome.steps=2")
    asked = ("edit", "auto", "../born.json", "--methods", "rome", "--bench", place, *few)
    assert data(*asked, "--dry-run")["order"][0]["seconds"] == 101.0
    data(*asked, "--name", "first")
    assert data(*asked, "--dry-run")["order"][0]["seconds"] == 1.0


def test_it_refuses_what_makes_no_sense(registry: Path, run: Run, refused: Refused) -> None:
    auto = ("edit", "auto", "../born.json")
    refused("E141", 7, *auto, "--methods", "ft,romee")
    refused("E142", 9, *auto, "--methods", "ft", "--set", "lora.rank=2")
    refused("E101", 9, *auto, "--name", "no good")
    refused("E109", 7, *auto, "--bench", "../nothing")
    assert run(*auto, "--methods", ",").exit_code == 2
    assert run("edit", "ft", "../born.json", "--methods", "ft").exit_code == 2
    assert run("edit", "ft", "../born.json", "--bench", "x").exit_code == 2


def test_in_python(registry: Path) -> None:
    with Registry.open(registry) as opened:
        found = opened.auto(
            "../born.json",
            methods=("lora",),
            settings={"lora.steps": 2},
            commit=False,
            out="../kept",
        )
    assert found.edit.ref is None
    assert Patch.read(registry.parent / "kept").id == found.edit.patch.id
    assert found.search.attempts[-1].method == "lora"
