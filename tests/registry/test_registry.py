from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patchhub.canonical import sha256
from patchhub.errors import PatchHubError
from patchhub_registry import Registry
from patchhub_registry.lock import locked
from patchhub_registry.patching import NewPatch
from patchhub_registry.schema import Statement
from tests.registry.support import (
    BASE,
    WEIGHTS,
    add,
    commits,
    fingerprint,
    git,
    new_registry,
    observed,
    patch_files,
    status,
    verdict,
)
from tests.registry.test_names import MALICIOUS


def code(caught: pytest.ExceptionInfo[PatchHubError]) -> tuple[str, int]:
    return caught.value.code, caught.value.exit


def test_init_makes_a_clean_repository(tmp_path: Path) -> None:
    with Registry.init(tmp_path / "a/b") as registry:
        assert registry.root == tmp_path / "a/b"
        assert commits(registry.root) == 1
        assert status(registry.root) == ""
        assert git(registry.root, "ls-files").split() == [
            ".gitattributes",
            ".gitignore",
            "patchhub.toml",
        ]
        assert registry.verify().ok
        assert (registry.bases(), registry.patches(), registry.stacks()) == ([], [], [])


def test_init_takes_an_empty_directory_or_repository(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "repository").mkdir()
    git(tmp_path / "repository", "init", "-q")
    for name in ("empty", "repository"):
        with Registry.init(tmp_path / name) as registry:
            assert registry.verify().ok


def test_init_refuses_what_is_taken(tmp_path: Path) -> None:
    new_registry(tmp_path / "registry").close()
    (tmp_path / "files").mkdir()
    (tmp_path / "files/notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    git(tmp_path, "init", "-q", "used")
    git(tmp_path / "used", "commit", "-q", "--allow-empty", "-m", "first")
    for name, expected in (
        ("registry", "E108"),
        ("files", "E308"),
        ("file", "E308"),
        ("used", "E308"),
    ):
        with pytest.raises(PatchHubError) as caught:
            Registry.init(tmp_path / name)
        assert code(caught) == (expected, 4)
    assert [file.name for file in (tmp_path / "files").iterdir()] == ["notes.txt"]
    assert commits(tmp_path / "used") == 1


def test_a_first_policy_is_there_from_the_first_commit(tmp_path: Path) -> None:
    with Registry.init(tmp_path / "registry", policy=b"version = 1\n") as registry:
        assert commits(registry.root) == 1
        assert (registry.policies(), registry.policy()) == ([1], b"version = 1\n")
        assert registry.verify().ok
        assert status(registry.root) == ""
    with pytest.raises(PatchHubError, match="E146"):
        Registry.init(tmp_path / "other", policy=b"version")
    assert not (tmp_path / "other").exists()


def test_open_searches_upward(registry: Registry, tmp_path: Path) -> None:
    add(registry, "one")
    inside = registry.root / registry.resolve("demo").path
    with Registry.open(inside) as found:
        assert found.root == registry.root
    with pytest.raises(PatchHubError) as caught:
        Registry.open(tmp_path)
    assert code(caught) == ("E105", 7)
    (registry.root / "patchhub.toml").write_text("format = 2\n")
    with pytest.raises(PatchHubError, match="E114"):
        Registry.open(registry.root)


def test_a_registry_without_git_is_not_taken_for_the_repository_around_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "outer")
    git(tmp_path / "outer", "commit", "-q", "--allow-empty", "-m", "first")
    with new_registry(tmp_path / "outer/inner") as registry:
        (registry.root / ".git").rename(tmp_path / "moved")
        registry.close()
        with pytest.raises(PatchHubError):
            add(registry, "one")
    assert commits(tmp_path / "outer") == 1


def test_bases(registry: Registry) -> None:
    before = registry.head
    assert registry.add_base(BASE, fingerprint()).name == BASE
    assert registry.head == before
    registry.add_base("other", fingerprint("other"), {"model_type": "gpt2"})
    assert [base.name for base in registry.bases()] == ["other", BASE]
    assert registry.base("other").notes == {"model_type": "gpt2"}
    assert registry.base_of(WEIGHTS).name == BASE
    with pytest.raises(PatchHubError) as taken:
        registry.add_base(BASE, fingerprint("third"))
    assert code(taken) == ("E108", 4)
    with pytest.raises(PatchHubError) as missing:
        registry.base("sandbx")
    assert code(missing) == ("E106", 7)
    assert missing.value.hint == 'did you mean "sandbox"?'


