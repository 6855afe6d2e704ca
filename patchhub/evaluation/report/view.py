"""The lines of one experiment on one model and data set, found by what a table wants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from patchhub.evaluation.records import COLLAPSED, UNEDITED
from patchhub.evaluation.summary.lines import ALL, Line, Refused, Summary
from patchhub.scoring.protocols import Protocol

PLAIN = (UNEDITED, COLLAPSED)
"""Methods that are none; every table shows them, whatever the state it is about."""

_ORDER = (Protocol.TEACHER_FORCED, Protocol.LIKELIHOOD, Protocol.GENERATION, Protocol.INSTRUCTION)
_EXPERIMENTS = ("single", "batch", "sequential")
_LADDER = (
    "target", "paraphrase", "made", "other_relation", "neighbourhood", "distractor",
    "forgetfulness", "unrelated", "base", "alias", "reversed", "one_hop", "two_hop", "logical",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """A state that methods are compared in.

    Attributes:
        size: Requests per edit; None for whatever there is.
        step: Requests edited; None for the last.
        variant: As in `Row`.
    """

    size: int | None = None
    step: int | None = None
    variant: str = ""


@dataclass(frozen=True)
class View:
    """One experiment on one model and data set.

    Attributes:
        data: Name of the data set.
        experiment: Its name.
        model: Name of the base.
        lines: Its lines.
        refused: Its refusals.
    """

    data: str
    experiment: str
    model: str
    lines: Sequence[Line]
    refused: Sequence[Refused]

    @cached_property
    def _found(self) -> Mapping[tuple[str, ...], Mapping[tuple[int, int], Line]]:
        found: dict[tuple[str, ...], dict[tuple[int, int], Line]] = defaultdict(dict)
        for one in self.lines:
            key = (one.method, one.variant, one.measure, one.protocol, one.figure, one.column)
            found[key][one.size, one.step] = one
        return found

    def get(
        self,
        method: str,
        state: State,
        measure: str,
        protocol: str,
        figure: str,
        column: str = ALL,
    ) -> Line | None:
        """The line that says so; of a method that is none the only one, whatever the state."""
        plain = method in PLAIN
        variant = "" if plain else state.variant
        known = self._found.get((method, variant, measure, protocol, figure, column), {})
        fit = [
            place
            for place in known
            if plain
            or (state.size in (None, place[0]) and (state.step is None or state.step == place[1]))
        ]
        return known[max(fit)] if fit else None

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The plain ones first; those that refused everything too."""
        names = {one.method for one in self.lines} | {one.method for one in self.refused}
        return (*PLAIN, *sorted(names - set(PLAIN)))

    @cached_property
    def edited(self) -> tuple[str, ...]:
        """Methods that are some."""
        return self.methods[len(PLAIN) :]

    @cached_property
    def protocols(self) -> tuple[str, ...]:
        """Those that anything was asked by."""
        asked = {one.protocol for one in self.lines} - {""}
        known = [one.value for one in _ORDER if one.value in asked]
        return (*known, *sorted(asked - set(known)))

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """Near to the edit first."""
        names = {one.measure for one in self.lines}
        return tuple(sorted(names, key=_near))

    def of(self, *checks: str) -> list[str]:
        """The measures of some checks."""
        return [name for name in self.measures if name.partition(".")[0] in checks]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Requests per edit, ascending."""
        return tuple(sorted({one.size for one in self.lines if one.method not in PLAIN}))

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Checkpoints of the plain run, ascending."""
        plain = (one for one in self.lines if one.method not in PLAIN and not one.variant)
        return tuple(sorted({one.step for one in plain}))

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """Ends of a sequence other than the plain one."""
        return tuple(sorted({one.variant for one in self.lines} - {""}))


def views(summary: Summary) -> list[View]:
    """All of a summary, by model, data set and experiment."""
    lines: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    refused: dict[tuple[str, str, str], list[Refused]] = defaultdict(list)
    for line in summary.lines:
        lines[line.model, line.data, line.experiment].append(line)
    for refusal in summary.refused:
        refused[refusal.model, refusal.data, refusal.experiment].append(refusal)
    return [
        View(key[1], key[2], key[0], lines[key], refused[key])
        for key in sorted({*lines, *refused}, key=_experiment)
    ]


def _near(measure: str) -> tuple[int, int, str]:
    check, _, part = measure.partition(".")
    checks = ("reliability", "generalization", "locality", "portability")
    return _place(checks, check), _place(_LADDER, part), measure


def _experiment(key: tuple[str, str, str]) -> tuple[str, str, int, str]:
    model, data, experiment = key
    return model, data, _place(_EXPERIMENTS, experiment), experiment


def _place(known: Sequence[str], name: str) -> int:
    return known.index(name) if name in known else len(known)


def sections(found: Iterable[View]) -> list[tuple[str, str, list[View]]]:
    """Views by model and data set."""
    groups: dict[tuple[str, str], list[View]] = defaultdict(list)
    for view in found:
        groups[view.model, view.data].append(view)
    return [(model, data, group) for (model, data), group in groups.items()]
