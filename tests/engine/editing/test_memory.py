from __future__ import annotations

import sys

import pytest
import torch

from patchhub.editing.memory import Peak

CPU = torch.device("cpu")


def test_the_peak_covers_what_was_held_inside() -> None:
    with Peak(CPU) as peak:
        held = torch.ones(32 * 2**20)
    assert peak.bytes >= held.nbytes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing can be reset there")
def test_what_was_held_before_does_not_count() -> None:
    with Peak(CPU) as large:
        torch.ones(64 * 2**20)
    with Peak(CPU) as small:
        pass
    assert small.bytes < large.bytes - 128 * 2**20
