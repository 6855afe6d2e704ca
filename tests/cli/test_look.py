"""The commands that only look: what they print, and that they need neither torch nor a model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Data, Run

# What an envelope may hold that differs from run to run or from machine to machine.
_CHANGING = re.compile(r"[0-9a-f]{40,64}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|/[^\"]*/|ph:[0-9a-f]{12}")


def _stable(text: str) -> str:
    return _CHANGING.sub("*", text)


def test_list(registry: Path, run: Run, data: Data) -> None:
    (patch,) = data("list")
    assert (patch["ref"], patch["kind"], patch["method"]) == ("born@1", "dense", "ft")
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["patch", "id", "kind", "method", "base", "created", "message"]
    assert lines[2].split()[:5] == ["born@1", f"ph:{patch['id'][:12]}", "dense", "ft", "pico"]


def test_envelopes_are_stable(registry: Path, run: Run, data: Data) -> None:
    data("apply", "born", "--stack", "prod")
    assert _stable(run("--json", "status").stdout) == (
        '{"schema": "patchhub.out/1", "command": "status", "ok": true, "exit": 0, "error": null, '
        '"data": {"root": "*registry", "head": "*", "bases": [{"name": "pico", "weights": "*", '
        '"config": "*", "tokenizer": {"tokenizer.json": "*", "tokenizer_config.json": "*"}, '
        '"tensors": 28, "notes": {"model_type": "gpt2"}, "directory": "*gpt2-float32-1-0", '
        '"linked": "*gpt2-float32-1-0"}], '
        '"patches": 1, "stacks": [{"name": "prod", "seq": 1, "base": "*", "identity": "*", '
        '"patches": [{"ref": "born@1", "id": "*"}]}], "reviews": [], "model": null}, '
        '"warnings": []}\n'
    )
    assert _stable(run("log", "--json").stdout) == (
        '{"schema": "patchhub.out/1", "command": "log", "ok": true, "exit": 0, "error": null, '
        '"data": [{"stack": "prod", "seq": 1, "op": "push", "ref": "born@1", "id": "*", '
        '"composed": "*", "reason": "fact-update", "policy": "*", "guard": "*", "waivers": {}, '
        '"digest": "*"}], "warnings": []}\n'
    )
    assert _stable(run("--json", "base", "show", "nope").stdout) == (
        '{"schema": "patchhub.out/1", "command": "base show", "ok": false, "exit": 7, '
        '"error": {"code": "E106", "message": "no base \\"nope\\"", "expected": null, '
        '"found": null, "hint": "add it with \\"patchhub base add\\"", "data": {}}, '
        '"data": null, "warnings": []}\n'
    )


def test_status_and_log_for_people(registry: Path, run: Run, data: Data) -> None:
    data("apply", "born", "--stack", "prod")
    said = run("status").stdout
    assert re.search(r"^stack +prod@1 on pico: born@1  \(model [0-9a-f]{12}\)$", said, re.M)
    assert re.search(r"^prod@1 +push +born@1 ", run("log", "prod").stdout, re.M)


def test_show_finds_a_patch_by_name_version_and_id(registry: Path, data: Data) -> None:
    found = data("show", "born")
    assert data("show", "born@1") == found
    assert data("show", f"ph:{found['id'][:8]}") == found
    assert data("show", found["id"]) == found


def test_base_list_and_show(registry: Path, base: Path, run: Run, data: Data) -> None:
    (listed,) = data("base", "list")
    assert listed == data("base", "show", "pico")
    assert listed["directory"] == str(base)
    assert "model_type" in run("base", "show", "pico").stdout


def test_a_base_may_lie_somewhere_else(
    registry: Path, base: Path, tmp_path: Path, data: Data
) -> None:
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(base, moved)
    before = data("status")["head"]
    data("base", "add", "pico", moved)
    assert data("base", "show", "pico")["directory"] == str(moved)
    assert data("status")["head"] == before


def test_from_any_folder_and_by_option(
    registry: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = registry / "stacks-of-paper"
    inside.mkdir()
    assert run("-C", inside, "list").exit_code == 0
    monkeypatch.chdir(tmp_path)
    result = run("list")
    assert result.exit_code == 7
    assert 'run "patchhub init"' in result.stderr
    assert run("--registry", registry, "list").exit_code == 0
    assert run("list", "--registry", registry).exit_code == 0
    monkeypatch.setenv("PATCHHUB_REGISTRY", str(registry))
    assert run("list").exit_code == 0


def test_methods_are_the_catalog_s(run: Run, data: Data) -> None:
    from patchhub.editing.catalog import editor_names

    found = data("methods")
    assert [method["name"] for method in found] == list(editor_names())
    assert all(method["reference"] and method["summary"] for method in found)
    assert "arXiv" in run("methods").stdout
    one = data("methods", "rome")
    assert one["settings"]["lr"] == {"default": "0.5", "type": "float"}
    assert "weight_decay" in run("methods", "rome").stdout
    missing = run("methods", "romme")
    assert (missing.exit_code, "did you mean rome?" in missing.stderr) == (7, True)


def test_init_refuses_what_is_taken(registry: Path, run: Run, tmp_path: Path) -> None:
    assert run("init", registry).exit_code == 4
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    assert run("init", full).exit_code == 4
    bad = tmp_path / "bad.toml"
    bad.write_text("schema = 1\nversion = 1\n[check.nonsense]\nrule = 1\n")
    result = run("init", tmp_path / "new", "--policy", bad)
    assert result.exit_code == 9
    assert "E146" in result.stderr
    assert not (tmp_path / "new").exists()


_PROBE = """
import json, sys
from patchhub_cli.main import main
status = main.main(json.loads(sys.argv[1]), standalone_mode=False)
heavy = {"torch", "transformers", "peft", "numpy", "pydantic", "git", "rich", "safetensors"}
print(json.dumps([status, sorted(heavy & set(sys.modules))]))
"""


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["edit", "--help"],
        ["list"],
        ["log"],
        ["status"],
        ["show", "born"],
        ["base", "list"],
        ["base", "link", "pico", "BASE"],
        ["plan", "born", "--stack", "prod", "--model", "../model"],
        ["find", "tolven"],
        ["diff", "--stat", "pico", "born"],
        ["identify", "BASE"],
        ["identify", "../model"],
        ["doctor"],
        ["apply", "born", "--stack", "prod"],
        ["verify"],
        ["status", "--model", "../model"],
    ],
    ids=" ".join,
)
def test_looking_imports_nothing_heavy(
    command: list[str], registry: Path, base: Path, run: Run
) -> None:
    if "../model" in command:
        assert run("apply", "born", "--stack", "made", "--model", "../model").exit_code == 0
    command = [str(base) if word == "BASE" else word for word in command]
    result = subprocess.run(
        [sys.executable, "-c", _PROBE, json.dumps(command)], capture_output=True, text=True
    )
    assert result.stderr == ""
    assert json.loads(result.stdout.splitlines()[-1]) == [0, []]


def test_the_installed_program_runs(registry: Path) -> None:
    program = Path(sys.executable).with_name("patchhub")
    result = subprocess.run([program, "list", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["data"][0]["ref"] == "born@1"
    assert result.stderr == ""
    result = subprocess.run([program, "show", "nope"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (7, "")
    assert result.stderr.startswith("error[E102]")
