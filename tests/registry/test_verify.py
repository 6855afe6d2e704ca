"""Every kind of damage is found, by verify and by whoever reads the damaged thing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from patchhub.canonical import dumps, sha256
from patchhub.errors import IntegrityError, PatchHubError
from patchhub_registry import Registry
from patchhub_registry.paths import base_file, entry_file, patch_dir, statement_file
from patchhub_registry.schema import Op
from patchhub_registry.stack import Change
from tests.registry.support import (
    BASE,
    WEIGHTS,
    add,
    copied,
    git,
    isolate,
    observed,
    patch_files,
    verdict,
)

HERE = patch_dir("demo", 1)
GUARDED = sha256(patch_files("one")["patch.json"])
STATEMENT = statement_file(GUARDED, "guard", verdict(GUARDED).digest)


@pytest.fixture(scope="module")
def filled(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patches, a stack of three entries, a verdict, a policy."""
    said = verdict(GUARDED)
    with (
        pytest.MonkeyPatch.context() as patched,
        copied(template, tmp_path_factory.mktemp("filled") / "registry") as registry,
    ):
        isolate(patched)
        registry.add_patch(patch_files("one"), "demo", observed(), [said])
        add(registry, "two", "other")
        registry.add_policy(b"version = 1\n")
        changes = [
            Change(Op.PUSH, "demo", guard=said.digest),
            Change(Op.PUSH, "other"),
            Change(Op.REVERT, "demo"),
        ]
        registry.change(registry.stack_or_new("prod", WEIGHTS), changes)
        assert registry.verify().ok
        return registry.root


@pytest.fixture
def full(filled: Path, tmp_path: Path) -> Iterator[Registry]:
    with copied(filled, tmp_path / "registry") as made:
        yield made


def commit(registry: Registry) -> None:
    git(registry.root, "add", "-A")
    git(registry.root, "commit", "-q", "-m", "tampered")


def codes(registry: Registry, **options: bool) -> dict[str, str]:
    """Code of the first finding per path."""
    report = registry.audit(**{"history": False, "objects": False} | options)
    return {finding.path: finding.code for finding in reversed(report.findings)}


def rewrite(root: Path, path: str, **changes: Any) -> None:
    body = json.loads((root / path).read_bytes())
    (root / path).write_bytes(dumps({**body, **changes}))


