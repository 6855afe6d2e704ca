"""The ways of putting a question to a model; every number says which one it came by.

Teacher forcing and free generation rank editors differently (Yang et al. 2025, arXiv:2502.11177),
so numbers of different protocols never share a column.
"""

from __future__ import annotations

from enum import StrEnum


class Protocol(StrEnum):
    """How an answer is obtained."""

    GENERATION = "generation"
    """Greedy decoding to a natural stop, normalised match with any accepted answer."""

    INSTRUCTION = "generation+instruction"
    """The same behind an instruction to answer briefly (`patchhub.scoring.instruction`)."""

    TEACHER_FORCED = "teacher_forced"
    """Share of the answer's tokens that are the most likely one given the true tokens before."""

    LIKELIHOOD = "likelihood"
    """Whether the answer is more likely than its rival (`patchhub.scoring.likelihood`)."""

    @property
    def generates(self) -> bool:
        """Whether the model speaks freely; otherwise an answer is put to it."""
        return self in (Protocol.GENERATION, Protocol.INSTRUCTION)
