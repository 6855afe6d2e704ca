"""What cannot be edited is left out, and nothing else with it: least of all what was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import patchhub
from patchhub.editing.editor import Dropped, EditContext, run_editor
from patchhub.editing.joint import JointEditor, joined_with, keep_earlier
from patchhub.editing.joint import form as form_module
from patchhub.editing.targets import Target, Wanted, find_targets
from patchhub.errors import IntegrityError, InvalidInputError
from patchhub.loading import load_base
from patchhub.patch import Patch
from patchhub.request import EditRequest
from tests.engine.joint.support import (
    BORN,
    CAPITAL,
    LIVES,
    MAYOR,
    ROME,
    SETTINGS,
    context,
    joint,
    request,
)
from tests.pico import pico_directory

LONG = request("Mira Tolven " + "was born in " * 40 + "in", "Rome", "Mira Tolven")
ELSEWHERE = replace(BORN, target="x y " * 80 + "z")
"""Takes the place of BORN, and is too long."""


def added(earlier: Sequence[Patch], *requests: EditRequest) -> tuple[Patch, EditContext]:
    editor, wanted = joined_with(ROME, earlier, requests)
    given = replace(context(), dropped=[])
    return run_editor(editor, given, wanted, SETTINGS), given


def dropped(given: EditContext) -> dict[EditRequest, str]:
    return {one.request: one.reason.code for one in given.dropped}


def weights(patch: Patch) -> bytes:
    return patch.files()["adapter_model.safetensors"]


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> None:
    """No target is found for several prompts."""

    def search(
        model: Any, arch: Any, wanted: Sequence[Wanted], *args: Any, **more: Any
    ) -> list[Target | InvalidInputError]:
        bad = InvalidInputError("E148", "the loss of the target vector is not a number")
        found = find_targets(model, arch, wanted, *args, **more)
        return [
            bad if len(one.rows) > 4 else target for one, target in zip(wanted, found, strict=True)
        ]

    monkeypatch.setattr(form_module, "find_targets", search)


def test_a_request_that_does_not_fit_takes_no_other_with_it() -> None:
    given = replace(context(), dropped=[])
    made = run_editor(JointEditor(ROME), given, [BORN, MAYOR, LONG], SETTINGS)
    assert dropped(given) == {LONG: "E150"}
    assert weights(made) == weights(joint(context(), [BORN, MAYOR]))
    with pytest.raises(InvalidInputError, match="E150"):
        run_editor(JointEditor(ROME), given, [LONG], SETTINGS)


def test_what_was_to_be_replaced_stays_where_the_later_request_cannot_be_edited() -> None:
    before = joint(context(), [BORN, CAPITAL])
    made, given = added([before], ELSEWHERE, MAYOR)
    assert set(made.requests) == {BORN, CAPITAL, MAYOR}
    assert dropped(given) == {ELSEWHERE: "E150"}
    assert weights(made) == weights(joint(context(), [BORN, CAPITAL, MAYOR]))
    done, _ = added([before], replace(BORN, target="Oslo"))
    assert BORN not in done.requests


def test_in_python_too(tmp_path: Path) -> None:
    base, settings = pico_directory(tmp_path, "gpt2"), {"layer": 0, "steps": 3, "covariance": False}
    before = patchhub.edit(base, "rome", BORN, mode="joint", settings=settings)
    left: list[Dropped] = []
    made = patchhub.edit(
        base, "rome", [ELSEWHERE, MAYOR], mode="joint", onto=[before], dropped=left
    )
    assert set(made.requests) == {BORN, MAYOR}
    assert [(one.request, one.reason.code) for one in left] == [(ELSEWHERE, "E150")]
    with pytest.raises(InvalidInputError, match="E150"):
        patchhub.edit(base, "rome", ELSEWHERE, mode="joint", onto=[before])
    with pytest.raises(InvalidInputError, match="E150"):
        keep_earlier([before], [ELSEWHERE, MAYOR], left, replace(made, requests=(MAYOR,)))


def test_there_is_no_patch_in_the_place_of_others_that_says_nothing_new() -> None:
    before = joint(context(), [BORN, CAPITAL])
    for bad in (ELSEWHERE, LONG):
        with pytest.raises(InvalidInputError, match="E150"):
            added([before], bad)
    with pytest.raises(InvalidInputError, match="E134"):
        added([before], replace(MAYOR, subject=None))
    resolved, _ = added([before])
    assert weights(resolved) == weights(before)


@pytest.mark.usefixtures("diverging")
def test_a_new_request_on_a_subject_does_not_lose_an_earlier_one() -> None:
    before = joint(context(), [BORN])
    made, given = added([before], LIVES, MAYOR)
    assert set(made.requests) == {BORN, MAYOR}
    assert dropped(given) == {LIVES: "E148"}
    (reason,) = [one.reason for one in given.dropped]
    assert "2 requests on 'Mira Tolven'" in reason.what
    assert BORN.prompt in str(reason.hint)


def test_an_earlier_request_that_cannot_be_made_again_stops_the_edit() -> None:
    before = joint(context(), [BORN])
    damaged = replace(before, requests=(LONG,), state={})
    with pytest.raises(InvalidInputError, match="E150"):
        added([damaged], MAYOR)


def test_earlier_patches_are_of_the_same_base(tmp_path: Path) -> None:
    before = joint(context(), [BORN])
    other = load_base(pico_directory(tmp_path, "gpt2", seed=5))
    settings = {**SETTINGS, "covariance": False}
    with pytest.raises(IntegrityError, match="E201"):
        joint(replace(context(), base=other, moments=None), [MAYOR], before, settings=settings)
