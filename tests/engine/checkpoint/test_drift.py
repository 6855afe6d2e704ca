"""What others did to a directory is found, named, and never swept away."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from patchhub.checkpoint import (
    Drift,
    gc,
    identify,
    materialise,
    read_state,
    recover,
    verify_directory,
)
from patchhub.errors import ConflictError, IntegrityError, PatchHubError
from patchhub.fingerprint import fingerprint
from patchhub.loading import load_base
from patchhub.tensorfile import TensorHeader, open_checkpoint
from tests.engine.checkpoint.conftest import Bench, bench
from tests.pico import pico_directory


def overwrite(header: TensorHeader, *, quietly: bool = False) -> None:
    """Change the first bytes of a tensor; quietly, so that the file's stamp stays as it was."""
    stat = header.file.stat()
    with header.file.open("r+b") as stream:
        stream.seek(header.begin)
        old = stream.read(2)
        stream.seek(header.begin)
        stream.write(bytes(byte ^ 1 for byte in old))
    times = (stat.st_atime_ns, stat.st_mtime_ns if quietly else stat.st_mtime_ns + 1)
    os.utime(header.file, ns=times)


def header_of(directory: Path, name: str) -> TensorHeader:
    return open_checkpoint(directory).tensors[name]


def touched_name(made: Bench) -> str:
    return next(iter(read_state(made.target).touched))


def rest_name(made: Bench) -> str:
    """A tensor that was copied into the shard of the rest."""
    tensors = open_checkpoint(made.target).tensors
    return next(name for name, header in tensors.items() if "rest" in header.file.name)


def refused(made: Bench, *stack: int) -> IntegrityError:
    link = made.target.readlink()
    with pytest.raises(IntegrityError) as caught:
        made.put(*stack)
    assert caught.value.code == "E206"
    assert made.target.readlink() == link
    return caught.value


def test_a_fresh_directory_has_no_drift(llama: Bench) -> None:
    for stack in ((0,), (0, 1, 3), ()):
        llama.put(*stack)
        for deep in (False, True):
            assert verify_directory(llama.target, llama.fingerprint, deep) == []
    assert verify_directory(llama.base.directory, llama.fingerprint, deep=True) == []


@pytest.mark.parametrize("which", [touched_name, rest_name])
def test_a_modified_tensor_is_found_and_stops_the_next_change(llama: Bench, which: object) -> None:
    llama.put(0, 1)
    name = which(llama)  # type: ignore[operator]
    overwrite(header_of(llama.target, name))
    (drift,) = verify_directory(llama.target, llama.fingerprint)
    assert drift.where == name
    assert drift.expected != drift.found
    error = refused(llama, 1)
    assert name in str(error)
    assert error.hint is not None
    llama.target.unlink()  # as the hint says
    llama.put(1)
    assert llama.holds(1)


def test_a_quiet_change_of_a_touched_tensor_is_found_all_the_same(llama: Bench) -> None:
    llama.put(0)
    name = touched_name(llama)
    overwrite(header_of(llama.target, name), quietly=True)
    assert [d.where for d in verify_directory(llama.target, llama.fingerprint)] == [name]


def test_a_quiet_change_elsewhere_is_found_by_a_deep_look(llama: Bench) -> None:
    llama.put(0)
    name = rest_name(llama)
    overwrite(header_of(llama.target, name), quietly=True)
    assert verify_directory(llama.target, llama.fingerprint) == []
    found = verify_directory(llama.target, llama.fingerprint, deep=True)
    assert [drift.where for drift in found] == [name]


def test_a_write_through_a_hard_link_is_found(llama: Bench) -> None:
    """A file shared with the base: both change, and both are noticed."""
    llama.put(0)
    names = [p.name for p in open_checkpoint(llama.target).shards if p.name.startswith("model-0")]
    linked = open_checkpoint(llama.base.directory).tensors
    name = next(n for n, header in linked.items() if header.file.name in names)
    overwrite(header_of(llama.target, name))
    assert name in str(refused(llama, 0, 1))
    llama.target.unlink()
    with pytest.raises(IntegrityError, match="E201"):
        llama.put(0, 1)


def test_other_files_missing_foreign_and_changed(gpt2: Bench) -> None:
    gpt2.put(0)
    inside = gpt2.target.resolve()
    (inside / "notes.txt").write_text("mine")
    (inside / "tokenizer.json").unlink()
    config = inside / "config.json"
    config.unlink()  # an editor writes a new file
    config.write_text("{}")
    drifts = verify_directory(gpt2.target, gpt2.fingerprint)
    assert [drift.where for drift in drifts] == ["config.json", "notes.txt", "tokenizer.json"]
    refused(gpt2, 1)
    assert (inside / "notes.txt").read_text() == "mine"


def test_a_rewritten_file_with_the_same_bytes_is_no_drift(gpt2: Bench) -> None:
    gpt2.put(0)
    for name in ("config.json", "model.safetensors.index.json"):
        path = gpt2.target.resolve() / name
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    shard = next(gpt2.target.glob("model-rest-*"))
    os.utime(shard, ns=(1, 1))
    assert verify_directory(gpt2.target, gpt2.fingerprint) == []
    gpt2.put(0, 1)
    assert gpt2.holds(0, 1)


