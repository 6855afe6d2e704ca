"""patchhub/README.md runs as written, and the public signatures change on purpose only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.public_api import GOLDEN, signatures

GUIDE = Path(__file__).parent.parent / "patchhub" / "README.md"


def test_the_public_signatures_are_pinned() -> None:
    assert GOLDEN.read_text("utf-8") == signatures(), "on purpose? python -m tests.public_api"


@pytest.mark.slow
def test_the_guide_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pieces = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert len(pieces) >= 6
    names: dict[str, object] = {}
    for number, piece in enumerate(pieces):
        exec(compile(piece, f"{GUIDE.name}, piece {number}", "exec"), names)
    out = capsys.readouterr().out
    assert "E141" in out
    assert "passed" in out
