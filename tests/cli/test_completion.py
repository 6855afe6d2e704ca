"""Completion, as a real bash asks for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Data, Run

BASH = shutil.which("bash")
# `complete` runs the function that the script registered and prints what it offers.
ASK = """
eval "$(patchhub completion bash -q)"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_patchhub_completion patchhub
printf '%s\\n' "${COMPREPLY[@]}"
"""


def _offered(*words: str) -> list[str]:
    """What a bash offers after these words, of which the last is being typed."""
    assert BASH is not None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = subprocess.run(
        [BASH, "--norc", "-c", ASK, "bash", "patchhub", *words],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stderr == ""
    return found.stdout.split()


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
def test_a_real_bash_completes_names(registry: Path, data: Data) -> None:
    data("apply", "born", "--stack", "prod")
    data("add", "../spare", "--name", "spare")
    assert _offered("ap") == ["apply"]
    assert _offered("apply", "") == ["born", "spare"]
    assert _offered("apply", "born@") == ["born@1"]
    assert _offered("apply", "born", "--stack", "p") == ["prod"]
    assert _offered("revert", "--stack", "prod", "") == ["born@1"]
    assert _offered("edit", "r_") == ["r_rome"]
    assert _offered("base", "l") == ["link", "list"]
    assert _offered("base", "link", "p") == ["pico"]
    assert _offered("-C", "..", "show", "b") == []
    assert _offered("--registry", str(registry), "show", "b") == ["born"]


def test_the_scripts_are_click_s_own(run: Run, data: Data) -> None:
    from click.shell_completion import get_completion_class

    from patchhub_cli.main import main

    for shell in ("bash", "zsh", "fish"):
        kind = get_completion_class(shell)
        assert kind is not None
        script = kind(main, {}, "patchhub", "_PATCHHUB_COMPLETE").source()
        assert run("completion", shell).stdout == script.rstrip("\n") + "\n"
        assert data("completion", shell)["shell"] == shell


def test_the_shell_is_taken_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert run("completion").stdout.startswith("#compdef patchhub")
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert run("completion").exit_code == 2


def test_outside_a_registry_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    words = {
        "_PATCHHUB_COMPLETE": "bash_complete",
        "COMP_WORDS": "patchhub show ",
        "COMP_CWORD": "2",
    }
    found = subprocess.run(
        [Path(sys.executable).with_name("patchhub")],
        env={**os.environ, **words},
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stdout.strip(), found.stderr) == (0, "", "")


def test_completing_loads_no_engine(registry: Path) -> None:
    words = {
        "_PATCHHUB_COMPLETE": "bash_complete",
        "COMP_WORDS": "patchhub show ",
        "COMP_CWORD": "2",
    }
    code = """
import json, sys
from patchhub_cli.main import main
try:
    main()
except SystemExit:
    print(json.dumps(sorted({"torch", "transformers", "rich", "git", "numpy"} & set(sys.modules))))
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **words},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split()[0] == "plain,born"
    assert json.loads(found.stdout.splitlines()[-1]) == []
