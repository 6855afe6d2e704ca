"""Work that fails takes with it what needs it, and no more: the rest is written, and told."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from patchhub.editing.editor import run_editor
from patchhub.evaluation import work
from patchhub.evaluation.records import UNEDITED, Failed
from patchhub.evaluation.report.sections import report
from patchhub.evaluation.results import PROVENANCE, RESULTS, Provenance, Results
from patchhub.jobs.inline import Inline
from tests.cli.conftest import call

pytestmark = pytest.mark.slow

ASKED = ("--measures", "reliability", "--protocols", "generation", "--edits", "3")
SEQUENCE = ("bench", "sequential", "--methods", "ft", "--checkpoints", "3", "--again", "0", *ASKED)


def test_what_finished_is_written_and_the_rest_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def failing(*given: Any) -> Any:
        if done:
            raise MemoryError("no room")
        done.append(1)
        return run_editor(*given)

    monkeypatch.setattr(
        "patchhub_cli.commands.bench._backend", lambda *given: nullcontext(Inline())
    )
    command = (*SEQUENCE, "--out", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(work, "run_editor", failing)
        told = call(*command)
    assert told.exit_code == 1, told.output
    assert "E155" in told.stderr
    results = Results.read(tmp_path / "sequential")
    (model,) = results.models
    said = "MemoryError: no room"
    assert results.failures == (Failed("sequential", model, "edit by ft", said, 1),)
    assert f"edit by ft on {model} failed (sequential): {said}" in told.stdout
    assert {(row.method, row.step) for row in results.rows} >= {("ft", 1), (UNEDITED, 0)}
    assert {row.step for row in results.rows if row.method == "ft"} == {1}
    assert results.refusals == ()
    (failed,) = (
        section
        for section in report([(results, Provenance.read(tmp_path / "sequential"))])
        if section.title == "Work that failed"
    )
    assert said in str(failed.parts)
    assert call(*command).exit_code == 0
    whole = Results.read(tmp_path / "sequential")
    assert whole.failures == ()
    assert {row.step for row in whole.rows if row.method == "ft"} == {1, 2, 3}
    files = [tmp_path / "sequential" / name for name in (RESULTS, PROVENANCE)]
    before = [file.read_bytes() for file in files]
    shutil.rmtree(tmp_path / "jobs")
    with monkeypatch.context() as patch:
        patch.setattr(work, "run_editor", failing)
        later = call(*command)
        assert "results of an earlier run, which finished" in later.stderr
        assert [file.read_bytes() for file in files] == before
        other = call(*command, "--seeds", "1")
    assert [later.exit_code, other.exit_code] == [1, 1]
    assert Results.read(tmp_path / "sequential").failures  # of other settings
