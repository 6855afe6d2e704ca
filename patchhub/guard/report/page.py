"""The report as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

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
from patchhub.guard.report.plots import before_after
from patchhub.guard.verdict import Verdict
from patchhub.reporting.page import document, table
from patchhub.reporting.text import short

_RIGHT = frozenset({"n", "before", "after", "judged", "95 % interval", "limit"})
_SIGNS = {"pass": "✓", "fail": "✕", "undecided": "?", "waived": "!", "reported": "·"}


def to_html(verdict: Verdict, background: Background) -> str:
    """The whole file."""
    return "".join(document(title(verdict, background), _parts(verdict, background)))


def _parts(verdict: Verdict, background: Background) -> Iterator[str]:
    outcome = "pass" if verdict.passed else "fail"
    yield f"<p class='verdict {outcome}'>{_sign(outcome)} {escape(headline(verdict))}</p>\n"
    for one in failed_first(verdict):
        yield from _failures(one)
    yield "<h2>Before and after</h2>\n"
    yield f"<figure>{before_after(verdict.measurements)}</figure>\n"
    yield from _measurements(verdict.measurements)
    yield "<h2>What was measured</h2>\n<dl>\n"
    for label, value in facts(verdict, background):
        yield f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>\n"
    yield "</dl>\n<h2>Probes</h2>\n"
    for one in verdict.measurements:
        yield from _probes(one)


def _failures(one: Measurement) -> Iterator[str]:
    yield f"<section>\n<h2>{escape(one.name)} {_outcome(str(one.outcome))}</h2>\n"
    yield f"<p>{escape(judgement(one))}</p>\n"
    if one.failures:
        yield from table(("prompt", "wanted", "before", "after"), map(_texts, one.failures))
    yield "</section>\n"


def _measurements(measurements: Sequence[Measurement]) -> Iterator[str]:
    rows = [
        [*map(escape, row(one)), _outcome(str(one.outcome)), escape(notes(one))]
        for one in measurements
    ]
    yield from table((*COLUMNS, "outcome", "notes"), rows, _RIGHT)


def _probes(one: Measurement) -> Iterator[str]:
    shown, more = probes(one)
    if not shown:
        return
    name = f"{escape(one.name)} <small>{escape(str(one.protocol))}, n = {one.n}</small>"
    yield f"<details>\n<summary>{name} {_outcome(str(one.outcome))}</summary>\n"
    rows = ([*_texts(trial.failure), _outcome(word(trial))] for trial in shown)
    yield from table(("prompt", "wanted", "before", "after", "outcome"), rows)
    if more:
        yield f"<p>and {more} more</p>\n"
    yield "</details>\n"


def _texts(each: Failure) -> list[str]:
    texts = (each.prompt, each.expected, each.before, each.after)
    return [escape(short(text)) or "<em>nothing</em>" for text in texts]


def _outcome(outcome: str) -> str:
    kind = outcome if outcome in _SIGNS else "reported"
    return f"<span class='outcome {kind}'>{_sign(kind)} {escape(outcome)}</span>"


def _sign(outcome: str) -> str:
    return f"<span aria-hidden='true'>{_SIGNS[outcome]}</span>"
