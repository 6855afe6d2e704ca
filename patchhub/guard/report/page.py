"""The report as one HTML file: no script, nothing fetched, readable in light and in dark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib import resources

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
    short,
    title,
    word,
)
from patchhub.guard.report.plots import before_after
from patchhub.guard.verdict import Verdict

_RIGHT = frozenset({"n", "before", "after", "judged", "95 % interval", "limit"})
_SIGNS = {"pass": "✓", "fail": "✕", "undecided": "?", "waived": "!", "reported": "·"}


def to_html(verdict: Verdict, background: Background) -> str:
    """The whole file."""
    return "".join(_parts(verdict, background))


def _parts(verdict: Verdict, background: Background) -> Iterator[str]:
    style = (resources.files("patchhub.guard.report") / "report.css").read_text(encoding="utf-8")
    name = escape(title(verdict, background))
    yield "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
    yield "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
    yield "<meta name='color-scheme' content='light dark'>\n"
    # Should escaping ever fail, a browser still runs and fetches nothing.
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield f"<title>{name}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
    yield f"<h1>{name}</h1>\n"
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
    yield "</main>\n</body>\n</html>\n"


def _failures(one: Measurement) -> Iterator[str]:
    yield f"<section>\n<h2>{escape(one.name)} {_outcome(str(one.outcome))}</h2>\n"
    yield f"<p>{escape(judgement(one))}</p>\n"
    if one.failures:
        yield from _table(("prompt", "wanted", "before", "after"), map(_texts, one.failures))
    yield "</section>\n"


def _measurements(measurements: Sequence[Measurement]) -> Iterator[str]:
    rows = [
        [*map(escape, row(one)), _outcome(str(one.outcome)), escape(notes(one))]
        for one in measurements
    ]
    yield from _table((*COLUMNS, "outcome", "notes"), rows)


def _probes(one: Measurement) -> Iterator[str]:
    shown, more = probes(one)
    if not shown:
        return
    name = f"{escape(one.name)} <small>{escape(str(one.protocol))}, n = {one.n}</small>"
    yield f"<details>\n<summary>{name} {_outcome(str(one.outcome))}</summary>\n"
    rows = ([*_texts(trial.failure), _outcome(word(trial))] for trial in shown)
    yield from _table(("prompt", "wanted", "before", "after", "outcome"), rows)
    if more:
        yield f"<p>and {more} more</p>\n"
    yield "</details>\n"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of cells that are HTML already."""
    yield "<div class='scroll'><table>\n<thead><tr>"
    yield from (f"<th scope='col'{_align(name)}>{escape(name)}</th>" for name in headers)
    yield "</tr></thead>\n<tbody>\n"
    for cells in rows:
        yield "<tr>"
        for name, cell in zip(headers, cells, strict=True):
            yield f"<td{_align(name)}>{cell}</td>"
        yield "</tr>\n"
    yield "</tbody></table></div>\n"


def _align(name: str) -> str:
    return " class='number'" if name in _RIGHT else ""


def _texts(each: Failure) -> list[str]:
    texts = (each.prompt, each.expected, each.before, each.after)
    return [escape(short(text)) or "<em>nothing</em>" for text in texts]


def _outcome(outcome: str) -> str:
    kind = outcome if outcome in _SIGNS else "reported"
    return f"<span class='outcome {kind}'>{_sign(kind)} {escape(outcome)}</span>"


def _sign(outcome: str) -> str:
    return f"<span aria-hidden='true'>{_SIGNS[outcome]}</span>"
