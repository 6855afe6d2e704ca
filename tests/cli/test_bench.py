"""``patchhub bench``: real processes, killed and resumed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patchhub.evaluation.results import Provenance, Results
from tests.cli.conftest import Run

SMALL = ("--edits", "4", "--methods", "ft", "--measures", "reliability", "--workers", "2")
QUICK = ("--protocols", "generation,likelihood", "--seeds", "0,1")
KILLS = int(os.environ.get("PATCHHUB_TEST_BENCH_KILLS", "2"))


def _words(out: Path, *more: str) -> tuple[str, ...]:
    return ("bench", "batch", "--sizes", "1,3", "--out", str(out), *SMALL, *QUICK, *more)


def _bench(out: Path) -> list[str]:
    return [sys.executable, "-c", "from patchhub_cli.main import main; main()", *_words(out)]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, float]:
    out = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    shown = _run(_bench(out)).stdout
    return out / "batch", shown, time.monotonic() - began


@pytest.mark.slow
def test_an_experiment_prints_a_table_and_writes_its_files(
    whole: tuple[Path, str, float],
) -> None:
    place, shown, _ = whole
    assert "batch on sandbox-gpt2, sandbox, generation" in shown
    assert "of 4 old answers the unedited model knew 4 by generation, 4 by likelihood" in shown
    assert "of 4 new answers it gave 0 by generation, 0 by likelihood" in shown
    assert {line.split()[0] for line in shown.splitlines()[5:]} == {"collapsed", "ft", "unedited"}
    results = Results.read(place)
    assert {row.seed for row in results.rows if row.method == "ft"} == {0, 1}
    provenance = Provenance.read(place)
    assert provenance.command.startswith("patchhub bench batch --sizes 1,3 --out")


@pytest.mark.slow
def test_a_run_killed_at_random_points_ends_in_the_same_file(
    whole: tuple[Path, str, float], tmp_path: Path
) -> None:
    place, _, seconds = whole
    rng = random.Random(5)
    for _ in range(KILLS):
        process = subprocess.Popen(
            _bench(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(timeout=rng.uniform(0.2, 0.6) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    _run(_bench(tmp_path))
    assert (tmp_path / "batch/results.json").read_bytes() == (place / "results.json").read_bytes()


def test_mistyped_words_are_usage_errors(run: Run, tmp_path: Path) -> None:
    for words, said in (
        (("--set", "ft.lr"), "KEY=VALUE"),
        (("--set", "lr=1"), "METHOD.KEY=VALUE"),
        (("--protocols", "telepathy"), "telepathy"),
        (("--seeds", "a"), "whole numbers"),
    ):
        found = run(*_words(tmp_path, *words))
        assert found.exit_code == 2
        assert said in found.stderr
    found = run(*_words(tmp_path, "--data", "no.json", "--json"))
    assert json.loads(found.stdout)["error"]["code"] == "E109"
