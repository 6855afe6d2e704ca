"""What edits took in experiments on a base: the order in which `auto` tries methods. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log
from pathlib import Path
from statistics import median

from patchhub.errors import InvalidInputError
from patchhub.evaluation.records import Spent
from patchhub.evaluation.results import Provenance, Results


def seconds_by_method(
    sources: Iterable[Path],
    weights: str,
    requests: int,
    methods: Sequence[str],
    ready: Callable[[str], bool],
) -> dict[str, tuple[float, str]]:
    """Seconds for an edit of some requests, by method, with the source that says so.

    Taken from the edits of the nearest size (by ratio): the median time per request, times the
    requests, plus what the method takes once for a base, where that is still to be done. Where
    several sources know a method, the first one counts.

    Args:
        sources: Directories of results.
        weights: Digest of the base's weights.
        requests: Requests in the edit.
        methods: Those that matter.
        ready: Whether what a method takes once for the base was done already.

    Raises:
        InvalidInputError: E154, no source is about this base; E155, some of the work on it failed.
        NotFoundError: E109.
    """
    found: dict[str, tuple[float, str]] = {}
    others: dict[str, str] = {}
    about = False
    for source in sources:
        results = Results.read(source)
        models = results.models
        own = {name for name, digest in models.items() if digest == weights}
        results.require_finished(own, str(source))
        about = about or bool(own)
        others |= {name: digest for name, digest in models.items() if name not in own}
        provenance = Provenance.read(source)
        for method in methods:
            spent = [s for s in provenance.spent if s.model in own and s.method == method]
            if not spent or method in found:
                continue
            once = [p.seconds for p in provenance.prepared if p.model in own and p.method == method]
            rest = 0.0 if ready(method) else sum(once)
            found[method] = requests * _per_request(spent, requests) + rest, str(source)
    if not about and others:
        raise _foreign(weights, others)
    return found


def nearest_size(sizes: Iterable[int], wanted: int) -> int:
    """The size nearest by ratio; of two the smaller."""
    return min(sorted(set(sizes)), key=lambda size: abs(log(size / wanted)))


def _per_request(spent: Sequence[Spent], requests: int) -> float:
    size = nearest_size((one.size for one in spent), requests)
    return median(one.seconds / size for one in spent if one.size == size)


def _foreign(weights: str, others: Mapping[str, str]) -> InvalidInputError:
    return InvalidInputError(
        "E154",
        "these results say nothing about this base",
        expected=f"results of a base with weights {weights[:12]}…",
        found=", ".join(f"{name} {digest[:12]}…" for name, digest in sorted(others.items())),
        hint="leave them out: the methods are then timed on the base itself",
    )
