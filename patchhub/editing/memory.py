"""The most memory a piece of work held."""

from __future__ import annotations

import resource
import sys
from types import TracebackType

import torch

_UNIT = 1 if sys.platform == "darwin" else 1024
"""Of ``ru_maxrss``, in bytes."""


class Peak:
    """Watches a ``with`` block; `bytes` is known afterwards.

    On a GPU what its allocator held at most inside the block; otherwise the most the process has
    held since it began, which is at least what the block needed.

    Attributes:
        bytes: The peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes = 0
        self._device = device

    def __enter__(self) -> Peak:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
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
            self.bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
