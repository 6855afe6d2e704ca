"""What editing took: seconds, memory, bytes, answer time. Torch-free.

Observed, not computed: these numbers come from `Provenance` and differ from machine to machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median, quantiles
from typing import NamedTuple

from patchhub.evaluation.records import Prepared, Spent
from patchhub.evaluation.results import Provenance


class Cost(NamedTuple):
    """What a method took on a base.

    Attributes:
        experiment: Of the run.
        model: Name of the base.
        method: Name of the method.
        size: Requests per edit.
        edits: Edits it is taken from.
        seconds: Wall time of an edit, median.
        quick: Lower quartile; the median where there are fewer than two edits.
        slow: Upper quartile; likewise.
        once_seconds: Taken once for a base (statistics, training); NaN where nobody looked.
        peak_bytes: Most memory of any edit, or of what is done once.
        patch_bytes: Stored for each request, median.
        latency: Answer time with a patch, as a multiple of that without; NaN likewise.
    """

    experiment: str
    model: str
    method: str
    size: int
    edits: int
    seconds: float
    quick: float
    slow: float
    once_seconds: float
    peak_bytes: int
    patch_bytes: float
    latency: float

    @property
    def per_request(self) -> float:
        """Seconds for each request, without what is taken once."""
        return self.seconds / self.size


def efficiency(provenances: Sequence[Provenance]) -> tuple[Cost, ...]:
    """The cost of every method, sorted by experiment, model, method and size.

    Args:
        provenances: Of the experiments; of several about the same, all edits count.
    """
    once: dict[tuple[str, str], list[Prepared]] = defaultdict(list)
    edits: dict[tuple[str, str, str, int], list[Spent]] = defaultdict(list)
    for one in provenances:
        for prepared in one.prepared:
            once[prepared.model, prepared.method].append(prepared)
        for spent in one.spent:
            edits[spent.experiment, spent.model, spent.method, spent.size].append(spent)
    return tuple(_cost(key, edits[key], once[key[1], key[2]]) for key in sorted(edits))


def _cost(key: tuple[str, str, str, int], spent: Sequence[Spent], once: Sequence[Prepared]) -> Cost:
    seconds = [one.seconds for one in spent]
    quick, middle, slow = quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
    # With few edits the quartiles lie outside of what was seen.
    return Cost(
        *key,
        len(spent),
        middle,
        max(quick, min(seconds)),
        min(slow, max(seconds)),
        _middle([one.seconds for one in once]),
        max(*(one.peak_bytes for one in spent), *(one.peak_bytes for one in once), 0),
        median(one.patch_bytes / one.size for one in spent),
        _middle([one.latency for one in once]),
    )


def _middle(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return median(known) if known else float("nan")
