"""Apply and revert on directories: what is read, what is written, and what is never touched."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from patchhub.checkpoint import directory_digest, gc, identify, read_state
from patchhub.composer.identity import composed_identity
from patchhub.errors import (
    BusyError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    PatchHubError,
)
from patchhub.fingerprint import fingerprint
from patchhub.loading import load_base
from patchhub.tensorfile import open_checkpoint
from tests.engine.checkpoint.conftest import Bench, bench, hashes, inodes, ledger, snapshot
from tests.engine.stacks import TENSORS, patch_on
from tests.pico import pico_directory


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shards", [1, 3])
def test_apply_revert_and_back(
    tmp_path: Path, family: str, dtype: torch.dtype, shards: int
) -> None:
    made = bench(tmp_path, family, dtype=dtype, shards=shards)
    original = hashes(made.base.directory)
    for stack in ((0,), (0, 1, 3), (3, 1), (), (2,), ()):
        generation = made.put(*stack)
        assert made.holds(*stack)
        state = read_state(made.target)
        ids = [made.patches[i].id for i in stack]
        assert [item.id for item in state.stack] == ids
        assert state.identity == composed_identity(made.fingerprint.weights, ids)
        assert (generation.number, generation.path) == (state.serial, made.target.resolve())
        if not stack:
            assert hashes(made.target) == original
            assert directory_digest(made.target) == directory_digest(made.base.directory)
        else:
            assert directory_digest(made.target) != directory_digest(made.base.directory)
            assert not (made.target / "model.safetensors").exists()
    assert snapshot(made.base.directory) == made.untouched


def test_digests_of_touched_tensors_are_those_in_the_files(llama: Bench) -> None:
    generation = llama.put(0, 1, 3)
    found = fingerprint(llama.target)
    touched = {name for i in (0, 1, 3) for name in llama.patches[i].payload}
    assert set(generation.touched) == touched
    for name, entry in found.tensors.items():
        wanted = generation.touched.get(name, llama.fingerprint.tensors[name].sha256)
        assert entry.sha256 == wanted
    assert found.config == llama.fingerprint.config
    assert found.tokenizer == llama.fingerprint.tokenizer


def test_every_tensor_lies_in_one_shard_and_shards_say_who_wrote_them(llama: Bench) -> None:
    llama.put(0, 1)
    files = open_checkpoint(llama.target)  # refuses a tensor in two shards
    assert set(files.tensors) == set(llama.fingerprint.tensors)
    for shard in files.shards:
        length = int.from_bytes(shard.read_bytes()[:8], "little")
        header = json.loads(shard.read_bytes()[8 : 8 + length])
        assert header["__metadata__"] == {"format": "pt"}
    index = json.loads((llama.target / "model.safetensors.index.json").read_text())
    size = sum(h.end - h.begin for h in files.tensors.values())
    assert index["metadata"]["total_size"] == size


def test_tied_weights_load_tied(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.patches = [patch_on(made.base, ["lm_head.weight"], rank=2)]
    made.put(0)
    assert made.holds(0)
    head, embedding = (made.loaded()[n] for n in ("lm_head.weight", "transformer.wte.weight"))
    assert head == embedding != made.composed()["lm_head.weight"]


# --- what is written -----------------------------------------------------------------------------


def new_bytes(made: Bench, before: dict[str, int]) -> dict[str, int]:
    """Size of the files of weights that were not there before, by name."""
    known = set(before.values()) | set(inodes(made.base.directory).values())
    return {
        name: (made.target / name).stat().st_size
        for name, inode in inodes(made.target).items()
        if inode not in known and name.endswith(".safetensors")
    }


def test_first_apply_rewrites_touched_shards_and_links_the_rest(llama: Bench) -> None:
    name = TENSORS["llama"][0]
    llama.patches = [patch_on(llama.base, [name])]
    llama.put(0)
    theirs, ours = inodes(llama.base.directory), inodes(llama.target)
    touched = open_checkpoint(llama.base.directory).tensors[name].file.name
    for file, inode in theirs.items():
        changed = file in (touched, "model.safetensors.index.json")
        assert changed == (ours.get(file) != inode), f"{file} should be a hard link"
    assert touched not in ours
    written = new_bytes(llama, {})
    assert len(written) == 2
    assert sum("rest" in file for file in written) == 1


def test_second_apply_writes_touched_tensors_only(llama: Bench) -> None:
    name, other = TENSORS["llama"][:2]
    llama.patches = [
        patch_on(llama.base, [name, other]),
        patch_on(llama.base, [name], seed=1),
        patch_on(llama.base, [name], seed=2),
    ]
    llama.put(0)
    size = open_checkpoint(llama.target).tensors[name]
    for stack in ((0, 1), (0, 1, 2), (0, 2)):
        before = inodes(llama.target)
        llama.put(*stack)
        written = new_bytes(llama, before)
        assert len(written) == 1  # the tensor whose patches changed, and nothing else
        assert sum(written.values()) < size.end - size.begin + 400
    before = inodes(llama.target)
    llama.put(2, 0)  # another order, the same bytes
    assert new_bytes(llama, before) == {}
    assert llama.holds(0, 2)


def test_a_tensor_keeps_its_shard_when_its_patch_leaves(llama: Bench) -> None:
    first, second = TENSORS["llama"][:2]
    llama.patches = [patch_on(llama.base, [first]), patch_on(llama.base, [second], seed=1)]
    llama.put(0, 1)
    before = inodes(llama.target)
    llama.put(1)
    written = new_bytes(llama, before)
    assert len(written) == 1  # the base's bytes of that tensor
    assert "rest" not in next(iter(written))
    assert llama.holds(1)
    assert set(read_state(llama.target).touched) == {second}


def test_the_rest_survives_a_visit_to_the_base(gpt2: Bench) -> None:
    gpt2.put(0)
    rest = next(path for path in gpt2.target.glob("model-rest-*"))
    inode = rest.stat().st_ino
    gpt2.put()
    gpt2.put(0)
    assert (gpt2.target / rest.name).stat().st_ino == inode


def test_a_damaged_rest_of_an_old_generation_is_not_used_again(gpt2: Bench) -> None:
    gpt2.put(0)
    rest = next(gpt2.target.resolve().glob("model-rest-*"))
    gpt2.put()
    with rest.open("r+b") as stream:
        stream.seek(-4, os.SEEK_END)
        stream.write(b"abcd")
    gpt2.put(0)
    assert gpt2.holds(0)


def test_progress_counts_bytes_written(gpt2: Bench) -> None:
    calls: list[tuple[int, int]] = []
    gpt2.put(0, progress=lambda done, total: calls.append((done, total)))
    assert calls
    assert (
        calls[-1][0]
        == calls[-1][1]
        == sum(h.end - h.begin for h in open_checkpoint(gpt2.base.directory).tensors.values())
    )


def test_weights_in_other_formats_are_left_out_while_patched(gpt2: Bench) -> None:
    extra = {
        "pytorch_model.bin": b"old",
        "onnx/model.onnx": b"old",
        "model.fp16.safetensors": b"old",
        "chat/template.jinja": b"{{x}}",
        "modeling_pico.py": b"pass",
    }
    for name, data in extra.items():
        (gpt2.base.directory / name).parent.mkdir(exist_ok=True)
        (gpt2.base.directory / name).write_bytes(data)
    gpt2.put(0)
    assert {n for n in extra if (gpt2.target / n).exists()} == {
        "chat/template.jinja",
        "modeling_pico.py",
    }
    gpt2.put()
    assert hashes(gpt2.target) == hashes(gpt2.base.directory)


def test_bases_of_symbolic_links_are_linked_to_what_they_point_to(tmp_path: Path) -> None:
    made = bench(tmp_path)
    snapshots = tmp_path / "hub" / "snapshots"
    blobs = tmp_path / "hub" / "blobs"
    snapshots.mkdir(parents=True)
    shutil.copytree(made.base.directory, blobs)
    for path in blobs.iterdir():
        (snapshots / path.name).symlink_to(f"../blobs/{path.name}")
    base = load_base(snapshots, fingerprint=made.fingerprint)
    other = Bench(base, made.patches, tmp_path / "other")
    for stack in ((0,), ()):
        other.put(*stack)
        assert other.holds(*stack)
        assert not any(path.is_symlink() for path in other.target.iterdir())
    shutil.rmtree(tmp_path / "hub")
    assert hashes(other.target) == hashes(made.base.directory)


# --- other file systems --------------------------------------------------------------------------


def _no_links(monkeypatch: pytest.MonkeyPatch, made: Bench, code: int) -> None:
    """Links to the base fail, as from another file system; those inside the store work."""
    honest = os.link

    def link(source: Any, destination: Any, **more: Any) -> None:
        if Path(source).is_relative_to(made.base.directory):
            raise OSError(code, "no")
        honest(source, destination, **more)

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_without_hard_links_files_are_copied_once(
    llama: Bench, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    _no_links(monkeypatch, llama, code)
    llama.put(0)
    assert llama.holds(0)
    assert not set(inodes(llama.target).values()) & set(inodes(llama.base.directory).values())
    before = inodes(llama.target)
    llama.put(0, 1)
    kept = {n for n, inode in inodes(llama.target).items() if before.get(n) == inode}
    assert {n for n in kept if n.startswith("model-0")}, "copies are linked, not copied again"
    assert "tokenizer.json" in kept
    llama.put()
    assert hashes(llama.target) == hashes(llama.base.directory)
    assert snapshot(llama.base.directory) == llama.untouched


def test_other_errors_of_links_are_not_hidden(
    llama: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_links(monkeypatch, llama, errno.EIO)
    with pytest.raises(PatchHubError, match="E704"):
        llama.put(0)
    assert not llama.target.exists()


def test_really_another_file_system(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    made = bench(tmp_path)
    folder = memory / f"patchhub-{os.getpid()}"
    folder.mkdir()
    try:
        made.target = folder / "served"
        for stack in ((0,), (0, 1), ()):
            made.put(*stack)
            assert made.holds(*stack)
        assert hashes(made.target) == hashes(made.base.directory)
    finally:
        shutil.rmtree(folder)


# --- what is refused -----------------------------------------------------------------------------


def refused(made: Bench, code: str, *numbers: int, **more: Any) -> PatchHubError:
    """The change fails with ``code``; nothing that can be seen has changed."""
    link = made.target.readlink() if made.target.is_symlink() else None
    with pytest.raises(PatchHubError) as caught:
        made.put(*numbers, **more)
    assert caught.value.code == code
    assert (made.target.readlink() if made.target.is_symlink() else None) == link
    if made.store.exists():
        assert not (made.store / "journal.json").exists()
        generations = list(made.store.glob("gen-*"))
        assert len(generations) <= 2
        assert link is None or made.target.resolve() in generations
    return caught.value


def test_a_directory_that_is_not_ours_is_refused(gpt2: Bench) -> None:
    gpt2.target.mkdir()
    (gpt2.target / "mine.txt").write_text("mine")
    refused(gpt2, "E308", 0)
    assert (gpt2.target / "mine.txt").read_text() == "mine"
    with pytest.raises(ConflictError, match="E308"):
        read_state(gpt2.target)
    shutil.rmtree(gpt2.target)
    gpt2.target.write_text("a file")
    refused(gpt2, "E308", 0)
    gpt2.target.unlink()
    gpt2.target.symlink_to(gpt2.base.directory)
    refused(gpt2, "E308", 0)
    gpt2.target.unlink()
    gpt2.store.mkdir()
    (gpt2.store / "mine.txt").write_text("mine")
    refused(gpt2, "E308", 0)
    assert (gpt2.store / "mine.txt").read_text() == "mine"


def test_the_base_itself_is_no_target(gpt2: Bench) -> None:
    gpt2.target = gpt2.base.directory
    refused(gpt2, "E308", 0)
    assert snapshot(gpt2.base.directory) == gpt2.untouched


def test_a_generation_is_no_base_of_its_own(gpt2: Bench) -> None:
    gpt2.put()
    gpt2.base = replace(gpt2.base, directory=gpt2.target.resolve())
    refused(gpt2, "E308", 0)


def test_a_target_stays_with_its_base(gpt2: Bench, tmp_path: Path) -> None:
    gpt2.put(0)
    base = load_base(pico_directory(tmp_path, "gpt2", seed=1))
    other = Bench(base, [patch_on(base, TENSORS["gpt2"][:1])], gpt2.target)
    refused(other, "E308", 0)
    assert gpt2.holds(0)


def test_patches_of_another_base_are_refused(gpt2: Bench, tmp_path: Path) -> None:
    other = load_base(pico_directory(tmp_path, "gpt2", seed=1))
    gpt2.patches.append(patch_on(other, TENSORS["gpt2"][:1]))
    refused(gpt2, "E201", 4)
    assert not gpt2.store.exists()
    gpt2.put(0)
    refused(gpt2, "E201", 0, 4)
    refused(gpt2, "E306", 0, 0)
    assert gpt2.holds(0)


def test_base_files_that_are_not_the_base_are_refused(gpt2: Bench) -> None:
    name = next(iter(gpt2.patches[0].payload))
    header = open_checkpoint(gpt2.base.directory).tensors[name]
    with header.file.open("r+b") as stream:
        stream.seek(header.begin)
        stream.write(b"\x01\x02\x03\x04")
    assert name in str(refused(gpt2, "E201", 0))


def test_a_base_damaged_later_is_noticed_even_where_no_patch_touches_it(llama: Bench) -> None:
    llama.put(0)
    safe = llama.base.directory.with_name("elsewhere")
    shutil.copytree(llama.base.directory, safe)  # no links to the served files
    header = open_checkpoint(safe).tensors["model.layers.0.self_attn.q_proj.weight"]
    with header.file.open("r+b") as stream:
        stream.seek(header.begin)
        stream.write(b"\x01\x02")
    llama.base = replace(llama.base, directory=safe)
    assert "q_proj" in str(refused(llama, "E201", 0, 1))


def test_the_lock_is_one_for_all(gpt2: Bench) -> None:
    gpt2.put(0)
    holder = (
        "import sys; from pathlib import Path; from patchhub.lock import locked\n"
        "with locked(Path(sys.argv[1]), 1, 'it'):\n"
        "    print('held', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, gpt2.store / "lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        error = refused_while_busy(gpt2)
        assert f"pid {child.pid}" in error.what
        child.kill()  # a kernel lock dies with its owner
    gpt2.put(1)
    assert gpt2.holds(1)


def refused_while_busy(made: Bench) -> BusyError:
    with pytest.raises(BusyError) as caught:
        made.put(1, lock_timeout=0.05)
    assert caught.value.code == "E501"
    assert made.holds(0)
    return caught.value


def test_names_are_one_for_each_patch(gpt2: Bench) -> None:
    gpt2.put(0, 1, names=["fix@1", "more@2"])
    assert [item.name for item in read_state(gpt2.target).stack] == ["fix@1", "more@2"]
    with pytest.raises(ValueError, match="zip"):
        gpt2.put(0, 1, names=["fix@1"])


def test_missing_directories_are_said(gpt2: Bench, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="E109"):
        read_state(tmp_path / "nothing")
    with pytest.raises(NotFoundError, match="E109"):
        identify(tmp_path / "nothing")
    gpt2.target = tmp_path / "no" / "such" / "place"
    refused(gpt2, "E109", 0)


# --- the ledger ----------------------------------------------------------------------------------


def test_the_ledger_sees_the_old_model_and_can_stop_the_change(gpt2: Bench) -> None:
    gpt2.put(0)
    seen: list[bool] = []

    def look() -> None:
        seen.append(gpt2.holds(0))
        assert (gpt2.store / "gen-000002" / "config.json").is_file()

    gpt2.put(1, ledger=ledger(look, True))
    assert seen == [True]
    assert gpt2.holds(1)

    def stop() -> None:
        raise IntegrityError("E304", "moved meanwhile")

    refused(gpt2, "E304", 2, ledger=ledger(stop, False))
    assert gpt2.holds(1)
    assert read_state(gpt2.target).serial == 2
    gpt2.put(2)
    assert read_state(gpt2.target).serial == 3


def test_an_open_reader_keeps_its_generation(gpt2: Bench) -> None:
    gpt2.put(0)
    inside = gpt2.target.resolve()
    before = gpt2.loaded(inside)
    gpt2.put(1)
    assert gpt2.loaded(inside) == before
    gpt2.put(2)
    assert not inside.exists()


def test_two_generations_are_kept_and_gc_removes_the_other(gpt2: Bench) -> None:
    assert gc(gpt2.target) == []
    for number in range(4):
        gpt2.put(number)
    names = sorted(path.name for path in gpt2.store.glob("gen-*"))
    assert names == ["gen-000003", "gen-000004"]
    assert gc(gpt2.target) == []
    planned = gc(gpt2.target, keep=0, dry_run=True)
    assert [each.path.name for each in planned] == ["gen-000003"]
    before = used(gpt2.store.parent)
    assert gc(gpt2.target, keep=0) == planned
    assert before - used(gpt2.store.parent) == planned[0].size > 0
    assert gpt2.holds(3)


def used(directory: Path) -> int:
    """Bytes of all files, each inode counted once."""
    stats = {path.stat().st_ino: path.stat() for path in directory.rglob("*") if path.is_file()}
    return sum(stat.st_size for stat in stats.values())


def test_lineage_stays_and_serial_grows(gpt2: Bench) -> None:
    states = []
    for stack in ((0,), (0, 1), ()):
        gpt2.put(*stack)
        states.append(read_state(gpt2.target))
    assert len({state.lineage for state in states}) == 1
    assert [state.serial for state in states] == [1, 2, 3]


def test_a_removed_link_starts_anew(gpt2: Bench) -> None:
    gpt2.put(0)
    gpt2.put(1)
    gpt2.target.unlink()
    gpt2.put(2)
    assert gpt2.holds(2)
    assert read_state(gpt2.target).serial == 3


def test_nothing_is_left_beside_the_link_and_its_store(gpt2: Bench, tmp_path: Path) -> None:
    gpt2.put(0)
    gpt2.put()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {gpt2.base.directory.name, "served", "served.patchhub"}
    assert {p.name for p in gpt2.store.iterdir()} == {
        "gen-000001",
        "gen-000002",
        "lock",
        "state.json",
    }
