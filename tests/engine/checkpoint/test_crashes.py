"""A crash at any step leaves the old model or the new one, and the next call settles the rest."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from patchhub.checkpoint import Ledger, gc, read_state, recover
from patchhub.checkpoint.journal import Claim
from patchhub.errors import ConflictError
from patchhub.fingerprint import fingerprint
from tests.engine.checkpoint.conftest import Bench, ledger, snapshot
from tests.engine.checkpoint.crashes import CrashError, Machine, machine

pytestmark = pytest.mark.slow

Stack = tuple[int, ...]
NOTHING: Stack = (-1,)
"""Not even a directory."""
CLAIM: Claim = {"entry": "7"}


def weights(made: Bench) -> str:
    return fingerprint(made.target).weights if made.target.is_symlink() else "nothing"


def known_weights(made: Bench, *stacks: Stack) -> dict[str, Stack]:
    """Weights digest to stack, as a target of its own has them."""
    other = Bench(made.base, made.patches, made.target.with_name("reference"))
    found: dict[str, Stack] = {"nothing": NOTHING}
    for stack in stacks:
        other.put(*stack)
        found[weights(other)] = stack
    return found


def settled(made: Bench, known: dict[str, Stack]) -> Stack:
    """The stack a settled target holds, after checking that all of it says the same."""
    assert not (made.store / "journal.json").exists()
    assert not [*made.store.glob("*.tmp"), *made.store.glob("old-*"), *made.store.glob("next")]
    stack = known[weights(made)]
    generations = sorted(path.name for path in made.store.glob("gen-*"))
    if stack == NOTHING:
        assert generations == []
        return stack
    state = read_state(made.target)
    assert state.pending is None
    assert [item.id for item in state.stack] == [made.patches[i].id for i in stack]
    assert made.target.resolve().name == f"gen-{state.serial:06d}"
    assert made.target.resolve().name in generations
    return stack


def crash_everywhere(
    made: Bench,
    disk: Machine,
    old: Stack | None,
    new: Stack,
    known: dict[str, Stack],
    *,
    again: bool = False,
) -> set[Stack]:
    """Change ``old`` to ``new``, dying after 0, 1, 2, … steps; the stacks found afterwards.

    With ``again`` a generation of ``new`` is there already, and is shown again.
    """
    outcomes: set[Stack] = set()
    before = NOTHING if old is None else old
    for steps in range(1000):
        if old is None:
            made.target = made.target.with_name(f"fresh-{steps}")
            disk._store = made.store
        else:
            made.put(*(new if again else old))
            made.put(*old)
            gc(made.target, 2 if again else 1)
        with disk.dies_after(steps):
            made.put(*new)
        seen = known[weights(made)]  # what a reader finds is whole, before anything is settled
        assert seen in (before, new)
        if made.target.is_symlink():
            assert len(read_state(made.target).stack) == len(seen)
        done = recover(made.target)
        assert recover(made.target) is None
        now = settled(made, known)
        assert now == new if done == "finished" else now in (before, new)
        assert seen in (now, before)
        outcomes.add(now)
        assert snapshot(made.base.directory) == made.untouched
        if not disk.died():
            assert steps > (8 if again else 20)
            return outcomes
        if steps % 7 == 0:
            made.put(*new)
            assert settled(made, known) == new
    raise AssertionError("never came to an end")


@pytest.mark.parametrize(
    ("old", "new"), [(None, (0,)), ((0,), (0, 1)), ((0, 1), ()), ((), (0,))], ids=str
)
def test_a_crash_at_any_step_leaves_old_or_new(
    gpt2: Bench, monkeypatch: pytest.MonkeyPatch, old: Stack | None, new: Stack
) -> None:
    known = known_weights(gpt2, *(stack for stack in (old, new) if stack is not None))
    disk = machine(gpt2.store, monkeypatch)
    outcomes = crash_everywhere(gpt2, disk, old, new, known)
    assert outcomes == {NOTHING if old is None else old, new}


def test_a_crash_while_a_generation_is_shown_again_leaves_old_or_new(
    gpt2: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_weights(gpt2, (0,), (0, 1))
    disk = machine(gpt2.store, monkeypatch)
    outcomes = crash_everywhere(gpt2, disk, (0, 1), (0,), known, again=True)
    assert outcomes == {(0, 1), (0,)}


def test_a_crash_while_recovering_does_no_harm(
    gpt2: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_weights(gpt2, (0,), (1,))
    disk = machine(gpt2.store, monkeypatch)
    for steps in range(0, 1000, 5):
        gpt2.put(0)
        with disk.dies_after(steps):
            gpt2.put(1)
        if not disk.died():
            break
        for more in range(100):
            with disk.dies_after(more):
                recover(gpt2.target)
            assert known[weights(gpt2)] in ((0,), (1,))
            if not disk.died():
                break
        settled(gpt2, known)


def test_the_ledger_decides(gpt2: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the moment: what was recorded is carried out, what was not is taken back."""
    known = known_weights(gpt2, (0,), (1,))
    disk = machine(gpt2.store, monkeypatch)
    outcomes: set[tuple[bool, Stack]] = set()
    for steps in range(1000):
        gpt2.put(0)
        records: list[Claim] = []
        kept = Ledger(CLAIM, partial(records.append, CLAIM), records.__contains__)
        with disk.dies_after(steps):
            gpt2.put(1, ledger=kept)
        seen, pending = known[weights(gpt2)], read_state(gpt2.target, kept.holds).pending
        assert recover(gpt2.target, kept.holds) in (None, "finished" if records else "undone")
        assert settled(gpt2, known) == ((1,) if records else (0,))
        assert pending in (None, "finish" if records else "undo")
        outcomes.add((bool(records), seen))
        if not disk.died():
            break
    # before the record; after it and before the switch; after both
    assert outcomes == {(False, (0,)), (True, (0,)), (True, (1,))}


def test_without_its_ledger_a_change_waits(gpt2: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = known_weights(gpt2, (0,), (1,))
    disk = machine(gpt2.store, monkeypatch)
    for steps in range(1000):
        gpt2.put(0)
        with disk.dies_after(steps):
            gpt2.put(1, ledger=ledger(CrashError, True))
        if read_state(gpt2.target).pending == "ask":
            break
    with pytest.raises(ConflictError, match="E310"):
        recover(gpt2.target)
    with pytest.raises(ConflictError, match="E310"):
        gpt2.put(2)
    assert known[weights(gpt2)] == (0,)
    assert gc(gpt2.target, dry_run=True) == []
    assert recover(gpt2.target, lambda claim: claim == {"entry": "1"}) == "finished"
    assert settled(gpt2, known) == (1,)


def test_a_failure_without_a_crash_is_settled_at_once(gpt2: Bench) -> None:
    gpt2.put(0)

    def stop() -> None:
        raise CrashError

    with pytest.raises(CrashError):
        gpt2.put(1, ledger=ledger(stop, False))
    assert recover(gpt2.target) is None
    assert settled(gpt2, known_weights(gpt2, (0,))) == (0,)


def test_recover_without_anything_to_recover(gpt2: Bench, tmp_path: Path) -> None:
    assert recover(tmp_path / "nothing") is None
    gpt2.put(0)
    assert recover(gpt2.target) is None
