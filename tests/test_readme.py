"""README.md is true: its tables, links, commands and its Python example."""

from __future__ import annotations

import re

import click
import pytest

from patchhub_cli.main import main
from tests.readme import README, families_line, methods_table, split

TEXT = README.read_text("utf-8")


def test_table_of_methods_and_kinds_is_the_programs_own() -> None:
    assert split(TEXT, "methods")[1] == methods_table(), "run: python -m tests.readme"
    assert split(TEXT, "families")[1] == families_line(), "run: python -m tests.readme"


def test_links_lead_somewhere() -> None:
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in t]
    assert targets
    assert [t for t in targets if not (README.parent / t).exists()] == []


def test_commands_and_their_options_exist() -> None:
    lines = [line.split("#")[0] for line in re.findall(r"^patchhub (.+)$", TEXT, re.MULTILINE)]
    assert len(lines) >= 5
    for line in lines:
        words = line.split(" && ")[0].split()
        command: click.Command | None = main
        context = click.Context(main)
        while isinstance(command, click.Group):
            command = command.get_command(context, words.pop(0))
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_make_targets_exist() -> None:
    makefile = (README.parent / "Makefile").read_text("utf-8")
    for target in re.findall(r"make ([a-z-]+)", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.slow
def test_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert re.fullmatch(r"ph:[0-9a-f]{12} passed\n", capsys.readouterr().out)
    model = names["model"]
    assert type(model).__name__ == "GPT2LMHeadModel"
