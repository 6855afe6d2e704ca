"""`train`, and the edits that stand on it, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import patchhub
from patchhub.editing.meta import train
from patchhub_registry import Registry
from tests.cli.conftest import Data, Run
from tests.engine.meta import LESSONS, TINY

SET = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture
def lessons(tmp_path: Path) -> Path:
    file = tmp_path / "lessons.jsonl"
    records = [request.to_json() for request in LESSONS]
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    return file


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    file = tmp_path / "asked.json"
    file.write_text(json.dumps({"prompt": "Jon Arvel was born in", "target": "Rome"}))
    return file


def test_an_edit_needs_training_once_and_then_finds_it(
    registry: Path, lessons: Path, asked: Path, run: Run, data: Data
) -> None:
    edit = ("edit", "mend", asked)
    before = run(*edit)
    assert before.exit_code == 9
    assert "E161" in before.stderr
    assert "patchhub train mend" in before.stderr
    made = data("train", "mend", "--data", lessons, *SET)
    assert made["content"]["settings"]["rank"] == 8
    said = run("train", "mend", "--data", lessons, *SET)
    assert said.exit_code == 0, said.output
    assert made["digest"] in said.stdout  # the same one, not another
    (asset,) = Registry.open(registry).assets.list("editor")
    assert asset.payload.oid == made["digest"]
    assert asset.facts["data"] == made["content"]["data"]
    shutil.rmtree(registry / ".patchhub" / "moments")  # another machine
    after = run(*edit, "--name", "taught")
    assert after.exit_code == 0, after.output
    manifest = Registry.open(registry).read("taught@1").manifest
    assert manifest.method.trained == made["digest"]


def test_what_the_registry_has_is_not_trained_again(
    registry: Path, lessons: Path, asked: Path, run: Run, data: Data
) -> None:
    command = ("train", "mend", "--data", lessons, *SET)
    made = data(*command)
    cache = registry / ".patchhub" / "moments"
    shutil.rmtree(cache)  # another machine
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "descend", lambda *_, **__: pytest.fail("trained again"))
        assert data(*command)["digest"] == made["digest"]
        (file,) = cache.glob("editor-mend-*")
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        assert data(*command)["digest"] == made["digest"]
        assert file.read_bytes() == whole
    edit = ("edit", "mend", asked, "--name", "taught", "--dry-run")
    opened = Registry.open(registry)
    payload = opened.assets.file(opened.assets.list("editor")[0])
    payload.rename(payload.with_suffix(".away"))
    assert run(*edit).exit_code == 0  # the cache has it
    shutil.rmtree(cache)
    for asking in (edit, (*edit, "--set", f"trained={made['digest'][:8]}"), command):
        said = run(*asking)
        assert (said.exit_code, "E120" in said.stderr) == (7, True), said.output
        assert "git lfs pull" in said.stderr
    assert "E161" in run(*edit, "--set", "trained=other").stderr
    assert data(*command, "--seed", "1")["digest"] != made["digest"]


def test_without_a_registry_python_finds_what_the_command_trained(
    base: Path, lessons: Path, tmp_path: Path, data: Data
) -> None:
    out = tmp_path / "editors"
    made = data("train", "mend", "--data", lessons, "--model", base, "--out", out, *SET)
    patch = patchhub.edit(base, "mend", LESSONS[0], cache=out)
    assert patch.manifest.method.trained == made["digest"]
    again = patchhub.train(base, "mend", LESSONS, settings=TINY, cache=out)
    assert again.digest == made["digest"]
    fewer = data(
        "train", "mend", "--data", lessons, "--skip", "1", "--model", base, "--out", out, *SET
    )
    assert fewer["outcome"]["examples"] == made["outcome"]["examples"] - 1


def test_methods_tells_the_settings_of_the_training(data: Data, run: Run) -> None:
    shown = data("methods", "mend")
    assert shown["needs"] == ["trained"]
    assert shown["training"]["patience"] == {"default": 2000, "type": "int"}
    assert "setting of `train`" in run("methods", "mend").stdout
    assert "training" not in data("methods", "ft")


def test_where_it_goes_is_said_in_one_way(
    registry: Path, base: Path, lessons: Path, run: Run
) -> None:
    for wrong in (["--model", str(base)], ["--out", "x"]):
        said = run("train", "mend", "--data", lessons, *wrong)
        assert (said.exit_code, "--model goes with --out" in said.stderr) == (2, True)
    said = run("train", "ft", "--data", lessons)
    assert (said.exit_code, "without training" in said.stderr) == (9, True)
