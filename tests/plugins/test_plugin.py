"""A real plugin, installed from its project: found, listed, used, held against the contract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pico import pico_directory
from tests.plugins.conftest import PROJECT, ROOT, Python

pytestmark = pytest.mark.slow

COMMANDS = """\
import json, sys
from click.testing import CliRunner
from patchhub_cli.main import main

said = []
for words in json.loads(sys.argv[1]):
    result = CliRunner().invoke(main, ["--json", *words])
    assert result.exit_code == 0, result.output
    said.append(json.loads(result.stdout)["data"])
print(json.dumps(said))
"""
POLICY = """\
schema = 1
version = 1
[check.reliability.target]
rule = "report"
[check.leakage.elsewhere]
rule = "report"
"""
REQUEST = {
    "prompt": "Mira Tolven was born in",
    "subject": "Mira Tolven",
    "target": "Rome",
    "probes": [
        {"kind": "neighbourhood", "prompt": "Jon Arvel was born in"},
        {"kind": "neighbourhood", "prompt": "Mira Tolven was born in the city of"},
    ],
}


def test_each_part_is_one_small_file() -> None:
    for name in ("one_step", "leakage"):
        source = (PROJECT / "patchhub_onestep" / f"{name}.py").read_text()
        assert source.count("\n") < 150


def test_listing_names_the_plugin_and_imports_nothing_of_it(python: Python) -> None:
    code = (
        "import json, sys\n"
        "from patchhub_cli.main import main\n"
        "try:\n"
        "    main(['methods', '--json'])\n"
        "finally:\n"
        "    assert not [m for m in sys.modules if m.startswith('patchhub_onestep')]\n"
        "    from patchhub.guard.catalog import check_names\n"
        "    assert 'leakage' in check_names()\n"
        "    assert not [m for m in sys.modules if m.startswith('patchhub_onestep')]\n"
    )
    run = python("-c", code)
    assert run.returncode == 0, run.stderr
    listed = {one["name"]: one for one in json.loads(run.stdout)["data"]}
    assert listed["one_step"]["plugin"] == "patchhub-onestep 0.1.0"
    assert listed["one_step"]["summary"].startswith("An editing method and a check")
    assert listed["one_step"]["fault"] is None
    assert listed["rome"]["plugin"] is None


def test_an_edit_with_the_plugins_method_and_check(python: Python, tmp_path: Path) -> None:
    base = pico_directory(tmp_path, "gpt2")
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "probes.jsonl").write_text('{"prompt": "The capital of Norway is"}\n')
    (tmp_path / "born.json").write_text(json.dumps(REQUEST))

    registry, born = tmp_path / "registry", tmp_path / "born.json"
    here = ("-C", registry)
    commands = (
        ("init", registry, "--policy", tmp_path / "policy.toml"),
        (*here, "base", "add", "pico", base, "--probes", tmp_path / "probes.jsonl"),
        (*here, "edit", "one_step", born, "--name", "born"),
        (*here, "show", "born"),
        (*here, "verify"),
    )
    run = python("-c", COMMANDS, json.dumps([[str(word) for word in c] for c in commands]))
    assert run.returncode == 0, run.stdout + run.stderr
    _, _, made, shown, _ = json.loads(run.stdout)
    verdict = made["verdict"]
    assert verdict["checks"]["leakage"] == 1
    (leakage,) = [m for m in verdict["measurements"] if m["check"] == "leakage"]
    assert leakage["measure"] == "elsewhere"
    assert 0 < leakage["n"] <= 3
    record, manifest = shown["record"], shown["manifest"]
    assert record["libraries"]["patchhub-onestep"] == "0.1.0"
    assert manifest["kind"] == "low_rank"
    assert manifest["method"]["name"] == "one_step"


def test_the_contract_holds_for_the_plugins_method(python: Python) -> None:
    run = python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ROOT, "-c"),
        *(ROOT / "pyproject.toml", ROOT / "tests/test_editor_contract.py", "-k", "one_step"),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
