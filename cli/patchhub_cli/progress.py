"""Progress bars on stderr for whatever takes longer than a moment."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_PATIENCE = 0.7
"""Seconds before the first bar: what is done by then needs none."""

_OVERALL = "jobs"


class Progress:
    """A callable ``(label, done, total)`` that draws one bar per label.

    For many jobs of many labels there are `overall`, one bar with the label at work, and
    `remaining`, the time left that this bar tells.

    rich is imported when the first bar is drawn, so quick commands never pay for it.

    Args:
        enabled: Draw at all; false when stderr is no terminal.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._since = time.monotonic()
        self._bars: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` units of the phase ``label`` are behind us."""
        if not self._enabled or time.monotonic() - self._since < _PATIENCE:
            return
        bars = self._bars or self._start()
        if label not in self._tasks:
            self._tasks[label] = bars.add_task(label, total=total)
        bars.update(self._tasks[label], completed=done, total=total)

    def overall(self, label: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` jobs are behind us, and what is at work."""
        self(_OVERALL, done, total)
        if self._bars is not None and _OVERALL in self._tasks:
            self._bars.update(self._tasks[_OVERALL], description=label or _OVERALL)

    def remaining(self, seconds: float) -> None:
        """Say how long the jobs will still take."""
        if self._bars is not None and _OVERALL in self._tasks:
            self._bars.update(self._tasks[_OVERALL], ends=time.monotonic() + seconds)

    def _start(self) -> RichProgress:
        from patchhub_cli.bars import bars

        self._bars = bars()
        self._bars.start()
        return self._bars

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
