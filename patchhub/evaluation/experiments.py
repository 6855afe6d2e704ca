"""The survey's three experiments as jobs: one edit at a time, batches, and a long sequence.

Source: Yao et al. 2023, arXiv:2305.13172, sections 4 and 5; sequences with retention after
Hartvigsen et al. 2023, arXiv:2211.11031.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from patchhub.evaluation.place import Data
from patchhub.evaluation.planner import Planner
from patchhub.evaluation.reading import Edit, Reading
from patchhub.evaluation.sequence import Sequential
from patchhub.evaluation.setup import SEQUENTIAL, Setup, contradicted
from patchhub.evaluation.ways import Way


def extended(experiment: str, data: Data, setup: Setup) -> Data:
    """The data with the requests that contradict others of a sequence behind them."""
    if experiment != SEQUENTIAL:
        return data
    return replace(data, requests=(*data.requests, *contradicted(data, setup.again).values()))


def readings(
    experiment: str, planner: Planner, data: Data, count: int, setup: Setup
) -> Iterator[Reading]:
    """Everything that is asked of edited models.

    Args:
        experiment: ``single``, ``batch`` or ``sequential``.
        planner: Makes the jobs.
        data: What `extended` made.
        count: Requests without those that contradict others.
        setup: How it is run.
    """
    for way in setup.ways(experiment):
        for seed in setup.seeds:
            if experiment == SEQUENTIAL:
                for order in range(setup.orders):
                    run = Sequential(planner, way, seed, order, setup.order(order, count))
                    yield from run.readings(data, count, setup)
            else:
                fitting = tuple(size for size in setup.sizes if size <= count) or (count,)
                sizes = (1,) if experiment == "single" else fitting
                yield from _batches(planner, way, seed, sizes, count, setup)


def _batches(
    planner: Planner, way: Way, seed: int, sizes: Sequence[int], count: int, setup: Setup
) -> Iterator[Reading]:
    for size in sizes:
        for order in range(setup.orders if size > 1 else 1):
            places = setup.order(order, count)
            for start in range(0, count, size):
                cases = tuple(places[start : start + size])
                edit = Edit(planner.edit(way.method, seed, cases, ()), cases)
                job = planner.measure([edit.job], cases, cases, each=size == 1)
                yield Reading(job, way, size, order, seed, size, (edit,))
