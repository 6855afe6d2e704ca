"""Results from several files, and which base they are about. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.evaluation.results import PROVENANCE, Provenance, Results, found_in


@dataclass(frozen=True)
class Source:
    """Results and what they took.

    Attributes:
        name: The directory or file.
        results: The numbers.
        provenance: None where it is not there; then nothing is known of costs.
    """

    name: str
    results: Results
    provenance: Provenance | None


def read_sources(paths: Iterable[Path]) -> tuple[Source, ...]:
    """The results in some directories, right below them, or in files, with their provenance.

    Raises:
        NotFoundError: E109. InvalidInputError: E154.
    """
    places = (found_in([path]) if path.is_dir() else [path] for path in paths)
    return tuple(_source(place) for inner in places for place in inner)


def _source(path: Path) -> Source:
    results = Results.read(path)
    beside = path if path.is_dir() else path.parent
    there = (beside / PROVENANCE).is_file()
    return Source(str(path), results, Provenance.read(beside) if there else None)


def one_model(sources: Sequence[Source], wanted: str | None) -> str:
    """The base of that name, or the only one.

    Raises:
        NotFoundError: E106, there is no such base, or several and none was named.
        InvalidInputError: E159, several have that name.
    """
    names = sorted({name for source in sources for name in source.results.models})
    if wanted in names or (wanted is None and len(names) == 1):
        return _one_digest(sources, wanted or names[0])
    raise NotFoundError(
        "E106",
        "say which base" if wanted is None else f"these results are not about {wanted}",
        expected="one of those in the results",
        found=", ".join(names) or "no bases",
        hint="--model NAME",
    )


def _one_digest(sources: Sequence[Source], name: str) -> str:
    found = {s.results.models[name] for s in sources if name in s.results.models}
    if len(found) > 1:
        raise InvalidInputError(
            "E159",
            f"these results call different models {name!r}",
            expected="weights of one digest",
            found=", ".join(sorted(digest[:12] for digest in found)),
            hint="take advice from the results of one of them",
        )
    return name
