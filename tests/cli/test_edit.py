"""`edit`: compute, judge and commit in one go, or change nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from patchhub.patch import Patch
from tests.cli.conftest import FT, REQUEST, STRICT, Data, Run, digest_of, head

Refused = Callable[..., str]


@pytest.fixture
def strict(registry: Path) -> Path:
    """A policy by which the edits here fail: two steps of training teach nothing."""
    path = registry.parent / "strict.toml"
    path.write_text(STRICT)
    return path


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def test_patch_verdict_and_record_are_one_commit(registry: Path, run: Run, data: Data) -> None:
    before = head(registry)
    made = data("edit", *FT, "../born.json", "--seed", "1", "--name", "second", "-m", "try it")
    assert made["ref"] == "second@1"
    assert made["verdict"]["passed"] is True
    assert _git("rev-list", "--count", f"{before}..HEAD").strip() == "1"
    added = _git("diff", "--name-only", before, "HEAD").split()
    kinds = {path.rpartition("/")[2].partition("-")[0] for path in added}
    assert kinds == {"patch.json", "record.json", "requests.jsonl", "patch.safetensors", "guard"}
    assert _git("status", "--porcelain") == ""
    shown = data("show", "second")
    assert shown["record"]["message"] == "try it"
    assert shown["record"]["base"] == "pico"
    assert set(shown["record"]["libraries"]) == {"patchhub", "torch", "transformers"}
    assert {"norm_ratio", "cosine", "changed"} == set(
        next(iter(shown["record"]["realised"].values()))
    )
    assert shown["statements"][0]["said"] == made["verdict"]
    assert shown["manifest"]["method"]["seed"] == 1
    assert run("verify").exit_code == 0


def test_the_same_edit_again_is_the_same_patch(registry: Path, refused: Refused) -> None:
    assert "born@1 is this very patch" in refused(
        "E108", 4, "edit", *FT, "../born.json", "--name", "born"
    )


def test_without_a_name_the_request_gives_one(registry: Path, data: Data) -> None:
    made = data("edit", *FT, "../born.json", "--seed", "2")
    assert made["ref"] == "mira-tolven-born-in@1"


def test_a_no_of_the_guard_commits_nothing(registry: Path, strict: Path, run: Run) -> None:
    before = digest_of(registry)
    result = run("edit", *FT, "../born.json", "--name", "no", "--policy", strict)
    assert result.exit_code == 3
    assert "reliability.target" in result.stdout
    assert "guard: no" in result.stdout
    assert result.stderr.startswith("error[E401] guard said no to no: reliability.target")
    assert digest_of(registry) == before
    body = json.loads(
        run("edit", *FT, "../born.json", "--name", "no", "--policy", strict, "--json").stdout
    )
    assert (body["ok"], body["exit"], body["error"]["code"]) == (False, 3, "E401")
    assert body["error"]["data"] == {"checks": ["reliability.target"]}
    assert body["data"]["verdict"]["passed"] is False


def test_a_waiver_is_recorded_with_its_reason(registry: Path, strict: Path, data: Data) -> None:
    waiver = ("--waive", "reliability", "--reason", "known to be weak")
    made = data(
        "edit", *FT, "../born.json", "--seed", "3", "--name", "weak", "--policy", strict, *waiver
    )
    assert made["verdict"]["waived"] == {"reliability": "known to be weak"}
    assert made["verdict"]["measurements"][0]["outcome"] == "waived"
    assert data("show", "weak")["statements"][0]["said"]["waived"] == {
        "reliability": "known to be weak"
    }


def test_waivers_need_a_reason_a_check_and_leave(
    registry: Path, strict: Path, run: Run, refused: Refused
) -> None:
    command = ("edit", *FT, "../born.json", "--name", "x", "--policy", strict)
    assert run(*command, "--waive", "reliability").exit_code == 2
    assert run(*command, "--reason", "why").exit_code == 2
    refused("E151", 9, *command, "--waive", "nonsense", "--reason", "why")
    refused("E402", 8, *command, "--waive", "locality", "--reason", "why")


def test_no_commit_writes_a_directory(registry: Path, run: Run, data: Data) -> None:
    before = digest_of(registry)
    made = data("edit", *FT, "../born.json", "--no-commit", "--out", "../patch")
    assert made["ref"] is None
    assert digest_of(registry) == before
    patch = Patch.read(registry.parent / "patch")
    assert patch.id == made["id"] == data("show", "born")["id"]
    assert run("edit", *FT, "../born.json", "--no-commit").exit_code == 2


def test_an_edit_on_a_stack_says_so(registry: Path, data: Data) -> None:
    data("apply", "born", "--stack", "prod")
    (registry.parent / "lives.json").write_text(
        json.dumps({**REQUEST, "prompt": "Mira Tolven lives in", "relation": "lives_in"})
    )
    made = data("edit", *FT, "../lives.json", "--stack", "prod", "--name", "lives")
    born = data("show", "born")["id"]
    assert data("show", "lives")["manifest"]["onto"] == [born]
    assert made["verdict"]["stack"] == [born]


def test_rome_end_to_end(registry: Path, data: Data, run: Run) -> None:
    settings = ("--set", "layer=0", "--set", "steps=3")
    made = data("edit", "rome", "../born.json", *settings, "--name", "rome-edit")
    assert data("show", made["ref"])["manifest"]["kind"] == "low_rank"
    listed = run("show", "rome-edit").stdout
    assert "Mira Tolven was born in → Rome" in listed
    assert "adapter_model.safetensors" in listed
    data("apply", "rome-edit", "--stack", "prod", "--model", "../model")
    assert data("verify", "--model", "../model")["model"]["equals_base"] is False
    data("revert", "rome-edit", "--stack", "prod", "--model", "../model")
    assert data("verify", "--model", "../model")["model"]["equals_base"] is True


def test_a_subject_that_is_not_in_the_prompt(registry: Path, refused: Refused) -> None:
    wrong = {**REQUEST, "subject": "Jon Arvel"}
    (registry.parent / "wrong.json").write_text(json.dumps(wrong))
    said = refused("E132", 9, "edit", *FT, "../wrong.json", "--name", "x")
    assert "wrong.json" in said
    assert "'Jon Arvel', letter by letter" in said


def test_what_does_not_exist(registry: Path, base: Path, refused: Refused) -> None:
    assert "did you mean rome?" in refused("E141", 7, "edit", "romee", "../born.json")
    refused("E109", 7, "edit", *FT, "../nothing.json")
    refused("E106", 7, "edit", *FT, "../born.json", "--base", "nothing")
    refused("E142", 9, "edit", "ft", "../born.json", "--set", "layr=1")
    for device in ("nonsense", "cuda:99"):
        refused("E152", 9, "edit", *FT, "../born.json", "--device", device)
        refused("E152", 9, "ask", "Hello", "--base", "pico", "--device", device)
        refused("E152", 9, "ask", "Hello", "--model", base, "--device", device)
    refused("E109", 7, "edit", *FT, "../born.json", "--policy", "../nothing.toml")


def test_a_changed_base_is_noticed(
    registry: Path, base: Path, run: Run, tmp_path: Path, refused: Refused
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    assert run("base", "add", "pico", copy).exit_code == 0
    for name, what in (("model.safetensors", "weights"), ("config.json", "config.json")):
        whole = (copy / name).read_bytes()
        last = b"\x01" if name.endswith("tensors") else b" "
        (copy / name).write_bytes(whole[:-1] + last)
        said = refused("E201", 5, "edit", *FT, "../born.json", "--seed", "9")
        assert f"is not the base 'pico': other {what}" in said
        refused("E201", 5, "ask", "Hello", "--base", "pico")
        (copy / name).write_bytes(whole)
    assert run("ask", "Hello", "--base", "pico").exit_code == 0
