from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchhub.canonical import sha256
from patchhub.composer.identity import composed_identity
from patchhub.errors import IntegrityError, InvalidInputError, PatchHubError
from patchhub_registry import Registry
from patchhub_registry.entry import Entry, StackItem
from patchhub_registry.schema import Op
from patchhub_registry.stack import CHECKPOINT, Change, StackState, fold, identity_of, step
from tests.registry.support import (
    WEIGHTS,
    add,
    commits,
    fingerprint,
    git,
    observed,
    patch_files,
    status,
    verdict,
)


def refs(state: StackState) -> list[str]:
    return [item.ref for item in state.items]


@pytest.fixture
def five(registry: Registry) -> list[str]:
    return [add(registry, f"text {i}", f"fact-{i}") for i in range(5)]


def test_push_revert_and_move_fold(registry: Registry, five: list[str]) -> None:
    state = registry.stack_or_new("prod", WEIGHTS)
    assert (state.seq, state.head, registry.stacks()) == (0, "", [])
    before = commits(registry.root)
    state = registry.change(state, [Change(Op.PUSH, ref) for ref in five[:4]])
    assert commits(registry.root) == before + 1
    assert (refs(state), state.seq) == (five[:4], 4)
    state = registry.push_entry(state, "revert", "fact-1")
    assert refs(state) == ["fact-0@1", "fact-2@1", "fact-3@1"]
    state = registry.push_entry(state, "move", "fact-3", after="fact-0")
    assert refs(state) == ["fact-0@1", "fact-3@1", "fact-2@1"]
    state = registry.push_entry(state, "move", "fact-2@1")
    assert refs(state) == ["fact-2@1", "fact-0@1", "fact-3@1"]
    assert state.identity == composed_identity(WEIGHTS, state.ids)
    assert registry.stack("prod") == state
    assert registry.stacks() == ["prod"]
    assert status(registry.root) == ""
    log = registry.log("prod")
    assert [entry.op for entry in log] == ["push"] * 4 + ["revert", "move", "move"]
    assert [entry.prev for entry in log[1:]] == [entry.digest for entry in log[:-1]]
    assert log[0].prev is None
    assert log[0].record == registry.resolve("fact-0").digest
    assert registry.verify().ok


def test_reverting_all_gives_the_base_again(registry: Registry, five: list[str]) -> None:
    empty = registry.stack_or_new("prod", WEIGHTS)
    state = registry.change(empty, [Change(Op.PUSH, ref) for ref in five])
    state = registry.change(state, [Change(Op.REVERT, ref) for ref in five])
    assert (refs(state), state.identity) == ([], empty.identity)
    assert state.seq == 10


def test_a_name_in_the_stack_means_the_version_in_it(registry: Registry) -> None:
    add(registry, "one")
    state = registry.push_entry(registry.stack_or_new("prod", WEIGHTS), "push", "demo")
    add(registry, "two")
    assert registry.push_entry(state, "revert", "demo").items == ()


def test_preview_writes_nothing(registry: Registry, five: list[str]) -> None:
    state, head = registry.stack_or_new("prod", WEIGHTS), registry.head
    changes = [Change(Op.PUSH, five[0]), Change(Op.PUSH, five[1]), Change(Op.REVERT, five[0])]
    planned = registry.preview(state, changes)
    assert registry.head == head
    assert registry.change(state, changes) == planned


