"""Jobs of an experiment by themselves, on a pico model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from patchhub.evaluation import place
from patchhub.evaluation.place import Data
from patchhub.evaluation.planner import Planner
from patchhub.evaluation.setup import Setup
from patchhub.evaluation.work import MADE, OBSERVED, PATCH, edit, prepare, read
from patchhub.guard.probes import BaseProbes
from patchhub.jobs.job import Job, Work
from patchhub.patch import Patch
from patchhub.request import EditRequest
from tests.pico import POSITIONS, pico_directory

BORN = EditRequest("Mira Tolven was born in", "Rome", subject="Mira Tolven", id="born")
LONG = EditRequest(f"{'Jon Arvel ' * POSITIONS}lives in", "Oslo", id="long")
LIVES = EditRequest("Mira Tolven lives in", "Oslo", subject="Mira Tolven", id="lives")


def made(out: Path, job: Job, *needed: Path) -> Path:
    """The result of a job run here and now."""
    run = {"prepare": prepare, "edit": edit}[job.run.rpartition(":")[2]]
    here = out / job.key[:8]
    here.mkdir()
    run(Work(job.inputs, job.site, dict(zip(job.needs, needed, strict=True)), here))
    return here


def planner(out: Path, *requests: EditRequest, **options: Any) -> Planner:
    setup = Setup(
        models=(pico_directory(out, "gpt2"),),
        methods=("ft",),
        settings={"ft": {"layers": "1", "steps": 2}},
        **options,
    )
    data = Data(requests, BaseProbes())
    path = data.write(out)
    place.forget()
    return Planner(setup.models[0], data, len(requests), path, setup)


@pytest.mark.parametrize("memory", [None, 10**9])
def test_a_request_that_the_method_cannot_edit_does_not_lose_the_others(
    tmp_path: Path, memory: int | None
) -> None:
    plan = planner(tmp_path, BORN, LONG, LIVES, memory=memory)
    prepared = made(tmp_path, plan.prepare("ft", 0))
    done = made(tmp_path, plan.edit("ft", 0, (0, 1, 2), ()), prepared)
    fine, why, too = read(done / MADE)["refused"]
    assert (fine, too) == (None, None)
    assert why[0] == "E150"
    assert [r.id for r in Patch.read(done / PATCH).requests] == ["born", "lives"]
    assert read(done / OBSERVED)["patch_bytes"] > 0
    place.forget()


def test_when_none_can_be_edited_there_is_no_patch(tmp_path: Path) -> None:
    plan = planner(tmp_path, LONG)
    prepared = made(tmp_path, plan.prepare("ft", 0))
    done = made(tmp_path, plan.edit("ft", 0, (0,), ()), prepared)
    assert [why[0] for why in read(done / MADE)["refused"]] == ["E150"]
    assert not (done / PATCH).exists()
    place.forget()


def test_a_budget_makes_other_jobs(tmp_path: Path) -> None:
    keys = {
        planner(tmp_path, BORN, memory=memory).edit("ft", 0, (0,), ()).key
        for memory in (None, 2**20, 2**21)
    }
    assert len(keys) == 3
    place.forget()
