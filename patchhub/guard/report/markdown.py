"""The report as Markdown: one file, tables, bars of text instead of pictures."""

from __future__ import annotations

from collections.abc import Iterator

from patchhub.guard.measurement import Failure, Measurement
from patchhub.guard.report.facts import (
    COLUMNS,
    Background,
    facts,
    failed_first,
    headline,
    judgement,
    notes,
    probes,
    row,
    title,
    word,
)
from patchhub.guard.verdict import Verdict
from patchhub.reporting.markdown import escaped, table
from patchhub.reporting.text import number, short

_CELLS = 10


def to_markdown(verdict: Verdict, background: Background) -> str:
    """The whole file."""
    return "\n".join(_lines(verdict, background)) + "\n"


def _lines(verdict: Verdict, background: Background) -> Iterator[str]:
    yield f"# {escaped(title(verdict, background))}"
    yield ""
    yield f"**{escaped(headline(verdict))}**"
    for one in failed_first(verdict):
        yield from _failures(one)
    yield from ("", "## Measurements", "")
    rows = [
        (*map(escaped, row(one)), str(one.outcome), _bar(one), escaped(notes(one)))
        for one in verdict.measurements
    ]
    yield from table((*COLUMNS, "outcome", "before → after", "notes"), rows)
    yield from ("", "## What was measured", "")
    yield from table(("", ""), [(a, escaped(b)) for a, b in facts(verdict, background)])
    yield from ("", "## Probes")
    for one in verdict.measurements:
        yield from _probes(one)


def _failures(one: Measurement) -> Iterator[str]:
    yield from ("", f"## {escaped(one.name)}: {one.outcome}", "", escaped(judgement(one)))
    if one.failures:
        yield ""
        yield from table(("prompt", "wanted", "before", "after"), map(_texts, one.failures))


def _probes(one: Measurement) -> Iterator[str]:
    shown, more = probes(one)
    if not shown:
        return
    yield from ("", f"### {escaped(one.name)}, {escaped(str(one.protocol))}", "")
    rows = ((*_texts(trial.failure), word(trial)) for trial in shown)
    yield from table(("prompt", "wanted", "before", "after", "outcome"), rows)
    if more:
        yield from ("", f"and {more} more")


def _texts(each: Failure) -> tuple[str, ...]:
    texts = (each.prompt, each.expected, each.before, each.after)
    return tuple(escaped(short(text)) or "*nothing*" for text in texts)


def _bar(one: Measurement) -> str:
    """Shares as blocks, so that a terminal or a forge shows them alike."""
    if not one.n or one.rule == "ceiling":
        return ""
    return " → ".join(_blocks(value) for value in (one.before, one.after))


def _blocks(value: float) -> str:
    if number(value) != number(min(1.0, max(0.0, value))):
        return ""
    full = round(value * _CELLS)
    return "█" * full + "░" * (_CELLS - full)
