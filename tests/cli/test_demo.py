"""The demo: the whole main path on the shipped model, with the commands a user would type."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patchhub.errors import NotFoundError
from patchhub.sandbox import model_path
from patchhub_cli.commands import demo
from tests.cli.conftest import Run, digest_of
from tests.readme import README, split

PROGRAM = Path(sys.executable).with_name("patchhub")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Output and directory of one demo."""
    directory = tmp_path_factory.mktemp("place") / "demo"
    made = subprocess.run([PROGRAM, "demo", directory], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stderr == ""
    return made.stdout, directory


@pytest.mark.slow
def test_it_ends_with_the_proof(result: tuple[str, Path]) -> None:
    text, directory = result
    last = text.strip().splitlines()[-1]
    assert re.fullmatch(r"bytes equal to base: yes \(sha256 [0-9a-f]{64}\)", last)
    table = text[text.rindex("prompt") :].splitlines()
    assert table[0].split() == ["prompt", "before", "after", "reverted"]
    request: dict[str, Any] = json.loads((directory / "fact.json").read_text())
    edited = next(line for line in table if line.startswith("edited"))
    said = edited.partition(request["prompt"])[2]
    old, new = request["target_old"], request["target"]
    assert re.sub(r" {2,}", "|", said.strip()) == f"{old}|{new}|{old}"
    for line in table[3 : table.index("")]:
        before, _, reverted = re.split(r" {2,}", line.strip())[-3:]
        assert before == reverted


@pytest.mark.slow
def test_the_readme_shows_its_end(result: tuple[str, Path]) -> None:
    shown = split(README.read_text("utf-8"), "demo")[1].removeprefix("```\n").removesuffix("\n```")
    assert "bytes equal to base" in shown
    assert result[0].rstrip().endswith(shown)


@pytest.mark.slow
def test_every_file_that_is_read_equals_the_base(result: tuple[str, Path]) -> None:
    _, directory = result
    names = {path.name for path in model_path().iterdir()}
    read = {path.name for path in (directory / "model").iterdir()} - {"patchhub.json"}
    assert read == names
    for name in names:
        assert (directory / "model" / name).read_bytes() == (model_path() / name).read_bytes()


@pytest.mark.slow
def test_the_commands_shown_can_be_typed(result: tuple[str, Path]) -> None:
    text, directory = result
    shown = re.findall(r"^\$ patchhub (\S+)", text, re.M)
    order = ["init", "base", "ask", "edit", "apply", "ask", "verify", "revert", "ask", "log"]
    assert shown == [*order, "verify"]
    again = subprocess.run(
        [PROGRAM, "apply", "demo-fact", "--stack", "prod", "--model", "../model"],
        cwd=directory / "registry",
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr


def test_it_replaces_only_what_a_demo_made(tmp_path: Path, run: Run) -> None:
    try:
        model_path()
    except NotFoundError:
        pytest.skip("the model is not there yet")
    (tmp_path / "diary").write_text("dear diary")
    before = digest_of(tmp_path)
    result = run("demo", tmp_path)
    assert result.exit_code == 4
    assert "E308" in result.stderr
    assert digest_of(tmp_path) == before
    result = run("demo", "new", "--fact", "person:0/born")
    assert result.exit_code == 7
    assert demo.FACT in result.stderr
    assert not (tmp_path / "new").exists()