def test_what_the_stack_refuses_changes_nothing(registry: Registry, five: list[str]) -> None:
    state = registry.change(
        registry.stack_or_new("prod", WEIGHTS), [Change(Op.PUSH, ref) for ref in five[:2]]
    )
    registry.add_base("other", fingerprint("other"))
    foreign = patch_files("foreign", base=fingerprint("other").weights)
    registry.add_patch(foreign, "foreign", observed(base="other"))
    head = registry.head
    for change, expected in (
        (Change(Op.PUSH, "fact-0"), ("E306", 4)),
        (Change(Op.REVERT, "fact-3"), ("E307", 4)),
        (Change(Op.MOVE, "fact-3"), ("E307", 4)),
        (Change(Op.MOVE, "fact-0", after="fact-3"), ("E307", 4)),
        (Change(Op.MOVE, "fact-0", after="fact-0"), ("E101", 9)),
        (Change(Op.PUSH, "foreign"), ("E201", 5)),
        (Change(Op.PUSH, "nothing"), ("E102", 7)),
        (Change(Op.PUSH, "fact-2", guard=sha256(b"no")), ("E403", 5)),
    ):
        with pytest.raises(PatchHubError) as caught:
            registry.change(state, [Change(Op.PUSH, "fact-4"), change])
        assert (caught.value.code, caught.value.exit) == expected
    assert registry.head == head
    with pytest.raises(PatchHubError, match="E201"):
        registry.stack_or_new("prod", fingerprint("other").weights)
    with pytest.raises(PatchHubError, match="E107"):
        registry.stack("staging")


@pytest.mark.parametrize(
    ("reason", "waivers"),
    [("just because", {}), ("", {}), ("x", {"locality": "a\nb"}), ("x", {"": "a"})],
)
def test_reasons_are_codes_and_waivers_one_line(reason: str, waivers: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError, match="E113"):
        Change(Op.PUSH, "fact", reason=reason, waivers=waivers)


def test_a_verdict_about_another_patch_does_not_count(registry: Registry, five: list[str]) -> None:
    state = registry.stack_or_new("prod", WEIGHTS)
    right = verdict(registry.resolve(five[0]).id)
    wrong = verdict(registry.resolve(five[1]).id)
    registry.add_statements([wrong])
    with pytest.raises(PatchHubError, match="E403"):
        registry.push_entry(state, "push", five[0], guard=wrong.digest)
    with pytest.raises(PatchHubError, match="E403"):
        registry.push_entry(state, "push", five[0], guard=right.digest)
    state = registry.push_entry(state, "push", five[0], guard=right.digest, statements=[right])
    waivers = {"locality": "too few probes"}
    state = registry.push_entry(state, "push", five[1], guard=wrong.digest, waivers=waivers)
    entry = registry.log("prod")[-1]
    assert (entry.guard, entry.waivers) == (wrong.digest, waivers)
    assert registry.verify().ok


def test_a_stale_plan_is_refused_and_says_what_came_since(
    registry: Registry, five: list[str]
) -> None:
    state = registry.push_entry(registry.stack_or_new("prod", WEIGHTS), "push", five[0])
    empty = registry.stack_or_new("staging", WEIGHTS)
    with Registry.open(registry.root) as other:
        other.push_entry(state, "push", five[1])
        other.push_entry(empty, "push", five[1])
    head = registry.head
    with pytest.raises(PatchHubError, match=r"made at prod@1, now at prod@2") as caught:
        registry.push_entry(state, "push", five[2])
    assert (caught.value.code, caught.value.exit) == ("E304", 4)
    assert caught.value.found == "since then 2 push fact-1@1"
    with pytest.raises(PatchHubError, match="E304"):
        registry.push_entry(empty, "push", five[2])
    assert registry.head == head


def test_a_patch_added_meanwhile_does_not_make_a_plan_stale(
    registry: Registry, five: list[str]
) -> None:
    state = registry.stack_or_new("prod", WEIGHTS)
    with Registry.open(registry.root) as other:
        add(other, "another", "other")
    assert refs(registry.push_entry(state, "push", five[0])) == [five[0]]


def test_long_chains_have_checkpoints(registry: Registry, five: list[str]) -> None:
    state = registry.stack_or_new("prod", WEIGHTS)
    changes = [Change(op, five[0]) for _ in range(60) for op in (Op.PUSH, Op.REVERT)]
    state = registry.change(state, [*changes, Change(Op.PUSH, five[1])])
    log = registry.log("prod")
    assert len(log) == state.seq == 122
    assert log[99].op is Op.CHECKPOINT
    assert log[99].items == (StackItem(five[0], registry.resolve(five[0]).id),)
    assert [entry.seq for entry in log if entry.op is Op.CHECKPOINT] == [100]
    assert registry.stack("prod") == state
    assert fold("prod", log) == fold("prod", log[99:]) == state
    assert registry.verify().ok


