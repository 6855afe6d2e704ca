"""Sequences in which every edit is solved together with all before it, on a pico model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import run_editor
from patchhub.editing.joint import JointEditor, key_value_editor
from patchhub.errors import InvalidInputError
from patchhub.evaluation import place
from patchhub.evaluation.advice.advise import leaves_anywhere
from patchhub.evaluation.collecting import Run
from patchhub.evaluation.experiments import extended
from patchhub.evaluation.place import Data
from patchhub.evaluation.planner import Planner
from patchhub.evaluation.reading import Reading
from patchhub.evaluation.setup import Setup
from patchhub.evaluation.ways import Way
from patchhub.evaluation.work import MOMENTS, PATCH
from patchhub.guard.probes import BaseProbes
from patchhub.jobs.inline import Inline
from patchhub.jobs.run import run_jobs
from patchhub.jobs.store import JobStore
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.scoring.protocols import Protocol
from tests.engine.editing.support import TEXTS
from tests.pico import pico_directory

BORN = EditRequest("Mira Tolven was born in", "Rome", subject="Mira Tolven", target_old="Oslo")
LIVES = EditRequest("Mira Tolven lives in", "Bergen", subject="Mira Tolven")
MAYOR = EditRequest("The mayor is Jon Arvel", "of Oslo", subject="Jon Arvel")
VAGUE = EditRequest("The person was born in", "Oslo", id="vague")
CAPITAL = EditRequest("The capital of Norway is", "Paris", subject="Norway")
COMPANY = EditRequest("Nordlys is a company in", "Rome", subject="Nordlys")
ASKED = (BORN, LIVES, MAYOR, VAGUE, CAPITAL, COMPANY)
MADE = tuple(request for request in ASKED if request is not VAGUE)
SETTINGS = {"layer": 0, "weight_decay": 0.0, "clamp": 20.0, "steps": 3}
JOINT = Way("rome", joint=True)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico_directory(tmp_path_factory.mktemp("pico"), "gpt2")


@pytest.fixture(scope="module")
def done(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    found = run(directory, tmp_path_factory.mktemp("bench"))
    run_jobs(list(found.jobs), found.store, Inline())
    return found


def run(directory: Path, out: Path, **options: Any) -> Run:
    given: dict[str, Any] = {
        "models": (directory,),
        "methods": ("rome",),
        "joint": ("rome",),
        "settings": {"rome": SETTINGS},
        "checkpoints": 2,
        "again": 1,
        "protocols": (Protocol.LIKELIHOOD,),
        "measures": ("reliability",),
        **options,
    }
    setup = Setup(**given)
    plain = Data(ASKED, BaseProbes(), texts=TEXTS)
    data = extended("sequential", plain, setup)
    path = data.write(out)
    planner = Planner(directory, data, len(ASKED), path, setup)
    return Run("sequential", planner, data, len(ASKED), setup, JobStore(out / "jobs"))


def reading(found: Run, variant: str = "", step: int | None = None) -> Reading:
    own = [one for one in found.readings if (one.way, one.variant) == (JOINT, variant)]
    return next(one for one in reversed(own) if step in (None, one.step))


def patch(found: Run, of: Reading) -> Patch:
    return Patch.read(found.store.result(of.edits[-1].job.key) / PATCH)


def at_once(found: Run, *requests: EditRequest) -> Patch:
    """One joint solve on the bare base."""
    moments = found.store.result(found.planner.prepare("rome", 0).key) / MOMENTS
    here = place.place(str(found.setup.models[0]), "float32", "cpu")
    editor = load_editor("rome")
    settings = editor.hparams(**SETTINGS)
    context = place.context(here, found.data, "rome", 0, settings, requests, moments)
    wrapped = JointEditor(key_value_editor(editor))
    return run_editor(wrapped, replace(context, dropped=[]), requests, settings)


def test_the_state_after_some_edits_is_one_solve_of_all_of_them(done: Run) -> None:
    for step, requests in ((3, MADE[:3]), (6, MADE)):
        made = patch(done, reading(done, step=step))
        assert made.manifest.content == at_once(done, *requests).manifest.content
        assert made.manifest.onto == ()
        assert len(made.manifest.supersedes) == 1


def test_a_state_without_some_edits_is_one_in_which_they_never_were(done: Run) -> None:
    left = patch(done, reading(done, "kept"))
    rest = [request for request in MADE if request is not MAYOR]
    assert left.manifest.content == at_once(done, *rest).manifest.content
    assert reading(done, "kept").variants[2] == "undone"


def test_of_contradicting_edits_the_later_one_is_solved(done: Run) -> None:
    other = replace(BORN, target="Oslo", target_old="Rome")
    held = patch(done, reading(done, "conflicting"))
    assert held.manifest.content == at_once(done, *MADE[1:], other).manifest.content


def test_an_edit_made_again_is_the_same_state(done: Run) -> None:
    end, again = reading(done), reading(done, "repeated")
    assert again.edits == end.edits
    steps = {r.method: r.step for r in done.rows() if r.variant == "repeated"}
    assert steps == {"rome": 7, "rome (joint)": 6}


def test_a_refused_edit_is_on_file_and_the_others_are_made(done: Run) -> None:
    refused = [one for one in done.refusals() if not one.variant]
    found = {(one.method, one.code, one.cases, one.step) for one in refused}
    assert found == {("rome", "E134", (3,), 6), ("rome (joint)", "E134", (3,), 6)}


def test_seconds_are_known_of_every_edit(done: Run) -> None:
    spent = [one for one in done.spent() if one.method == "rome (joint)"]
    assert [one.size for one in spent] == [1] * (len(MADE) + 1)  # with the contradicting one
    assert all(one.seconds > 0 for one in spent)
    last = spent[len(MADE) - 1]
    whole = sum(map(len, patch(done, reading(done)).files().values()))
    assert last.patch_bytes == whole // len(MADE)
    assert {one.method for one in done.prepared()} == {"rome", "rome (joint)"}


def test_jobs_of_plain_sequences_are_the_same_beside_joint_ones(
    done: Run, directory: Path, tmp_path: Path
) -> None:
    plain = {job.key for job in run(directory, tmp_path, joint=()).jobs}
    both = {job.key: job for job in done.jobs}
    assert plain < both.keys()
    first, last = reading(done).edits
    prepared = done.planner.prepare("rome", 0).key
    assert first.job.needs == (prepared,)
    assert last.job.needs == (prepared, first.job.key)
    assert done.planner.unedited(False).key in reading(done).job.needs
    assert reading(done).job.needs[1:] == (last.job.key,)


def test_an_interrupted_sequence_goes_on_where_it_was(
    done: Run, directory: Path, tmp_path: Path
) -> None:
    store = JobStore(tmp_path / "jobs")
    shutil.copytree(done.store.directory, store.directory)
    first, last = reading(done).edits
    shutil.rmtree(store.result(last.job.key).parent)
    shutil.rmtree(store.result(reading(done).job.key).parent)
    kept = store.result(first.job.key).stat().st_mtime_ns
    ran: list[str] = []
    again = replace(done, store=store)
    run_jobs(list(again.jobs), store, Inline(), progress=lambda label, *_: ran.append(label))
    assert len({*ran} - {""}) == 2
    assert store.result(first.job.key).stat().st_mtime_ns == kept
    assert list(again.rows()) == list(done.rows())


def test_a_joint_sequence_needs_a_method_that_can_be_solved_so(
    directory: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        run(directory, tmp_path, joint=("ft",))
    assert caught.value.code == "E142"
    assert run(directory, tmp_path, methods=("ft",)).setup.ways("batch") == (Way("ft"),)
    assert Way.named(JOINT.name) == JOINT
    assert Way.named("rome") == Way("rome")
    assert leaves_anywhere(JOINT.name) is True
