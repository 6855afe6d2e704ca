"""What experiments found, as short tables for a terminal; reports tell the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from patchhub_cli.output import table

if TYPE_CHECKING:
    from patchhub.evaluation.records import Failed
    from patchhub.evaluation.results import Results
    from patchhub.evaluation.summary.lines import Knew, Line, Refused, Summary

_COLUMNS = (
    ("reliability", "reliability.target"),
    ("paraphrase", "generalization.paraphrase"),
    ("neighbours", "locality.neighbourhood"),
    ("other facts", "locality.other_relation"),
)


def compact(results: Sequence[Results]) -> str:
    """One table for each experiment and model, by the first protocol: per cent and interval."""
    from patchhub.evaluation.summary.summarise import summarise

    summary = summarise(results)
    parts = []
    first = next(iter(results[0].settings["protocols"]), "") if results else ""
    groups = dict.fromkeys((line.data, line.experiment, line.model) for line in summary.lines)
    for group in groups:
        own = [line for line in summary.lines if (line.data, line.experiment, line.model) == group]
        parts.append(_table(group, own, summary, first))
    parts += [_refused(one) for one in summary.refused]
    parts += [_failed(one) for some in results for one in some.failures]
    return "\n\n".join(parts)


def _table(group: tuple[str, str, str], lines: Sequence[Line], summary: Summary, first: str) -> str:
    data, experiment, model = group
    asked = [one for one in summary.knew if (one.data, one.experiment, one.model) == group]
    cells = [
        line
        for line in lines
        if line.protocol == first and line.figure == "score" and line.column == "all"
    ]
    rows = [
        (method, size or None, step or None, variant, *(_cell(found.get(m)) for _, m in _COLUMNS))
        for (method, size, step, variant), found in _last(cells).items()
    ]
    heads = ("method", "facts an edit", "edits", "", *(name for name, _ in _COLUMNS))
    title = f"{experiment} on {model}, {data}, {first}: % of probes right, 95 % interval"
    return "\n".join([title, *_knowledge(asked), table(heads, rows, right=" rr")])


def _last(lines: Sequence[Line]) -> dict[tuple[str, int, int, str], dict[str, Line]]:
    """Lines by measure for each state, of a sequence only for its end."""
    ends: dict[tuple[str, int, str], int] = {}
    for line in lines:
        key = (line.method, line.size, line.variant)
        ends[key] = max(ends.get(key, 0), line.step)
    found: dict[tuple[str, int, int, str], dict[str, Line]] = {}
    for line in lines:
        if line.step == ends[line.method, line.size, line.variant]:
            state = (line.method, line.size, line.step, line.variant)
            found.setdefault(state, {})[line.measure] = line
    return found


def _knowledge(asked: Sequence[Knew]) -> Iterator[str]:
    """What the filtered columns of a report go by."""
    if not asked:
        return
    old = ", ".join(f"{one.old} by {one.protocol}" for one in asked)
    new = ", ".join(f"{one.right} by {one.protocol}" for one in asked)
    yield f"of {asked[0].with_old} old answers the unedited model knew {old}"
    yield f"of {asked[0].cases} new answers it gave {new}"


def _cell(line: Line | None) -> str | None:
    if line is None:
        return None
    return f"{100 * line.value:.1f} ({100 * line.low:.0f} to {100 * line.high:.0f})"


def _failed(one: Failed) -> str:
    times = f" ({one.jobs} times)" if one.jobs > 1 else ""
    return f"{one.work} on {one.model} failed ({one.experiment}){times}: {one.message}"


def _refused(one: Refused) -> str:
    return (
        f"{one.method} on {one.model} made no edit for {one.cases} requests "
        f"({one.experiment}, {one.size} an edit): {one.code} {one.message}"
    )
