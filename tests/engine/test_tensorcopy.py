"""Copied tensors: the bytes that writing them would give, whatever the system can do."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from patchhub import tensorfile
from patchhub.errors import IntegrityError, InvalidInputError
from patchhub.tensorcopy import copy_tensors
from patchhub.tensorfile import Raw, read_header
from patchhub.tensorheader import TensorHeader

ONE: dict[str, Raw] = {
    "a": ("F32", (2, 3), bytes(range(24))),
    "b": ("BF16", (5,), bytes(range(50, 60))),
    "c": ("F32", (0, 4), b""),
    "d": ("F32", (1,), b"wxyz"),
}
TWO: dict[str, Raw] = {"e": ("F32", (2,), b"01234567"), "f": ("I64", (1,), b"abcdefgh")}


@pytest.fixture
def headers(tmp_path: Path) -> dict[str, TensorHeader]:
    for name, tensors in (("one", ONE), ("two", TWO)):
        tensorfile.write(tmp_path / name, tensors)
    return {**read_header(tmp_path / "one"), **read_header(tmp_path / "two")}


@pytest.fixture(params=["by the system", "refused", "missing", "a little at a time"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the operating system makes of copies."""
    honest = os.copy_file_range

    def refused(*args: Any) -> int:
        raise OSError(errno.EXDEV, "across file systems")

    def little(source: int, target: int, count: int, *offsets: int) -> int:
        return honest(source, target, min(count, 3), *offsets)

    if request.param == "refused":
        monkeypatch.setattr(os, "copy_file_range", refused)
    if request.param == "missing":
        monkeypatch.delattr(os, "copy_file_range")
    if request.param == "a little at a time":
        monkeypatch.setattr(os, "copy_file_range", little)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("names", ["abcdef", "acd", "bdf", "fbeca", "c", ""])
def test_a_copy_is_what_writing_gives(
    headers: dict[str, TensorHeader], tmp_path: Path, names: str
) -> None:
    copy_tensors(tmp_path / "copy", [headers[name] for name in names], {"format": "pt"})
    wanted = tensorfile.encode({name: {**ONE, **TWO}[name] for name in names}, {"format": "pt"})
    assert (tmp_path / "copy").read_bytes() == wanted


@pytest.mark.usefixtures("system")
def test_a_source_that_ends_too_early_is_named(
    headers: dict[str, TensorHeader], tmp_path: Path
) -> None:
    os.truncate(tmp_path / "two", headers["e"].end - 1)
    with pytest.raises(IntegrityError, match="E111") as caught:
        copy_tensors(tmp_path / "copy", headers.values())
    assert "two" in str(caught.value)


def test_a_full_disk_is_not_taken_for_a_system_that_cannot_copy(
    headers: dict[str, TensorHeader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="no space"):
        copy_tensors(tmp_path / "copy", headers.values())


def test_more_than_one_key_is_refused(headers: dict[str, TensorHeader], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="E113"):
        copy_tensors(tmp_path / "copy", headers.values(), {"a": "1", "b": "2"})