@pytest.mark.slow
def test_the_thousandth_entry_opens_a_new_folder(registry: Registry, five: list[str]) -> None:
    state = registry.stack_or_new("prod", WEIGHTS)
    changes = [Change(op, five[0]) for _ in range(500) for op in (Op.PUSH, Op.REVERT)]
    state = registry.change(state, changes)
    assert state.seq == 1010
    assert (registry.root / "stacks/prod/001/001010.json").exists()
    assert registry.stack("prod") == state
    assert registry.verify().ok


IDS = [sha256(f"{i}".encode()) for i in range(6)]
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["push", "revert", "move"]), st.integers(0, 5), st.integers(-1, 5)),
    max_size=130,
)


def _entry(
    state: StackState, op: Op, item: StackItem | None, items: list[str], after: str | None
) -> Entry:
    listed = tuple(StackItem(f"f@{IDS.index(i) + 1}", i) for i in items)
    return Entry(
        stack="s",
        seq=state.seq + 1,
        op=op,
        prev=state.head or None,
        base=WEIGHTS,
        composed=identity_of(WEIGHTS, items),
        reason="test",
        patch=item,
        record=WEIGHTS if item else None,
        after=after,
        items=listed if op is Op.CHECKPOINT else (),
    )


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_the_fold_is_a_plain_list(operations: list[tuple[str, int, int]]) -> None:
    state, model, chain = StackState.empty("s", WEIGHTS), list[str](), list[Entry]()
    for op, number, other in operations:
        if (state.seq + 1) % CHECKPOINT == 0:
            chain.append(_entry(state, Op.CHECKPOINT, None, model, None))
            state = step(state, chain[-1])
        item = StackItem(f"f@{number + 1}", IDS[number])
        after = IDS[other] if op == "move" and other >= 0 else None
        wanted = list(model)
        possible = (item.id in model) != (op == "push")
        if op != "push" and possible:
            wanted.remove(item.id)
        if after is not None and after not in wanted:
            possible = False
        if op == "push":
            wanted.append(item.id)
        elif op == "move" and possible:
            wanted.insert(wanted.index(after) + 1 if after else 0, item.id)
        entry = _entry(state, Op(op), item, sorted(set(wanted)), after)
        if not possible:
            with pytest.raises(IntegrityError, match="contradicts"):
                step(state, entry)
            continue
        state, model = step(state, entry), wanted
        chain.append(entry)
        assert list(state.ids) == model
    if chain:
        assert fold("s", chain) == state


def test_an_entry_out_of_place_breaks_the_chain(registry: Registry, five: list[str]) -> None:
    registry.change(registry.stack_or_new("prod", WEIGHTS), [Change(Op.PUSH, ref) for ref in five])
    log = registry.log("prod")
    for chain in (log[1:], [log[0], *log[2:]], [log[1], log[0]], [*log, log[-1]]):
        with pytest.raises(IntegrityError, match="E203"):
            fold("prod", chain)
    with pytest.raises(IntegrityError, match="E203"):
        fold("staging", log)


def test_two_branches_of_a_stack_do_not_merge(
    registry: Registry, five: list[str], tmp_path: Path
) -> None:
    state = registry.push_entry(registry.stack_or_new("prod", WEIGHTS), "push", five[0])
    git(tmp_path, "clone", "-q", str(registry.root), "clone")
    with Registry.open(tmp_path / "clone") as clone:
        clone.push_entry(state, "push", five[1])
    registry.push_entry(state, "push", five[2])
    with pytest.raises(Exception, match="non-zero exit status"):
        git(tmp_path / "clone", "pull", "-q", "--no-rebase")