def test_where_a_base_lies_never_enters_git(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(PatchHubError) as unknown:
        registry.base_path(BASE)
    assert code(unknown) == ("E109", 7)
    model = tmp_path / "model"
    model.mkdir()
    registry.link_base(BASE, model)
    assert registry.base_path(BASE) == model
    assert status(registry.root) == ""
    with Registry.open(registry.root) as again:
        assert again.base_path(BASE) == model
    model.rmdir()
    with pytest.raises(PatchHubError, match="is gone"):
        registry.base_path(BASE)
    with pytest.raises(PatchHubError, match="E109"):
        registry.link_base(BASE, model)
    with pytest.raises(PatchHubError, match="E106"):
        registry.link_base("other", tmp_path)


def test_two_links_at_once_are_both_kept(registry: Registry, tmp_path: Path) -> None:
    with (
        Registry.open(registry.root, lock_timeout=0) as other,
        locked(registry.root / ".patchhub/lock", 0),
        pytest.raises(PatchHubError) as caught,
    ):
        other.link_base(BASE, tmp_path)
    assert code(caught) == ("E501", 6)
    registry.link_base(BASE, tmp_path)
    local = registry.root / ".patchhub/local.json"
    assert local.stat().st_mode == (registry.root / "patchhub.toml").stat().st_mode


def test_a_patch_comes_back_byte_for_byte(registry: Registry) -> None:
    files = patch_files("one")
    said = verdict(sha256(files["patch.json"]))
    made = registry.add_patch(
        files, "demo", observed(message="Zürich", sensitivity="public"), [said]
    )
    assert (made.ref, made.id) == ("demo@1", sha256(files["patch.json"]))
    assert registry.resolve("demo") == made
    assert registry.read_patch_files("demo@1") == files
    assert registry.statements(made.id) == [said]
    folder = registry.root / made.path
    on_disk = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert on_disk.pop("record.json") == made.record.to_bytes()
    assert on_disk == files
    assert status(registry.root) == ""
    assert registry.verify().ok


def test_versions_count_up_and_references_find_them(registry: Registry) -> None:
    for text in ("one", "two", "three"):
        add(registry, text)
    other = registry.resolve(add(registry, "four", "other"))
    assert registry.resolve("demo").ref == "demo@3"
    assert registry.resolve("demo@2").version == 2
    assert registry.resolve(other.short) == other
    assert registry.resolve(other.id) == other
    assert [patch.ref for patch in registry.patches()] == ["demo@1", "demo@2", "demo@3", "other@1"]
    assert registry.patches()[3].sites == ("h.0.w.weight",)
    with pytest.raises(PatchHubError) as missing:
        registry.resolve("dmo")
    assert code(missing) == ("E102", 7)
    assert missing.value.hint == 'did you mean "demo"?'
    with pytest.raises(PatchHubError, match="versions 1-3; there is no 7") as version:
        registry.resolve("demo@7")
    assert code(version) == ("E103", 7)
    with pytest.raises(PatchHubError, match="E102"):
        registry.resolve("ph:" + sha256(b"nothing"))


def test_an_ambiguous_id_lists_what_it_may_mean(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}
    for n in range(2000):
        text = f"text {n}"
        start = sha256(patch_files(text)["patch.json"])[:4]
        if start in seen:
            break
        seen[start] = text
    add(registry, text)
    add(registry, seen[start])
    with pytest.raises(PatchHubError, match="ambiguous") as caught:
        registry.resolve(f"ph:{start}")
    assert code(caught) == ("E104", 7)


def test_the_same_patch_is_not_added_twice(registry: Registry) -> None:
    add(registry, "one")
    before = registry.head
    with pytest.raises(PatchHubError, match="demo@1 is this very patch") as caught:
        add(registry, "one")
    assert code(caught) == ("E108", 4)
    assert registry.head == before
    assert add(registry, "one", "other") == "other@1"


@pytest.mark.parametrize("name", MALICIOUS, ids=lambda text: f"{len(text)}-{text[:12]!a}")
def test_malicious_names_change_nothing(registry: Registry, name: str) -> None:
    before = registry.head
    state = registry.stack_or_new("prod", WEIGHTS)
    for attempt in (
        lambda: registry.add_patch(patch_files("one"), name, observed()),
        lambda: registry.add_base(name, fingerprint()),
        lambda: registry.stack(name),
        lambda: registry.stack_or_new(name, WEIGHTS),
        lambda: registry.base_path(name),
        lambda: registry.resolve(f"{name}@x"),
        lambda: registry.push_entry(state, "push", f"{name}@"),
    ):
        with pytest.raises(PatchHubError) as caught:
            attempt()
        assert code(caught) == ("E101", 9)
    assert registry.head == before
    assert status(registry.root) == ""


def damaged(which: str) -> dict[str, bytes]:
    files = patch_files("one")
    match which:
        case "payload":
            files["patch.safetensors"] += b"x"
        case "foreign":
            files["notes.txt"] = b"hello"
        case "missing":
            del files["requests.jsonl"]
        case "no manifest":
            del files["patch.json"]
        case "manifest":
            files["patch.json"] = files["patch.json"].replace(b'"kind"', b'"colour":1,"kind"')
        case "form":
            files["patch.json"] += b"\n"
        case "path":
            files["../x"] = b""
        case "dot":
            files[".gitattributes"] = b""
        case "record":
            files["record.json"] = b"{}"
        case "base":
            files = patch_files("one", base=sha256(b"another"))
    return files


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("payload", "E202"),
        ("foreign", "E117"),
        ("missing", "E117"),
        ("no manifest", "E117"),
        ("manifest", "E116"),
        ("form", "E116"),
        ("path", "E117"),
        ("dot", "E117"),
        ("record", "E117"),
        ("base", "E201"),
    ],
)
def test_damaged_patches_change_nothing(registry: Registry, which: str, expected: str) -> None:
    before = registry.head
    with pytest.raises(PatchHubError) as caught:
        registry.add_patch(damaged(which), "demo", observed())
    assert code(caught) == (expected, 5)
    assert registry.head == before
    assert status(registry.root) == ""


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"base": BASE, "colour": "red"}, ("E113", 9)),
        ({"base": BASE, "version": 7}, ("E113", 9)),
        ({"base": BASE, "sensitivity": "personal"}, ("E113", 9)),
        ({"base": BASE, "message": "two\nlines"}, ("E113", 9)),
        ({}, ("E113", 9)),
        ({"base": "other"}, ("E106", 7)),
    ],
)
def test_wrong_observations_change_nothing(
    registry: Registry, record: dict[str, str], expected: tuple[str, int]
) -> None:
    before = registry.head
    with pytest.raises(PatchHubError) as caught:
        registry.add_patch(patch_files("one"), "demo", record)
    assert code(caught) == expected
    assert registry.head == before


