"""The most memory a piece of work held."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_UNIT = 1 if sys.platform == "darwin" else 1024
"""Of ``ru_maxrss``, in bytes."""


class Peak:
    """Watches a ``with`` block; `bytes` is known afterwards.

    On a GPU what its allocator held at most inside the block; on Linux the most the process held
    inside it; elsewhere the most it has held since it began, which is at least that.

    Attributes:
        bytes: The peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes = 0
        self._device = device

    def __enter__(self) -> Peak:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            with suppress(OSError):  # not Linux, or not allowed
                _CLEAR.write_text("5")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device)
        else:
            self.bytes = _high_water()


def _high_water() -> int:
    """The most memory held since it was last reset, in bytes."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
