"""A generation that was kept is shown again where it is what is wanted, and only there."""

from __future__ import annotations

import os
from typing import Any

import pytest

from patchhub.checkpoint import gc, read_state, recover, verify_directory
from patchhub.checkpoint.forecast import forecast
from patchhub.checkpoint.place import place_of
from patchhub.composer.stack import ids_at, sites_of
from patchhub.errors import ConflictError
from tests.engine.checkpoint.conftest import Bench, inodes, ledger


def generations(made: Bench) -> list[int]:
    return place_of(made.target).generations()


def test_back_and_forth_is_a_switch_of_the_link(
    llama: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = llama.put(0), llama.put(0, 1)
    files = inodes(first.path)
    monkeypatch.setattr(os, "link", _never)
    monkeypatch.setattr("patchhub.fingerprint.hash_tensors", _never)
    for number, stack in ((1, (0,)), (2, (0, 1)), (1, (0,))):
        found = llama.put(*stack)
        assert found == (first, second)[number - 1]
        assert llama.target.resolve() == found.path
        state = read_state(llama.target)
        assert (state.serial, state.pending) == (number, None)
        assert state.before is not None
        assert {state.serial, state.before.serial} == {1, 2}
    monkeypatch.undo()
    assert inodes(llama.target) == files
    assert llama.holds(0)
    assert verify_directory(llama.target, llama.fingerprint, deep=True) == []


def _never(*args: Any, **more: Any) -> None:
    raise AssertionError("nothing is to be written or read")


def test_what_comes_next_has_a_number_of_its_own_and_links_what_is_there(gpt2: Bench) -> None:
    gpt2.put(0)
    rest = {n: i for n, i in inodes(gpt2.put(0, 1).path).items() if "rest" in n}
    assert gpt2.put(0).number == 1
    third = gpt2.put(0, 1, 2)
    assert third.number == 3
    assert generations(gpt2) == [1, 3]  # the one before, which readers may have open, stays
    assert gpt2.holds(0, 1, 2)
    assert rest.items() <= inodes(third.path).items()


def test_numbers_are_not_given_twice(gpt2: Bench) -> None:
    gpt2.put(0)
    gpt2.put(0, 1)
    gpt2.put(0)
    gc(gpt2.target, 1)
    assert generations(gpt2) == [1]
    assert gpt2.put(2).number == 3
    assert gpt2.holds(2)


@pytest.mark.parametrize(
    ("stack", "names"), [((1, 0), ["b", "a"]), ((0, 1), ["a", "c"]), ((0,), ["a"])], ids=str
)
def test_another_order_name_or_stack_is_another_generation(
    gpt2: Bench, stack: tuple[int, ...], names: list[str]
) -> None:
    gpt2.put(0, 1, names=["a", "b"])
    gpt2.put(2)
    assert gpt2.put(*stack, names=names).number == 3
    assert [item.name for item in read_state(gpt2.target).stack] == names
    assert gpt2.holds(*stack)


@pytest.mark.parametrize("damage", ["changed", "added", "removed", "gone"])
def test_a_kept_generation_that_was_touched_is_not_shown(gpt2: Bench, damage: str) -> None:
    path = gpt2.put(0).path
    gpt2.put(0, 1)
    own = next(name for name in path.iterdir() if "patched" in name.name)
    if damage == "changed":
        data = own.read_bytes()
        own.unlink()
        own.write_bytes(data[:-4] + bytes(4))
    elif damage == "added":
        (path / "notes.txt").write_text("mine")
    elif damage == "removed":
        (path / "config.json").unlink()
    else:
        gc(gpt2.target, 1)
    assert gpt2.put(0).number == 3
    assert gpt2.holds(0)
    assert verify_directory(gpt2.target, gpt2.fingerprint, deep=True) == []


@pytest.mark.parametrize("stack", [(0,), ()], ids=str)
def test_configuration_comes_from_the_base_as_it_is_now(
    gpt2: Bench, stack: tuple[int, ...]
) -> None:
    gpt2.put(*stack)
    gpt2.put(0, 1)
    config = gpt2.base.directory / "config.json"
    text = config.read_text().replace("{", '{"note": 1,', 1)
    config.unlink()
    config.write_text(text)
    assert gpt2.put(*stack).number == 3
    assert (gpt2.target / "config.json").read_text() == text


def test_a_base_with_other_stamps_is_read_before_it_is_believed(gpt2: Bench) -> None:
    gpt2.put(0)
    gpt2.put(0, 1)
    weights = gpt2.base.directory / "model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data)
    assert gpt2.put(0).number == 3
    assert gpt2.holds(0)


def test_without_its_record_it_stays_where_it_is(gpt2: Bench) -> None:
    gpt2.put(0)
    gpt2.put(0, 1)

    def no() -> None:
        raise ConflictError("E304", "the stack moved")

    with pytest.raises(ConflictError, match="E304"):
        gpt2.put(0, ledger=ledger(no, holds=False))
    assert recover(gpt2.target) is None
    assert read_state(gpt2.target).serial == 2
    assert generations(gpt2) == [1, 2]
    assert gpt2.put(0, ledger=ledger(lambda: None, holds=True)).number == 1


def test_the_forecast_knows(gpt2: Bench) -> None:
    gpt2.put(0)
    gpt2.put(0, 1)
    for stack in ((0,), (0, 1), (0, 2)):
        patches = [gpt2.patches[i] for i in stack]
        ids = {name: ids_at(name, patches) for name in sites_of(patches)}
        found = forecast(gpt2.target, gpt2.base.directory, gpt2.fingerprint, ids)
        made = gpt2.put(*stack)
        assert made.number == found.serial
        assert (found.size == 0) == (stack != (0, 2))