def test_statements_are_kept_once(registry: Registry) -> None:
    said = verdict(sha256(b"patch"))
    registry.add_statements([said, verdict(said.subject, "twice")])
    before = registry.head
    registry.add_statements([said])
    assert registry.head == before
    assert len(registry.statements(said.subject)) == 2
    assert registry.statements(sha256(b"other")) == []
    with pytest.raises(PatchHubError, match="E116"):
        registry.add_statements([Statement(said.subject, "guard", b'{"patch": 1}')])


def test_no_patches_are_no_error(registry: Registry) -> None:
    before = registry.head
    assert registry.add_patches([]) == ()
    assert registry.head == before
    said = verdict(sha256(b"patch"))
    assert registry.add_patches([], [said]) == ()
    assert registry.statements(said.subject) == [said]


def test_the_same_patch_twice_in_one_call_is_named_by_its_id(registry: Registry) -> None:
    twice = [NewPatch(patch_files("one"), "demo", observed()) for _ in range(2)]
    with pytest.raises(PatchHubError) as caught:
        registry.add_patches(twice)
    assert code(caught) == ("E108", 4)
    short = sha256(patch_files("one")["patch.json"])[:12]
    assert (caught.value.found, registry.list()) == (f"ph:{short}", [])


def test_policies_count_up(registry: Registry) -> None:
    assert registry.policy() is None
    assert registry.add_policy(b"version = 1\n") == 1
    assert registry.add_policy(b"version = 1\n") == 1
    for number in range(2, 12):
        assert registry.add_policy(f"version = {number}\n".encode()) == number
    assert registry.policy() == b"version = 11\n"
    assert registry.policy(1) == b"version = 1\n"
    with pytest.raises(PatchHubError, match="E146"):
        registry.add_policy(b"version")


