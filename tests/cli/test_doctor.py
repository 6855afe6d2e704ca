"""`doctor`: what is wrong, and which command mends it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from patchhub_registry import Registry
from tests.cli.conftest import Data, Run, digest_of, head

QUIET = {"git-lfs-absent", "git-identity"}
"""What depends on the machine the tests run on."""


def _found(run: Run, *arguments: str, status: int = 0) -> dict[str, Any]:
    """Findings by name."""
    result = run("doctor", "--json", *arguments)
    assert result.exit_code == status, result.output
    findings = json.loads(result.stdout)["data"]["findings"]
    return {each["name"]: each for each in findings if each["name"] not in QUIET}


@pytest.fixture
def model(registry: Path, base: Path, tmp_path: Path, data: Data) -> Path:
    """A directory at prod@1, over a base of its own that may be spoiled."""
    data("base", "link", "pico", shutil.copytree(base, tmp_path / "own"))
    data("apply", "born", "--stack", "prod", "--model", "../model")
    return registry.parent / "model"


def test_healthy(registry: Path, model: Path, run: Run) -> None:
    before = digest_of(registry)
    assert _found(run) == {}
    assert digest_of(registry) == before
    said = run("doctor").stdout
    assert "libraries, git, file system, ownership, settings, locks, index, digests" in said


def test_outside_a_registry_only_the_machine_is_looked_at(tmp_path: Path, run: Run) -> None:
    found = run("-C", tmp_path, "doctor")
    assert found.exit_code == 0
    assert found.stderr == "not inside a registry: only the machine is looked at\n"
    assert "libraries, git\n" in found.stdout


def test_a_commit_that_was_cut_off(registry: Path, run: Run) -> None:
    journal = registry / ".patchhub/journal"
    journal.mkdir(exist_ok=True)
    intent = {"old": head(registry), "new": "0" * 40, "ref": "refs/heads/main", "git": 1}
    (journal / "1-1.json").write_text(json.dumps(intent))
    found = _found(run)["commit-unfinished"]
    assert (found["severity"], found["fix"]) == ("warning", "patchhub doctor --repair")
    assert list(journal.iterdir())  # looked at, not settled
    result = json.loads(run("doctor", "--repair", "--json").stdout)["data"]
    assert len(result["repaired"]) == 1
    assert "commit-unfinished" not in {each["name"] for each in result["findings"]}


def test_a_lock_that_git_left(registry: Path, run: Run) -> None:
    lock = registry / ".git/index.lock"
    lock.touch()
    assert _found(run) == {}  # a git may be at work
    os.utime(lock, (time.time() - 3700,) * 2)
    assert str(lock) in _found(run)["git-lock-left"]["what"]
    _found(run, "--repair")
    assert lock.exists()  # nobody knows whose it is


def test_a_stale_index_is_made_again(registry: Path, run: Run, data: Data) -> None:
    data("list")
    data("base", "add", "other", data("base", "show", "pico")["directory"])
    assert _found(run)["index-stale"]["severity"] == "note"
    assert "index-stale" not in _found(run, "--repair")


def test_what_is_damaged_or_differs(registry: Path, run: Run) -> None:
    file = next((registry / "patches").rglob("record.json"))
    file.write_text("{}")
    found = _found(run, status=5)["registry-damaged"]
    assert "record.json in the work tree is not what was committed" in found["what"]
    subprocess.run(["git", "checkout", "--", "patches"], cwd=registry, check=True)
    foreign = file.with_name("notes.txt")
    foreign.touch()
    assert f"rm {foreign}" in _found(run)["file-foreign"]["fix"]
    foreign.unlink()
    assert _found(run) == {}
    file.write_text("{}")
    user = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    command = ["git", *user, "commit", "-qam", "by hand"]
    subprocess.run(command, cwd=registry, check=True)
    assert _found(run, status=5)["registry-damaged"]["fix"] == "patchhub verify"


def test_model_directories(registry: Path, model: Path, run: Run, data: Data) -> None:
    data("revert", "born", "--stack", "prod")
    behind = _found(run)["model-behind"]
    assert behind["fix"] == f"patchhub apply --stack prod --model {model}"
    data("apply", "--stack", "prod", "--model", model)
    assert _found(run) == {}
    (model / "foreign.txt").write_text("x")
    drifted = _found(run, status=5)["model-drifted"]
    assert "foreign.txt" in drifted["what"]
    (model / "foreign.txt").unlink()
    shutil.rmtree(model.with_name("model.patchhub"))
    model.unlink()
    assert _found(run)["model-gone"]["severity"] == "note"
    (note,) = (registry / ".patchhub/models").iterdir()
    os.utime(note)
    assert "model-gone" in _found(run, "--repair")  # a command may be about to make it
    os.utime(note, (0, 0))
    assert _found(run, "--repair") == {}


def test_a_base_that_was_written_into_through_a_link(
    registry: Path, model: Path, tmp_path: Path, run: Run, data: Data
) -> None:
    data("revert", "born", "--stack", "prod", "--model", model)
    linked = next(model.glob("*.safetensors"))
    tensors = load_file(linked)
    tensors["transformer.wpe.weight"][0, 0] += 1
    save_file(tensors, tmp_path / "new", metadata={"format": "pt"})
    linked.write_bytes((tmp_path / "new").read_bytes())  # the same file as the base's
    found = _found(run, status=5)
    assert f"its files are hard links in {model}, too" in found["base-changed"]["what"]
    assert "model-drifted" in found
    shutil.rmtree(tmp_path / "own")
    assert _found(run, status=5)["base-gone"]["severity"] == "warning"


def test_settings_that_cannot_be_read(registry: Path, run: Run) -> None:
    (registry / "patchhub.toml").write_text("schema = 99\n")
    assert "settings-damaged" in _found(run, status=5)


def test_a_registry_of_somebody_else_and_a_missing_git(
    registry: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = registry.parent / "bin/git"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\ncase "$*" in *version*) echo git version 2.40.0;; *config*) exit 1;;'
        ' *) echo "fatal: detected dubious ownership" >&2; exit 128;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    found = _found(run, status=5)
    assert f"safe.directory {registry}" in found["git-ownership"]["fix"]
    monkeypatch.setenv("PATH", str(registry.parent))
    assert "git-missing" in _found(run, status=5)


def test_libraries_are_known_without_importing_them(registry: Path) -> None:
    code = """
import sys
from patchhub_registry.operations.health.environment import libraries
print([each.name for each in libraries()], "torch" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[] False\n"


def test_an_old_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    from patchhub_registry.operations.health.environment import libraries

    def version(name: str) -> str:
        if name == "torch":
            return "2.8.1+cpu"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    found = {each.what for each in libraries()}
    assert "torch 2.8.1+cpu is installed, 2.9 or newer is needed" in found
    assert "click is not installed" in found


def test_python_has_it_too(registry: Path) -> None:
    with Registry.open() as book:
        assert book.doctor().healthy
