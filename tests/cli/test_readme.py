"""The page about the command line says what is there."""

from __future__ import annotations

import re
from pathlib import Path

from patchhub import errors
from patchhub.errors import PatchHubError
from patchhub_cli.main import COMMANDS

README = (Path(__file__).parents[2] / "cli/README.md").read_text(encoding="utf-8")
NAMES = {p.stem for p in COMMANDS.glob("*.py") if not p.stem.startswith("_")}


def test_every_command_is_on_the_page() -> None:
    rows = "\n".join(line for line in README.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`([a-z]+)[ `]", rows)) & NAMES == NAMES


def test_every_exit_status_is_on_the_page() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    statuses = {kind.exit for kind in kinds if issubclass(kind, PatchHubError)}
    listed = {int(n) for n in re.findall(r"^\| (\d+) \|", README, re.M)}
    assert listed == statuses | {0, 2, 10, 130}
