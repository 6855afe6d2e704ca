"""Several patches of one preparation, and what becomes of requests that cannot be edited."""

from __future__ import annotations

import pytest

import patchhub
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import Dropped, run_editor
from patchhub.editing.maker import Maker
from patchhub.editing.modes import Mode
from patchhub.editing.prepare import prepare_context
from patchhub.edits import LeftOutWarning
from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.request import EditRequest
from tests.engine.editing.support import MIDDLE, REQUEST, TEXTS, pico_base
from tests.pico import POSITIONS

LONG = EditRequest("Jon Arvel " * POSITIONS + "lives in", "Oslo", subject=None, id="long")
BARE = EditRequest("The capital is", "Oslo", id="bare")
ROME = {"layer": 0, "steps": 3}
FT = {"layers": "1", "steps": 2}


def test_each_patch_is_the_one_of_a_preparation_of_its_own() -> None:
    base, editor = pico_base("gpt2"), load_editor("rome")
    maker = Maker.begin(base, editor, [REQUEST, MIDDLE], settings=ROME, seed=3, texts=TEXTS)
    several = [maker.make([request]).id for request in (REQUEST, MIDDLE, REQUEST)]
    assert several[0] == several[2] != several[1]
    context = prepare_context(base, editor, [MIDDLE], seed=3, settings=ROME, corpus=TEXTS)
    assert run_editor(editor, context, [MIDDLE], ROME).id == several[1]


def test_a_sequence_grows() -> None:
    base = pico_base("llama")
    below = patchhub.edit(base, "ft", MIDDLE, settings=FT)
    requests = [REQUEST, BARE, REQUEST]
    made = patchhub.edit(base, "ft", requests, mode="sequential", settings=FT, onto=[below])
    assert [patch.requests for patch in made] == [(one,) for one in requests]
    ids = [below.id, *(patch.id for patch in made)]
    assert [list(patch.manifest.onto) for patch in made] == [ids[:n] for n in (1, 2, 3)]
    alone = patchhub.edit(base, "ft", REQUEST, settings=FT, onto=[below, *made[:2]])
    assert alone.id == made[2].id


@pytest.mark.parametrize("mode", ["batch", "single", "sequential"])
def test_requests_that_fail_do_not_lose_the_others(mode: str) -> None:
    base = pico_base("gpt2")
    dropped: list[Dropped] = []
    options = {"mode": mode, "settings": FT}
    made = patchhub.edit(base, "ft", [LONG, REQUEST, LONG, BARE], dropped=dropped, **options)  # type: ignore[call-overload]
    patches = (made,) if mode == "batch" else made
    assert [r.id for patch in patches for r in patch.requests] == ["", "bare"]
    assert [(one.request.id, one.reason.code) for one in dropped] == [("long", "E150")] * 2
    with pytest.warns(LeftOutWarning, match="lives in"):
        again = patchhub.edit(base, "ft", [LONG, REQUEST, LONG, BARE], **options)  # type: ignore[call-overload]
    assert [patch.id for patch in patches] == [
        patch.id for patch in ((again,) if mode == "batch" else again)
    ]
    with pytest.raises(InvalidInputError) as error:
        patchhub.edit(base, "ft", [LONG, LONG], **options)  # type: ignore[call-overload]
    assert error.value.code == "E150"


def test_what_a_method_does_not_take_is_sorted_out_before_anything_is_computed() -> None:
    base, editor = pico_base("gpt2"), load_editor("rome")
    maker = Maker.begin(base, editor, [BARE, REQUEST], settings=ROME, texts=TEXTS)
    assert maker.requests == (REQUEST,)
    assert [(one.request, one.reason.code) for one in maker.dropped] == [(BARE, "E134")]
    unreadable = (str(1 // 0) for _ in range(1))
    for requests, code in (([BARE, BARE], "E134"), ([], "E134")):
        with pytest.raises(InvalidInputError) as error:
            Maker.begin(base, editor, requests, settings=ROME, texts=unreadable)
        assert error.value.code == code


def test_what_is_wrong_with_all_ends_the_call() -> None:
    base = pico_base("gpt2")
    for settings, code in (({"layers": "9"}, "E144"), ({"layr": 1}, "E142")):
        with pytest.raises(PatchHubError) as error:
            patchhub.edit(base, "ft", [REQUEST, MIDDLE], mode="single", settings=settings)
        assert error.value.code == code
    with pytest.raises(InvalidInputError, match="no such mode"):
        patchhub.edit(base, "ft", REQUEST, mode="all")  # type: ignore[call-overload]


def test_contradictions_are_refused_where_one_patch_would_hold_both() -> None:
    base, editor = pico_base("gpt2"), load_editor("ft")
    other = EditRequest(REQUEST.prompt, "Oslo", subject=REQUEST.subject)
    with pytest.raises(InvalidInputError) as error:
        Maker.begin(base, editor, [REQUEST, other], settings=FT)
    assert error.value.code == "E136"
    context = prepare_context(base, editor, [REQUEST], seed=0, settings=FT)
    with pytest.raises(InvalidInputError, match="want different answers"):
        run_editor(editor, context, [REQUEST, MIDDLE, other], FT)
    run_editor(editor, context, [REQUEST, MIDDLE, REQUEST], FT)
    apart = Maker.begin(base, editor, [REQUEST, other], mode=Mode.SINGLE, settings=FT)
    assert len({patch.id for _, patch in apart.one_by_one()}) == 2
