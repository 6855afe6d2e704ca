from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

from patchhub.evaluation.records import Row
from patchhub.evaluation.summary.retention import Kept, retention
from tests.evaluation.made import Maker, results, row


def _row(step: int, case: int, value: float, order: int = 0) -> Row:
    return row(experiment="sequential", step=step, case=case, value=value, order=order)


def test_edits_belong_to_the_checkpoint_that_first_asks_them() -> None:
    """Four edits, checkpoints after two and after four; the last order is the other way round."""
    rows = [
        *(_row(2, case, 1.0) for case in (0, 1)),
        *(_row(4, case, value) for case, value in enumerate((1.0, 0.0, 1.0, 0.5))),
        *(_row(2, case, 0.0, order=1) for case in (2, 3)),
        *(_row(4, case, 1.0, order=1) for case in range(4)),
    ]
    (found,) = retention([results(rows, experiment="sequential")])
    assert found.steps == (2, 4)
    assert found.cells == {
        (2, 2): Kept(0.5, 4),  # 1 1 in one order, 0 0 in the other
        (4, 2): Kept(0.75, 4),  # 1 0 and 1 1
        (4, 4): Kept(float(Fraction(7, 8)), 4),  # 1 1/2 and 1 1
    }
    assert found.ages == {
        0: Kept(float(Fraction(11, 16)), 4),  # by case: 1, 1, 1/2, 1/4
        2: Kept(0.75, 4),
    }


def test_only_the_plain_run_of_a_sequence_has_a_matrix() -> None:
    undone = [replace(_row(step, 0, 1.0), variant="undone") for step in (1, 2)]
    other = [row(step=step, case=0) for step in (1, 2)]
    unedited = [replace(_row(0, 0, 0.0), method="unedited")]
    assert retention([results([*undone, *unedited], experiment="sequential")]) == ()
    assert retention([results(other)]) == ()
    assert retention([results([_row(1, 0, 1.0)], experiment="sequential")]) == ()


def test_order_of_rows_changes_nothing_and_every_edit_is_counted() -> None:
    made = Maker(cases=12).sequential(("ft",), steps=3, orders=2)
    shuffled = list(made.rows)
    random.Random(0).shuffle(shuffled)
    found = retention([made])
    assert found == retention([replace(made, rows=tuple(shuffled))])
    assert {one.protocol for one in found} == {
        "generation", "generation+instruction", "likelihood", "teacher_forced",
    }  # fmt: skip
    for one in found:
        assert one.steps == (4, 8, 12)
        assert set(one.cells) == {(step, first) for step in one.steps for first in one.steps
                                  if first <= step}  # fmt: skip
        assert one.ages[0].n == 12
