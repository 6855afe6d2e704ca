"""What a progress bar looks like, the time left included; imports rich."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

_PATIENCE = 5.0
"""Seconds after which the speed of a phase says something about its end."""


class TimeLeft(ProgressColumn):
    """About how long it will take: by field ``ends`` of the bar, else by its speed so far."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """The time in words; nothing while little is known or nothing is left."""
        left = None
        if "ends" in task.fields:  # by the monotonic clock
            left = max(task.fields["ends"] - time.monotonic(), 0.0)
        elif task.elapsed is not None and task.elapsed > _PATIENCE:
            left = task.time_remaining
        if left is None or task.finished:
            return Text("")
        return Text(f"{about(left)} left", style="progress.remaining")


def about(seconds: float) -> str:
    """A time to come in words, as coarse as a forecast is."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} min"
    hours, minutes = divmod(10 * round(minutes / 10), 60)
    return f"about {hours} h {minutes} min" if minutes else f"about {hours} h"


def bars() -> Progress:
    """Bars on stderr that vanish at the end."""
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeLeft(),
        console=Console(stderr=True),
        transient=True,
    )
