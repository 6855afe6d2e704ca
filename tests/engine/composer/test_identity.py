"""Identities of composed models: what counts and what does not; and no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from patchhub.composer.identity import composed_identity
from patchhub.errors import ConflictError

BASE, A, B, C = ("0" * 64, "a" * 64, "b" * 64, "c" * 64)


def test_order_does_not_count_members_and_base_do() -> None:
    assert composed_identity(BASE, [A, B, C]) == composed_identity(BASE, [C, A, B])
    kinds = [
        composed_identity(BASE, []),
        composed_identity(BASE, [A]),
        composed_identity(BASE, [B]),
        composed_identity(BASE, [A, B]),
        composed_identity(C, [A, B]),
    ]
    assert len(set(kinds)) == len(kinds)


def test_identities_are_written_once_and_stay() -> None:
    """Stack entries in registries hold these: a change of the formula would break them all."""
    assert composed_identity(BASE, []) == (
        "df6f2809a6ee2eb9f9ffbed74cce70a59912311f1ffe3bedae935cd621cc4e3f"
    )
    assert composed_identity(BASE, [B, A]) == (
        "1630f4a2cf18c555ba96636fdb7c5cf4b7dc9683ae8fadb13baf82a3964a67f5"
    )


def test_a_patch_counts_once() -> None:
    with pytest.raises(ConflictError, match="E306"):
        composed_identity(BASE, [A, B, A])


@pytest.mark.parametrize(
    "module", ["patchhub.composer.identity", "patchhub.checkpoint.reading", "patchhub.checkpoint"]
)
def test_reading_needs_no_torch(module: str) -> None:
    code = (
        f"import sys, {module} as m\n"
        "names = [n for n in ('read_state', 'identify', 'recover', 'gc', 'directory_digest',\n"
        "                     'verify_directory') if m.__name__.endswith('checkpoint')]\n"
        "[getattr(m, n) for n in names]\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
