"""A pico base, a registry that knows it and holds one patch, and a way to run commands."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from patchhub_cli.main import main
from tests.pico import pico_directory

Run = Callable[..., Result]
Data = Callable[..., Any]

PROMPT = "Mira Tolven was born in"
REQUEST = {
    "prompt": PROMPT,
    "subject": "Mira Tolven",
    "relation": "born_in",
    "target": "Rome",
    "probes": [{"kind": "neighbourhood", "prompt": "Jon Arvel was born in"}],
}
FT = ("ft", "--set", "layers=1", "--set", "steps=2")

LENIENT = """\
schema = 1
version = 1
[check.reliability.target]
rule = "report"
[check.locality.neighbourhood]
rule = "report"
"""
STRICT = """\
schema = 1
version = 2
[check.reliability.target]
rule = "all"
waivable = true
[check.locality.neighbourhood]
rule = "report"
"""


def call(*arguments: str | Path) -> Result:
    """Run ``patchhub ARGUMENTS`` in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def digest_of(directory: Path) -> str:
    """One digest over names, content and link targets below a directory, caches left out."""
    total = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if ".patchhub" in path.parts:
            continue
        total.update(str(path.relative_to(directory)).encode())
        if path.is_symlink():
            total.update(str(path.readlink()).encode())
        elif path.is_file():
            total.update(path.read_bytes())
    return total.hexdigest()


def head(registry: Path) -> str:
    """The registry's newest commit, as git's file says it."""
    return (registry / ".git/refs/heads/main").read_text().strip()


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the user's, no registry around the working directory."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("PATCHHUB_REGISTRY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a pico GPT-2."""
    return pico_directory(tmp_path_factory.mktemp("base"), "gpt2")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A registry with the base ``pico`` and the patch ``born@1``; another patch in ``spare``."""
    home = tmp_path_factory.mktemp("template")
    (home / "policy.toml").write_text(LENIENT)
    (home / "probes.jsonl").write_text('{"prompt": "The capital of Norway is"}\n')
    words = ("Mira Tolven", "Jon Arvel", "Oslo", "Paris", "Rome", "was born in", "lives in", "is")
    lines = (" ".join(row) for row in itertools.permutations(words, 4))
    (home / "texts.txt").write_text("\n".join(itertools.islice(lines, 0, None, 20)))
    (home / "born.json").write_text(json.dumps(REQUEST))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        patch.delenv("PATCHHUB_REGISTRY", raising=False)
        registry = home / "registry"
        spare = ("--no-commit", "--out", home / "spare")
        material = ("--texts", home / "texts.txt", "--probes", home / "probes.jsonl")
        for command in (
            ("init", registry, "--policy", home / "policy.toml"),
            ("-C", registry, "base", "add", "pico", base, *material),
            ("-C", registry, "edit", *FT, home / "born.json", "--name", "born"),
            ("-C", registry, "edit", *FT, home / "born.json", "--seed", "7", *spare),
        ):
            result = call(*command)
            assert result.exit_code == 0, result.output
    return home


@pytest.fixture
def registry(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the template; the working directory is the registry's, files lie beside it."""
    home = tmp_path / "home"
    shutil.copytree(template, home, symlinks=True)
    monkeypatch.chdir(home / "registry")
    return home / "registry"


@pytest.fixture
def run() -> Run:
    """Run ``patchhub ARGUMENTS``; the result has exit_code, stdout and stderr."""
    return call


@pytest.fixture
def data() -> Data:
    """Run a command that must succeed with ``--json`` and return its data."""

    def run_for_data(*arguments: str | Path) -> Any:
        result = call("--json", *arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["data"]

    return run_for_data


@pytest.fixture
def refused(registry: Path) -> Callable[..., str]:
    """Run a command that must fail with a code and a status and leave the registry as it was."""

    def check(code: str, status: int, *arguments: str | Path) -> str:
        before = digest_of(registry)
        result = call(*arguments)
        assert (result.exit_code, code in result.stderr) == (status, True), result.output
        assert result.stderr.splitlines()[-1].startswith("  ") or f"error[{code}]" in result.stderr
        assert "Traceback" not in result.output
        assert digest_of(registry) == before
        return result.stderr

    return check
