"""The whole report, in the order it is read, before it has a form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from patchhub.evaluation.report import curves, heat, points, tables
from patchhub.evaluation.report.closing import cost_table, failed_table, glance, keeping, origins
from patchhub.evaluation.report.document import Picture, Section, Table, plain
from patchhub.evaluation.report.view import View, sections, views
from patchhub.evaluation.report.words import LEGEND
from patchhub.evaluation.results import Provenance, Results
from patchhub.evaluation.summary.efficiency import Cost, efficiency
from patchhub.evaluation.summary.lines import Summary
from patchhub.evaluation.summary.retention import Retention, retention
from patchhub.evaluation.summary.summarise import summarise
from patchhub.scoring.protocols import Protocol

TITLE = "Which editing method, what it breaks, what it costs"


@dataclass(frozen=True)
class Material:
    """Everything a report is made of.

    Attributes:
        summary: Lines.
        costs: What editing took.
        kept: Retention matrices.
        methods: All that are some, sorted; each keeps its colour throughout.
    """

    summary: Summary
    costs: Sequence[Cost]
    kept: Sequence[Retention]
    methods: Sequence[str]


def report(results: Sequence[tuple[Results, Provenance]]) -> list[Section]:
    """The sections of a report.

    Raises:
        InvalidInputError: E159, the results do not go together.
    """
    found = [one for one, _ in results]
    summary = summarise(found)
    costs = efficiency([took for _, took in results])
    groups = sections(views(summary))
    names = {name for *_, some in groups for view in some for name in view.edited}
    names |= {one.method for one in costs}
    material = Material(summary, costs, retention(found), sorted(names))
    parts = [part for i, group in enumerate(groups, 1) for part in _model(i, *group, material)]
    legend = Table("", ("word", "meaning"), tuple(plain(*pair) for pair in LEGEND), words=2)
    failed = failed_table(found)
    if failed.rows:
        text = "The tables are without what hangs on it; the same command tries it again."
        parts.append(Section(2, "Work that failed", (text,), (failed,)))
    return [
        *parts,
        Section(2, "How to read this", parts=(legend,)),
        Section(2, "Where the numbers come from", parts=tuple(origins(results))),
    ]


def _model(
    number: int, model: str, data: str, group: Sequence[View], material: Material
) -> Iterator[Section]:
    words = ("".join(c if c.isalnum() else "_" for c in part) for part in (model, data))
    prefix = "-".join((str(number), *words, ""))
    first_of = (data, group[0].experiment, model)
    shown = {k.protocol: k for k in material.summary.knew if k[:3] == first_of}
    first = [tables.knew_table([shown[name] for name in group[0].protocols if name in shown])]
    costs = [one for one in material.costs if one.model == model]
    top: list[Table | Picture] = [*glance(group, costs), *(first if shown else ())]
    yield Section(2, f"{model} · {data}", parts=tuple(top))
    for view in group:
        for section in _experiment(view, costs, material):
            named = (_prefixed(part, prefix) for part in section.parts)
            yield section._replace(parts=tuple(named))
    if costs:
        least = _cheapest(costs)
        taken = _prefixed(points.taken(least, material.methods), prefix)
        yield Section(3, "What it costs", parts=(cost_table(costs), taken))
    refused = tables.refused_table(group)
    text = () if refused.rows else ("No edit was refused.",)
    yield Section(3, "Refused edits", text, (refused,) if refused.rows else ())


def _experiment(view: View, costs: Sequence[Cost], material: Material) -> Iterator[Section]:
    own = [one for one in costs if one.experiment == view.experiment]
    methods = material.methods
    if view.experiment == "batch":
        picture = curves.by_size(view, methods)
        yield Section(3, "Batches of edits", parts=(picture, *tables.state_tables(view)))
    elif view.experiment == "sequential":
        parts: list[Table | Picture] = [*tables.state_tables(view)]
        if len(view.steps) > 1:
            parts.insert(0, curves.by_step(view, methods))
        yield Section(3, "One edit after another", parts=tuple(parts))
        own_kept = [k for k in material.kept if (k.model, k.data) == (view.model, view.data)]
        kept = sorted(own_kept, key=lambda one: view.protocols.index(one.protocol))
        if kept:
            squares = _preferred(kept)
            pictures = (curves.by_age(kept, methods), heat.matrix(squares))
            yield Section(3, "Retention", parts=(*pictures, *keeping(kept)))
        ends = tuple(tables.variant_tables(view))
        if ends:
            yield Section(3, "Undone, repeated and contradicting edits", parts=ends)
    else:
        quality = [points.protocols(view)] if view.edited else []
        price = [points.against_cost(view, own, methods)] if own else []
        parts = [*quality, *tables.basic_tables(view), *price]
        yield Section(3, "Single edits", parts=tuple(parts))
        for title, found in (
            ("Portability", tables.portability_tables(view)),
            ("Fluency, drift and other tasks", tables.other_tables(view)),
        ):
            some = tuple(found)
            if some:
                yield Section(3, title, parts=some)


def _preferred(kept: Sequence[Retention]) -> list[Retention]:
    """Those of free generation, else of the first protocol."""
    names = {one.protocol for one in kept}
    name = Protocol.GENERATION.value if Protocol.GENERATION in names else kept[0].protocol
    return [one for one in kept if one.protocol == name]


def _cheapest(costs: Sequence[Cost]) -> list[Cost]:
    """Of each method the smallest edits."""
    found: dict[str, Cost] = {}
    for one in sorted(
        costs, key=lambda cost: (cost.method, cost.size, cost.experiment != "single")
    ):
        found.setdefault(one.method, one)
    return list(found.values())


def _prefixed(part: Table | Picture, prefix: str) -> Table | Picture:
    return part._replace(name=prefix + part.name) if isinstance(part, Picture) else part