def append(data: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(file.read_bytes() + data)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


TAMPERED = [
    ("payload", f"{HERE}/patch.safetensors", flip, HERE, "E202"),
    ("requests", f"{HERE}/requests.jsonl", append(b"\n"), HERE, "E202"),
    ("cut", f"{HERE}/patch.safetensors", lambda f: f.write_bytes(b""), HERE, "E202"),
    ("gone", f"{HERE}/requests.jsonl", Path.unlink, HERE, "E117"),
    ("manifest", f"{HERE}/patch.json", append(b"\n"), HERE, "E116"),
    ("no manifest", f"{HERE}/patch.json", Path.unlink, HERE, "E117"),
    ("record", f"{HERE}/record.json", append(b" "), HERE, "E116"),
    ("no record", f"{HERE}/record.json", Path.unlink, HERE, "E117"),
    ("base", base_file(BASE), append(b" "), base_file(BASE), "E116"),
    ("no base", base_file(BASE), Path.unlink, HERE, "E201"),
    ("entry", entry_file("prod", 2), append(b" "), "stacks/prod", "E116"),
    ("no entry", entry_file("prod", 2), Path.unlink, "stacks/prod", "E203"),
    ("statement", STATEMENT, append(b" "), STATEMENT, "E202"),
    ("no statement", STATEMENT, Path.unlink, "stacks/prod", "E403"),
    ("policy", "policy/1.toml", append(b"="), "policy/1.toml", "E146"),
    ("settings", "patchhub.toml", append(b"x = 1\n"), "patchhub.toml", "E204"),
    ("no settings", "patchhub.toml", Path.unlink, "patchhub.toml", "E204"),
]


@pytest.mark.parametrize(
    ("path", "tamper", "where", "code"),
    [case[1:] for case in TAMPERED],
    ids=[c[0] for c in TAMPERED],
)
def test_a_tampered_file_is_found(
    full: Registry, path: str, tamper: Callable[[Path], object], where: str, code: str
) -> None:
    tamper(full.root / path)
    commit(full)
    assert codes(full)[where] == code
    with pytest.raises(IntegrityError):
        full.verify(objects=False).require()


@pytest.mark.parametrize(
    ("path", "changes", "where", "code"),
    [
        (f"{HERE}/record.json", {"patch": sha256(b"x")}, HERE, "E202"),
        (f"{HERE}/record.json", {"version": 2}, HERE, "E204"),
        (f"{HERE}/record.json", {"name": "other"}, HERE, "E204"),
        (f"{HERE}/record.json", {"base": "nowhere"}, HERE, "E201"),
        (f"{HERE}/record.json", {"colour": "red"}, HERE, "E113"),
        (f"{HERE}/record.json", {"schema": 2}, HERE, "E114"),
        (f"{HERE}/record.json", {"message": "another"}, "stacks/prod", "E203"),
        (f"{HERE}/patch.json", {"content": sha256(b"x")}, HERE, "E202"),
        (base_file(BASE), {"weights": sha256(b"x")}, base_file(BASE), "E202"),
        (base_file(BASE), {"name": "other"}, base_file(BASE), "E204"),
        (entry_file("prod", 1), {"prev": sha256(b"x")}, "stacks/prod", "E203"),
        (entry_file("prod", 1), {"reason": "another"}, "stacks/prod", "E203"),
        (entry_file("prod", 2), {"prev": sha256(b"x")}, "stacks/prod", "E203"),
        (entry_file("prod", 2), {"prev": None}, "stacks/prod", "E203"),
        (entry_file("prod", 3), {"composed": sha256(b"x")}, "stacks/prod", "E203"),
        (entry_file("prod", 3), {"op": "push"}, "stacks/prod", "E203"),
        (entry_file("prod", 3), {"seq": 4}, "stacks/prod", "E203"),
        (entry_file("prod", 3), {"stack": "other"}, "stacks/prod", "E203"),
        (entry_file("prod", 3), {"base": sha256(b"x")}, "stacks/prod", "E203"),
        (entry_file("prod", 3), {"record": sha256(b"x")}, "stacks/prod", "E203"),
        (entry_file("prod", 3), {"guard": sha256(b"x")}, "stacks/prod", "E403"),
        (entry_file("prod", 3), {"patch": {"ref": "demo@9", "id": GUARDED}}, "stacks/prod", "E203"),
    ],
)
def test_a_rewritten_field_is_found(
    full: Registry, path: str, changes: dict[str, Any], where: str, code: str
) -> None:
    rewrite(full.root, path, **changes)
    commit(full)
    assert codes(full)[where] == code


def test_a_verdict_moved_to_another_patch_is_found(full: Registry) -> None:
    other = full.resolve("other").id
    moved = full.root / statement_file(other, "guard", verdict(GUARDED).digest)
    moved.parent.mkdir(parents=True)
    moved.write_bytes(verdict(GUARDED).data)
    commit(full)
    assert list(codes(full).values()) == ["E403"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("patches/notes.txt", "E204"),
        (f"{HERE}/notes.txt", "E117"),
        (f"{HERE}/deeper/notes.txt", "E204"),
        ("patches/00/demo/1/patch.json", "E204"),
        ("patches/00/Demo/1/patch.json", "E101"),
        ("stacks/prod/notes.txt", "E204"),
        ("stacks/prod/001/001000.json", "E113"),
        ("bases/other/weights.bin", "E204"),
        ("bases/Other/base.json", "E101"),
        ("policy/last.toml", "E204"),
        (f"attestations/00/{GUARDED}/guard-{'0' * 16}.json", "E204"),
    ],
)
def test_a_foreign_file_is_found(full: Registry, path: str, code: str) -> None:
    file = full.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"{}")
    commit(full)
    assert code in codes(full).values()