def test_who_commits(registry: Registry) -> None:
    person = "log", "-1", "--format=%an <%ae> %cn <%ce>"
    assert git(registry.root, *person).strip() == " ".join(["PatchHub <patchhub@localhost>"] * 2)
    git(registry.root, "config", "user.name", "Ada")
    git(registry.root, "config", "user.email", "ada@example.org")
    with Registry.open(registry.root) as again:
        add(again, "one")
    assert git(registry.root, *person).strip() == " ".join(["Ada <ada@example.org>"] * 2)


def test_hooks_and_the_callers_environment_have_no_say(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = registry.root / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("reference-transaction", "post-index-change", "pre-commit", "post-commit"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "objects"))
    with Registry.open(registry.root) as again:
        assert add(again, "one") == "demo@1"
    monkeypatch.undo()
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "index").exists()
    assert not (tmp_path / "objects").exists()


def test_without_git_the_message_says_so(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PatchHubError) as caught:
        Registry.init(tmp_path / "new")
    assert caught.value.code == "E701"


def test_an_old_git_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin/git"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho git version 2.20.1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with pytest.raises(PatchHubError, match=r"found\s+2\.20\.1") as caught:
        Registry.init(tmp_path / "new")
    assert caught.value.code == "E701"


def test_no_branch_no_commit(registry: Registry) -> None:
    git(registry.root, "checkout", "-q", "--detach")
    with pytest.raises(PatchHubError, match="on no branch"):
        add(registry, "one")


def test_a_clone_is_a_registry(registry: Registry, tmp_path: Path) -> None:
    add(registry, "one")
    git(tmp_path, "clone", "-q", str(registry.root), "clone")
    with Registry.open(tmp_path / "clone") as clone:
        assert clone.read_patch_files("demo") == registry.read_patch_files("demo")
        assert add(clone, "two") == "demo@2"
        assert clone.verify().ok
        assert status(clone.root) == ""


def test_any_commit_can_be_asked(registry: Registry) -> None:
    before = registry.head
    add(registry, "one")
    assert registry.at(before).versions("demo") == []
    assert registry.at(registry.head[:12]).versions("demo") == [1]
    for wrong, expected in (("nothing", ("E109", 7)), ("a\nb", ("E101", 9))):
        with pytest.raises(PatchHubError) as caught:
            registry.at(wrong)
        assert code(caught) == expected


def test_another_git_reads_the_same(registry: Registry) -> None:
    add(registry, "one")
    with registry.repository as repository:
        assert repository.head.commit.hexsha == registry.head
        assert not repository.is_dirty(untracked_files=True)
        tree = repository.head.commit.tree / registry.resolve("demo").path
        found = {blob.name: blob.data_stream.read() for blob in tree.blobs}
        assert found.pop("record.json") == registry.resolve("demo").record.to_bytes()
        assert found == registry.read_patch_files("demo")
        words = [str(commit.message) for commit in repository.iter_commits()]
    short = registry.resolve("demo").short
    assert words == [f"add demo@1 {short}\n", "base sandbox: add\n", "registry: begin\n"]


def test_an_interrupted_read_does_not_shift_the_answers(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("one", "two"):
        add(registry, text)
    listed = registry.patches()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("patchhub_registry.objects._read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            registry.patches()
    assert registry.patches() == listed


def test_a_payload_of_megabytes_comes_back(registry: Registry) -> None:
    text = "".join(sha256(str(i).encode()) for i in range(4000))
    registry.add_patch(patch_files(text), "large", observed())
    files = registry.read_patch_files("large")
    assert len(files["patch.safetensors"]) > 5_000_000
    assert files == patch_files(text)
    assert registry.verify().ok


def test_reading_does_not_import_what_is_slow(registry: Registry) -> None:
    add(registry, "one")
    program = (
        "import sys; from pathlib import Path; from patchhub_registry import Registry\n"
        f"r = Registry.open(Path({str(registry.root)!r})); r.patches(); r.stacks(); r.close()\n"
        "slow = {'torch', 'transformers', 'peft', 'numpy', 'pydantic', 'git', 'rich', 'click'}\n"
        "late = {'patchhub_registry.writer', 'patchhub_registry.verify'}\n"
        "print(sorted((slow | late) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
