"""A sparse patch on its whole way: edited, shown, applied, compared, taken out again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from patchhub_registry import Registry
from tests.cli.conftest import REQUEST, Data, digest_of

SITE = "transformer.h.0.mlp.c_proj.weight"


def test_from_edit_to_revert(registry: Path, base: Path, data: Data) -> None:
    untouched = digest_of(base)
    request = {**REQUEST, "prompt": "Jon Arvel works for", "target_old": "Nordlys"}
    del request["subject"], request["relation"]
    (registry.parent / "works.json").write_text(json.dumps(request))
    made = data("edit", "kn", "../works.json", "--set", "steps=4", "--name", "works")
    manifest = data("show", made["ref"])["manifest"]
    assert (manifest["kind"], manifest["algebra"]) == ("sparse", "additive")
    assert set(manifest["files"]) == {
        "patch.safetensors",
        "requests.jsonl",
        "state.safetensors",
    }
    with Registry.open() as book:
        roles = book.read(made["ref"]).payload[SITE]
    columns = roles["columns"].tolist()
    data("apply", "born", made["ref"], "--stack", "prod", "--model", "../model")
    changed, plain = (
        AutoModelForCausalLM.from_pretrained(place).state_dict()[SITE]
        for place in (registry.parent / "model", base)
    )
    assert (changed != plain).any(1).nonzero()[:, 0].tolist() == columns  # Conv1D: (d_in, d_out)
    (site,) = [s for s in data("diff", "born", "prod")["sites"] if s["tensor"] == SITE]
    norm = float(roles["values"].double().norm()) * len(columns) ** 0.5
    assert site["norms"]["difference"] == pytest.approx(norm, rel=1e-12)
    data("revert", made["ref"], "born", "--stack", "prod", "--model", "../model")
    assert data("verify", "--model", "../model")["model"]["equals_base"] is True
    assert digest_of(base) == untouched
