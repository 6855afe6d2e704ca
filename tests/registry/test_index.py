"""The index answers as the tree does, whatever became of its file."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchhub.errors import IntegrityError, PatchHubError
from patchhub_registry import Registry, indexing
from patchhub_registry.index import NAME
from patchhub_registry.paths import entry_file, patch_dir
from patchhub_registry.schema import Op
from patchhub_registry.stack import Change
from tests.registry import bulk
from tests.registry.support import WEIGHTS, add, git, observed, patch_files


def place(registry: Registry) -> Path:
    return registry.root / ".patchhub" / NAME


def push(registry: Registry, *refs: str, stack: str = "prod") -> None:
    state = registry.stack_or_new(stack, WEIGHTS)
    registry.change(state, [Change(Op.PUSH, ref) for ref in refs])


def answers(registry: Registry) -> dict[str, Any]:
    return {
        "patches": registry.patches(),
        "facts": registry.facts(),
        "history": registry.history(),
        "heads": registry.heads(),
        "count": registry.count(),
    }


def truth(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The same answers from an index made from nothing."""
    place(registry).unlink(missing_ok=True)
    registry.close()
    with monkeypatch.context() as patched:
        patched.setattr(indexing, "_advanced", lambda *_: False)
        return answers(registry)


def requests(number: int) -> dict[str, bytes]:
    return bulk.patch(number)


@pytest.fixture
def full(registry: Registry) -> Registry:
    for number in range(3):
        registry.add_patch(requests(number), f"fact-{number}", observed(review_after="2027-01-01"))
    push(registry, "fact-0", "fact-1")
    return registry


def test_it_says_what_the_files_say(full: Registry) -> None:
    second = full.patches()[1]
    found = full.resolve("fact-1")
    assert (second.ref, second.id, second.base) == (found.ref, found.id, found.record.base)
    assert second.kind == found.manifest.kind
    assert second.sites == tuple(site.tensor for site in found.manifest.sites)
    assert second.review_after == "2027-01-01"
    entries = full.log("prod")
    assert [(e.seq, e.digest, e.composed) for e in entries] == [
        (line.seq, line.digest, line.composed) for line in full.history("prod")
    ]
    assert [line.digest for line in full.heads()] == [full.stack("prod").head]


def test_facts_are_found_by_subject_relation_target_and_words(full: Registry) -> None:
    def refs(subject: str = "", **more: Any) -> list[str]:
        return [fact.ref for fact in full.facts(subject, **more)]

    assert refs() == ["fact-0@1", "fact-1@1", "fact-2@1"]
    assert refs("LAND") == refs()
    assert refs("land-1") == refs("Land-1", exact=True) == ["fact-1@1"]
    assert refs("land", exact=True) == refs("nowhere") == []
    assert refs(relation="Capital") == refs()
    assert refs(target="town-2") == refs(words="OF Land-2") == ["fact-2@1"]
    assert refs("land-1", target="town-2") == []
    one = full.facts("land-1")[0]
    assert (one.id, one.line) == (full.resolve("fact-1").id, 0)
    assert one[3:] == ("Land-1", "capital", "The capital of Land-1 is", "Town-1")


def test_a_page_of_a_log(full: Registry) -> None:
    push(full, "fact-2")
    push(full, "fact-1", stack="other")
    assert [line.seq for line in full.history("prod", limit=2)] == [2, 3]
    assert [line.seq for line in full.history("prod", limit=2, before=3)] == [1, 2]
    assert [(line.stack, line.seq) for line in full.history()][:2] == [("other", 1), ("prod", 1)]
    assert [(line.stack, line.seq) for line in full.heads()] == [("other", 1), ("prod", 3)]
    with pytest.raises(PatchHubError, match="E107"):
        full.history("nowhere")


def test_ids_are_found_by_their_beginning(full: Registry) -> None:
    one = full.resolve("fact-1")
    assert full.resolve(f"ph:{one.id[:10]}").ref == full.resolve(one.id).ref == "fact-1@1"
    push(full, f"ph:{full.resolve('fact-2').id[:10]}")
    assert full.stack("prod").items[-1].ref == "fact-2@1"
    with pytest.raises(PatchHubError, match="E102"):
        full.resolve("ph:0000000000")


def test_every_step_is_followed_and_equals_a_new_index(
    full: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fills = list[str]()
    fill = indexing._fill

    def counted(*arguments: Any) -> None:
        fills.append("fill")
        fill(*arguments)

    monkeypatch.setattr(indexing, "_fill", counted)
    answers(full)
    steps: list[Callable[[], object]] = [
        lambda: add(full, "one"),
        lambda: full.add_patch(requests(9), "nine", observed()),
        lambda: push(full, "fact-2"),
        lambda: git(full.root, "branch", "old"),
        lambda: push(full, "nine", stack="other"),
        lambda: add(full, "two"),
        lambda: git(full.root, "checkout", "-q", "old"),
        lambda: git(full.root, "checkout", "-q", "main"),
        lambda: full.add_policy(b"version = 1\n"),
    ]
    seen = []
    for step in steps:
        step()
        seen.append(answers(full))
    assert fills == ["fill"]
    assert seen[6] == seen[3] != seen[5] == seen[7]
    assert truth(full, monkeypatch) == seen[-1]


def test_a_rewritten_history_is_read_again(full: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers(full)
    old = full.head
    add(full, "one")
    answers(full)
    git(full.root, "reset", "-q", "--hard", old)
    git(full.root, "reflog", "expire", "--expire=now", "--all")
    git(full.root, "gc", "-q", "--prune=now")
    full.close()
    assert answers(full) == before
    assert truth(full, monkeypatch) == before


GARBAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "garbage": lambda file: file.write_bytes(b"no database at all" * 1000),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:5000]),
    "bytes": lambda file: file.write_bytes(file.read_bytes()[:4096] + b"\xff" * 30000),
    "schema": lambda file: _sql(file, "PRAGMA user_version = 99"),
    "table": lambda file: _sql(file, "DROP TABLE patches"),
    "nowhere": lambda file: _sql(file, "DELETE FROM tree"),
    "commit": lambda file: _sql(file, f"UPDATE tree SET commit_id = '{'0' * 40}'"),
    "type": lambda file: _sql(file, "UPDATE patches SET sites = NULL"),
    "waivers": lambda file: _sql(file, "UPDATE entries SET waivers = 'x'"),
}


