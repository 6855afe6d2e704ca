"""Timing steps against each other on a machine that is not quiet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter


def least_seconds(
    steps: Mapping[str, Callable[[], object]],
    rounds: int,
    before_each: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Least wall time of each step; the steps run in turn, so all of them meet the same weather.

    Args:
        steps: What to run, by name, in the order in which it makes sense.
        rounds: How often; one more comes first and does not count.
        before_each: Run before every step, not counted.
    """
    least = dict.fromkeys(steps, float("inf"))
    for number in range(rounds + 1):
        for name, step in steps.items():
            before_each()
            start = perf_counter()
            step()
            seconds = perf_counter() - start
            if number:
                least[name] = min(least[name], seconds)
    return least