def test_weights_that_cannot_be_read_are_a_drift(gpt2: Bench) -> None:
    gpt2.put(0)
    shard = next(gpt2.target.glob("model-patched-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    (drift,) = verify_directory(gpt2.target, gpt2.fingerprint)
    assert drift.where == "weights"
    shard.unlink()
    refused(gpt2, 1)


def test_a_link_moved_by_hand_is_found(gpt2: Bench) -> None:
    gpt2.put(0)
    gpt2.put(1)
    gpt2.target.unlink()
    gpt2.target.symlink_to("served.patchhub/gen-000001")
    with pytest.raises(IntegrityError, match="E206"):
        read_state(gpt2.target)
    refused(gpt2, 2)
    gpt2.target.unlink()
    gpt2.target.symlink_to("served.patchhub/../served.patchhub/gen-000001")
    with pytest.raises(ConflictError, match="E308"):
        gpt2.put(2)


@pytest.mark.parametrize("file", ["state.json", "journal.json"])
def test_records_that_were_tampered_with_are_refused(gpt2: Bench, file: str) -> None:
    gpt2.put(0)
    for data in (b"{", b"{}", b'{"schema":1}', b'{"schema":2}', b"[]"):
        (gpt2.store / file).write_bytes(data)
        with pytest.raises(PatchHubError) as caught:
            read_state(gpt2.target)
        assert caught.value.code in ("E116", "E206")
        with pytest.raises(PatchHubError):
            gpt2.put(1)
    (gpt2.store / "state.json").unlink()
    (gpt2.store / "journal.json").unlink(missing_ok=True)
    with pytest.raises(IntegrityError, match="E206"):
        read_state(gpt2.target)


def test_a_newer_journal_is_left_to_who_can_read_it(gpt2: Bench) -> None:
    gpt2.put(0)
    gpt2.put(0, 1)
    data = b'{"phase":"prepared","schema":2,"serial":1}'
    (gpt2.store / "journal.json").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"E206.*schema"):
        recover(gpt2.target)
    assert (gpt2.store / "journal.json").read_bytes() == data
    assert (gpt2.store / "gen-000001").is_dir()


@pytest.mark.parametrize("settle", [recover, gc])
def test_what_the_disk_refuses_is_an_error_of_ours(
    gpt2: Bench, monkeypatch: pytest.MonkeyPatch, settle: Callable[[Path], object]
) -> None:
    gpt2.put(0)
    (gpt2.store / "state.json.tmp").write_bytes(b"left by a crash")

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("patchhub.checkpoint.recovery.remove", refuse)
    with pytest.raises(PatchHubError, match="E704"):
        settle(gpt2.target)


# --- identities ----------------------------------------------------------------------------------


def test_a_copied_generation_can_be_identified_and_verified(llama: Bench, tmp_path: Path) -> None:
    llama.put(0, 1, names=["one@1", "two@1"])
    copy = tmp_path / "somewhere"
    shutil.copytree(llama.target, copy)
    found, state = identify(copy), read_state(llama.target)
    assert found is not None
    assert (found.identity, found.stack, found.touched) == (
        state.identity,
        state.stack,
        state.touched,
    )
    assert (found.lineage, found.serial, found.base) == (
        state.lineage,
        state.serial,
        llama.fingerprint.weights,
    )
    assert identify(llama.target) == found
    assert verify_directory(copy, llama.fingerprint, deep=True) == []
    overwrite(header_of(copy, touched_name(llama)), quietly=True)
    assert [d.where for d in verify_directory(copy, llama.fingerprint)] == [touched_name(llama)]
    (copy / "tokenizer.json").write_text("{}")
    (copy / "config.json").unlink()
    deep = [d.where for d in verify_directory(copy, llama.fingerprint, deep=True)]
    assert deep == ["config.json", "tokenizer.json", touched_name(llama)]
    assert llama.holds(0, 1)


def test_a_base_has_no_identity_of_its_own(gpt2: Bench) -> None:
    assert identify(gpt2.base.directory) is None
    gpt2.put()
    found = identify(gpt2.target)
    assert found is not None
    assert found.stack == ()
    assert found.touched == {}


def test_another_base_is_a_drift(gpt2: Bench, tmp_path: Path) -> None:
    gpt2.put(0)
    other = load_base(pico_directory(tmp_path, "gpt2", seed=1)).fingerprint
    drifts = verify_directory(gpt2.target, other)
    assert drifts[0] == Drift(
        "base", f"weights {other.weights}", f"weights {gpt2.fingerprint.weights}"
    )
    llama = load_base(pico_directory(tmp_path, "llama")).fingerprint
    names = {drift.where for drift in verify_directory(gpt2.target, llama)}
    assert {"transformer.wte.weight", "lm_head.weight"} <= names


def test_a_tampered_identity_is_refused(gpt2: Bench) -> None:
    gpt2.put(0)
    file = gpt2.target / "patchhub.json"
    file.write_bytes(file.read_bytes().replace(b'"serial":1', b'"serial":0'))
    with pytest.raises(IntegrityError, match="E206"):
        identify(gpt2.target)
    refused(gpt2, 1)
    file.write_bytes(b"{ }")
    with pytest.raises(IntegrityError, match="E116"):
        identify(gpt2.target)


def test_a_patched_directory_is_no_base_while_it_says_what_it_is(tmp_path: Path) -> None:
    first = bench(tmp_path)
    first.put(0)
    shutil.copytree(first.target, tmp_path / "copy")
    for directory in (first.target, tmp_path / "copy"):
        with pytest.raises(ConflictError, match="E309"):
            load_base(directory)
        known = fingerprint(directory)
        with pytest.raises(ConflictError, match=r"E30[89]"):
            materialise(tmp_path / "again", directory, known, [])
    (tmp_path / "copy" / "patchhub.json").unlink()
    made = Bench(load_base(tmp_path / "copy"), [], tmp_path / "again")
    made.put()
    found = identify(made.target)
    assert found is not None
    assert found.base == made.fingerprint.weights != first.fingerprint.weights
