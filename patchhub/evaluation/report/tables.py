"""The survey's tables of one experiment: methods down, numbers across, one protocol at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from patchhub.evaluation.records import AGREEMENT, SCORE, VALUE
from patchhub.evaluation.report.document import NOTHING, Cell, Table, cell, plain, table
from patchhub.evaluation.report.view import PLAIN, State, View
from patchhub.evaluation.report.words import ROME, heading, said
from patchhub.evaluation.summary.lines import ALL, OLD, WRONG, Knew, S
from patchhub.scoring.protocols import Protocol

COLUMNS = (ALL, WRONG, OLD)
_KNOWN_CHECKS = ("reliability", "generalization", "locality", "portability", "score")


class Pick(NamedTuple):
    """A column of a table: what it is called and which number stands in it."""

    heading: str
    measure: str
    figure: str


class Row(NamedTuple):
    """A row of a table: its first cells, and whose numbers these are."""

    words: tuple[Cell, ...]
    method: str
    state: State
    column: str = ALL


def grid(
    view: View,
    title: str,
    protocol: str,
    first: Sequence[str],
    rows: Sequence[Row],
    picks: Sequence[Pick],
    *,
    folded: bool = False,
    note: str = "",
) -> Iterator[Table]:
    """A table of one protocol, if it has any number.

    Args:
        view: Where the numbers are.
        title: Of the table.
        protocol: How everything in it was asked.
        first: Headers of the columns without numbers.
        rows: Those without any number of a filtered column are left out; a filter that keeps every
            edit is named in the row above.
        picks: The other columns; the first of them says how many cases a row is about.
        folded: See `Table`.
        note: See `Table`.
    """
    shown: list[tuple[Cell, ...]] = []
    for row in rows:
        lines = [
            view.get(row.method, row.state, pick.measure, protocol, pick.figure, row.column)
            for pick in picks
        ]
        cases = next((line.n_cases for line in lines if line is not None), None)
        if cases is None and row.column != ALL:
            continue
        count = Cell(NOTHING if cases is None else str(cases))
        numbers = (count, *(cell(line, cases) for line in lines))
        above = shown[-1] if shown else ()
        if row.column != ALL and above[0] == row.words[0] and above[len(first) :] == numbers:
            # The filter keeps every edit of the row above.
            shown[-1] = (above[0], Cell(f"{above[1].text} = {row.column}"), *numbers)
        else:
            shown.append((*row.words, *numbers))
    headers = (*first, "n", *(pick.heading for pick in picks))
    if any(one.text != NOTHING for row in shown for one in row[len(first) + 1 :]):
        yield table(title, headers, shown, words=len(first), folded=folded, note=note)


def by_column(view: View) -> list[Row]:
    """Every method, each with its filtered columns below it."""
    return [
        Row(plain(method, column), method, State(), column)
        for method in view.methods
        for column in COLUMNS
    ]


def basic(view: View) -> list[Pick]:
    """Reliability, generalization and the ladder of locality by agreement."""
    return [
        *(Pick(heading(name), name, SCORE) for name in view.of("reliability", "generalization")),
        *(Pick(heading(name), name, AGREEMENT) for name in view.of("locality")),
    ]


def basic_tables(view: View) -> Iterator[Table]:
    """For each protocol: the survey's triple; by likelihood ROME's numbers too."""
    first = ("method", "edits")
    rows = by_column(view)
    for protocol in view.protocols:
        how = said(protocol)
        title = f"Reliability, generalization, locality (agreement) · {how}"
        yield from grid(view, title, protocol, first, rows, basic(view))
        if protocol == Protocol.LIKELIHOOD:
            picks = [Pick("S", S, SCORE), *(Pick(name, *pair) for name, pair in ROME.items())]
            note = "A coin gets 50 for S, ES, PS and NS: 50 is failure."
            yield from grid(
                view, f"ROME's numbers · {how}", protocol, first, rows, picks, note=note
            )
        gold = [Pick(heading(name), name, SCORE) for name in view.of("locality")]
        title = f"Locality (gold), of what the model knew · {how}"
        yield from grid(view, title, protocol, first, rows, gold, folded=True)


def portability_tables(view: View) -> Iterator[Table]:
    """For each protocol, what follows from the edit."""
    picks = [Pick(heading(name), name, SCORE) for name in view.of("portability")]
    for protocol in view.protocols:
        title = f"Portability · {said(protocol)}"
        yield from grid(view, title, protocol, ("method", "edits"), by_column(view), picks)


def other_tables(view: View) -> Iterator[Table]:
    """Whatever else was measured: fluency, drift, tasks, what plugins bring."""
    checks = {name.partition(".")[0] for name in view.measures} - set(_KNOWN_CHECKS)
    names = view.of(*checks)
    rows = [Row(plain(method), method, State()) for method in view.methods]
    for protocol in ("", *view.protocols):
        picks = [
            Pick(name.replace(".", " ").replace("_", " "), name, figure)
            for name in names
            for figure in (VALUE, SCORE)
        ]
        title = "Fluency, drift, tasks" + (f" · {said(protocol)}" if protocol else "")
        yield from grid(view, title, protocol, ("method",), rows, picks)


def state_tables(view: View) -> Iterator[Table]:
    """Batches by size, or a sequence by checkpoint."""
    batch = view.experiment == "batch"
    states = [State(size=n) for n in view.sizes] if batch else [State(step=n) for n in view.steps]
    last = [] if batch else [Row(plain(m, _last(view)), m, State()) for m in view.methods]
    rows = [Row(plain(method, ""), method, State()) for method in PLAIN]
    rows += [
        Row(plain(method, state.size or state.step or 0), method, state)
        for method in view.edited
        for state in states
    ]
    word = "batch" if batch else "edits made"
    for protocol in view.protocols:
        picks = [*basic(view), *_score(protocol)]
        how = said(protocol)
        if last:
            title = f"After all edits · {how}"
            yield from grid(view, title, protocol, ("method", word), last, picks)
        title = f"By {'size' if batch else 'checkpoint'} · {how}"
        yield from grid(view, title, protocol, ("method", word), rows, picks, folded=bool(last))
    names = [name for name in view.measures if name.partition(".")[0] not in _KNOWN_CHECKS]
    picks = [Pick(name.replace(".", " "), name, VALUE) for name in names]
    yield from grid(view, "Fluency, drift", "", ("method", word), rows, picks, folded=True)


def variant_tables(view: View) -> Iterator[Table]:
    """Ends of a sequence: edits undone, made again, contradicted."""
    rows = [Row(plain(method, ""), method, State()) for method in PLAIN]
    rows += [
        Row(plain(method, variant), method, State(variant=variant))
        for method in view.edited
        for variant in view.variants
    ]
    if not view.variants:
        return
    for protocol in view.protocols:
        title = f"Undone, repeated, contradicted · {said(protocol)}"
        first = ("method", "these edits")
        yield from grid(view, title, protocol, first, rows, basic(view), note=_VARIANTS)


_VARIANTS = (
    "Kept: edits that stay while others are undone. Undone: the new answer of edits taken back, "
    "so reliability should be the unedited model's. Conflicting: edited anew with another answer; "
    "superseded: the answers that those replace. Repeated: edited twice, which changes nothing "
    "where edits are solved together."
)


def knew_table(knew: Sequence[Knew]) -> Table:
    """How many of the facts the unedited model knew."""
    rows = [
        (
            *plain(said(one.protocol), one.cases, one.right, one.with_old, one.old),
            *plain(_part(one.cases - one.right, one.cases), _part(one.old, one.with_old)),
        )
        for one in knew
    ]
    headers = (
        "protocol", "requests", "new answer given already", "name an old answer",
        "old answer known", WRONG, OLD,
    )  # fmt: skip
    return table("What the unedited model knew", headers, rows)


def refused_table(views: Sequence[View]) -> Table:
    """Edits that were not made, by reason."""
    rows = [
        plain(one.method, one.experiment, one.code, one.message, one.size, one.edits, one.cases)
        for view in views
        for one in view.refused
    ]
    headers = ("method", "experiment", "code", "the first says", "size", "edits", "requests")
    return table("Refused edits", headers, rows, words=4)


def _score(protocol: str) -> list[Pick]:
    return [Pick("S", S, SCORE)] if protocol == Protocol.LIKELIHOOD else []


def _last(view: View) -> str:
    return str(view.steps[-1]) if view.steps else ""


def _part(some: int, of: int) -> str:
    return f"{100 * some / of:.1f} %" if of else NOTHING
