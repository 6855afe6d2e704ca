"""What of the base is read again at a change, and what its stamps vouch for."""

from __future__ import annotations

import os
from typing import Any

import pytest

from patchhub import fingerprint
from patchhub.checkpoint import build, read_state
from patchhub.errors import IntegrityError
from patchhub.tensorfile import open_checkpoint
from tests.engine.checkpoint.conftest import Bench


def overwrite(made: Bench, tensor: str, *, hidden: bool) -> None:
    """Write into a tensor of the base; ``hidden`` puts the file's time back."""
    header = open_checkpoint(made.base.directory).tensors[tensor]
    before = header.file.stat()
    with header.file.open("r+b") as stream:
        stream.seek(header.begin)
        stream.write(bytes(8))
    if hidden:
        os.utime(header.file, ns=(before.st_atime_ns, before.st_mtime_ns))


def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the base's tensors whose bytes are compared from now on."""
    names: list[str] = []
    honest = fingerprint.check_tensors

    def spy(files: Any, expected: Any) -> None:
        names.extend(expected)
        honest(files, expected)

    monkeypatch.setattr(build, "check_tensors", spy)
    return names


def test_the_first_change_reads_all_that_it_copies_and_the_next_ones_nothing_twice(
    llama: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (set(llama.patches[i].payload) for i in (0, 1))
    assert second - first
    names = checked(monkeypatch)
    llama.put(0)
    assert first < set(names)
    names.clear()
    llama.put(0, 1)
    assert not first & set(names)
    assert second - first <= set(names)
    names.clear()
    llama.put(1)
    assert names == []
    assert llama.holds(1)


def test_a_tensor_is_read_when_it_is_first_touched_whatever_its_file_says(llama: Bench) -> None:
    llama.put(0)
    (name,) = set(llama.patches[1].payload) - set(llama.patches[0].payload)
    overwrite(llama, name, hidden=True)
    with pytest.raises(IntegrityError, match="E201") as caught:
        llama.put(0, 1)
    assert name in str(caught.value)


@pytest.mark.parametrize("stack", [(1,), (0,), ()], ids=str)
def test_a_file_with_another_stamp_is_read_whole(gpt2: Bench, stack: tuple[int, ...]) -> None:
    gpt2.put(0)
    gpt2.put(0, 1)
    untouched = "transformer.wpe.weight"
    overwrite(gpt2, untouched, hidden=False)
    with pytest.raises(IntegrityError, match="E201") as caught:
        gpt2.put(*stack)
    assert untouched in str(caught.value)
    assert read_state(gpt2.target).serial == 2