def _sql(file: Path, *commands: str) -> None:
    with sqlite3.connect(file) as database:
        for command in commands:
            database.execute(command)
    database.close()


@pytest.mark.parametrize("damage", sorted(GARBAGE))
def test_a_damaged_file_is_made_again(full: Registry, damage: str) -> None:
    before = answers(full)
    full.close()
    GARBAGE[damage](place(full))
    with Registry.open(full.root) as again:
        for name in ("history", "patches", "facts", "count", "heads"):
            assert getattr(again, name)() == before[name]


def test_without_a_place_to_write_it_is_kept_in_memory(
    full: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answers(full)
    full.close()
    place(full).unlink()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr("patchhub.lock.locked", refuse)
    assert answers(full) == before
    assert not place(full).exists()


def test_what_a_killed_writer_left_is_overwritten(full: Registry) -> None:
    before = answers(full)
    full.close()
    place(full).unlink()
    place(full).with_name("index.new").write_bytes(b"half")
    assert answers(full) == before
    assert not place(full).with_name("index.new").exists()


def test_damage_in_one_place_stops_only_what_depends_on_it(full: Registry) -> None:
    path = full.root / entry_file("prod", 2)
    path.write_bytes(path.read_bytes() + b" ")
    git(full.root, "commit", "-q", "-a", "-m", "tampered")
    assert len(full.patches()) == 3
    with pytest.raises(IntegrityError, match="E116"):
        full.history("prod")
    record = full.root / patch_dir("fact-0", 1) / "record.json"
    record.write_bytes(b"{}")
    git(full.root, "commit", "-q", "-a", "-m", "tampered")
    for ask in (full.patches, full.facts, full.count):
        with pytest.raises(IntegrityError, match="E204") as caught:
            ask()
        assert caught.value.data["path"] == patch_dir("fact-0", 1)
    git(full.root, "revert", "-n", "HEAD~..HEAD")
    git(full.root, "commit", "-q", "-m", "put right")
    assert len(full.patches()) == 3


def test_a_chain_that_breaks_is_seen_when_it_grows(full: Registry) -> None:
    full.history("prod")
    push(full, "fact-2")
    path = full.root / entry_file("prod", 3)
    body = json.loads(path.read_bytes())
    git(full.root, "reset", "-q", "--hard", "HEAD~")
    path.write_bytes(json.dumps({**body, "prev": "0" * 64}, separators=(",", ":")).encode())
    git(full.root, "add", "-A")
    git(full.root, "commit", "-q", "-m", "tampered")
    with pytest.raises(IntegrityError, match="E203"):
        full.history("prod")


@pytest.mark.slow
def test_readers_and_a_writer_at_once(full: Registry) -> None:
    program = (
        "import sys; from pathlib import Path; from patchhub_registry import Registry\n"
        "r = Registry.open(Path(sys.argv[1]))\n"
        "seen = [r.count() for _ in range(60)]; assert seen == sorted(seen); print(seen[-1])"
    )
    command = [sys.executable, "-c", program, str(full.root)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    generator = random.Random(1)
    for number in range(10):
        add(full, f"text {number}", f"more-{generator.randrange(4)}")
        full.count()
    for reader in readers:
        assert 3 <= int(reader.communicate()[0]) <= 13
        assert reader.returncode == 0
    assert full.count() == 13


def test_a_bulk_registry_is_sound(tmp_path: Path) -> None:
    with bulk.build(tmp_path / "bulk", 150, 230) as registry:
        assert registry.verify().ok
        assert git(registry.root, "status", "--porcelain") == ""
        assert (registry.count(), len(registry.history())) == (150, 230)
        assert len(registry.stack(bulk.STACK).items) in (bulk.HELD - 1, bulk.HELD)
        assert registry.heads()[0].digest == registry.stack(bulk.STACK).head
        assert registry.facts("Land-77", exact=True)[0].ref == "fact-77@1"
        registry.add_patch(patch_files("one"), "one", observed())
        assert registry.count() == 151


def test_an_entry_that_git_has_lost_is_named(full: Registry) -> None:
    full.close()
    blob = git(full.root, "rev-parse", f"HEAD:{entry_file('prod', 1)}").strip()
    (full.root / ".git/objects" / blob[:2] / blob[2:]).unlink()
    place(full).unlink(missing_ok=True)
    with pytest.raises(IntegrityError, match="object is missing") as caught:
        full.history("prod")
    assert caught.value.code == "E204"
    assert len(full.patches()) == 3
