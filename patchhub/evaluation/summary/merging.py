"""Several results as one: those over the same cases belong together, the others stay apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from patchhub.errors import InvalidInputError
from patchhub.evaluation.records import CaseRecord, Known, Refusal, Row
from patchhub.evaluation.results import Results


@dataclass(frozen=True)
class Merged:
    """Results over the same cases.

    Attributes:
        data: Name of the data set; with a number behind it where an experiment has several.
        experiment: Its name.
        cases: The requests.
        rows: Each once.
        known: Each once.
        refusals: Each once.
    """

    data: str
    experiment: str
    cases: tuple[CaseRecord, ...]
    rows: Sequence[Row]
    known: Sequence[Known]
    refusals: Sequence[Refusal]


def merged(results: Sequence[Results]) -> list[Merged]:
    """Results by experiment and cases, in the order of their first.

    Raises:
        InvalidInputError: E159, two results differ where they must not.
    """
    _check_models(results)
    groups: dict[tuple[object, ...], list[Results]] = defaultdict(list)
    for one in results:
        groups[one.experiment, one.data.get("digest"), one.cases].append(one)
    seen: dict[tuple[str, str], int] = defaultdict(int)
    found = []
    for group in groups.values():
        first = group[0]
        name = str(first.data.get("name", "data"))
        seen[first.experiment, name] += 1
        again = seen[first.experiment, name]
        found.append(
            Merged(
                name if again == 1 else f"{name} ({again})",
                first.experiment,
                first.cases,
                _rows(group),
                tuple(dict.fromkeys(known for one in group for known in one.known)),
                tuple(dict.fromkeys(refusal for one in group for refusal in one.refusals)),
            )
        )
    return found


def _check_models(results: Iterable[Results]) -> None:
    known: dict[str, str] = {}
    for name, digest in (pair for one in results for pair in one.models.items()):
        if known.setdefault(name, digest) != digest:
            raise InvalidInputError(
                "E159",
                f"two results call different models {name!r}",
                expected=known[name][:12],
                found=digest[:12],
                hint="report them one by one",
            )


def _rows(group: Sequence[Results]) -> Sequence[Row]:
    """The rows of all; of a block that several have (the unedited model's), one copy."""
    if len(group) == 1:
        return group[0].rows
    kept: dict[tuple[object, ...], list[Row]] = {}
    for one in group:
        for key, rows in _blocks(one.rows).items():
            known = kept.setdefault(key, rows)
            if known is not rows and _content(known) != _content(rows):
                raise InvalidInputError(
                    "E159",
                    "two results give different numbers for the same thing",
                    found=", ".join(str(part) for part in key if part != ""),
                    hint="they were made with different settings; report them one by one",
                )
    return [row for rows in kept.values() for row in rows]


def _blocks(rows: Iterable[Row]) -> Mapping[tuple[object, ...], list[Row]]:
    """Rows that agree in everything but case, figure and number."""
    found: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for r in rows:
        key = r.experiment, r.model, r.method, r.size, r.order, r.seed, r.step, r.variant
        found[*key, r.measure, r.protocol].append(r)
    return found


def _content(rows: Iterable[Row]) -> list[tuple[object, ...]]:
    # As text, since what is not a number is not equal to itself.
    return sorted((r.case, r.figure, r.n, repr(r.value), repr(r.before)) for r in rows)