def test_a_users_own_files_are_nobodys_business(full: Registry) -> None:
    (full.root / "README.md").write_text("ours")
    (full.root / "docs").mkdir()
    (full.root / "docs/notes.json").write_text("{ }")
    commit(full)
    assert full.verify().ok


def test_a_missing_version_is_found(registry: Registry) -> None:
    for text in ("one", "two", "three"):
        add(registry, text)
    git(registry.root, "rm", "-q", "-r", patch_dir("demo", 2))
    git(registry.root, "commit", "-q", "-m", "tampered")
    assert codes(registry) == {patch_dir("demo", 3): "E204"}


def test_links_and_executables_are_found(full: Registry) -> None:
    payload = full.root / f"{HERE}/patch.safetensors"
    payload.chmod(0o755)
    (full.root / "policy/2.toml").symlink_to("1.toml")
    commit(full)
    found = codes(full)
    assert found[f"{HERE}/patch.safetensors"] == "E204"
    assert found["policy/2.toml"] == "E204"


def test_history_shows_what_was_rewritten_and_put_right_again(full: Registry) -> None:
    record = full.root / f"{HERE}/record.json"
    old = record.read_bytes()
    record.write_bytes(old + b" ")
    commit(full)
    record.write_bytes(old)
    commit(full)
    assert codes(full) == {}
    assert codes(full, history=True) == {f"{HERE}/record.json": "E204"}


def test_an_edited_copy_in_the_work_tree_is_found(full: Registry) -> None:
    copy = full.root / f"{HERE}/patch.safetensors"
    times = copy.stat()
    flip(copy)
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    report = full.verify()
    assert [finding.code for finding in report.findings] == ["E202"]
    assert "git checkout" in report.findings[0].message
    assert full.read_patch_files("demo") == patch_files("one")


def loose(registry: Registry, path: str) -> Path:
    oid = git(registry.root, "rev-parse", f"HEAD:{path}").strip()
    file = registry.root / ".git/objects" / oid[:2] / oid[2:]
    file.chmod(0o644)
    return file


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda file: file.write_bytes(b"")])
def test_a_damaged_git_object_is_found(full: Registry, damage: Callable[[Path], object]) -> None:
    path = f"{HERE}/patch.safetensors"
    damage(loose(full, path))
    full.close()
    report = full.verify()
    assert not report.ok
    assert {finding.code for finding in report.findings} <= {"E202", "E204", "E117", "E203"}
    with pytest.raises(PatchHubError) as caught:
        full.read_patch_files("demo")
    assert caught.value.exit == 5
    assert full.read_patch_files("other") == patch_files("two")


def test_reading_a_tampered_thing_fails(full: Registry) -> None:
    flip(full.root / f"{HERE}/patch.safetensors")
    rewrite(full.root, entry_file("prod", 2), reason="another")
    rewrite(full.root, f"{patch_dir('other', 1)}/patch.json", content=sha256(b"x"))
    commit(full)
    for read, code in (
        (lambda: full.read_patch_files("demo"), "E202"),
        (lambda: full.resolve("other"), "E202"),
        (lambda: full.stack("prod"), "E203"),
        (lambda: full.log("prod"), "E203"),
    ):
        with pytest.raises(IntegrityError, match=code) as caught:
            read()
        assert caught.value.exit == 5


def test_a_report_counts_what_it_saw(full: Registry) -> None:
    report = full.verify()
    counts = {"base": 1, "patch": 2, "entry": 3, "statement": 1, "policy": 1, "asset": 0}
    assert report.counts == counts
    assert report.commit == full.head
    report.require()
