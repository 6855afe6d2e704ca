"""`diff`: which patches, which tensors, how far apart; against float64 written out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from patchhub_registry import Registry
from tests.cli.conftest import FT, REQUEST, Data, Run
from tests.pico import pico_directory

Refused = Callable[..., str]
SITE = "transformer.h.1.mlp.c_proj.weight"


@pytest.fixture
def lives(registry: Path, data: Data) -> str:
    """A second patch, about another fact, on the same tensors; and a stack with two entries."""
    request = {**REQUEST, "prompt": "Mira Tolven lives in", "relation": "lives_in"}
    (registry.parent / "lives.json").write_text(json.dumps(request))
    ref = str(data("edit", *FT, "../lives.json", "--name", "lives")["ref"])
    data("apply", "born", "--stack", "prod", "--model", "../one")
    data("apply", ref, "--stack", "prod")
    data("apply", "--stack", "prod", "--model", "../two")
    return ref


def _site(found: Any) -> Any:
    return next(site for site in found["sites"] if site["tensor"] == SITE)


def _weight(directory: Path | str) -> torch.Tensor:
    weight: torch.Tensor = AutoModelForCausalLM.from_pretrained(directory).state_dict()[SITE]
    return weight.double()


def test_two_states_of_a_stack(registry: Path, base: Path, data: Data, lives: str) -> None:
    found = data("diff", "prod@1", "prod")
    assert ([i["ref"] for i in found["only_a"]], [i["ref"] for i in found["only_b"]]) == (
        [],
        [lives],
    )
    site = _site(found)
    with Registry.open() as book:
        born, more = (book.read(ref).payload[SITE]["delta"].double() for ref in ("born", lives))
    assert site["norms"]["a"] == pytest.approx(float(born.norm()), rel=1e-12)
    assert site["norms"]["b"] == pytest.approx(float((born + more).norm()), rel=1e-12)
    assert site["norms"]["difference"] == pytest.approx(float(more.norm()), rel=1e-12)
    one, two, plain = map(_weight, (registry.parent / "one", registry.parent / "two", base))
    assert site["realised"]["changed"] == int((one != two).sum())
    assert site["realised"]["elements"] == one.numel()
    relative = float((two - one).norm() / plain.norm())
    assert site["realised"]["relative"] == pytest.approx(relative, rel=1e-12)


def test_whatever_names_the_same_models_gives_the_same(data: Data, lives: str) -> None:
    sites = data("diff", "prod@1", "prod@2")["sites"]
    assert data("diff", "../one", "../two")["sites"] == sites
    assert data("diff", "prod@0", "born")["sites"] == data("diff", "pico", "prod@1")["sites"]
    assert data("diff", "prod", "../two")["sites"] == []
    assert data("diff", "born", "born@1")["sites"] == []


def test_stat_reads_no_tensor(run: Run, data: Data, lives: str) -> None:
    site = _site(data("diff", "--stat", "born", lives))
    assert (site["norms"], site["realised"], site["rank_a"]) == (None, None, None)
    assert (site["a"], site["b"]) == (["born@1"], [lives])
    said = run("diff", "--stat", "born", lives).stdout
    assert "only in b  lives@1" in said
    assert "full" in said


def test_without_the_base_norms_are_still_told(registry: Path, run: Run, lives: str) -> None:
    (registry / ".patchhub/local.json").unlink()
    found = run("diff", "born", lives, "--json")
    body = json.loads(found.stdout)
    assert "so stored bytes are not compared" in body["warnings"][0]
    assert _site(body["data"])["norms"]["difference"] > 0
    assert _site(body["data"])["realised"] is None


def test_what_cannot_be_compared(
    registry: Path, tmp_path: Path, data: Data, refused: Refused, lives: str
) -> None:
    data("base", "add", "other", pico_directory(tmp_path, "gpt2", seed=1))
    refused("E302", 4, "diff", "other", "prod")
    refused("E107", 7, "diff", "prod@9", "prod")
    refused("E102", 7, "diff", "nothing", "prod")
    refused("E109", 7, "diff", "../nowhere", "prod")
