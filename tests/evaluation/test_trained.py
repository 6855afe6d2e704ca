"""Methods that need training in experiments, on a pico model."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchhub.editing.catalog import load_editor
from patchhub.editing.meta.train import train_editor
from patchhub.errors import InvalidInputError
from patchhub.evaluation import place
from patchhub.evaluation.place import Data
from patchhub.evaluation.planner import Planner
from patchhub.evaluation.setup import Setup
from patchhub.evaluation.work import MADE, PATCH, read
from patchhub.guard.probes import BaseProbes
from patchhub.loading import load_base
from patchhub.patch import Patch
from patchhub.request import EditRequest
from tests.engine.meta import LESSONS, TINY
from tests.evaluation.test_work import made
from tests.pico import pico_directory

FRESH = EditRequest("Jon Arvel was born in", "Rome", id="fresh")


def planned(out: Path, model: Path, trained: Path | None, *requests: EditRequest) -> Planner:
    setup = Setup(models=(model,), methods=("mend",), trained=trained)
    data = Data(requests, BaseProbes())
    return Planner(model, data, len(requests), data.write(out), setup)


def test_a_bench_names_the_trained_editor_and_keeps_it_off_what_it_knows(tmp_path: Path) -> None:
    model, editors = pico_directory(tmp_path, "gpt2"), tmp_path / "editors"
    editor = load_editor("mend")
    without = planned(tmp_path, model, None, FRESH)
    code, said = read(made(tmp_path, without.prepare("mend", 0)) / MADE)["refused"]
    assert (code, "trained editor" in said) == ("E161", True)
    with pytest.raises(InvalidInputError, match="patchhub train mend"):
        planned(tmp_path, model, editors, FRESH)
    trained = train_editor(load_base(model), editor, LESSONS, settings=TINY, cache=editors)
    plan = planned(tmp_path, model, editors, FRESH)
    assert plan.prepare("mend", 0).key != without.prepare("mend", 0).key
    prepared = made(tmp_path, plan.prepare("mend", 0))
    done = made(tmp_path, plan.edit("mend", 0, (0,), ()), prepared)
    assert Patch.read(done / PATCH).manifest.method.trained == trained.digest
    with pytest.raises(InvalidInputError, match="has seen what it is asked"):
        planned(tmp_path, model, editors, FRESH, LESSONS[0])
    place.forget()
